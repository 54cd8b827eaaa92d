//! The streams of a program in the guest, between a caller's descriptors and the channel.
//!
//! What the guest may send is bounded by its credit, and credit is given when the caller has taken what came: a caller who
//! does not read holds up his own program and nothing else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use berth_guest_protocol::frame::{MAX_DATA, Stream};
use berth_guest_protocol::link::Host as Link;
use berth_sys::socket::send_with_descriptors;

/// What a descriptor of a caller's is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To be read.
    In,
    /// To be written.
    Out(Stream),
}

/// The streams of one program.
pub struct Pump {
    /// The program's.
    pub session: u16,
    stdin: Option<OwnedFd>,
    stdout: Sink,
    stderr: Sink,
    /// What the caller gets for a terminal's master, and over which socket, once there is a program.
    terminal: Option<(OwnedFd, OwnedFd)>,
    ended: Option<i32>,
}

#[derive(Default)]
struct Sink {
    fd: Option<OwnedFd>,
    buffer: VecDeque<u8>,
    /// No more will come.
    complete: bool,
}

impl Pump {
    /// Between three descriptors of a caller's.
    pub fn pipes(session: u16, [stdin, stdout, stderr]: [OwnedFd; 3]) -> io::Result<Self> {
        for fd in [&stdin, &stdout, &stderr] {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let sink = |fd| Sink { fd: Some(fd), ..Sink::default() };
        let (stdout, stderr) = (sink(stdout), sink(stderr));
        Ok(Self { session, stdin: Some(stdin), stdout, stderr, terminal: None, ended: None })
    }

    /// With one end of a connection for both of its streams, and that end's other.
    pub fn connection(session: u16) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stdin = Some(ours.try_clone()?.into());
        let stdout = Sink { fd: Some(ours.into()), ..Sink::default() };
        let pump = Self { session, stdin, stdout, stderr: Sink::default(), terminal: None, ended: None };
        Ok((pump, theirs.into()))
    }

    /// With a terminal of the guest's; the caller gets one end of a connection in its place.
    pub fn terminal(session: u16, master_to: OwnedFd) -> io::Result<Self> {
        let (pump, theirs) = Self::connection(session)?;
        Ok(Self { terminal: Some((theirs, master_to)), ..pump })
    }

    /// The program was executed.
    pub fn started(&mut self) {
        if let Some((theirs, to)) = self.terminal.take() {
            // A caller who is gone gets nothing.
            let _ = send_with_descriptors(to.as_fd(), b"t", &[theirs.as_fd()]);
        }
    }

