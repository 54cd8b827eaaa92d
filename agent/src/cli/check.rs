//! `berth check`

use std::process::ExitCode;

use berth_proto::agent as wire;
use berth_proto::agent::host_service_client::HostServiceClient;
use serde_json::Value;

use super::args::Format;
use super::error::CliError;
use super::{Cli, output, show};

/// Fails where something is missing that Berth does not work without.
pub(super) async fn run(cli: &Cli) -> Result<ExitCode, CliError> {
    let mut client = HostServiceClient::new(cli.dial().await?);
    let items = client.check(wire::CheckRequest {}).await?.into_inner().items;
    match cli.format {
        Format::Json => output::json(&Value::Array(items.iter().map(show::check).collect()))?,
        Format::Table => {
            let row = |item: &wire::CheckItem| {
                let outcome = show::outcome(item).to_owned();
                vec![item.name.clone(), outcome, item.found.clone(), item.fix.clone()]
            };
            let rows: Vec<_> = items.iter().map(row).collect();
            output::table(&["CHECK", "OUTCOME", "FOUND", "WHAT TO DO"], &rows)?;
        }
    }
    let missing = items.iter().any(|item| item.outcome() == wire::check_item::Outcome::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
