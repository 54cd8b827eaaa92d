//! `cargo xtask build`.

use crate::Outcome;
use crate::step::{self, command, file, programs, target, timed};

const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Supervisors, what they run and the helpers of bridges outlive updates of the host's libraries, and pid 1 of a guest has none.
const STATIC: [&str; 4] = ["berth-supervisor", "berth-bridge", "berth-guest-init", "berth-tls-probe"];

/// Builds all programs; the static ones by themselves.
pub fn run() -> Outcome {
    timed("Build the programs", || {
        let mut arguments = vec!["build", "--release", "--locked", "--bins", "--workspace"];
        arguments.extend(STATIC.iter().flat_map(|package| ["--exclude", package]));
        step::run(&mut command("cargo", &arguments))
    })?;
    timed("Build the static programs", || {
        let directory = target().join("static");
        let mut arguments = vec!["build", "--release", "--locked", "--target", STATIC_TARGET];
        arguments.extend(STATIC.iter().flat_map(|package| ["--package", package]));
        let mut cargo = command("cargo", &arguments);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_TARGET_DIR", &directory);
        step::run(&mut cargo)?;
        for program in STATIC {
            let from = directory.join(STATIC_TARGET).join("release").join(program);
            let to = programs().join(program);
            // Replaced by name: the old one may be running.
            let new = programs().join(format!("{program}.new"));
            std::fs::copy(&from, &new).map_err(file("copy", &from))?;
            std::fs::rename(&new, &to).map_err(file("replace", &to))?;
        }
        Ok(())
    })
}
