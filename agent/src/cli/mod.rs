//! `berth`: the command line of the agent. One file a noun; `show` makes tables and JSON.

mod args;
mod check;
mod error;
mod events;
mod exec;
mod files;
mod image;
mod instance;
mod launch;
mod logs;
mod network;
mod output;
mod process;
mod progress;
mod proxy;
mod remote;
mod saved;
mod show;
mod show_contents;
mod terminal;
mod volume;
mod volume_flag;

use std::process::ExitCode;

use clap::Parser;
use tonic::transport::Channel;

pub use args::Args;
use args::{Format, Noun};
pub use error::CliError;

use crate::dial::{self, Address, Certificates};

/// Lists are long on hosts with many things.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return crate::usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(CliError::Runtime(error))),
    };
    let result = runtime.block_on(run(args));
    // A read of a terminal cannot be taken back: nobody waits for it.
    runtime.shutdown_background();
    ended(result)
}

fn ended(result: Result<ExitCode, CliError>) -> ExitCode {
    match result {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain("berth", &error, error.advice());
            if error.is_usage() { ExitCode::from(crate::USAGE) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(args: Args) -> Result<ExitCode, CliError> {
    // An empty variable is none, as for the provider.
    let address = match args.host.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => text.parse()?,
        None => Address::default_socket(),
    };
    let cli = Cli { address, format: args.format };
    let done = |result: Result<(), CliError>| result.map(|()| ExitCode::SUCCESS);
    match args.noun {
        Noun::Image(verb) => done(image::run(&cli, verb).await),
        Noun::Instance(verb) => instance::run(&cli, verb).await,
        Noun::Remote(verb) => done(remote::run(&cli, verb).await),
        Noun::Network(verb) => done(network::run(&cli, verb).await),
        Noun::Volume(verb) => done(volume::run(&cli, verb).await),
        Noun::Events => done(events::run(&cli).await),
        Noun::Check => check::run(&cli).await,
        Noun::Proxy => done(proxy::run(&cli).await),
    }
}

/// What every command has.
struct Cli {
    address: Address,
    format: Format,
}

impl Cli {
    async fn dial(&self) -> Result<Channel, CliError> {
        let certificates = Certificates::from_environment();
        dial::dial(&self.address, &certificates)
            .await
            .map_err(|source| CliError::Dial { address: self.address.clone(), source })
    }
}
