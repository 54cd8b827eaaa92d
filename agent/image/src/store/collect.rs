//! Collection: removing what no image and no pull under way needs.
//!
//! The order makes it safe beside pulls. Header streams go first; the objects that count as needed are those that the
//! streams name which are still there then. A pull pins a name before it looks whether it is there, and here the pins
//! are looked at and the file is removed under one lock: so a pull either finds a file that stays, or finds none.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use super::record::digests_in;
use super::{Inner, StoreError};
use crate::digest::Digest;
use crate::merge::objects_of;

/// What a collection removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects.
    pub objects: u64,
    /// Layers' header streams.
    pub layers: u64,
    /// Bytes on disk, of all of it.
    pub bytes: u64,
}

/// How a collection goes about it.
struct Plan<'p> {
    /// Images that count as removed already.
    without: &'p HashSet<Digest>,
    /// Nothing is removed.
    dry: bool,
    collected: Collected,
}

impl Inner {
    pub(super) fn collect(&self) -> Result<Collected, StoreError> {
        self.collect_by(Plan { without: &HashSet::new(), dry: false, collected: Collected::default() })
    }

    pub(super) fn would_collect(&self, without: &HashSet<Digest>) -> Result<Collected, StoreError> {
        self.collect_by(Plan { without, dry: true, collected: Collected::default() })
    }

    fn collect_by(&self, mut plan: Plan<'_>) -> Result<Collected, StoreError> {
        let _one_at_a_time = self.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        // From here on pins are kept even if the pull that made them ends.
        let _working = self.objects.work();
        let mut records = self.records()?;
        records.retain(|record| !plan.without.contains(&record.digest));
        let images: HashSet<Digest> = records.iter().map(|record| record.digest).collect();
        let configs: HashSet<Digest> = records.iter().map(|record| record.config).collect();
        let layers: HashSet<Digest> =
            records.iter().flat_map(|record| record.layers.iter().map(|layer| layer.diff_id)).collect();

        self.sweep_checkouts(&images, &mut plan)?;
        self.sweep(&self.paths.trees, ".erofs", &images, &mut plan)?;
        self.sweep(&self.paths.manifests, "", &images, &mut plan)?;
        self.sweep(&self.paths.configs, "", &configs, &mut plan)?;
        plan.collected.layers = self.sweep(&self.paths.layers, "", &layers, &mut plan)?;

        let objects = self.needed_objects(plan.dry.then_some(&layers))?;
        plan.collected.objects = self.sweep_objects(&objects, &mut plan)?;
        Ok(plan.collected)
    }

    /// By the streams that are there, less those that would be gone if this were not dry.
    fn needed_objects(&self, only: Option<&HashSet<Digest>>) -> Result<HashSet<Digest>, StoreError> {
        let mut needed = HashSet::new();
        let mut layers = digests_in(&self.paths.layers, "")?;
        layers.retain(|layer| {
            only.is_none_or(|only| only.contains(layer) || self.objects.activity().is_pinned(layer))
        });
        for layer in layers {
            let path = self.paths.layer(&layer);
            objects_of(&path, |object, _| {
                needed.insert(object);
            })
            .map_err(StoreError::io("read", &path))?;
        }
        Ok(needed)
    }

    fn sweep(
        &self,
        dir: &Path,
        suffix: &str,
        needed: &HashSet<Digest>,
        plan: &mut Plan<'_>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for digest in digests_in(dir, suffix)? {
            if !needed.contains(&digest) {
                let path = dir.join(digest.hex() + suffix);
                removed += u64::from(self.remove_unpinned(&digest, &path, plan)?);
            }
        }
        Ok(removed)
    }

    fn sweep_checkouts(&self, images: &HashSet<Digest>, plan: &mut Plan<'_>) -> Result<(), StoreError> {
        for digest in digests_in(&self.paths.checkouts, "")? {
            let path = self.paths.checkout(&digest);
            if plan.dry || images.contains(&digest) || self.objects.activity().is_pinned(&digest) {
                continue;
            }
            // Away in one step: what is removed half way is no checkout.
            let doomed = self.paths.temporary.join(berth_sys::fs::unique_name("checkout-"));
            std::fs::rename(&path, &doomed).map_err(StoreError::io("rename", &path))?;
            std::fs::remove_dir_all(&doomed).map_err(StoreError::io("remove", &doomed))?;
        }
        Ok(())
    }

    fn sweep_objects(&self, needed: &HashSet<Digest>, plan: &mut Plan<'_>) -> Result<u64, StoreError> {
        let mut removed = 0;
        for first in 0..=u8::MAX {
            let prefix = hex::encode([first]);
            let dir = self.paths.objects.join(&prefix);
            for entry in std::fs::read_dir(&dir).map_err(StoreError::io("list", &dir))? {
                let entry = entry.map_err(StoreError::io("list", &dir))?;
                let name = entry.file_name();
                let object = name.to_str().and_then(|rest| Digest::from_hex(&format!("{prefix}{rest}")).ok());
                if let Some(object) = object.filter(|object| !needed.contains(object)) {
                    removed += u64::from(self.remove_unpinned(&object, &entry.path(), plan)?);
                }
            }
        }
        Ok(removed)
    }

    fn remove_unpinned(&self, name: &Digest, path: &Path, plan: &mut Plan<'_>) -> Result<bool, StoreError> {
        let activity = self.objects.activity();
        if activity.is_pinned(name) {
            return Ok(false);
        }
        let bytes = match std::fs::symlink_metadata(path) {
            Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(StoreError::io("stat", path)(source)),
        };
        if !plan.dry {
            std::fs::remove_file(path).map_err(StoreError::io("remove", path))?;
        }
        drop(activity);
        plan.collected.bytes += bytes;
        Ok(true)
    }
}
