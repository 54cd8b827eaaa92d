//! Writing files into a container: all of them, or none; and reading one.
//!
//! Each is written beside its place under another name and then renamed, so that whoever reads it sees the old content or
//! the new. Directories on the way are resolved as those of mounts are: inside the container, whatever links say.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_runtime::file::FileWrite;
use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::fs::unique_name;
use berth_sys::socket::send_with_descriptors;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::attach::target;
use super::init::Init;
use super::inside::inside;
use crate::failure::{FailurePipe, launch_error};

/// A file that will be written.
pub struct Pending {
    spec: FileWrite,
    content: Option<File>,
}

/// One that lies beside its place.
struct Staged {
    directory: OwnedFd,
    name: OsString,
    temporary: Option<String>,
}

impl Pending {
    /// Opens, on the host, what is to be written.
    pub fn open_all(writes: &[FileWrite]) -> Result<Vec<Self>, LaunchError> {
        let open = |spec: &FileWrite| {
            let open = |path: &PathBuf| File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
            let content = spec.source.as_ref().map(open).transpose();
            let content = content.map_err(launch_error(Stage::File, &spec.target))?;
            Ok(Self { spec: spec.clone(), content })
        };
        writes.iter().map(open).collect()
    }

    fn stage(&self) -> io::Result<Staged> {
        let (parent, name) = match (self.spec.target.parent(), self.spec.target.file_name()) {
            (Some(parent), Some(name)) => (parent, name.to_owned()),
            _ => return Err(Errno::INVAL.into()),
        };
        let directory = target::directory(parent)?;
        let Some(content) = &self.content else { return Ok(Staged { directory, name, temporary: None }) };
        match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => return Err(Errno::ISDIR.into()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let temporary = unique_name(".berth-");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&directory, &temporary, flags, Mode::from_raw_mode(0o600))?);
        let staged = Staged { directory, name, temporary: Some(temporary) };
        let written = io::copy(&mut &*content, &mut file).and_then(|_| self.own(&file));
        if written.is_err() {
            staged.forget();
        }
        written.map(|()| staged)
    }

    fn own(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(Uid::from_raw(self.spec.uid)), Some(Gid::from_raw(self.spec.gid)))?;
        // After the owner: a change of that takes set-id bits away.
        fchmod(file, Mode::from_raw_mode(self.spec.mode))?;
        Ok(())
    }
}

impl Staged {
    fn place(&self, spec: &Pending) -> io::Result<()> {
        let Some(temporary) = &self.temporary else {
            return match unlinkat(&self.directory, &self.name, AtFlags::empty()) {
                // Already removed by whoever works inside, or made a directory, which is then his own.
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
                Err(error) => Err(error.into()),
            };
        };
        match renameat(&self.directory, temporary, &self.directory, &self.name) {
            // A file of its own is mounted there: it cannot be replaced, only written.
            Err(Errno::BUSY) => self.overwrite(spec, temporary),
            renamed => Ok(renamed?),
        }
    }

    fn overwrite(&self, pending: &Pending, temporary: &str) -> io::Result<()> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(openat(&self.directory, temporary, flags | OFlags::RDONLY, Mode::empty())?);
        let flags = flags | OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK;
        let mut to = File::from(openat(&self.directory, &self.name, flags, Mode::empty())?);
        io::copy(&mut from, &mut to)?;
        self.forget();
        pending.own(&to)
    }

    fn forget(&self) {
        if let Some(temporary) = &self.temporary {
            // What stays of a failed write has a name that tells what it is.
            let _ = unlinkat(self.directory.as_fd(), temporary, AtFlags::empty());
        }
    }
}

/// Writes all of them, in the container and as its root.
pub fn write_all(files: &[Pending]) -> Result<(), LaunchError> {
    let mut staged: Vec<Staged> = Vec::new();
    for file in files {
        match file.stage() {
            Ok(one) => staged.push(one),
            Err(error) => {
                staged.iter().for_each(Staged::forget);
                return Err(launch_error(Stage::File, &file.spec.target)(error));
            }
        }
    }
    for (index, (file, one)) in files.iter().zip(&staged).enumerate() {
        if let Err(error) = one.place(file) {
            staged[index..].iter().for_each(Staged::forget);
            return Err(launch_error(Stage::File, &file.spec.target)(error));
        }
    }
    Ok(())
}

/// Writes one into a container that runs; `content` is read from its start.
pub fn put(spec: FileWrite, content: File, init: &Init) -> Result<(), LaunchError> {
    let pending = [Pending { spec, content: Some(content) }];
    inside(init, Stage::File, |failures| told(failures, write_all(&pending)))
}

/// Opens a file of a container that runs and sends it over a socket, to be read there.
pub fn open_for(reader: BorrowedFd<'_>, path: &Path, init: &Init) -> Result<(), LaunchError> {
    inside(init, Stage::ReadFile, |failures| {
        let sent = target::file(path).and_then(|file| send_with_descriptors(reader, &[0], &[file.as_fd()]));
        told(failures, sent.map(drop).map_err(launch_error(Stage::ReadFile, path)))
    })
}

fn told(failures: &FailurePipe, result: Result<(), LaunchError>) -> i32 {
    let Err(error) = result else { return 0 };
    failures.send(&error);
    1
}

/// What was written is not to be written again.
pub fn written(writes: &mut Vec<FileWrite>) {
    for source in writes.drain(..).filter_map(|write| write.source) {
        // It lies in a directory that goes with the instance.
        let _ = fs::remove_file(source);
    }
}
