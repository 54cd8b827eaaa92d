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
        /// One of [`TYPES`].
        r#type: Attr<String>,
        /// On the host; of `cdi` a name.
        source: Attr<String>,
        /// Four hexadecimal digits.
        vendor_id: Attr<String>,
        /// Four hexadecimal digits.
        product_id: Attr<String>,
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

const TYPES: [&str; 5] = ["unix-char", "unix-block", "usb", "gpu", "cdi"];

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    let number = |docs: &str| Attribute::number(docs);
    Attribute::nested_map(
        "Devices of the host, by names of your own. In place: they are plugged in and out of the running instance.",
        [
            (
                "type",
                text(
                    "`unix-char` for a character device and `unix-block` for a block device, by their `source`; `usb` for \
                     what is on a USB bus, by its `vendor_id` and `product_id`, whenever and wherever it is plugged in; \
                     `gpu` for the nodes of graphics processors: all, or those of a `vendor_id` and `product_id`, or the \
                     one that `source` is a node of; `cdi` for what a specification of the Container Device Interface on \
                     the host says.",
                )
                .required(),
            ),
            (
                "source",
                text(
                    "Path of its node on the host. A link is followed each time it is plugged in. Of `cdi`, the \
                     qualified name, such as `nvidia.com/gpu=0`: its variables and groups reach the process at its next \
                     start, the rest at once. Of `usb` there is none.",
                ),
            ),
            ("vendor_id", text("Who made it: four hexadecimal digits, as `lsusb` and `lspci -nn` show them. Of `usb` and `gpu`.")),
            ("product_id", text("Which of the vendor's it is, likewise. Default: any.")),
            (
                "target",
                text(
                    "Path of its node in the instance. Default: where the host has it. Of `gpu` and `cdi` there is none; \
                     of `usb`, one device is put there.",
                ),
            ),
            ("uid", number("Who owns the node, in the instance. Default: 0.")),
            ("gid", number("The group of the node, in the instance. Default: 0.")),
            ("mode", text("The permissions of the node. Default: `\"0660\"`.")),
            (
                "required",
                Attribute::bool(
                    "Whether it is an error that the host has no such device when it is started or plugged in. Default: \
                     `true`. Without, the instance goes on without it. Either way it is taken out of a running instance \
                     when it goes from the host, and comes back with it.",
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
            target: model.target.as_str().unwrap_or_default().to_owned(),
            source,
            vendor_id: model.vendor_id.as_str().unwrap_or_default().to_owned(),
            product_id: model.product_id.as_str().unwrap_or_default().to_owned(),
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
    let hexadecimal = |actual: &str, before: &Attr<String>| match actual {
        "" => Attr::Null,
        actual => keep_spelling(
            Some(before),
            &actual.to_owned(),
            |text| Some(text.to_ascii_lowercase()),
            || actual.to_owned(),
        ),
    };
    DeviceModel {
        r#type: Attr::Known(device.r#type.clone()),
        source: if device.source.is_empty() { Attr::Null } else { Attr::Known(device.source.clone()) },
        vendor_id: hexadecimal(&device.vendor_id, &before.vendor_id),
        product_id: hexadecimal(&device.product_id, &before.product_id),
        target: match &before.target {
            _ if device.target.is_empty() => Attr::Null,
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
        device.vendor_id = settle(Some(&before.vendor_id), &device.vendor_id, str::eq_ignore_ascii_case);
        device.product_id = settle(Some(&before.product_id), &device.product_id, str::eq_ignore_ascii_case);
    }
}

/// Checks what is known.
pub fn validate(devices: &Map<DeviceModel>, found: &mut Vec<Diagnostic>) {
    for (name, model) in entries(devices) {
        let path = |argument: &str| Path::at("devices").key(name).attribute(argument);
        match model.r#type.as_str() {
            Some(kind) if !TYPES.contains(&kind) => {
                let summary = format!("There is no device of type \"{kind}\"");
                let detail = format!("Write one of \"{}\".", TYPES.join("\", \""));
                found.push(report::error(path("type"), summary, detail));
            }
            Some(kind) => check_found_by(kind, model, &path, found),
            None => {}
        }
        for (argument, attr) in [("vendor_id", &model.vendor_id), ("product_id", &model.product_id)] {
            let good = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
            if let Some(text) = attr.as_str().filter(|text| !good(text)) {
                let summary = format!("\"{text}\" is no {argument}");
                let detail = "Write four hexadecimal digits, such as \"10c4\".";
                found.push(report::error(path(argument), summary, detail));
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

/// Each type is found by arguments of its own.
fn check_found_by(kind: &str, model: &DeviceModel, path: &dyn Fn(&str) -> Path, found: &mut Vec<Diagnostic>) {
    let is_path = matches!(kind, "unix-char" | "unix-block");
    let (missing, advice) = match kind {
        "usb" if model.vendor_id == Attr::Null => ("vendor_id", "Give what `lsusb` shows, such as \"10c4\"."),
        "cdi" if model.source == Attr::Null => ("source", "Give a name such as \"nvidia.com/gpu=0\"."),
        _ if is_path && model.source == Attr::Null => ("source", "Give the path of its node on the host."),
        _ => ("", ""),
    };
    if !missing.is_empty() {
        let summary = format!("A device of type \"{kind}\" needs a {missing}");
        found.push(report::error(path(missing), summary, advice));
    }
    let ids = !matches!(kind, "usb" | "gpu");
    let others = [
        ("source", kind == "usb" && model.source != Attr::Null),
        ("vendor_id", ids && model.vendor_id != Attr::Null),
        ("product_id", ids && model.product_id != Attr::Null),
        ("target", matches!(kind, "gpu" | "cdi") && model.target != Attr::Null),
    ];
    for (argument, _) in others.into_iter().filter(|(_, given)| *given) {
        let summary = format!("A device of type \"{kind}\" has no {argument}");
        found.push(report::error(path(argument), summary, "Leave it out."));
    }
    for (argument, attr) in [("source", &model.source), ("target", &model.target)] {
        let is_of_path = is_path || argument == "target" || kind == "gpu";
        if is_of_path && attr.as_str().is_some_and(|text| !text.starts_with('/')) {
            let summary = format!("The {argument} of a device is no absolute path");
            found.push(report::error(path(argument), summary, "Write a path such as \"/dev/fuse\"."));
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
        assert_eq!((wire["plain"].target.as_str(), wire["plain"].mode), ("", Some(0o660)));
        assert_eq!((wire["plain"].permissions.as_str(), wire["full"].permissions.as_str()), ("", "rw"));
        assert_eq!(from_wire(&wire, Some(&config)), config);
        let Attr::Known(imported) = from_wire(&wire, None) else { panic!() };
        assert_eq!(imported["plain"], Attr::Known(plain.clone()));
        let mut found = Vec::new();
        validate(&config, &mut found);
        assert!(found.is_empty());
        let bad = DeviceModel {
            r#type: Attr::from("tape"),
            vendor_id: Attr::from("1"),
            permissions: Attr::from("rr"),
            ..plain
        };
        validate(&map([("bad".to_owned(), bad)]), &mut found);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn each_type_is_found_by_its_own() {
        let usb = DeviceModel {
            r#type: Attr::from("usb"),
            vendor_id: Attr::from("10C4"),
            ..DeviceModel::default()
        };
        let config = map([("it".to_owned(), usb.clone())]);
        let mut wire = to_wire(&config);
        if let Some(device) = wire.get_mut("it") {
            device.vendor_id = "10c4".into();
        }
        assert_eq!(from_wire(&wire, Some(&config)), config);
        let found = |model: &DeviceModel| {
            let mut found = Vec::new();
            validate(&map([("it".to_owned(), model.clone())]), &mut found);
            found.len()
        };
        assert_eq!(found(&usb), 0);
        assert_eq!(found(&DeviceModel { source: Attr::from("/dev/x"), ..usb.clone() }), 1);
        assert_eq!(found(&DeviceModel { vendor_id: Attr::Null, ..usb.clone() }), 1);
        let cdi = DeviceModel { r#type: Attr::from("cdi"), vendor_id: Attr::Null, ..usb };
        assert_eq!(found(&cdi), 1);
        let cdi = DeviceModel { source: Attr::from("vendor.com/class=name"), ..cdi };
        assert_eq!(
            (found(&cdi), found(&DeviceModel { target: Attr::from("/dev/x"), ..cdi.clone() })),
            (0, 1)
        );
        assert_eq!(found(&DeviceModel { r#type: Attr::from("unix-char"), ..cdi }), 1);
    }
}
