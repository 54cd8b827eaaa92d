//! Mounts as the supervisor takes them, and why they cannot be made.

use std::io;
use std::path::{Path, PathBuf};

use berth_domain::Mount;
use berth_domain::device::{DeviceKind, DeviceSpec};
use berth_domain::mount::{MountSource as Asked, Mounted};
use berth_engine::mount_error::MountFault;
use berth_engine::ports::Cause;
use berth_engine::ports::runtime::Contents;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::{Keep, MountSource, MountSpec};
use berth_runtime::spec::LaunchSpec;

use super::Supervisors;
use super::devices::{self, Bind, Places};
use crate::host::{Place, volumes};

/// What the agent's configuration lets instances bind; `None`: anything.
pub(in crate::host) type Allowed = Option<Vec<PathBuf>>;

/// What the agent looks for devices with.
#[derive(Clone, Copy)]
pub(super) struct Plugging<'a> {
    pub(super) places: &'a Places,
    /// Go on without devices that are not there, required or not.
    pub(super) lenient: bool,
}

/// What is put into an instance of the host's.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) mounts: Vec<MountSpec>,
    /// What devices want of the process that is started next.
    pub(super) environment: Vec<(String, String)>,
    pub(super) groups: Vec<u32>,
}

impl Resolved {
    /// What a device's specification says of a variable counts for more than what an image says.
    pub(super) fn into_spec(self, spec: &mut LaunchSpec) {
        spec.mounts = self.mounts;
        for (name, value) in self.environment {
            spec.process.environment.retain(|(other, _)| *other != name);
            spec.process.environment.push((name, value.as_str().into()));
        }
        spec.process.groups.extend(self.groups.iter().map(u32::to_string));
    }
}

impl Supervisors {
    /// Mounts as the supervisor takes them.
    pub(super) async fn mount_specs(
        &self,
        contents: &Contents,
        before: &[MountSpec],
    ) -> Result<Resolved, MountFault> {
        let (place, allowed) = (self.place.clone(), self.allowed.clone());
        let (wanted, before, lenient) = (contents.mounts.clone(), before.to_vec(), contents.settled);
        let made = tokio::task::spawn_blocking(move || {
            let plugging = Plugging { places: &allowed.devices, lenient };
            specs(&place, &allowed.bind_sources, plugging, &wanted, &before)
        });
        let made = made.await;
        made.unwrap_or_else(|error| {
            Err(MountFault::Source {
                mount: String::new(),
                path: "Something".to_owned(),
                source: error.into(),
            })
        })
    }
}

/// All mounts, with what they lead to on the host. What a bind led to `before` it still does, until it is mounted anew.
pub(super) fn specs(
    place: &Place,
    allowed: &Allowed,
    plugging: Plugging<'_>,
    mounts: &[Mount],
    before: &[MountSpec],
) -> Result<Resolved, MountFault> {
    let mut all = Resolved::default();
    for mount in mounts {
        let source = match &mount.source {
            Mounted::Volume { id, spec } => MountSource::Volume {
                directory: volumes::directory(place, *id),
                keep: Keep { uid: spec.uid.is_some(), gid: spec.gid.is_some(), mode: spec.mode.is_some() },
            },
            Mounted::Other(Asked::Bind { path, id_mapped }) => {
                bind(allowed, mount, Path::new(path), *id_mapped, before)?
            }
            Mounted::Device(device) => {
                plug(plugging, mount, device, before, &mut all)?;
                continue;
            }
            Mounted::Other(Asked::Tmpfs { size, uid, gid, mode }) => {
                MountSource::Tmpfs { size: *size, uid: *uid, gid: *gid, mode: *mode }
            }
            Mounted::Other(Asked::Volume(volume)) => {
                return Err(MountFault::NoVolume { mount: mount.name.clone(), volume: volume.clone() });
            }
        };
        let (name, target) = (mount.name.clone(), PathBuf::from(&mount.target));
        all.mounts.push(MountSpec { name, target, read_only: mount.read_only, source });
    }
    Ok(all)
}

