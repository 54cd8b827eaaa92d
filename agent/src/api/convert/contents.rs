//! What is put into an instance.

use std::collections::{BTreeMap, HashMap};

use berth_domain::mount::MountSource;
use berth_domain::{DeviceDraft, DeviceSpec, FileContent, FileDraft, FileSpec, MountDraft, MountSpec};
use berth_proto::agent as wire;
use sha2::{Digest as _, Sha256};

/// Mounts, before they are checked.
pub(super) fn mount_drafts(mounts: HashMap<String, wire::Mount>) -> BTreeMap<String, MountDraft> {
    let draft = |mount: wire::Mount| MountDraft {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        read_only: mount.read_only,
        size: mount.size,
        uid: mount.uid,
        gid: mount.gid,
        mode: mount.mode,
        id_mapped: mount.idmap,
    };
    mounts.into_iter().map(|(name, mount)| (name, draft(mount))).collect()
}

/// Mounts, as they were asked for.
pub(super) fn mounts(specs: &BTreeMap<String, MountSpec>) -> HashMap<String, wire::Mount> {
    specs.iter().map(|(name, spec)| (name.clone(), mount(spec))).collect()
}

fn mount(spec: &MountSpec) -> wire::Mount {
    let plain = wire::Mount {
        r#type: spec.source.kind().to_owned(),
        target: spec.target.clone(),
        read_only: spec.read_only,
        ..wire::Mount::default()
    };
    match &spec.source {
        MountSource::Volume(volume) => wire::Mount { source: volume.clone(), ..plain },
        MountSource::Bind { path, id_mapped } => {
            wire::Mount { source: path.clone(), idmap: Some(*id_mapped), ..plain }
        }
        MountSource::Tmpfs { size, uid, gid, mode } => {
            wire::Mount { size: *size, uid: Some(*uid), gid: Some(*gid), mode: Some(*mode), ..plain }
        }
    }
}

/// Files, before they are checked.
pub(super) fn file_drafts(files: HashMap<String, wire::InstanceFile>) -> BTreeMap<String, FileDraft> {
    let draft = |file: wire::InstanceFile| FileDraft {
        digest: file.content.as_ref().map(|content| sha256(content)).unwrap_or_default(),
        content: file.content.map(|content| FileContent::new(content.as_ref())),
        secret: file.secret,
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        on_change: file.on_change,
    };
    files.into_iter().map(|(path, file)| (path, draft(file))).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files, as they were asked for, but for what they say.
pub(super) fn files(specs: &BTreeMap<String, FileSpec>) -> HashMap<String, wire::InstanceFile> {
    let file = |spec: &FileSpec| wire::InstanceFile {
        content: None,
        secret: spec.secret,
        sha256: if spec.secret { String::new() } else { spec.digest.clone() },
        uid: Some(spec.uid),
        gid: Some(spec.gid),
        mode: Some(spec.mode),
        on_change: spec.on_change.as_str().to_owned(),
    };
    specs.iter().map(|(path, spec)| (path.clone(), file(spec))).collect()
}

/// Devices, before they are checked.
pub(super) fn device_drafts(devices: HashMap<String, wire::Device>) -> BTreeMap<String, DeviceDraft> {
    let draft = |device: wire::Device| DeviceDraft {
        kind: device.r#type,
        source: device.source,
        vendor_id: device.vendor_id,
        product_id: device.product_id,
        target: device.target,
        uid: device.uid,
        gid: device.gid,
        mode: device.mode,
        required: device.required,
        permissions: device.permissions,
    };
    devices.into_iter().map(|(name, device)| (name, draft(device))).collect()
}

/// Devices, as they were asked for.
pub(super) fn devices(specs: &BTreeMap<String, DeviceSpec>) -> HashMap<String, wire::Device> {
    let hexadecimal = |id: Option<u16>| id.map(|id| format!("{id:04x}")).unwrap_or_default();
    let device = |spec: &DeviceSpec| wire::Device {
        r#type: spec.kind.as_str().to_owned(),
        source: spec.source.clone(),
        vendor_id: hexadecimal(spec.vendor_id),
        product_id: hexadecimal(spec.product_id),
        target: spec.target.clone(),
        uid: Some(spec.uid),
        gid: Some(spec.gid),
        mode: Some(spec.mode),
        required: Some(spec.required),
        permissions: spec.permissions.clone(),
    };
    specs.iter().map(|(name, spec)| (name.clone(), device(spec))).collect()
}
