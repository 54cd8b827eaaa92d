//! `berthd`: configuration, start-up in order, listeners, and a stop that leaves instances running.
//!
//! ```text
//! config -> directories -> ledger (and its lock) -> ports (store) -> engine (adopts, reconciles) -> listeners -> ready
//!                                                                                     SIGTERM, SIGINT -> closing
//! ```

mod args;
mod config;
mod dirs;
mod error;
mod images;
mod listen;
mod log;
mod serve;
mod tls;

use std::process::ExitCode;

use berth_engine::ledger::Ledger;
use berth_engine::{Config as EngineConfig, Engine};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use args::Args;
pub use config::{Config, FileError, Tls, Vm};
pub use error::StartError;
pub use images::Images;

use crate::host;

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return crate::usage(&error),
    };
    let ended = Config::load(&args).map_err(StartError::from).and_then(|config| {
        log::start(config.log_format);
        let runtime = tokio::runtime::Runtime::new().map_err(StartError::Runtime)?;
        runtime.block_on(run(config))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain("berthd", &error, error.advice());
            ExitCode::FAILURE
        }
    }
}

/// Runs an agent until it is asked to stop.
async fn run(config: Config) -> Result<(), StartError> {
    let dirs = dirs::Dirs::make(&config)?;
    let tls = config.tls.as_ref().map(tls::load).transpose()?;
    let closing = CancellationToken::new();
    stop_at_signals(&closing)?;
    let directory = dirs.data.clone();
    let ledger = tokio::task::spawn_blocking(move || Ledger::open(&directory)).await??;
    let ports = host::ports(&config, &dirs.data, &dirs.run).await?;
    let engine_config = EngineConfig {
        data_dir: dirs.data.clone(),
        uid_base: config.uid_base,
        uid_count: config.uid_count,
        unused_images: config.images.unused(),
    };
    let engine = Engine::open_on(engine_config, ports, ledger).await?;
    let listeners = listen::bind_all(&config.listen, tls).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %dirs.data.display(),
        listen = ?config.listen,
        "the agent is ready"
    );
    notify(&[sd_notify::NotifyState::Ready]);
    let served = serve::serve(listeners, &engine, &closing).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    engine.shutdown().await;
    tracing::info!("the agent has stopped; instances run on");
    served
}

/// Tells the service manager; that there is none is fine.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn stop_at_signals(closing: &CancellationToken) -> Result<(), StartError> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut asked = signal(kind).map_err(StartError::Runtime)?;
        let closing = closing.clone();
        tokio::spawn(async move {
            asked.recv().await;
            tracing::info!("asked to stop");
            closing.cancel();
        });
    }
    Ok(())
}
