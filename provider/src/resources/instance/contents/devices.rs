//! `devices`: device nodes of the host.

use std::collections::{BTreeMap, HashMap};

use berth_proto::agent as wire;
use tfplugin::Attribute;

use crate::attr::{Attr, Map, entries, keep_spelling, map_or_null, model, settle};
use crate::report::{self, Diagnostic, Path};
use crate::resources::volume::plan::{check_id, check_mode};
use crate::text::mode;

model! {
    /// A device.
    pub struct DeviceModel {
        /// `unix-char` or `unix-block`.
        r#type: Attr<String>,
        /// On the host.
        source: Attr<String>,
        /// In the instance; null is the source.
        target: Attr<String>,
        /// Who owns it.
        uid: Attr<i64>,
        /// Its group.
        gid: Attr<i64>,
        /// Permissions, octal.
        mode: Attr<String>,
        /// Null is true.
        required: Attr<bool>,
        /// Some of `rwm`; null is all.
        permissions: Attr<String>,
    }
}

const MODE: u32 = 0o660;

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    let number = |docs: &str| Attribute::number(docs);
    Attribute::nested_map(
        "Devices of the host, by names of your own. In place: they are plugged in and out of the running instance.",
        [
            ("type", text("`unix-char` for a character device, `unix-block` for a block device.").required()),
            (
                "source",
                text("Path of its node on the host. A link is followed each time it is plugged in.")
                    .required(),
            ),
            ("target", text("Path of its node in the instance. Default: `source`.")),
            ("uid", number("Who owns the node, in the instance. Default: 0.")),
            ("gid", number("The group of the node, in the instance. Default: 0.")),
            ("mode", text("The permissions of the node. Default: `\"0660\"`.")),
            (
                "required",
                Attribute::bool(
                    "Whether it is an error that the host has no such node. Default: `true`. Without, the instance goes on \
                     without it.",
                ),
            ),
            (
                "permissions",
                text(
                    "What may be done with it: some of `r` (reading), `w` (writing) and `m` (making a node of it). \
                     Default: `\"rwm\"`.",
                ),
            ),
        ],
    )
}

/// All that may be done, in the agent's order.
const ALL: &str = "rwm";

fn ordered(permissions: &str) -> String {
    ALL.chars().filter(|letter| permissions.contains(*letter)).collect()
}

/// What the agent is asked for.
pub fn to_wire(devices: &Map<DeviceModel>) -> HashMap<String, wire::Device> {
    let id = |attr: &Attr<i64>| attr.known().and_then(|id| u32::try_from(*id).ok()).or(Some(0));
    let device = |model: &DeviceModel| {
        let source = model.source.as_str().unwrap_or_default().to_owned();
        wire::Device {
            r#type: model.r#type.as_str().unwrap_or_default().to_owned(),
            target: model.target.as_str().unwrap_or(&source).to_owned(),
            source,
            uid: id(&model.uid),
            gid: id(&model.gid),
            mode: model.mode.as_str().and_then(|text| mode::parse(text).ok()).or(Some(MODE)),
            required: model.required.known().copied().or(Some(true)),
            permissions: model.permissions.as_str().map(ordered).filter(|it| it != ALL).unwrap_or_default(),
        }
    };
    entries(devices).map(|(name, model)| (name.clone(), device(model))).collect()
}

/// The agent's devices, in the words of `prior` where they say the same.
pub fn from_wire(
    actual: &HashMap<String, wire::Device>,
    prior: Option<&Map<DeviceModel>>,
) -> Map<DeviceModel> {
    let read = |(name, device): (&String, &wire::Device)| {
        let before = prior.and_then(Attr::known).and_then(|devices| devices.get(name)).and_then(Attr::known);
        (name.clone(), read(device, before.cloned().unwrap_or_default()))
    };
    match map_or_null(actual.iter().map(read)) {
        Attr::Null if prior.is_some_and(|prior| prior.known().is_some()) => Attr::Known(BTreeMap::new()),
        devices => devices,
    }
}

