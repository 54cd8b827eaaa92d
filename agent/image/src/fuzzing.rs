//! Doors for the fuzz targets in `agent/image/fuzz`, and for the corpus of what they found. Not for use otherwise.

use std::io::Write;

use crate::archive::{self, Container, Selection};
use crate::digest::Digest;
use crate::import::limits::Limits;
use crate::merge::merge_stream;
use crate::merge::tree::Tree;
use crate::platform::Platform;
use crate::reference::{NoRemotes, Reference};
use crate::registry::{Document, MAX_MANIFEST, ManifestBytes};

/// Small, so that a target spends its time on what bytes mean.
fn limits() -> Limits {
    Limits {
        max_entries: 2000,
        max_nodes: 2000,
        max_layer_bytes: 1 << 20,
        max_header: 1 << 16,
        ..Limits::default()
    }
}

/// One or two layers (cut where a byte of 0xff, 0xfe, 0xff stands), merged; what is taken is written as EROFS.
pub fn layers(data: &[u8]) {
    const CUT: &[u8] = &[0xff, 0xfe, 0xff];
    let limits = limits();
    let mut tree = Tree::new();
    let at = data.windows(CUT.len()).position(|bytes| bytes == CUT);
    let (below, above) = at.map_or((data, &[][..]), |at| (&data[..at], &data[at + CUT.len()..]));
    let merged =
        merge_stream(&mut tree, 1, below, &limits).and_then(|()| merge_stream(&mut tree, 2, above, &limits));
    if merged.is_ok()
        && let Err(error) = crate::erofs::write(&tree)
    {
        panic!("a tree that was merged cannot be written: {error}");
    }
}

/// An archive around an image.
pub fn archive(data: &[u8]) {
    let Ok(mut file) = tempfile() else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let Ok(container) = Container::open(file, &limits()) else { return };
    let selection = Selection { name: None, platform: Platform::host() };
    let _refused = archive::find(&container, &selection);
}

/// What a user writes for an image: what is taken names no path, and is the same when it is written out and read again.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = Reference::parse(text, &NoRemotes) else { return };
    let odd = |part: &str| part.is_empty() || part.contains("..") || part.contains(char::is_whitespace);
    assert!(!parsed.repository.split('/').any(odd), "{parsed:?}");
    let again = Reference::parse(&parsed.canonical(), &NoRemotes);
    let again = again.unwrap_or_else(|error| panic!("{text:?} is not read again: {error}"));
    let parts = |it: &Reference| (it.host.clone(), it.repository.clone(), it.tag.clone(), it.digest);
    assert_eq!(parts(&parsed), parts(&again));
}

/// A manifest or an index, as a registry gives it.
pub fn manifest(data: &[u8]) {
    if data.len() as u64 > MAX_MANIFEST {
        return;
    }
    let found = ManifestBytes { digest: Digest::from_bytes([0; 32]), media_type: None, bytes: data.to_vec() };
    let _refused = Document::parse(&found, "the fuzzed manifest");
    let _refused = crate::config::ConfigBlob::parse(data);
}

/// The `WWW-Authenticate` and `Link` headers of a registry.
pub fn headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    crate::registry::parse_headers(text);
}

fn tempfile() -> std::io::Result<std::fs::File> {
    berth_sys::fs::unnamed_file(&std::env::temp_dir()).map_err(|error| error.source)
}
