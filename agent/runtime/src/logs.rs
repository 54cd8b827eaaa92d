//! The files of an instance's log, and how they are read.
//!
//! A line is `TIME stdout|stderr F|P TEXT`, as in Kubernetes' container runtime interface; P is a part of a line that goes on
//! in the next entry of that stream. `current.log` is being written, `1.log` is the one before it, and so on.

/// The file that is being written; `1.log` is the one before it.
pub const CURRENT: &str = "current.log";

#[cfg(feature = "client")]
pub use reading::{Entry, LogError, Query, Stream, open};

#[cfg(feature = "client")]
mod reading {
    use std::collections::VecDeque;
    use std::fs::File;
    use std::io::{self, BufRead, BufReader};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use tokio::io::unix::AsyncFd;
    use tokio::sync::mpsc;

    use super::CURRENT;

    /// One of a program's two outputs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Stream {
        /// Standard output.
        Stdout,
        /// Standard error.
        Stderr,
    }

    /// A line, or a part of a long one.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Entry {
        /// RFC 3339 in UTC with nanoseconds.
        pub time: String,
        /// Where it was written.
        pub stream: Stream,
        /// Whether the line goes on in the next entry of its stream.
        pub partial: bool,
        /// Without the newline.
        pub data: Vec<u8>,
    }

    /// What is wanted of a log.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Query {
        /// The last so many entries; `None` is all that is kept.
        pub tail: Option<usize>,
        /// None before this time, written as [`Entry::time`] is.
        pub since: Option<String>,
        /// Go on as more is written, until the receiver is dropped.
        pub follow: bool,
    }

    /// A log that cannot be read.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the log in {}", path.display())]
    pub struct LogError {
        /// The log's directory.
        pub path: PathBuf,
        /// Why.
        #[source]
        pub source: io::Error,
    }

    type Sender = mpsc::Sender<Result<Entry, LogError>>;

    /// Entries wait here until they are taken; a slow reader slows the reading, nothing else.
    const WAITING: usize = 256;

    /// Reads a log in the order in which it was written. A log that nothing was written to yet is empty.
    #[must_use]
    pub fn open(directory: &Path, query: Query) -> mpsc::Receiver<Result<Entry, LogError>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let path = directory.to_owned();
        tokio::spawn(async move {
            if let Err(source) = pump(&path, query, &sender).await {
                // Nobody may listen any more.
                let _ = sender.send(Err(LogError { path, source })).await;
            }
        });
        receiver
    }

    async fn pump(directory: &Path, query: Query, sender: &Sender) -> io::Result<()> {
        // Watched before it is read, so that nothing falls between.
        let changes = if query.follow { watch(directory)? } else { None };
        let mut tail = {
            let (directory, query, sender) = (directory.to_owned(), query.clone(), sender.clone());
            blocking(move || read_kept(&directory, &query, &sender)).await?
        };
        let Some(changes) = changes else { return Ok(()) };
        loop {
            let mut ready = tokio::select! {
                () = sender.closed() => return Ok(()),
                ready = changes.readable() => ready?,
            };
            // The events only say that there is something to read.
            let mut events = [0; 4096];
            let _ = ready.try_io(|inotify| Ok(nix::unistd::read(inotify, &mut events)?));
            drop(ready);
            let (directory, sender) = (directory.to_owned(), sender.clone());
            let Some(next) = blocking(move || read_on(&directory, tail, &sender)).await? else {
                return Ok(());
            };
            tail = next;
        }
    }

    async fn blocking<T: Send + 'static>(
        read: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    fn watch(directory: &Path) -> io::Result<Option<AsyncFd<OwnedFd>>> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(directory, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE)?;
        #[allow(deprecated)]
        // Deprecated for types that may close their descriptor under it; this one does not.
        AsyncFd::new(inotify.as_fd().try_clone_to_owned()?).map(Some)
    }

    /// The file that is being read and the part of a line that was read of it.
    struct Tail {
        file: Option<BufReader<File>>,
        pending: Vec<u8>,
    }

    fn read_kept(directory: &Path, query: &Query, sender: &Sender) -> io::Result<Tail> {
        let mut last = VecDeque::new();
        let mut emit = |entry: Entry| match query.tail {
            Some(limit) => {
                last.push_back(entry);
                if last.len() > limit {
                    last.pop_front();
                }
            }
            None => send(sender, entry),
        };
        let wanted = |entry: &Entry| query.since.as_ref().is_none_or(|since| entry.time >= *since);
        let mut tail = Tail { file: None, pending: Vec::new() };
        for path in files(directory)? {
            // One that was rotated away meanwhile is read under its new name, or is older than what is kept.
            let Ok(file) = File::open(&path) else { continue };
            tail = Tail { file: Some(BufReader::new(file)), pending: Vec::new() };
            read_lines(&mut tail, &mut |entry| {
                if wanted(&entry) {
                    emit(entry);
                }
            })?;
        }
        for entry in last {
            send(sender, entry);
        }
        Ok(tail)
    }

    /// Nothing comes after the directory was removed: `None`.
    fn read_on(directory: &Path, mut tail: Tail, sender: &Sender) -> io::Result<Option<Tail>> {
        read_lines(&mut tail, &mut |entry| send(sender, entry))?;
        if !directory.exists() {
            return Ok(None);
        }
        let Ok(current) = File::open(directory.join(CURRENT)) else { return Ok(Some(tail)) };
        let same = match &tail.file {
            Some(reader) => reader.get_ref().metadata()?.ino() == current.metadata()?.ino(),
            None => false,
        };
        if !same {
            // What was written to the old one between reading it and its rotation.
            read_lines(&mut tail, &mut |entry| send(sender, entry))?;
            tail = Tail { file: Some(BufReader::new(current)), pending: Vec::new() };
            read_lines(&mut tail, &mut |entry| send(sender, entry))?;
        }
        Ok(Some(tail))
    }

    fn send(sender: &Sender, entry: Entry) {
        // Nobody listens any more: the pump sees that for itself.
        let _ = sender.blocking_send(Ok(entry));
    }

    /// The files of a log, oldest first.
    fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut numbered = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u32>().ok());
            numbered.extend(number);
        }
        numbered.sort_unstable_by(|a, b| b.cmp(a));
        let mut paths: Vec<_> =
            numbered.iter().map(|number| directory.join(format!("{number}.log"))).collect();
        paths.push(directory.join(CURRENT));
        Ok(paths)
    }

    fn read_lines(tail: &mut Tail, emit: &mut dyn FnMut(Entry)) -> io::Result<()> {
        let Some(file) = &mut tail.file else { return Ok(()) };
        loop {
            let length = file.read_until(b'\n', &mut tail.pending)?;
            if length == 0 || tail.pending.last() != Some(&b'\n') {
                return Ok(());
            }
            if let Some(entry) = parse(&tail.pending) {
                emit(entry);
            }
            tail.pending.clear();
        }
    }

    /// A line that is none of ours, as after a power loss, is passed over.
    fn parse(line: &[u8]) -> Option<Entry> {
        let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let time = String::from_utf8(parts.next()?.to_vec()).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let partial = parts.next()? == b"P";
        Some(Entry { time, stream, partial, data: parts.next()?.to_vec() })
    }
}
