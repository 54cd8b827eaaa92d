//! What is put into an instance, as JSON.

use std::collections::HashMap;

use berth_proto::agent as wire;
use serde_json::{Map, Value, json};

use super::show::text;

/// Mounts, by name.
pub(super) fn mounts(mounts: &HashMap<String, wire::Mount>) -> Value {
    let mount = |mount: &wire::Mount| {
        json!({
            "type": mount.r#type,
            "source": text(&mount.source),
            "target": mount.target,
            "read_only": mount.read_only,
            "size": mount.size,
            "uid": mount.uid,
            "gid": mount.gid,
            "mode": mount.mode.map(|mode| format!("{mode:04o}")),
            "idmap": mount.idmap,
        })
    };
    mounts.iter().map(|(name, spec)| (name.clone(), mount(spec))).collect::<Map<_, _>>().into()
}

/// Files, by path, but for what they say.
pub(super) fn files(files: &HashMap<String, wire::InstanceFile>) -> Value {
    let file = |file: &wire::InstanceFile| {
        json!({
            "secret": file.secret,
            "sha256": text(&file.sha256),
            "uid": file.uid,
            "gid": file.gid,
            "mode": file.mode.map(|mode| format!("{mode:04o}")),
            "on_change": file.on_change,
        })
    };
    files.iter().map(|(path, spec)| (path.clone(), file(spec))).collect::<Map<_, _>>().into()
}

/// Devices, by name.
pub(super) fn devices(devices: &HashMap<String, wire::Device>) -> Value {
    let device = |device: &wire::Device| {
        json!({
            "type": device.r#type,
            "source": device.source,
            "vendor_id": device.vendor_id,
            "product_id": device.product_id,
            "target": device.target,
            "uid": device.uid,
            "gid": device.gid,
            "mode": device.mode.map(|mode| format!("{mode:04o}")),
            "required": device.required,
            "permissions": if device.permissions.is_empty() { "rwm" } else { &device.permissions },
        })
    };
    devices.iter().map(|(name, spec)| (name.clone(), device(spec))).collect::<Map<_, _>>().into()
}
