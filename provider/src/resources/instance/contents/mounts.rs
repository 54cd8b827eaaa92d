//! `mounts`: volumes, files and directories of the host, and memory.

use std::collections::{BTreeMap, HashMap};

use berth_proto::agent as wire;
use tfplugin::Attribute;

use crate::attr::{Attr, Map, entries, keep_spelling, map_or_null, model, settle};
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::volume::plan::{check_id, check_mode};
use crate::text::{mode, size};

model! {
    /// A mount.
    pub struct MountModel {
        /// `volume`, `bind` or `tmpfs`.
        r#type: Attr<String>,
        /// A volume, or a path of the host.
        source: Attr<String>,
        /// In the instance.
        target: Attr<String>,
        /// Null is false.
        read_only: Attr<bool>,
        /// Of a tmpfs.
        size: Attr<String>,
        /// Of a tmpfs.
        uid: Attr<i64>,
        /// Of a tmpfs.
        gid: Attr<i64>,
        /// Of a tmpfs, octal.
        mode: Attr<String>,
        /// Of a bind; null is true.
        idmap: Attr<bool>,
    }
}

const VOLUME: &str = "volume";
const BIND: &str = "bind";
const TMPFS: &str = "tmpfs";
/// The permissions of a tmpfs when nothing is said.
const TMPFS_MODE: u32 = 0o1777;

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    let number = |docs: &str| Attribute::number(docs);
    Attribute::nested_map(
        "What is mounted in it, by names of your own. In place: the process sees it come and go. A volume that the image \
         declares and that nothing is mounted at is made with the instance, follows it through rebuilds, and goes with it.",
        [
            (
                "type",
                text(
                    "`volume` (the default), `bind` for a file or directory of the host, or `tmpfs` for memory.",
                ),
            ),
            (
                "source",
                text(
                    "Of a volume: its `name` or `id` (`berth_volume.data.name`). Of a bind: an absolute path on the host; \
                     the agent's configuration (`bind_sources`) says what may be bound.",
                ),
            ),
            (
                "target",
                text("Where, in the instance: an absolute path, which is made if it is not there.")
                    .required(),
            ),
            ("read_only", Attribute::bool("Whether it cannot be written in the instance. Default: `false`.")),
            ("size", text("Of a tmpfs: its size, such as `\"64MiB\"`. Default: half of the host's memory.")),
            ("uid", number("Of a tmpfs: who owns its root. Default: 0.")),
            ("gid", number("Of a tmpfs: the group of its root. Default: 0.")),
            ("mode", text("Of a tmpfs: the permissions of its root. Default: `\"1777\"`.")),
            (
                "idmap",
                Attribute::bool(
                    "Of a bind: whether its files have the ids in the instance that they have on the host, so that the \
                     instance's root can change what the host's root owns. Without, they belong to nobody. Default: `true`.",
                ),
            ),
        ],
    )
}

fn kind(model: &MountModel) -> &str {
    model.r#type.as_str().unwrap_or(VOLUME)
}

/// What the agent is asked for.
pub fn to_wire(mounts: &Map<MountModel>) -> HashMap<String, wire::Mount> {
    let id = |attr: &Attr<i64>| attr.known().and_then(|id| u32::try_from(*id).ok());
    let mount = |model: &MountModel| {
        let kind = kind(model);
        // Defaults are written out, as the agent writes them back.
        let of = |other: &str, default: u32| (kind == other).then_some(default);
        wire::Mount {
            r#type: kind.to_owned(),
            source: model.source.as_str().unwrap_or_default().to_owned(),
            target: clean(model.target.as_str().unwrap_or_default()),
            read_only: model.read_only.known().copied().unwrap_or(false),
            size: model.size.as_str().and_then(|text| size::parse(text).ok()),
            uid: id(&model.uid).or(of(TMPFS, 0)),
            gid: id(&model.gid).or(of(TMPFS, 0)),
            mode: model.mode.as_str().and_then(|text| mode::parse(text).ok()).or(of(TMPFS, TMPFS_MODE)),
            idmap: model.idmap.known().copied().or((kind == BIND).then_some(true)),
        }
    };
    entries(mounts).map(|(name, model)| (name.clone(), mount(model))).collect()
}

/// A path without double slashes and without one at its end.
fn clean(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if path.starts_with('/') { format!("/{}", parts.join("/")) } else { path.to_owned() }
}

/// The agent's mounts, in the words of `prior` where they say the same.
pub fn from_wire(actual: &HashMap<String, wire::Mount>, prior: Option<&Map<MountModel>>) -> Map<MountModel> {
    let read = |(name, mount): (&String, &wire::Mount)| {
        let before = prior.and_then(Attr::known).and_then(|mounts| mounts.get(name)).and_then(Attr::known);
        (name.clone(), read(mount, before.cloned().unwrap_or_default()))
    };
    match map_or_null(actual.iter().map(read)) {
        Attr::Null if prior.is_some_and(|prior| prior.known().is_some()) => Attr::Known(BTreeMap::new()),
        mounts => mounts,
    }
}

