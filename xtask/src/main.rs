//! The project's own commands: `cargo xtask build | setup | test | ci | bench | docs | tidy | fuzz | soak | release | quickstart`.
#![allow(clippy::print_stdout)] // It talks to the person who runs it.

mod bench;
mod build;
mod ci;
mod docs;
mod fuzz;
mod quickstart;
mod release;
mod setup;
mod soak;
mod step;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use step::StepError;

#[derive(Parser)]
#[command(about = "Berth's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build all programs into target/release, the supervisor as a static one.
    Build,
    /// Install what building and testing need, or say what is missing.
    Setup,
    /// Build, then run every test.
    Test,
    /// Everything that a change must pass.
    Ci,
    /// Measure, against peers in the same run.
    Bench {
        /// Only these.
        which: Option<bench::Which>,
    },
    /// Write docs/ from the provider's schema.
    Docs {
        /// Change nothing; fail if something would change.
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of the house that no other tool knows.
    Tidy,
    /// Give the parsers of images and the ends of a guest's channel what no one would write, with cargo-fuzz.
    Fuzz {
        /// So many for each target.
        seconds: u32,
    },
    /// Do to instances whatever can be done to them, in random order, and kill the agent after every change that it makes.
    Soak {
        /// How many sequences.
        #[arg(default_value_t = 1000)]
        sequences: u32,
    },
    /// Make what registries of providers and hosts are given, in target/dist.
    Release {
        /// The key of gpg's that signs it.
        #[arg(long)]
        sign_key: Option<String>,
    },
    /// Run a web server's image from a registry on this machine, managed by Terraform.
    Quickstart {
        /// Take all of it down again.
        #[arg(long)]
        destroy: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build => build::run(),
        Command::Setup => setup::run(),
        Command::Test => ci::test(),
        Command::Ci => ci::run(),
        Command::Bench { which } => bench::run(which),
        Command::Docs { check } => docs::run(check),
        Command::Tidy => tidy::run(),
        Command::Fuzz { seconds } => fuzz::run(seconds),
        Command::Soak { sequences } => soak::run(sequences),
        Command::Release { sign_key } => release::run(sign_key.as_deref()),
        Command::Quickstart { destroy: false } => quickstart::run(),
        Command::Quickstart { destroy: true } => quickstart::destroy(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            println!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), StepError>;
