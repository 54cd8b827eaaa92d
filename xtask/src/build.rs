//! `cargo xtask build`.

use std::path::PathBuf;

use crate::Outcome;
use crate::step::{self, StepError, command, file, find, programs, target, timed};

/// Supervisors, what they run and the helpers of bridges outlive updates of the host's libraries, and pid 1 of a guest has none.
const STATIC: [&str; 4] = ["berth-supervisor", "berth-bridge", "berth-guest-init", "berth-tls-probe"];

/// Builds all programs; the static ones again by themselves.
pub fn run() -> Outcome {
    // The whole workspace, as the tests do: without some of it dependencies have other features, and all is built twice.
    let arguments = ["build", "--release", "--locked", "--bins", "--workspace"];
    timed("Build the programs", || step::run(&mut command("cargo", &arguments)))?;
    static_programs()
}

/// Builds what runs on a host, and not what talks to it.
pub fn agent() -> Outcome {
    let arguments = ["build", "--release", "--locked", "--workspace", "--bin", "berth", "--bin", "berthd"];
    timed("Build the agent", || step::run(&mut command("cargo", &arguments)))?;
    static_programs()
}

fn static_programs() -> Outcome {
    timed("Build the static programs", || {
        let directory = target().join("static");
        let triple = Target::here().triple();
        let mut arguments = vec!["build", "--release", "--locked", "--target", triple];
        arguments.extend(STATIC.iter().flat_map(|package| ["--package", package]));
        let mut cargo = command("cargo", &arguments);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_TARGET_DIR", &directory);
        step::run(&mut cargo)?;
        for program in STATIC {
            let from = directory.join(triple).join("release").join(program);
            let to = programs().join(program);
            // Replaced by name: the old one may be running.
            let new = programs().join(format!("{program}.new"));
            std::fs::copy(&from, &new).map_err(file("copy", &from))?;
            std::fs::rename(&new, &to).map_err(file("replace", &to))?;
        }
        Ok(())
    })
}

/// A kind of machine that the provider is released for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Linux on x86-64.
    Amd64,
    /// Linux on 64-bit ARM.
    Arm64,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// This machine.
    pub fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// As Terraform writes it.
    pub fn platform(self) -> &'static str {
        match self {
            Self::Amd64 => "linux_amd64",
            Self::Arm64 => "linux_arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The compiler of C that builds for it from another machine, and links.
    fn compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }
}

/// The provider for a kind of machine.
pub enum Provider {
    /// Where it is.
    Built(PathBuf),
    /// What would be needed to build it here.
    Missing(String),
}

/// The provider for a kind of machine: this one's is built already, others' are cross-compiled where the toolchain can.
pub fn provider(kind: Target) -> Result<Provider, StepError> {
    const PROVIDER: &str = "terraform-provider-berth";
    if kind == Target::here() {
        return Ok(Provider::Built(programs().join(PROVIDER)));
    }
    let triple = kind.triple();
    let sysroot = step::output(&mut command("rustc", &["--print", "sysroot"]))?;
    if !PathBuf::from(sysroot.trim()).join("lib/rustlib").join(triple).join("lib").is_dir() {
        return Ok(Provider::Missing(format!("this toolchain has no {triple} (rustup target add {triple})")));
    }
    let Some(compiler) = find(kind.compiler()) else {
        return Ok(Provider::Missing(format!("there is no {} on this machine", kind.compiler())));
    };
    let arguments = ["build", "--release", "--locked", "--target", triple, "--package", PROVIDER];
    let variable = triple.replace('-', "_");
    let mut cargo = command("cargo", &arguments);
    cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
    cargo.env(format!("CC_{variable}"), &compiler);
    step::run(&mut cargo)?;
    Ok(Provider::Built(target().join(triple).join("release").join(PROVIDER)))
}
