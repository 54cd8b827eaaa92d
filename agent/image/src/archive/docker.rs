//! What `docker save` wrote before version 25: `manifest.json`, configs, and layers by path.
//!
//! Such an archive has no manifest that a digest could be of: one is made, the same for the same archive.

use std::io::Read;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::container::{Container, Member};
use super::layout::best;
use super::{ArchiveError, Candidate, MAX_INDEX, Selection, choose};
use crate::config::ConfigBlob;
use crate::digest::Digest;
use crate::registry::{MAX_CONFIG, write_manifest};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn find(container: &Container, selection: &Selection) -> Result<Candidate, ArchiveError> {
    let bytes = container.read("manifest.json", "max_index", MAX_INDEX)?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes)
        .map_err(|source| ArchiveError::Json { name: "manifest.json".to_owned(), source })?;
    let named = entries.into_iter().map(|entry| (entry.repo_tags.clone().unwrap_or_default(), entry));
    let chosen = choose(named.collect(), selection.name.as_deref(), false)?;
    let found = chosen.iter().map(|entry| candidate(container, entry)).collect::<Result<Vec<_>, _>>()?;
    best(found, &selection.platform)
}

fn candidate(container: &Container, entry: &Entry) -> Result<Candidate, ArchiveError> {
    let config = container.read(&entry.config, "max_config", MAX_CONFIG)?;
    let blob = ConfigBlob::parse(&config).map_err(ArchiveError::Config)?;
    let layers: Vec<Member> =
        entry.layers.iter().map(|name| container.member(name)).collect::<Result<_, _>>()?;
    let described = layers.iter().map(|layer| Ok((hash(container, *layer)?, layer.size)));
    let described: Vec<(Digest, u64)> = described.collect::<Result<_, ArchiveError>>()?;
    let manifest = write_manifest(&Digest::of(&config), config.len() as u64, &described);
    Ok(Candidate { digest: Digest::of(&manifest), manifest, config, platform: blob.platform, layers })
}

fn hash(container: &Container, member: Member) -> Result<Digest, ArchiveError> {
    let mut reader = container.reader(member);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Read(error)),
        }
    }
}
