//! `cargo xtask build`.

use crate::Outcome;
use crate::step::{self, command, file, programs, target, timed};

const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds all programs; the supervisor, which outlives updates of the host's libraries, needs none of them.
pub fn run() -> Outcome {
    timed("Build the programs", || {
        let arguments =
            ["build", "--release", "--locked", "--bins", "--workspace", "--exclude", "berth-supervisor"];
        step::run(&mut command("cargo", &arguments))
    })?;
    timed("Build the static supervisor", || {
        let directory = target().join("static");
        let arguments =
            ["build", "--release", "--locked", "--package", "berth-supervisor", "--target", STATIC_TARGET];
        let mut cargo = command("cargo", &arguments);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_TARGET_DIR", &directory);
        step::run(&mut cargo)?;
        let from = directory.join(STATIC_TARGET).join("release/berth-supervisor");
        let to = programs().join("berth-supervisor");
        // Replaced by name: the old one may be running.
        let new = programs().join("berth-supervisor.new");
        std::fs::copy(&from, &new).map_err(file("copy", &from))?;
        std::fs::rename(&new, &to).map_err(file("replace", &to))
    })
}