fn read(mount: &wire::Mount, before: MountModel) -> MountModel {
    let id = |actual: Option<u32>, before: &Attr<i64>| match (actual, before) {
        (Some(0), Attr::Null | Attr::Unknown) | (None, _) => Attr::Null,
        (Some(id), _) => Attr::Known(i64::from(id)),
    };
    let flag = |actual: Option<bool>, default: bool, before: &Attr<bool>| match (actual, before) {
        (None, _) => Attr::Null,
        (Some(value), Attr::Null | Attr::Unknown) if value == default => Attr::Null,
        (Some(value), _) => Attr::Known(value),
    };
    MountModel {
        r#type: match before.r#type {
            Attr::Null | Attr::Unknown if mount.r#type == VOLUME => Attr::Null,
            _ => Attr::Known(mount.r#type.clone()),
        },
        source: crate::attr::non_empty(&mount.source),
        target: keep_spelling(
            Some(&before.target),
            &mount.target,
            |text| Some(clean(text)),
            || mount.target.clone(),
        ),
        read_only: flag(Some(mount.read_only), false, &before.read_only),
        size: match mount.size {
            None => Attr::Null,
            Some(bytes) => keep_spelling(
                Some(&before.size),
                &bytes,
                |text| size::parse(text).ok(),
                || size::format(bytes),
            ),
        },
        uid: id(mount.uid, &before.uid),
        gid: id(mount.gid, &before.gid),
        mode: match (mount.mode, &before.mode) {
            (None, _) | (Some(TMPFS_MODE), Attr::Null | Attr::Unknown) => Attr::Null,
            (Some(bits), before) => {
                keep_spelling(Some(before), &bits, |text| mode::parse(text).ok(), || mode::format(bits))
            }
        },
        idmap: flag(mount.idmap, true, &before.idmap),
    }
}

/// The prior's spelling where it means the same.
pub fn settle_all(mounts: &mut Map<MountModel>, prior: &Map<MountModel>) {
    let (Attr::Known(mounts), Some(prior)) = (mounts, prior.known()) else { return };
    for (name, mount) in mounts {
        let before = prior.get(name).and_then(Attr::known);
        let (Attr::Known(mount), Some(before)) = (mount, before) else { continue };
        let same_size =
            |one: &str, other: &str| size::parse(one).is_ok_and(|one| size::parse(other) == Ok(one));
        let same_mode =
            |one: &str, other: &str| mode::parse(one).is_ok_and(|one| mode::parse(other) == Ok(one));
        mount.size = settle(Some(&before.size), &mount.size, same_size);
        mount.mode = settle(Some(&before.mode), &mount.mode, same_mode);
        mount.target = settle(Some(&before.target), &mount.target, |one, other| clean(one) == clean(other));
    }
}

/// Checks what is known.
pub fn validate(mounts: &Map<MountModel>, found: &mut Vec<Diagnostic>) {
    let mut targets: BTreeMap<String, &String> = BTreeMap::new();
    for (name, model) in entries(mounts) {
        let path = |argument: &str| Path::at("mounts").key(name).attribute(argument);
        check_target(path("target"), model, found);
        if let Some(target) = model.target.as_str()
            && let Some(other) = targets.insert(clean(target), name)
        {
            let summary = format!("The mounts {other} and {name} have one target");
            found.push(report::error(path("target"), summary, "Give each its own."));
        }
        if !model.r#type.is_unknown() {
            check_kind(name, model, found);
        }
        if let Some(Err(error)) = model.size.as_str().map(size::parse) {
            found.push(report::error(path("size"), capital(&error.to_string()), error.advice()));
        }
        check_id(path("uid"), &model.uid, found);
        check_id(path("gid"), &model.gid, found);
        check_mode(path("mode"), &model.mode, found);
    }
}

fn check_target(path: Path, model: &MountModel, found: &mut Vec<Diagnostic>) {
    let Some(target) = model.target.as_str() else { return };
    let cleaned = clean(target);
    let below = |root: &str| cleaned == root || cleaned.starts_with(&format!("{root}/"));
    let (summary, detail) = if !target.starts_with('/') {
        (
            format!("\"{target}\" is no absolute path"),
            "Write a path in the instance that begins with a slash.",
        )
    } else if target.split('/').any(|part| part == "." || part == "..") {
        (format!("\"{target}\" leads out of itself"), "Write the path without . and ..")
    } else if cleaned == "/" || cleaned == "/dev" || below("/proc") || below("/sys") {
        (format!("Nothing can be mounted at {cleaned}"), "Use another directory of the instance.")
    } else {
        return;
    };
    found.push(report::error(path, summary, detail));
}