fn read(device: &wire::Device, before: DeviceModel) -> DeviceModel {
    let id = |actual: Option<u32>, before: &Attr<i64>| match (actual.unwrap_or_default(), before) {
        (0, Attr::Null | Attr::Unknown) => Attr::Null,
        (id, _) => Attr::Known(i64::from(id)),
    };
    DeviceModel {
        r#type: Attr::Known(device.r#type.clone()),
        source: Attr::Known(device.source.clone()),
        target: match &before.target {
            Attr::Null | Attr::Unknown if device.target == device.source => Attr::Null,
            _ => Attr::Known(device.target.clone()),
        },
        uid: id(device.uid, &before.uid),
        gid: id(device.gid, &before.gid),
        mode: match (device.mode.unwrap_or(MODE), &before.mode) {
            (MODE, Attr::Null | Attr::Unknown) => Attr::Null,
            (bits, before) => {
                keep_spelling(Some(before), &bits, |text| mode::parse(text).ok(), || mode::format(bits))
            }
        },
        required: match (device.required.unwrap_or(true), &before.required) {
            (true, Attr::Null | Attr::Unknown) => Attr::Null,
            (required, _) => Attr::Known(required),
        },
        permissions: match (device.permissions.as_str(), &before.permissions) {
            ("", Attr::Null | Attr::Unknown) => Attr::Null,
            (actual, before) => {
                let actual = if actual.is_empty() { ALL } else { actual }.to_owned();
                keep_spelling(Some(before), &actual, |text| Some(ordered(text)), || actual.clone())
            }
        },
    }
}

/// The prior's spelling where it means the same.
pub fn settle_all(devices: &mut Map<DeviceModel>, prior: &Map<DeviceModel>) {
    let (Attr::Known(devices), Some(prior)) = (devices, prior.known()) else { return };
    for (name, device) in devices {
        let before = prior.get(name).and_then(Attr::known);
        let (Attr::Known(device), Some(before)) = (device, before) else { continue };
        let same = |one: &str, other: &str| mode::parse(one).is_ok_and(|one| mode::parse(other) == Ok(one));
        device.mode = settle(Some(&before.mode), &device.mode, same);
        let same = |one: &str, other: &str| ordered(one) == ordered(other);
        device.permissions = settle(Some(&before.permissions), &device.permissions, same);
    }
}

/// Checks what is known.
pub fn validate(devices: &Map<DeviceModel>, found: &mut Vec<Diagnostic>) {
    for (name, model) in entries(devices) {
        let path = |argument: &str| Path::at("devices").key(name).attribute(argument);
        if let Some(other) = model.r#type.as_str().filter(|it| !["unix-char", "unix-block"].contains(it)) {
            let detail = "Write \"unix-char\" or \"unix-block\".";
            found.push(report::error(
                path("type"),
                format!("There is no device of type \"{other}\""),
                detail,
            ));
        }
        for (argument, attr) in [("source", &model.source), ("target", &model.target)] {
            if attr.as_str().is_some_and(|text| !text.starts_with('/')) {
                let summary = format!("The {argument} of a device is no absolute path");
                found.push(report::error(path(argument), summary, "Write a path such as \"/dev/fuse\"."));
            }
        }
        check_id(path("uid"), &model.uid, found);
        check_id(path("gid"), &model.gid, found);
        check_mode(path("mode"), &model.mode, found);
        let known = |text: &&str| text.is_empty() || ordered(text).len() != text.len();
        if let Some(text) = model.permissions.as_str().filter(known) {
            let summary = format!("\"{text}\" are no permissions of a device");
            let detail = "Write some of the letters r, w and m, each once.";
            found.push(report::error(path("permissions"), summary, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::map;

    #[test]
    fn what_the_agent_writes_back_is_what_was_written() {
        let plain = DeviceModel {
            r#type: Attr::from("unix-char"),
            source: Attr::from("/dev/fuse"),
            ..DeviceModel::default()
        };
        let full = DeviceModel {
            target: Attr::from("/dev/fuse"),
            mode: Attr::from("660"),
            uid: Attr::Known(0),
            required: Attr::Known(false),
            permissions: Attr::from("wr"),
            ..plain.clone()
        };
        let config = map([("plain".to_owned(), plain.clone()), ("full".to_owned(), full)]);
        let wire = to_wire(&config);
        assert_eq!((wire["plain"].target.as_str(), wire["plain"].mode), ("/dev/fuse", Some(0o660)));
        assert_eq!((wire["plain"].permissions.as_str(), wire["full"].permissions.as_str()), ("", "rw"));
        assert_eq!(from_wire(&wire, Some(&config)), config);
        let Attr::Known(imported) = from_wire(&wire, None) else { panic!() };
        assert_eq!(imported["plain"], Attr::Known(plain.clone()));
        let mut found = Vec::new();
        validate(&config, &mut found);
        assert!(found.is_empty());
        let bad = DeviceModel {
            r#type: Attr::from("usb"),
            target: Attr::from("fuse"),
            permissions: Attr::from("rr"),
            ..plain
        };
        validate(&map([("bad".to_owned(), bad)]), &mut found);
        assert_eq!(found.len(), 3);
    }
}
