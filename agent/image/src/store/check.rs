//! Verification: every image's documents and layers against the digests that name them, and every object against its name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::layer::{DamagedObject, LayerReader};
use super::record::Record;
use super::{Inner, Store, StoreError};
use crate::digest::Digest;
use crate::merge::objects_of;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Images looked at.
    pub images: u64,
    /// Layers looked at.
    pub layers: u64,
    /// Bytes of layers read.
    pub bytes: u64,
    /// Images that are not whole.
    pub damaged: Vec<DamagedImage>,
}

/// An image that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedImage {
    /// Its id.
    pub digest: Digest,
    /// What is wrong with it, for people.
    pub parts: Vec<String>,
    /// What of the store must not be relied on when it is fetched again.
    pub(crate) distrusted: HashSet<Digest>,
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckProgress {
    /// Layers done.
    pub layers_done: u64,
    /// Layers there are.
    pub layers_total: u64,
}

/// What is wrong with a layer.
#[derive(Debug, Clone, Default)]
struct LayerState {
    bytes: u64,
    parts: Vec<String>,
    distrusted: HashSet<Digest>,
}

impl Store {
    /// Verifies all images, or those named. Blocks, and reads every byte. Changes nothing.
    pub fn check(
        &self,
        only: Option<&[Digest]>,
        progress: &dyn Fn(CheckProgress),
    ) -> Result<Checked, StoreError> {
        self.inner.check(only, progress)
    }
}

impl Inner {
    fn check(
        &self,
        only: Option<&[Digest]>,
        progress: &dyn Fn(CheckProgress),
    ) -> Result<Checked, StoreError> {
        // No collection takes away what is being looked at.
        let _working = self.objects.work();
        let mut records = self.records()?;
        records.retain(|record| only.is_none_or(|only| only.contains(&record.digest)));
        let layers: BTreeSet<Digest> =
            records.iter().flat_map(|record| record.layers.iter().map(|layer| layer.diff_id)).collect();
        let total = layers.len() as u64;
        let mut states = HashMap::new();
        for (done, layer) in layers.into_iter().enumerate() {
            progress(CheckProgress { layers_done: done as u64, layers_total: total });
            states.insert(layer, self.check_layer(&layer)?);
        }
        progress(CheckProgress { layers_done: total, layers_total: total });
        let mut checked = Checked { images: records.len() as u64, layers: total, ..Checked::default() };
        checked.bytes = states.values().map(|state| state.bytes).sum();
        checked.damaged = records.iter().filter_map(|record| self.check_record(record, &states)).collect();
        Ok(checked)
    }

    fn check_record(&self, record: &Record, layers: &HashMap<Digest, LayerState>) -> Option<DamagedImage> {
        let mut image = DamagedImage { digest: record.digest, parts: Vec::new(), distrusted: HashSet::new() };
        for (what, path, digest) in [
            ("manifest", self.paths.manifest(&record.digest), record.digest),
            ("config", self.paths.config(&record.config), record.config),
            ("tree", self.paths.tree(&record.digest), record.tree),
        ] {
            if !std::fs::read(&path).is_ok_and(|bytes| Digest::of(&bytes) == digest) {
                image.parts.push(format!("its {what} is damaged or missing"));
            }
        }
        for (index, layer) in record.layers.iter().enumerate() {
            let Some(state) = layers.get(&layer.diff_id) else { continue };
            image.parts.extend(state.parts.iter().map(|part| format!("layer {}: {part}", index + 1)));
            image.distrusted.extend(&state.distrusted);
        }
        (!image.parts.is_empty()).then_some(image)
    }

    /// Puts the layer together and looks whether it is what its diffID says. After a damaged object the rest is still
    /// looked at, object by object, so that all that must be fetched again is known.
    fn check_layer(&self, layer: &Digest) -> Result<LayerState, StoreError> {
        let path = self.paths.layer(layer);
        let mut state = LayerState::default();
        match self.read_layer(&path, &mut state.bytes) {
            Ok(actual) if actual == *layer => return Ok(state),
            Ok(_) => state.parts.push("it is not what its diffID says".to_owned()),
            Err(error) if DamagedObject::of(&error).is_some() => {}
            Err(error) if is_content(&error) => {
                state.parts.push(format!("its header stream is damaged or missing ({error})"));
            }
            Err(source) => return Err(StoreError::io("read", &path)(source)),
        }
        state.distrusted.insert(*layer);
        let mut objects = Vec::new();
        // What the stream names before it is damaged is still looked at.
        let _damaged = objects_of(&path, |object, size| objects.push((object, size)));
        for (object, size) in objects {
            let path = self.paths.objects.join(super::objects::Objects::name(&object));
            if !super::open::is_object(&path, &object, size) && state.distrusted.insert(object) {
                state.parts.push(format!("the object {} is damaged or missing", object.hex()));
            }
        }
        Ok(state)
    }

    fn read_layer(&self, path: &std::path::Path, bytes: &mut u64) -> io::Result<Digest> {
        let mut reader = LayerReader::open(path, &self.paths.objects)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into())),
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    *bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a failure is the content's and not the disk's.
fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, Other, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | Other | UnexpectedEof)
}
