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
use super::error::CliError;
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
                let id = find(&mut client, &name).await?.id;
                let request = wire::DeleteInstanceRequest { id, force };
                follow(client.delete_instance(request).await?.into_inner()).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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

fn published(instance: &wire::Instance) -> String {
    let mut ports: Vec<String> = instance.ports.values().map(port).collect();
    ports.sort();
    ports.join(", ")
}

fn port(port: &wire::Port) -> String {
    let protocol = if port.protocol == "udp" { "/udp" } else { "" };
    let host = match port.host_address.contains(':') {
        true => format!("[{}]", port.host_address),
        false => port.host_address.clone(),
    };
    format!("{host}:{}->{}{protocol}", port.host_port, port.container_port)
}