/// All that a device is; nothing where it is missing and need not be there.
fn plug(
    plugging: Plugging<'_>,
    mount: &Mount,
    device: &DeviceSpec,
    before: &[MountSpec],
    all: &mut Resolved,
) -> Result<(), MountFault> {
    if let Some(same) = still(mount, device, before) {
        all.mounts.push(same);
        return Ok(());
    }
    let found = match devices::find(plugging.places, device) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && (plugging.lenient || !device.required) => {
            return Ok(());
        }
        Err(source) => {
            return Err(MountFault::Device { mount: mount.name.clone(), source: source.into() });
        }
    };
    for node in found.nodes {
        let name = match device.kind.is_node() {
            true => mount.name.clone(),
            false => format!("{}{}", mount.name, node.target.display()),
        };
        let permissions = node.permissions.or_else(|| Some(device.permissions.clone()));
        let source = MountSource::Device {
            requested: if device.kind.is_node() { device.source.clone().into() } else { node.path.clone() },
            path: node.path,
            block: if device.kind.is_node() { device.kind == DeviceKind::UnixBlock } else { node.block },
            number: Some(node.number),
            uid: node.uid.unwrap_or(device.uid),
            gid: node.gid.unwrap_or(device.gid),
            mode: node.mode.unwrap_or(device.mode),
            optional: !device.required,
            permissions: permissions.filter(|permissions| !permissions.is_empty()),
        };
        add(all, MountSpec { name, target: node.target, read_only: false, source });
    }
    for Bind { path, target, read_only } in found.binds {
        let name = format!("{}{}", mount.name, target.display());
        let source = MountSource::Bind { requested: path.clone(), path, id_mapped: true };
        add(all, MountSpec { name, target, read_only, source });
    }
    all.environment.extend(found.environment);
    all.groups.extend(found.groups);
    Ok(())
}

/// Two devices may mean the same node.
fn add(all: &mut Resolved, spec: MountSpec) {
    if all.mounts.iter().all(|other| other.target != spec.target) {
        all.mounts.push(spec);
    }
}

/// A node that a path led to before and that is there still, whatever the path leads to by now.
fn still(mount: &Mount, device: &DeviceSpec, before: &[MountSpec]) -> Option<MountSpec> {
    let old = before.iter().find(|old| device.kind.is_node() && old.name == mount.name)?;
    let MountSource::Device { requested, path, block, number, .. } = &old.source else { return None };
    let there = devices::number(path).ok()?;
    let same = requested == Path::new(&device.source)
        && *block == (device.kind == DeviceKind::UnixBlock)
        && there == ((*number)?, *block);
    let source = MountSource::Device {
        requested: requested.clone(),
        path: path.clone(),
        block: *block,
        number: *number,
        uid: device.uid,
        gid: device.gid,
        mode: device.mode,
        optional: !device.required,
        permissions: (!device.permissions.is_empty()).then(|| device.permissions.clone()),
    };
    let (name, target) = (mount.name.clone(), PathBuf::from(&mount.target));
    same.then_some(MountSpec { name, target, read_only: false, source })
}

fn bind(
    allowed: &Allowed,
    mount: &Mount,
    requested: &Path,
    id_mapped: bool,
    before: &[MountSpec],
) -> Result<MountSource, MountFault> {
    let led = before.iter().filter(|old| old.name == mount.name).find_map(|old| match &old.source {
        MountSource::Bind { requested: old, path, .. } if old == requested => Some(path.clone()),
        _ => None,
    });
    let path = match led {
        Some(path) => path,
        None => requested.canonicalize().map_err(|source| MountFault::Source {
            mount: mount.name.clone(),
            path: requested.display().to_string(),
            source: source.into(),
        })?,
    };
    permit(allowed, mount, requested, &path)?;
    Ok(MountSource::Bind { requested: requested.to_owned(), path, id_mapped })
}

