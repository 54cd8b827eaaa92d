//! How Terraform starts a plugin and is sure of it.
//!
//! ```text
//! environment -> socket that only this user reaches -> mutual TLS -> one line on stdout -> serve -> Shutdown
//! ```
//!
//! Source: go-plugin, whose wire facts this follows: the magic cookie, the list of protocol versions, AutoMTLS and the line.

mod connection;
mod environment;
mod log;
mod services;
mod socket;
mod tls;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use berth_proto::{health, plugin, tfplugin6};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use self::{
    environment::{Environment, Refusal},
    services::{Broker, Controller, Health, Stdio},
    socket::Socket,
    tls::TlsError,
};
use crate::{provider::Provider, schema::SchemaError, server::Server};

/// The largest message either way, in bytes.
const MESSAGE_LIMIT: usize = 256 << 20;

/// How long requests that are under way may take to end once Terraform has asked the plugin to go.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// Why a plugin could not be served.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("this is a plugin")]
    Refused(#[from] Refusal),
    #[error("a schema of this provider is wrong")]
    Schema(#[from] SchemaError),
    #[error("cannot set up TLS with Terraform")]
    Tls(#[from] TlsError),
    #[error("cannot listen at {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot {0}")]
    Process(&'static str, #[source] io::Error),
    #[error("cannot serve Terraform")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves a provider until Terraform asks it to end. `address` is its source address, such as
/// `registry.terraform.io/hashicorp/null`; with `--debug` on the command line it is served without TLS, for a Terraform that
/// is told of it by `TF_REATTACH_PROVIDERS`.
pub fn run<P: Provider>(provider: P, address: &str) -> ExitCode {
    let debug = std::env::args().any(|argument| argument == "--debug");
    match start(provider, address, debug) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("{} {}: {error}", P::NAME, P::VERSION);
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            // Standard error is all there is to tell it on.
            let _ = writeln!(io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn start<P: Provider>(provider: P, address: &str, debug: bool) -> Result<(), RunError> {
    let environment = if debug { Environment::for_debugging() } else { Environment::of_process()? };
    log::install();
    let server = Server::new(provider)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| RunError::Process("start the runtime", error))?;
    let served = runtime.block_on(serve(server, &environment, address, debug));
    // Nothing that is still under way keeps the process.
    runtime.shutdown_background();
    served
}

async fn serve<P: Provider>(
    server: Server<P>,
    environment: &Environment,
    address: &str,
    debug: bool,
) -> Result<(), RunError> {
    // Terraform's user presses Ctrl-C: Terraform gets it too, and says with StopProvider what is to be done.
    let _interrupts =
        signal(SignalKind::interrupt()).map_err(|error| RunError::Process("catch SIGINT", error))?;
    let Socket { listener, path, _kept } = Socket::bind(environment)?;
    let security = environment.client_certificate.as_deref().map(tls::for_client).transpose()?;
    let certificate = security.as_ref().map(|security| STANDARD_NO_PAD.encode(&security.certificate));
    let line = if debug {
        reattach(address, &path)
    } else {
        format!("1|6|unix|{}|grpc|{}", path.display(), certificate.unwrap_or_default())
    };
    say(&line).map_err(|error| RunError::Process("write to standard output", error))?;

    let (shut_down, ended) = watch::channel(false);
    let incoming = connection::accept(listener, security.map(|security| Arc::new(security.config)));
    let provider = tfplugin6::provider_server::ProviderServer::new(server)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let router = tonic::transport::Server::builder()
        .add_service(provider)
        .add_service(plugin::grpc_controller_server::GrpcControllerServer::new(Controller(shut_down)))
        .add_service(plugin::grpc_broker_server::GrpcBrokerServer::new(Broker))
        .add_service(plugin::grpc_stdio_server::GrpcStdioServer::new(Stdio(ended.clone())))
        .add_service(health::health_server::HealthServer::new(Health));
    let served = router.serve_with_incoming_shutdown(incoming, wait(ended.clone()));
    tokio::select! {
        served = served => Ok(served?),
        () = async { wait(ended).await; deadline().await } => Ok(()),
    }
}

async fn wait(mut ended: watch::Receiver<bool>) {
    // An error says that the controller is gone, and with it the server.
    let _ = ended.wait_for(|ended| *ended).await;
}

async fn deadline() {
    // Its own end is the event: the wait for it is what is bounded.
    let _ = tokio::time::timeout(LAST_WORDS, std::future::pending::<()>()).await;
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What a user exports so that Terraform uses this process.
fn reattach(address: &str, path: &std::path::Path) -> String {
    let value = serde_json::json!({
        address: {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": std::process::id(),
            "Test": true,
            "Addr": { "Network": "unix", "String": path },
        }
    });
    format!("TF_REATTACH_PROVIDERS='{value}'")
}
