//! `berth events`

use berth_proto::agent as wire;
use berth_proto::agent::event_service_client::EventServiceClient;

use super::args::Format;
use super::error::CliError;
use super::{Cli, output, show};

pub(super) async fn run(cli: &Cli) -> Result<(), CliError> {
    let mut client = EventServiceClient::new(cli.dial().await?);
    let mut events = client.watch_events(wire::WatchEventsRequest {}).await?.into_inner();
    while let Some(event) = events.message().await? {
        match cli.format {
            Format::Json => output::json_line(&show::event(&event))?,
            Format::Table => {
                let name = if event.name.is_empty() { &event.id } else { &event.name };
                let line = format!("{} {} {name} {} {}", event.time, event.kind, event.action, event.message);
                output::line(line.trim_end())?;
            }
        }
    }
    Ok(())
}
