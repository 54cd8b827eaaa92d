//! Opening a store: its directories, its lock, and what an interrupted pull or a power loss left.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use berth_sys::fs::DirLock;

use super::objects::Objects;
use super::record::{self, Record};
use super::{Inner, Paths, Store, StoreError};
use crate::digest::Digest;
use crate::import::limits::Limits;
use crate::import::verity::Verity;
use crate::merge::objects_of;

const LOCK: &str = "lock";

pub(super) fn open(root: &Path, limits: Limits) -> Result<Store, StoreError> {
    let paths = Paths::new(root);
    make_private(&paths.root)?;
    let lock = DirLock::try_acquire(root, LOCK)?;
    let lock = lock.ok_or_else(|| StoreError::InUse { path: root.to_owned() })?;
    for dir in [
        &paths.objects,
        &paths.layers,
        &paths.manifests,
        &paths.configs,
        &paths.trees,
        &paths.checkouts,
        &paths.images,
        &paths.temporary,
    ] {
        make_private(dir)?;
    }
    let leftovers = clear(&paths.temporary)?;
    let objects = Arc::new(Objects::open(&paths.objects)?);
    let inner = Inner {
        paths,
        objects,
        limits,
        busy: Default::default(),
        collecting: Default::default(),
        recording: Default::default(),
        _lock: lock,
    };
    let dropped = inner.drop_damaged()?;
    if leftovers || dropped {
        inner.collect()?;
    }
    Ok(Store { inner: Arc::new(inner) })
}

fn make_private(dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StoreError::io("create", dir))
}

/// Removes what pulls that were killed left. Says whether there was something.
fn clear(dir: &Path) -> Result<bool, StoreError> {
    let mut found = false;
    for entry in std::fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        std::fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
        found = true;
    }
    Ok(found)
}

impl Inner {
    /// Lets go of images that a power loss damaged. Says whether there were any.
    fn drop_damaged(&self) -> Result<bool, StoreError> {
        let boot = record::boot_id();
        let mut dropped = false;
        for digest in record::digests_in(&self.paths.images, ".json")? {
            let path = self.paths.image(&digest);
            let whole = match Record::read(&path) {
                Ok(Some(record)) if record.durable || record.boot == boot => true,
                Ok(Some(record)) => self.is_whole(&record)?,
                Ok(None) => continue,
                Err(StoreError::Record { .. }) => false,
                Err(error) => return Err(error),
            };
            if !whole {
                tracing::warn!(%digest, "an image was damaged when the machine went down; it must be pulled again");
                std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                dropped = true;
            }
        }
        Ok(dropped)
    }

    /// Verifies an image object by object. Objects and layers that are damaged are removed, so that no pull relies on
    /// them.
    fn is_whole(&self, record: &Record) -> Result<bool, StoreError> {
        let blobs = [
            (self.paths.manifest(&record.digest), record.digest),
            (self.paths.config(&record.config), record.config),
            (self.paths.tree(&record.digest), record.tree),
        ];
        let mut whole = true;
        for (path, digest) in blobs {
            whole &= std::fs::read(&path).is_ok_and(|bytes| Digest::of(&bytes) == digest);
        }
        for layer in &record.layers {
            let path = self.paths.layer(&layer.diff_id);
            let mut objects = Vec::new();
            if objects_of(&path, |object, size| objects.push((object, size))).is_err() {
                remove_if_there(&path)?;
                whole = false;
            }
            for (object, size) in objects {
                let path = self.paths.objects.join(Objects::name(&object));
                if !is_object(&path, &object, size) {
                    remove_if_there(&path)?;
                    whole = false;
                }
            }
        }
        Ok(whole)
    }
}

pub(super) fn is_object(path: &Path, object: &Digest, size: u64) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut verity = Verity::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = size;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return left == 0 && verity.finish() == *object,
            Ok(count) if count as u64 <= left => {
                verity.update(&buffer[..count]);
                left -= count as u64;
            }
            _ => return false,
        }
    }
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(source))
        }
        _ => Ok(()),
    }
}
