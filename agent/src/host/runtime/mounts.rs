//! Mounts as the supervisor takes them, and why they cannot be made.

use std::io;
use std::path::{Path, PathBuf};

use berth_domain::Mount;
use berth_domain::device::{DeviceKind, DeviceSpec};
use berth_domain::mount::{MountSource as Asked, Mounted};
use berth_engine::mount_error::MountFault;
use berth_engine::ports::Cause;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::{Keep, MountSource, MountSpec};

use crate::host::{Place, volumes};

/// What the agent's configuration lets instances bind; `None`: anything.
pub(in crate::host) type Allowed = Option<Vec<PathBuf>>;

/// All mounts, with what they lead to on the host. What a bind led to `before` it still does, until it is mounted anew.
pub(super) fn specs(
    place: &Place,
    allowed: &Allowed,
    mounts: &[Mount],
    before: &[MountSpec],
) -> Result<Vec<MountSpec>, MountFault> {
    let spec = |mount: &Mount| {
        let source = match &mount.source {
            Mounted::Volume { id, spec } => MountSource::Volume {
                directory: volumes::directory(place, *id),
                keep: Keep { uid: spec.uid.is_some(), gid: spec.gid.is_some(), mode: spec.mode.is_some() },
            },
            Mounted::Other(Asked::Bind { path, id_mapped }) => {
                bind(allowed, mount, Path::new(path), *id_mapped, before)?
            }
            Mounted::Device(device) => match plug(mount, device, before)? {
                Some(source) => source,
                None => return Ok(None),
            },
            Mounted::Other(Asked::Tmpfs { size, uid, gid, mode }) => {
                MountSource::Tmpfs { size: *size, uid: *uid, gid: *gid, mode: *mode }
            }
            Mounted::Other(Asked::Volume(volume)) => {
                return Err(MountFault::NoVolume { mount: mount.name.clone(), volume: volume.clone() });
            }
        };
        let (name, target) = (mount.name.clone(), PathBuf::from(&mount.target));
        Ok(Some(MountSpec { name, target, read_only: mount.read_only, source }))
    };
    mounts.iter().filter_map(|mount| spec(mount).transpose()).collect()
}

/// A device node; none where it is missing and need not be there.
fn plug(mount: &Mount, device: &DeviceSpec, before: &[MountSpec]) -> Result<Option<MountSource>, MountFault> {
    let requested = PathBuf::from(&device.source);
    let led = before.iter().filter(|old| old.name == mount.name).find_map(|old| match &old.source {
        MountSource::Device { requested: old, path, .. } if *old == requested => Some(path.clone()),
        _ => None,
    });
    let path = match led.map_or_else(|| requested.canonicalize(), Ok) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !device.required => return Ok(None),
        Err(source) => {
            let (mount, path) = (mount.name.clone(), device.source.clone());
            return Err(MountFault::Source { mount, path, source: source.into() });
        }
    };
    Ok(Some(MountSource::Device {
        requested,
        path,
        block: device.kind == DeviceKind::UnixBlock,
        uid: device.uid,
        gid: device.gid,
        mode: device.mode,
        optional: !device.required,
        permissions: (!device.permissions.is_empty()).then(|| device.permissions.clone()),
    }))
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
