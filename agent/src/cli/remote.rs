//! `berth remote …`

use std::io::Read;

use berth_proto::agent as wire;
use berth_proto::agent::remote_service_client::RemoteServiceClient;
use serde_json::Value;

use super::args::{Format, RemoteVerb};
use super::error::CliError;
use super::{Cli, output, show};

/// No password is longer.
const MAX_PASSWORD: u64 = 64 * 1024;

pub(super) async fn run(cli: &Cli, verb: RemoteVerb) -> Result<(), CliError> {
    // The password is read before anything else: who pipes it in need not wait for the agent.
    let verb = match verb {
        RemoteVerb::Add { name, address, insecure, username, password_stdin } => {
            let password = if password_stdin { Some(read_password()?) } else { None };
            let spec = wire::RemoteSpec { name, address, username, password, insecure, ..Default::default() };
            return add(cli, spec).await;
        }
        verb => verb,
    };
    let mut client = RemoteServiceClient::new(cli.dial().await?);
    match verb {
        RemoteVerb::Add { .. } => Ok(()),
        RemoteVerb::Ls => {
            let remotes = client.list_remotes(wire::ListRemotesRequest {}).await?.into_inner().remotes;
            list(cli, &remotes)
        }
        RemoteVerb::Rm { names } => {
            for name in names {
                let by = Some(wire::get_remote_request::By::Name(name));
                let found = client.get_remote(wire::GetRemoteRequest { by }).await?.into_inner();
                client.delete_remote(wire::DeleteRemoteRequest { id: found.id }).await?;
            }
            Ok(())
        }
    }
}

async fn add(cli: &Cli, spec: wire::RemoteSpec) -> Result<(), CliError> {
    let mut client = RemoteServiceClient::new(cli.dial().await?);
    let remote = client.create_remote(wire::CreateRemoteRequest { spec: Some(spec) }).await?.into_inner();
    match cli.format {
        Format::Json => output::json(&show::remote(&remote)),
        Format::Table => output::line(&remote.id),
    }
}

fn read_password() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut text).map_err(CliError::Input)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(CliError::Usage("--password-stdin was given and standard input is empty".to_owned()));
    }
    Ok(password.to_owned())
}

fn list(cli: &Cli, remotes: &[wire::Remote]) -> Result<(), CliError> {
    if cli.format == Format::Json {
        return output::json(&Value::Array(remotes.iter().map(show::remote).collect()));
    }
    let row = |remote: &wire::Remote| {
        let spec = remote.spec.clone().unwrap_or_default();
        vec![spec.name, spec.address, spec.username.unwrap_or_default()]
    };
    let rows: Vec<_> = remotes.iter().map(row).collect();
    output::table(&["NAME", "ADDRESS", "USERNAME"], &rows)
}
