//! Devices by a specification of the Container Device Interface: what a vendor's tool wrote down of the nodes, files,
//! variables and groups that its devices need.
//!
//! <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>. Hooks are programs of the vendor's that would
//! run on the host with a bundle of the OCI runtime specification, which there is not: a device that has some is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Bind, Found, Node, Places, number};

/// Where specifications are, unless the configuration says otherwise: made by hand, and made anew at each boot.
pub(crate) const SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/run/cdi"];

/// A file of more bytes is no specification.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    kind: String,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<Mount>,
    additional_gids: Vec<u32>,
    hooks: Vec<Hook>,
    net_devices: Vec<IgnoredAny>,
    intel_rdt: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: PathBuf,
    host_path: Option<PathBuf>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hook {
    hook_name: String,
}

/// What a device of this qualified name needs.
pub(super) fn find(places: &Places, qualified: &str) -> io::Result<Found> {
    let (kind, name) = qualified.split_once('=').unwrap_or((qualified, ""));
    let mut unread = Vec::new();
    for directory in places.cdi.iter().rev() {
        let mut found = Vec::new();
        for path in files(directory)? {
            let specification = match read(&path) {
                Ok(specification) => specification,
                Err(error) => {
                    unread.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let Specification { kind: its_kind, devices, container_edits } = specification;
            let device = devices.into_iter().find(|device| its_kind == kind && device.name == name);
            found.extend(device.map(|device| (path, [container_edits, device.container_edits])));
        }
        if let [(one, _), (other, _), ..] = found.as_slice() {
            let text = format!("both {} and {} say what it is", one.display(), other.display());
            return Err(io::Error::other(text));
        }
        if let Some((path, edits)) = found.pop() {
            return make(edits).map_err(|error| {
                io::Error::new(error.kind(), format!("{error} (as {} says)", path.display()))
            });
        }
    }
    let places: Vec<_> = places.cdi.iter().map(|place| place.display().to_string()).collect();
    let mut text = format!("no specification in {} has it", places.join(" or "));
    for reason in unread {
        text.push_str("; cannot be read: ");
        text.push_str(&reason);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_one = |name: &String| [".json", ".yaml", ".yml"].iter().any(|end| name.ends_with(end));
    let names = super::names(directory)?.into_iter().filter(is_one);
    Ok(names.map(|name| directory.join(name)).collect())
}

fn read(path: &Path) -> io::Result<Specification> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    // What is JSON is YAML, too.
    serde_saphyr::from_str(&fs::read_to_string(path)?).map_err(io::Error::other)
}

fn make(edits: [Edits; 2]) -> io::Result<Found> {
    let mut found = Found::default();
    for edits in edits {
        refuse(&edits)?;
        for node in edits.device_nodes {
            found.nodes.push(node.make()?);
        }
        for mount in edits.mounts {
            found.binds.push(mount.make()?);
        }
        let variables = edits.env.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
        found.environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        found.groups.extend(edits.additional_gids);
    }
    Ok(found)
}

fn refuse(edits: &Edits) -> io::Result<()> {
    if let Some(hook) = edits.hooks.first() {
        let text = format!(
            "it wants a hook run ({}), which Berth does not do: have the specification written without hooks",
            hook.hook_name
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    for (what, wanted) in
        [("network devices", !edits.net_devices.is_empty()), ("Intel RDT", edits.intel_rdt.is_some())]
    {
        if wanted {
            let text = format!("it wants {what}, which Berth does not give");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    }
    Ok(())
}

impl DeviceNode {
    fn make(self) -> io::Result<Node> {
        let path = canonical(self.host_path.as_ref().unwrap_or(&self.path))?;
        let (number, block) = number(&path)?;
        let mode = self.file_mode.map(|mode| mode & 0o777);
        let Self { path: target, permissions, uid, gid, .. } = self;
        let permissions = permissions.filter(|permissions| !permissions.is_empty());
        Ok(Node { path, target, block, number, uid, gid, mode, permissions })
    }
}

impl Mount {
    fn make(self) -> io::Result<Bind> {
        if let Some(kind) = self.kind.filter(|kind| !matches!(kind.as_str(), "" | "none" | "bind")) {
            let text = format!("it wants a mount of type {kind}, which Berth does not make for a device");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let read_only = self.options.iter().any(|option| option == "ro");
        Ok(Bind { path: canonical(&self.host_path)?, target: self.container_path, read_only })
    }
}

fn canonical(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