    /// What to wait for.
    pub fn waits_for(&self, link: &Link) -> Vec<(Flow, BorrowedFd<'_>)> {
        let mut all = Vec::new();
        // Input of a program that was not executed yet would have no place to go.
        let takes = self.terminal.is_none() && link.input_room(self.session) > 0;
        all.extend(self.stdin.as_ref().filter(|_| takes).map(|fd| (Flow::In, fd.as_fd())));
        for (stream, sink) in [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)] {
            let fd = sink.fd.as_ref().filter(|_| !sink.buffer.is_empty());
            all.extend(fd.map(|fd| (Flow::Out(stream), fd.as_fd())));
        }
        all
    }

    /// Goes on with one of them.
    pub fn progress(&mut self, flow: Flow, link: &mut Link) {
        match flow {
            Flow::In => self.read(link),
            Flow::Out(stream) => self.flush(stream, link),
        }
    }

    fn read(&mut self, link: &mut Link) {
        let room = link.input_room(self.session).min(MAX_DATA);
        let Some(fd) = self.stdin.as_ref().filter(|_| room > 0) else { return };
        let mut buffer = [0; MAX_DATA];
        match nix::unistd::read(fd, &mut buffer[..room]) {
            Ok(length @ 1..) => link.input(self.session, &buffer[..length]),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Ok(0) | Err(_) => {
                self.stdin = None;
                link.input(self.session, b"");
            }
        }
    }

    /// Takes output of the program's; none is its end.
    pub fn take(&mut self, stream: Stream, bytes: &[u8], link: &mut Link) {
        let Some(sink) = self.sink(stream) else { return };
        sink.complete |= bytes.is_empty();
        sink.buffer.extend(bytes);
        self.flush(stream, link);
    }

    fn sink(&mut self, stream: Stream) -> Option<&mut Sink> {
        match stream {
            Stream::Stdin => None,
            Stream::Stdout => Some(&mut self.stdout),
            Stream::Stderr => Some(&mut self.stderr),
        }
    }

    fn flush(&mut self, stream: Stream, link: &mut Link) {
        let session = self.session;
        let Some(sink) = self.sink(stream) else { return };
        while !sink.buffer.is_empty() {
            let written = match &sink.fd {
                Some(fd) => nix::unistd::write(fd, sink.buffer.as_slices().0),
                None => Ok(sink.buffer.len()),
            };
            match written {
                Ok(length) => {
                    sink.buffer.drain(..length);
                    link.consumed(session, stream, length);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                // Nobody reads it any more: what else comes is let go.
                Err(_) => sink.fd = None,
            }
        }
        if sink.complete {
            sink.fd = None;
        }
    }

    /// The program has ended.
    pub fn end(&mut self, code: i32) {
        self.ended = Some(code);
        self.stdin = None;
        self.stdout.complete = true;
        self.stderr.complete = true;
    }

    /// Its exit code, once the caller has all that it wrote.
    pub fn finished(&self) -> Option<i32> {
        self.ended.filter(|_| self.stdout.buffer.is_empty() && self.stderr.buffer.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_guest_protocol::link::{Event, Guest};
    use berth_guest_protocol::message::ToHost;
    use berth_runtime::spec::ProcessSpec;
    use std::io::Read;

    /// A host and a guest with one program beside the workload.
    fn linked() -> (Link, Guest, u16) {
        let (mut host, mut guest) = (Link::new(), Guest::new());
        carry(&mut guest, &mut host);
        let session = host.exec(ProcessSpec::default(), None).unwrap().unwrap();
        guest.feed(host.output()).unwrap();
        host.sent(usize::MAX);
        guest.say(&ToHost::Started { session });
        assert_eq!(carry(&mut guest, &mut host), [Event::Started { session }]);
        (host, guest, session)
    }

    fn carry(guest: &mut Guest, host: &mut Link) -> Vec<Event> {
        let events = host.feed(guest.output()).unwrap();
        guest.sent(usize::MAX);
        events
    }

    #[test]
    fn a_reader_who_waits_gets_all_of_it_and_its_end_last() {
        let (mut host, mut guest, session) = linked();
        let (stdin, input) = io::pipe().unwrap();
        let (mut reader, stdout) = io::pipe().unwrap();
        let (_errors, stderr) = io::pipe().unwrap();
        let mut pump = Pump::pipes(session, [stdin.into(), stdout.into(), stderr.into()]).unwrap();
        drop(input);
        pump.progress(Flow::In, &mut host);
        assert!(!host.output().is_empty(), "the end of the input is passed on");
        // More than a pipe holds.
        for _ in 0..6 {
            guest.data(session, Stream::Stdout, &[b'x'; 30_000]);
        }
        guest.data(session, Stream::Stdout, b"");
        guest.close(session, &ToHost::Exited { session, code: 3, signal: None });
        for event in carry(&mut guest, &mut host) {
            match event {
                Event::Data { stream, bytes, .. } => pump.take(stream, &bytes, &mut host),
                Event::Exited { code, .. } => pump.end(code),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pump.finished(), None, "some of it waits for its reader");
        let mut all = Vec::new();
        while pump.finished().is_none() {
            let mut buffer = [0; 65536];
            let length = reader.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..length]);
            pump.progress(Flow::Out(Stream::Stdout), &mut host);
        }
        assert_eq!(pump.finished(), Some(3));
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 180_000);
    }
}
