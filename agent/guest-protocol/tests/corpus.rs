//! What the fuzz targets start from, given again to the doors that they go through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use berth_guest_protocol::fuzzing;

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
fn what_guests_say() {
    replay("host", fuzzing::host);
}

#[test]
fn what_reaches_a_guest() {
    replay("guest", fuzzing::guest);
}

#[test]
fn both_ends() {
    replay("channel", fuzzing::channel);
}
