//! `cargo xtask fuzz`: every fuzz target in turn, from the corpus that the tests replay.

use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::step::{self, StepError, command, file, find, target, timed};

/// One for each door of a crate's `fuzzing`.
const TARGETS: [(&str, &[&str]); 2] = [
    ("agent/image", &["layers", "archive", "reference", "manifest", "headers"]),
    ("agent/guest-protocol", &["host", "guest", "channel"]),
];

/// Runs each target for so many seconds; the first that finds something ends it, and cargo-fuzz says where that is.
pub fn run(seconds: u32) -> Outcome {
    find("cargo-fuzz").ok_or_else(|| StepError::Rule("install it with `cargo install cargo-fuzz`".into()))?;
    for (place, names) in TARGETS {
        for name in names {
            timed(&format!("Fuzz {name}"), || one(Path::new(place), name, seconds))?;
        }
    }
    Ok(())
}

fn one(place: &Path, name: &str, seconds: u32) -> Outcome {
    let found = target().join("fuzz-corpus").join(name);
    fs::create_dir_all(&found).map_err(file("make", &found))?;
    let known = place.join("tests/corpus").join(name);
    let mut cargo = command("cargo", &["fuzz", "run", "--fuzz-dir"]);
    cargo
        .arg(place.join("fuzz"))
        .arg(name)
        .args([&found, &known])
        .arg("--")
        .arg(format!("-max_total_time={seconds}"));
    // The sanitizer's flags are unstable; the toolchain is the one that all else is built with.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    step::run(&mut cargo)
}
