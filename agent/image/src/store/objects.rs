//! The object store: each file's content once, named by its fs-verity digest.
//!
//! An object is written under a temporary name in the session's own directory and renamed when it is whole. A session
//! pins what it relies on, so that a collection beside it leaves that alone (see [`Activity`]).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_sys::fs::{
    FsError, create_new_at, open_dir, rename_at, rename_new_at, size_at, unique_name, unlink_at,
};

use crate::digest::Digest;
use crate::import::ImportError;
use crate::import::tar::TarError;
use crate::import::verity::Verity;
use crate::store::StoreError;

/// A file up to this size is hashed in memory before anything is written: if it is there already, nothing is.
const BUFFERED_MAX: u64 = 256 * 1024;
const OBJECT_MODE: u32 = 0o600;

/// The directory of objects, shared by all sessions.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(super) dir: OwnedFd,
    /// Whether objects get fs-verity.
    pub(super) verity: bool,
    pub(super) activity: Mutex<Activity>,
}

/// Who is at work, and what the ones at work rely on. A collection counts as work too, so that what a pull relied on is
/// still known when the pull ends while a collection runs.
#[derive(Debug, Default)]
pub(super) struct Activity {
    running: usize,
    pinned: HashSet<Digest>,
}

impl Activity {
    pub(super) fn is_pinned(&self, name: &Digest) -> bool {
        self.pinned.contains(name)
    }
}

/// Held while someone is at work.
#[derive(Debug)]
pub(super) struct Working(Arc<Objects>);

impl Drop for Working {
    fn drop(&mut self) {
        let mut activity = self.0.activity();
        activity.running -= 1;
        if activity.running == 0 {
            activity.pinned = HashSet::new();
        }
    }
}

impl Objects {
    pub(super) fn open(path: &Path) -> Result<Self, FsError> {
        for first in 0..=u8::MAX {
            let dir = path.join(hex::encode([first]));
            if let Err(source) = std::fs::create_dir(&dir)
                && source.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(FsError { operation: "create", path: dir, source });
            }
        }
        Ok(Self { dir: open_dir(path)?, verity: has_verity(path)?, activity: Mutex::default() })
    }

    /// Nothing in here can be left half changed by a panic.
    pub(super) fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.activity().running += 1;
        Working(Arc::clone(self))
    }

    /// Where an object is below the directory: `xx/yyyy…`.
    pub(crate) fn name(object: &Digest) -> String {
        let mut name = object.hex();
        name.insert(2, '/');
        name
    }

    /// From now on no collection removes this, until nobody is at work.
    pub(super) fn pin(&self, name: &Digest) {
        self.activity().pinned.insert(*name);
    }
}

/// One pull's dealings with the store. Its temporary files go when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    objects: Arc<Objects>,
    path: PathBuf,
    temporary: OwnedFd,
    /// Objects that are there and damaged: they are written anew.
    distrusted: HashSet<Digest>,
    _working: Working,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary directory stays until the next start");
        }
    }
}

impl Session {
    pub(super) fn begin(
        objects: &Arc<Objects>,
        temporary: &Path,
        distrusted: HashSet<Digest>,
    ) -> Result<Self, FsError> {
        let path = temporary.join(unique_name("pull-"));
        std::fs::create_dir(&path).map_err(|source| FsError {
            operation: "create",
            path: path.clone(),
            source,
        })?;
        let temporary = open_dir(&path)?;
        Ok(Self { objects: Arc::clone(objects), path, temporary, distrusted, _working: objects.work() })
    }

    pub(super) fn pin(&self, name: &Digest) {
        self.objects.pin(name);
    }

    /// Whether this must be fetched although it is there.
    pub(super) fn distrusts(&self, name: &Digest) -> bool {
        self.distrusted.contains(name)
    }

    /// A temporary file of this session's own, and its path.
    pub(super) fn temporary_file(&self) -> Result<(File, PathBuf), FsError> {
        let name = unique_name("f");
        let file = create_new_at(&self.temporary, &name, OBJECT_MODE)?;
        Ok((file, self.path.join(name)))
    }

    /// Puts a whole file in place under a name of its own.
    pub(super) fn put(&self, bytes: &[u8], target: &Path) -> Result<(), StoreError> {
        let (mut file, temporary) = self.temporary_file()?;
        file.write_all(bytes).map_err(StoreError::io("write", &temporary))?;
        std::fs::rename(&temporary, target).map_err(StoreError::io("rename to", target))
    }

