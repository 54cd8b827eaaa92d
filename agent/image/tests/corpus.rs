//! What the fuzz targets start from and what they found, given again to the doors that they go through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use berth_image::fuzzing;

fn replay(target: &str, door: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let files: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let survived = std::panic::catch_unwind(|| door(&bytes));
        assert!(survived.is_ok(), "{}", file.display());
    }
}

#[test]
fn layers() {
    replay("layers", fuzzing::layers);
}

#[test]
fn archives() {
    replay("archive", fuzzing::archive);
}

#[test]
fn references() {
    replay("reference", fuzzing::reference);
}

#[test]
fn manifests() {
    replay("manifest", fuzzing::manifest);
}

#[test]
fn headers() {
    replay("headers", fuzzing::headers);
}
