//! `berth volume …`

use berth_proto::agent as wire;
use berth_proto::agent::volume_service_client::VolumeServiceClient;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::args::Format;
use super::error::CliError;
use super::{Cli, MAX_ANSWER, output, show};

/// What can be done with volumes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum VolumeVerb {
    /// List volumes
    Ls,
    /// Show a volume
    Inspect {
        /// The volume
        name: String,
    },
    /// Remove volumes that nothing uses, with all that is in them
    Rm {
        /// The volumes
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) type Client = VolumeServiceClient<Channel>;

pub(super) async fn run(cli: &Cli, verb: VolumeVerb) -> Result<(), CliError> {
    let mut client = VolumeServiceClient::new(cli.dial().await?).max_decoding_message_size(MAX_ANSWER);
    match verb {
        VolumeVerb::Ls => {
            let volumes = client.list_volumes(wire::ListVolumesRequest {}).await?.into_inner().volumes;
            list(cli, &volumes)
        }
        VolumeVerb::Inspect { name } => output::json(&shown(&find(&mut client, name).await?)),
        VolumeVerb::Rm { names } => {
            for name in names {
                let id = find(&mut client, name).await?.id;
                client.delete_volume(wire::DeleteVolumeRequest { id }).await?;
            }
            Ok(())
        }
    }
}

/// The volume of a name.
pub(super) async fn find(client: &mut Client, name: String) -> Result<wire::Volume, CliError> {
    let by = Some(wire::get_volume_request::By::Name(name));
    Ok(client.get_volume(wire::GetVolumeRequest { by }).await?.into_inner())
}

fn list(cli: &Cli, volumes: &[wire::Volume]) -> Result<(), CliError> {
    if cli.format == Format::Json {
        return output::json(&Value::Array(volumes.iter().map(shown).collect()));
    }
    let row = |volume: &wire::Volume| {
        let spec = volume.spec.clone().unwrap_or_default();
        let size = spec.size_bytes.map(show::size).unwrap_or_default();
        vec![
            spec.name,
            size,
            volume.used_by.len().to_string(),
            volume.created_at.clone(),
            volume.target.clone(),
        ]
    };
    let rows: Vec<_> = volumes.iter().map(row).collect();
    output::table(&["NAME", "SIZE", "USED BY", "CREATED", "OF AN IMAGE AT"], &rows)
}

fn shown(volume: &wire::Volume) -> Value {
    let spec = volume.spec.clone().unwrap_or_default();
    json!({
        "name": spec.name,
        "id": volume.id,
        "labels": show::sorted(&spec.labels),
        "uid": spec.uid,
        "gid": spec.gid,
        "mode": spec.mode.map(|mode| format!("{mode:04o}")),
        "size": spec.size_bytes,
        "used_by": volume.used_by,
        "created_at": volume.created_at,
        "instance_id": show::text(&volume.instance_id),
        "target": show::text(&volume.target),
    })
}