fn check_kind(name: &str, model: &MountModel, found: &mut Vec<Diagnostic>) {
    let path = |argument: &str| Path::at("mounts").key(name).attribute(argument);
    let source = &model.source;
    let of_tmpfs = [
        ("size", !model.size.is_null()),
        ("uid", !model.uid.is_null()),
        ("gid", !model.gid.is_null()),
        ("mode", !model.mode.is_null()),
    ];
    let of_bind = ("idmap", !model.idmap.is_null());
    let useless: Vec<(&str, bool)> = match kind(model) {
        VOLUME | BIND if source.is_null() => {
            let detail = "Name a volume (berth_volume.data.name), or for a bind a path on the host.";
            found.push(report::error(path("source"), format!("The mount {name} has no source"), detail));
            return;
        }
        VOLUME => of_tmpfs.into_iter().chain([of_bind]).collect(),
        BIND => {
            if source.as_str().is_some_and(|source| !source.starts_with('/')) {
                let detail = "Write the absolute path of a file or directory on the host.";
                found.push(report::error(path("source"), "The source of a bind is no absolute path", detail));
            }
            of_tmpfs.into()
        }
        TMPFS => vec![("source", !source.is_null()), of_bind],
        other => {
            let detail = "Write \"volume\" (the default), \"bind\" or \"tmpfs\".";
            found.push(report::error(path("type"), format!("There is no mount of type \"{other}\""), detail));
            return;
        }
    };
    for (argument, _) in useless.into_iter().filter(|(_, given)| *given) {
        let summary = format!("{} means nothing for a mount of type \"{}\"", capital(argument), kind(model));
        found.push(report::error(path(argument), summary, "Leave it out."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::map;

    fn mounts<const N: usize>(list: [(&str, MountModel); N]) -> Map<MountModel> {
        map(list.map(|(name, model)| (name.to_owned(), model)))
    }

    fn tmpfs(target: &str) -> MountModel {
        MountModel { r#type: Attr::from("tmpfs"), target: Attr::from(target), ..MountModel::default() }
    }

    #[test]
    fn what_the_agent_writes_back_is_what_was_written() {
        let config = mounts([
            (
                "data",
                MountModel {
                    source: Attr::from("data"),
                    target: Attr::from("/data/"),
                    ..MountModel::default()
                },
            ),
            (
                "host",
                MountModel {
                    r#type: Attr::from("bind"),
                    source: Attr::from("/srv"),
                    target: Attr::from("/srv"),
                    read_only: Attr::Known(false),
                    ..MountModel::default()
                },
            ),
            (
                "mem",
                MountModel {
                    size: Attr::from("1024KiB"),
                    mode: Attr::from("755"),
                    uid: Attr::Known(0),
                    ..tmpfs("/m")
                },
            ),
            ("plain", tmpfs("/p")),
        ]);
        let wire = to_wire(&config);
        assert_eq!(wire["data"].target, "/data");
        assert_eq!((wire["host"].idmap, wire["plain"].mode), (Some(true), Some(0o1777)));
        assert_eq!(from_wire(&wire, Some(&config)), config);
        let imported = from_wire(&wire, None);
        assert_eq!(to_wire(&imported), wire);
        let Attr::Known(imported) = imported else { panic!() };
        assert_eq!(imported["plain"], Attr::Known(tmpfs("/p")));
        assert_eq!(from_wire(&HashMap::new(), Some(&config)), Attr::Known(BTreeMap::new()));
    }

    #[test]
    fn mistakes_name_their_mount_and_argument() {
        let bad = mounts([
            ("a", MountModel { target: Attr::from("/a"), ..MountModel::default() }),
            ("b", MountModel { source: Attr::from("x"), ..tmpfs("/proc/x") }),
            ("c", MountModel { idmap: Attr::Known(true), ..tmpfs("relative") }),
            ("d", MountModel { r#type: Attr::from("bind"), source: Attr::from("srv"), ..tmpfs("/a/") }),
            (
                "e",
                MountModel {
                    r#type: Attr::from("bind"),
                    source: Attr::from("srv"),
                    target: Attr::from("/a/../b"),
                    ..tmpfs("")
                },
            ),
            ("f", MountModel { r#type: Attr::from("nfs"), size: Attr::from("1M"), ..tmpfs("/f") }),
        ]);
        let mut found = Vec::new();
        validate(&bad, &mut found);
        let paths: Vec<_> = found.into_iter().map(|found| found.path).collect();
        let path = |name: &str, argument: &str| Path::at("mounts").key(name).attribute(argument);
        for (name, argument) in [
            ("a", "source"),
            ("b", "target"),
            ("b", "source"),
            ("c", "target"),
            ("c", "idmap"),
            ("e", "target"),
            ("e", "source"),
            ("f", "type"),
            ("f", "size"),
        ] {
            assert!(paths.contains(&path(name, argument)), "{name}.{argument} is not in {paths:?}");
        }
    }

    #[test]
    fn another_spelling_is_no_change() {
        let prior = mounts([("m", MountModel { size: Attr::from("1MiB"), ..tmpfs("/m") })]);
        let mut planned = mounts([("m", MountModel { size: Attr::from("1024KiB"), ..tmpfs("/m/") })]);
        settle_all(&mut planned, &prior);
        assert_eq!(planned, prior);
    }
}
