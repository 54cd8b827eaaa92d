//! `berth instance …`, but for what has a file of its own.

use std::io::IsTerminal;
use std::process::ExitCode;

use berth_proto::agent as wire;
use berth_proto::agent::instance_event::Event;
use berth_proto::agent::instance_service_client::InstanceServiceClient;
use serde_json::Value;
use tonic::Streaming;
use tonic::transport::Channel;

use super::args::{Format, InstanceVerb};
use super::error::{CliError, Refusal};
use super::{Cli, MAX_ANSWER, exec, files, launch, logs, output, process, show};

pub(super) type Client = InstanceServiceClient<Channel>;

pub(super) async fn run(cli: &Cli, verb: InstanceVerb) -> Result<ExitCode, CliError> {
    let mut client = InstanceServiceClient::new(cli.dial().await?).max_decoding_message_size(MAX_ANSWER);
    match verb {
        InstanceVerb::Ls => list(cli, &mut client).await?,
        InstanceVerb::Inspect { name } => {
            output::json(&process::in_full(&mut client, &name).await?)?;
        }
        InstanceVerb::Launch(launch) => launch::run(cli, &mut client, launch).await?,
        InstanceVerb::Exec(exec) => return exec::run(&mut client, exec).await,
        InstanceVerb::Push(push) => files::push(&mut client, push).await?,
        InstanceVerb::Pull(pull) => files::pull(&mut client, pull).await?,
        InstanceVerb::Logs(logs) => logs::run(cli, &mut client, logs).await?,
        InstanceVerb::Stats { names } => process::stats(cli, &mut client, names).await?,
        InstanceVerb::Start { names } => {
            for name in names {
                let id = find(&mut client, &name).await?.id;
                follow(client.start_instance(wire::StartInstanceRequest { id }).await?.into_inner()).await?;
            }
        }
        InstanceVerb::Stop { force, names } => {
            for name in names {
                let id = find(&mut client, &name).await?.id;
                follow(client.stop_instance(wire::StopInstanceRequest { id, force }).await?.into_inner())
                    .await?;
            }
        }
        InstanceVerb::Restart { force, names } => {
            for name in names {
                let id = find(&mut client, &name).await?.id;
                let request = wire::RestartInstanceRequest { id, force };
                follow(client.restart_instance(request).await?.into_inner()).await?;
            }
        }
        InstanceVerb::Rm { force, names } => {
            for name in names {
                remove(&mut client, &name, force).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(client: &mut Client, name: &str, force: bool) -> Result<(), CliError> {
    let found = find(client, name).await?;
    if found.pid != 0 && !force {
        let summary = format!("The instance {name} is running");
        let advice = format!("Stop it first with berth instance stop {name}, or kill it with --force");
        return Err(CliError::Refused(Box::new(Refusal::in_use(summary, &advice))));
    }
    let request = wire::DeleteInstanceRequest { id: found.id, force };
    follow(client.delete_instance(request).await?.into_inner()).await.map(drop)
}

/// An instance by its name, or else by its id.
pub(super) async fn find(client: &mut Client, text: &str) -> Result<wire::Instance, CliError> {
    use wire::get_instance_request::By;
    let by_name = wire::GetInstanceRequest { by: Some(By::Name(text.to_owned())) };
    match client.get_instance(by_name).await.map_err(CliError::from) {
        Ok(found) => Ok(found.into_inner()),
        Err(error) if error.is_not_found() && uuid::Uuid::try_parse(text).is_ok() => {
            let by_id = wire::GetInstanceRequest { by: Some(By::Id(text.to_owned())) };
            Ok(client.get_instance(by_id).await?.into_inner())
        }
        Err(error) => Err(error),
    }
}

/// Waits for an operation's end; on a terminal its progress is told.
pub(super) async fn follow(
    mut events: Streaming<wire::InstanceEvent>,
) -> Result<Option<wire::Instance>, CliError> {
    use std::io::Write;

    let told = std::io::stderr().is_terminal();
    let mut last = None;
    while let Some(event) = events.message().await? {
        match event.event {
            // Nowhere to say that standard error is closed.
            Some(Event::Progress(line)) if told => drop(writeln!(std::io::stderr(), "{line}")),
            Some(Event::Progress(_)) | None => {}
            Some(Event::Instance(instance)) => last = Some(instance),
        }
    }
    Ok(last)
}

async fn list(cli: &Cli, client: &mut Client) -> Result<(), CliError> {
    let instances = client.list_instances(wire::ListInstancesRequest {}).await?.into_inner().instances;
    if cli.format == Format::Json {
        return output::json(&Value::Array(instances.iter().map(show::instance).collect()));
    }
    let row = |instance: &wire::Instance| {
        let spec = instance.spec.clone().unwrap_or_default();
        let exit = instance.exit_code.filter(|_| show::status(instance) == "exited");
        let image = match instance.image_reference.as_str() {
            "" => show::short(&instance.image_id),
            reference if reference.starts_with("sha256:") => show::short(reference),
            reference => reference.to_owned(),
        };
        vec![
            spec.name,
            exit.map_or_else(|| show::status(instance).to_owned(), |code| format!("exited ({code})")),
            image,
            instance.ipv4_address.clone(),
            published(instance),
            if instance.pid == 0 { String::new() } else { instance.pid.to_string() },
            instance.restarts.to_string(),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    output::table(&["NAME", "STATUS", "IMAGE", "IPV4", "PORTS", "PID", "RESTARTS"], &rows)
}

/// A range is one entry of the list, as it was one of the configuration.
fn published(instance: &wire::Instance) -> String {
    let mut ports: Vec<&wire::Port> = instance.ports.values().collect();
    ports.sort_by_key(|port| (&port.host_address, &port.protocol, port.host_port));
    let follows = |before: &&wire::Port, next: &&wire::Port| {
        (&before.host_address, &before.protocol) == (&next.host_address, &next.protocol)
            && (before.host_port + 1, before.container_port + 1) == (next.host_port, next.container_port)
    };
    let ranges = ports.chunk_by(follows).filter_map(|range| Some(entry(range.first()?, range.last()?)));
    ranges.collect::<Vec<_>>().join(", ")
}

fn entry(first: &wire::Port, last: &wire::Port) -> String {
    let protocol = if first.protocol == "udp" { "/udp" } else { "" };
    let host = match first.host_address.contains(':') {
        true => format!("[{}]", first.host_address),
        false => first.host_address.clone(),
    };
    let range = |from: u32, to: u32| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let (outside, inside) =
        (range(first.host_port, last.host_port), range(first.container_port, last.container_port));
    format!("{host}:{outside}->{inside}{protocol}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_each_other_are_shown_as_a_range() {
        let port = |host: &str, host_port, container_port, protocol: &str| wire::Port {
            host_address: host.into(),
            host_port,
            container_port,
            protocol: protocol.into(),
        };
        let ports = [
            port("::1", 8080, 80, "tcp"),
            port("127.0.0.1", 9001, 901, "udp"),
            port("127.0.0.1", 9000, 900, "udp"),
            port("127.0.0.1", 9002, 902, "tcp"),
            port("127.0.0.1", 9003, 80, "tcp"),
        ];
        let ports = ports.into_iter().enumerate().map(|(at, port)| (at.to_string(), port)).collect();
        let shown = published(&wire::Instance { ports, ..Default::default() });
        assert_eq!(
            shown,
            "127.0.0.1:9002->902, 127.0.0.1:9003->80, 127.0.0.1:9000-9001->900-901/udp, [::1]:8080->80"
        );
    }
}
