//! `--volume NAME:TARGET` of `berth instance launch`.

use std::collections::HashMap;

use berth_proto::agent as wire;
use berth_proto::agent::volume_service_client::VolumeServiceClient;
use tonic::Code;

use super::Cli;
use super::error::CliError;
use super::volume::Client;

/// The mounts that the flags ask for: of volumes by their names, of directories of the host by their paths.
pub(super) fn mounts(flags: &[String]) -> Result<HashMap<String, wire::Mount>, CliError> {
    let mut mounts = HashMap::new();
    for text in flags {
        let mount = mount(text)?;
        // What a path is mounted at names it best.
        let name: String = match mount.r#type.as_str() {
            "volume" => mount.source.clone(),
            _ => mount.target.trim_matches('/').replace('/', "-"),
        };
        let name = if mounts.contains_key(&name) { format!("{name}-{}", mounts.len()) } else { name };
        mounts.insert(name, mount);
    }
    Ok(mounts)
}

/// `NAME:TARGET[:ro]` or `/PATH:TARGET[:ro]`.
fn mount(text: &str) -> Result<wire::Mount, CliError> {
    let bad = || CliError::Usage(format!("--volume takes NAME:TARGET or /PATH:TARGET, not \"{text}\""));
    let mut parts = text.split(':');
    let (source, target) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(bad)?);
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(bad()),
    };
    if source.is_empty() || !target.starts_with('/') {
        return Err(bad());
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    Ok(wire::Mount {
        r#type: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
        ..wire::Mount::default()
    })
}

/// Volumes that were made for a launch.
pub(super) struct Made {
    client: Option<Client>,
    ids: Vec<String>,
}

impl Made {
    /// Makes the volumes that are not there yet.
    pub(super) async fn of(cli: &Cli, mounts: &HashMap<String, wire::Mount>) -> Result<Self, CliError> {
        let mut made = Self { client: None, ids: Vec::new() };
        for name in mounts.values().filter(|mount| mount.r#type == "volume").map(|mount| &mount.source) {
            let mut client = match made.client.take() {
                Some(client) => client,
                None => VolumeServiceClient::new(cli.dial().await?),
            };
            let by = Some(wire::get_volume_request::By::Name(name.clone()));
            match client.get_volume(wire::GetVolumeRequest { by }).await {
                Ok(_) => {}
                Err(status) if status.code() == Code::NotFound => {
                    let spec = wire::VolumeSpec { name: name.clone(), ..wire::VolumeSpec::default() };
                    let request = wire::CreateVolumeRequest { spec: Some(spec) };
                    made.ids.push(client.create_volume(request).await?.into_inner().id);
                }
                Err(status) => return Err(status.into()),
            }
            made.client = Some(client);
        }
        Ok(made)
    }

    /// The launch failed: what was made for it goes again.
    pub(super) async fn undo(self) -> Result<(), CliError> {
        let Some(mut client) = self.client else { return Ok(()) };
        for id in self.ids {
            client.delete_volume(wire::DeleteVolumeRequest { id }).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_volume_and_a_path_a_bind() {
        let flags = ["data:/var/lib/data", "/srv/www:/www:ro", "data:/again"].map(str::to_owned);
        let mounts = mounts(&flags).unwrap();
        let facts = |name: &str| {
            let mount = &mounts[name];
            (mount.r#type.as_str(), mount.source.as_str(), mount.target.as_str(), mount.read_only)
        };
        assert_eq!(facts("data"), ("volume", "data", "/var/lib/data", false));
        assert_eq!(facts("www"), ("bind", "/srv/www", "/www", true));
        assert_eq!(facts("data-2"), ("volume", "data", "/again", false));
        for bad in ["data", ":/x", "data:x", "data:/x:rx", "data:/x:ro:z", ""] {
            assert!(mount(bad).unwrap_err().is_usage(), "{bad}");
        }
    }
}