/// Both what was asked for and where it leads must be allowed: a link out of an allowed directory is no way out of it.
fn permit(allowed: &Allowed, mount: &Mount, requested: &Path, path: &Path) -> Result<(), MountFault> {
    let Some(allowed) = allowed else { return Ok(()) };
    // An allowed directory may be a link itself.
    let roots: Vec<PathBuf> = allowed.iter().filter_map(|root| root.canonicalize().ok()).collect();
    if roots.iter().any(|root| path.starts_with(root)) {
        return Ok(());
    }
    let list: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
    let path = if path == requested {
        path.display().to_string()
    } else {
        format!("{}, which leads to {}", requested.display(), path.display())
    };
    Err(MountFault::Forbidden { mount: mount.name.clone(), path, allowed: list.join(", ") })
}

/// The mount that could not be made, and why; `None` where it was something else.
pub(super) fn fault(specs: &[MountSpec], error: &LaunchError) -> Option<MountFault> {
    let cause = || Cause::from(io::Error::from_raw_os_error(error.errno));
    let path = error.path.display().to_string();
    let of_source = || {
        let is_it = |spec: &&MountSpec| match &spec.source {
            MountSource::Volume { directory, .. } => error.path.starts_with(directory),
            MountSource::Bind { path, .. } | MountSource::Device { path, .. } => *path == error.path,
            MountSource::Tmpfs { .. } => false,
        };
        specs.iter().find(is_it).map(|spec| spec.name.clone())
    };
    let of_target = || specs.iter().find(|spec| spec.target == error.path).map(|spec| spec.name.clone());
    Some(match error.stage {
        Stage::MountSource => MountFault::Source { mount: of_source()?, path, source: cause() },
        Stage::MountIds => MountFault::Ids { mount: of_source()?, path, source: cause() },
        Stage::MountTarget => MountFault::Target { mount: of_target()?, path, source: cause() },
        Stage::MountFill => {
            MountFault::Fill { mount: of_target().or_else(of_source)?, path, source: cause() }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mount(path: &Path) -> Mount {
        let source = Asked::Bind { path: path.display().to_string(), id_mapped: true };
        Mount {
            name: "it".to_owned(),
            target: "/it".to_owned(),
            read_only: false,
            source: Mounted::Other(source),
        }
    }

    fn bound(allowed: &Allowed, path: &Path) -> Result<PathBuf, MountFault> {
        match bind(allowed, &mount(path), path, true, &[])? {
            MountSource::Bind { path, .. } => Ok(path),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bind_is_allowed_by_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["in", "in/deep", "out", "inner"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        symlink(root.join("out"), root.join("in/escape")).unwrap();
        symlink(root.join("in"), root.join("alias")).unwrap();
        let allowed = Some(vec![root.join("alias")]);
        assert_eq!(bound(&allowed, &root.join("in/deep")).unwrap(), root.join("in/deep"));
        assert_eq!(bound(&allowed, &root.join("alias/deep")).unwrap(), root.join("in/deep"));
        for bad in ["out", "in/escape", "inner", "in/../out"] {
            let error = bound(&allowed, &root.join(bad)).unwrap_err();
            assert!(matches!(error, MountFault::Forbidden { .. }), "{bad}: {error:?}");
        }
        assert!(matches!(bound(&Some(Vec::new()), &root), Err(MountFault::Forbidden { .. })));
        assert_eq!(bound(&None, &root.join("in/escape")).unwrap(), root.join("out"));
        assert!(matches!(bound(&None, &root.join("gone")), Err(MountFault::Source { .. })));
    }

    #[test]
    fn what_a_bind_led_to_stays_until_it_is_asked_for_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("one")).unwrap();
        symlink(root.join("one"), root.join("current")).unwrap();
        let asked = root.join("current");
        let source = bind(&None, &mount(&asked), &asked, true, &[]).unwrap();
        let before = [MountSpec {
            name: "it".to_owned(),
            target: "/it".into(),
            read_only: false,
            source: source.clone(),
        }];
        std::fs::remove_file(&asked).unwrap();
        assert_eq!(bind(&None, &mount(&asked), &asked, true, &before).unwrap(), source);
    }
}