    /// Stores a body of `size` bytes read from `reader`, straight from the reader's own buffer where it is whole in there.
    pub(crate) fn store(&self, reader: &mut impl BufRead, size: u64) -> Result<Digest, ImportError> {
        if size > BUFFERED_MAX {
            return self.store_streamed(reader, size);
        }
        let wanted = usize::try_from(size).unwrap_or(usize::MAX);
        let available = reader.fill_buf().map_err(body_error)?;
        if available.len() >= wanted {
            let object = self.store_whole(&available[..wanted])?;
            reader.consume(wanted);
            return Ok(object);
        }
        let mut body = Vec::with_capacity(wanted);
        pieces(reader, size, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        self.store_whole(&body)
    }

    fn store_whole(&self, body: &[u8]) -> Result<Digest, ImportError> {
        let (object, size) = (Verity::of(body), body.len() as u64);
        if !self.is_there(&object, size)? {
            let name = unique_name("o");
            let mut file = create_new_at(&self.temporary, &name, OBJECT_MODE)?;
            file.write_all(body).map_err(|source| write_error(&object, source))?;
            drop(file);
            self.publish(&name, &object, size)?;
        }
        Ok(object)
    }

    fn store_streamed(&self, reader: &mut impl BufRead, size: u64) -> Result<Digest, ImportError> {
        let name = unique_name("o");
        let mut file = create_new_at(&self.temporary, &name, OBJECT_MODE)?;
        let mut verity = Verity::new();
        pieces(reader, size, |piece| {
            verity.update(piece);
            let failed = |source| ImportError::Write { path: self.path.join(&name), source };
            file.write_all(piece).map_err(failed)
        })?;
        drop(file);
        let object = verity.finish();
        if self.is_there(&object, size)? {
            unlink_at(&self.temporary, &name)?;
        } else {
            self.publish(&name, &object, size)?;
        }
        Ok(object)
    }

    /// Pins first and looks then: a collection looks at the pins and removes under one lock.
    fn is_there(&self, object: &Digest, size: u64) -> Result<bool, FsError> {
        self.objects.pin(object);
        if self.distrusted.contains(object) {
            return Ok(false);
        }
        Ok(size_at(&self.objects.dir, &Objects::name(object))? == Some(size))
    }

    fn publish(&self, temporary: &str, object: &Digest, size: u64) -> Result<(), FsError> {
        if self.objects.verity {
            // Only now: nobody may have it open for writing.
            enable_verity(&self.path.join(temporary))?;
        }
        let name = Objects::name(object);
        if self.distrusted.contains(object) {
            // In one step: who has the damaged one open keeps it.
            return rename_at(&self.temporary, temporary, &self.objects.dir, &name);
        }
        if rename_new_at(&self.temporary, temporary, &self.objects.dir, &name)? {
            return Ok(());
        }
        if size_at(&self.objects.dir, &name)? == Some(size) {
            // Somebody else was faster.
            return unlink_at(&self.temporary, temporary).map(drop);
        }
        // What is there was cut short by a power loss.
        unlink_at(&self.objects.dir, &name)?;
        rename_new_at(&self.temporary, temporary, &self.objects.dir, &name).map(drop)
    }
}

/// Takes `size` bytes from the reader, as they lie in its buffer.
fn pieces(
    reader: &mut impl BufRead,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut left = size;
    while left > 0 {
        let available = reader.fill_buf().map_err(body_error)?;
        if available.is_empty() {
            return Err(body_error(io::ErrorKind::UnexpectedEof.into()));
        }
        let taken = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        each(&available[..taken])?;
        reader.consume(taken);
        left -= taken as u64;
    }
    Ok(())
}

fn enable_verity(path: &Path) -> Result<bool, FsError> {
    let enable = || berth_sys::node::enable_verity(&File::open(path)?);
    enable().map_err(|source| FsError { operation: "enable fs-verity on", path: path.to_owned(), source })
}

/// Tries it on a file of its own.
fn has_verity(objects: &Path) -> Result<bool, FsError> {
    let path = objects.join(unique_name("verity-"));
    let failed = |source| FsError { operation: "write", path: path.clone(), source };
    std::fs::write(&path, "probe").map_err(failed)?;
    let has = enable_verity(&path);
    std::fs::remove_file(&path).map_err(failed)?;
    has
}

fn write_error(object: &Digest, source: io::Error) -> ImportError {
    ImportError::Write { path: PathBuf::from(Objects::name(object)), source }
}

fn body_error(error: io::Error) -> ImportError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Truncated("a file".to_owned()).into(),
        _ => TarError::Read(error).into(),
    }
}
