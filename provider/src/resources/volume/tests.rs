//! Plans and conversions of a volume, without an agent.

use berth_proto::agent as wire;

use super::convert::{from_wire, to_spec};
use super::model::VolumeModel;
use super::plan::{needs_agent, update, validate};
use crate::attr::{Attr, map};
use crate::client::hosts::Setting;
use crate::report::Path;
use crate::resources::labels::Labels;

fn defaults() -> Labels {
    Labels::from([("team".to_owned(), "a".to_owned())])
}

fn config() -> VolumeModel {
    VolumeModel {
        name: Attr::from("data"),
        labels: map([("app".to_owned(), "db".to_owned())]),
        uid: Attr::Known(70),
        mode: Attr::from("750"),
        ..VolumeModel::default()
    }
}

fn volume() -> wire::Volume {
    let spec = Some(to_spec(&config(), &defaults()));
    wire::Volume { id: "one".to_owned(), spec, ..wire::Volume::default() }
}

#[test]
fn a_second_plan_is_empty_and_keeps_the_spelling() {
    let prior = from_wire(&volume(), Some(&config()), &defaults());
    let planned = update(&prior, &config(), &Setting::Known(defaults()), |_, _| true);
    assert_eq!(planned.model, prior);
    assert_eq!(planned.model.mode, Attr::from("750"));
    assert_eq!(planned.model.labels.known().unwrap().len(), 1);
    assert!(!needs_agent(&prior, &planned.model));
}

#[test]
fn an_import_writes_what_the_agent_has() {
    let imported = from_wire(&volume(), None, &defaults());
    assert_eq!(
        (imported.mode, imported.uid, imported.gid),
        (Attr::from("0750"), Attr::Known(70), Attr::Null)
    );
    assert_eq!(imported.labels.known().unwrap().len(), 1);
}

#[test]
fn a_size_grows_and_does_nothing_else() {
    let sized = |size: &str| VolumeModel { size: Attr::from(size), ..config() };
    let prior = sized("64MiB");
    assert_eq!(super::plan::refuse(&prior, &sized("1GiB")), None);
    assert_eq!(super::plan::refuse(&prior, &sized("65536KiB")), None);
    assert_eq!(super::plan::refuse(&prior, &VolumeModel { size: Attr::Unknown, ..config() }), None);
    for (before, after) in [(&prior, sized("63MiB")), (&prior, config()), (&config(), prior.clone())] {
        let refused = super::plan::refuse(before, &after).unwrap();
        assert_eq!(refused.path, Path::at("size"), "{refused:?}");
    }
    let same = update(&prior, &sized("67108864"), &Setting::Known(defaults()), |_, _| true);
    assert_eq!(same.model.size, Attr::from("64MiB"));
    let imported = wire::Volume { spec: Some(to_spec(&prior, &defaults())), ..volume() };
    assert_eq!(from_wire(&imported, None, &defaults()).size, Attr::from("64MiB"));
    assert!(!validate(&sized("1MiB")).is_empty());
}

#[test]
fn only_the_host_replaces() {
    let prior = from_wire(&volume(), Some(&config()), &defaults());
    let changed = VolumeModel { name: Attr::from("other"), uid: Attr::Null, ..config() };
    let planned = update(&prior, &changed, &Setting::Known(defaults()), |one, other| one == other);
    assert_eq!(planned.replaced_by, []);
    assert!(needs_agent(&prior, &planned.model));
    let moved = VolumeModel { host: Attr::from("node1"), ..config() };
    let planned = update(&prior, &moved, &Setting::Known(defaults()), |one, other| one == other);
    assert_eq!(planned.replaced_by, [Path::at("host")]);
}

#[test]
fn mistakes_are_told_with_their_arguments() {
    let bad = VolumeModel {
        name: Attr::from("../etc"),
        uid: Attr::Known(-1),
        gid: Attr::Known(65_536),
        mode: Attr::from("rwx"),
        size: Attr::from("10M"),
        ..VolumeModel::default()
    };
    let paths: Vec<_> = validate(&bad).into_iter().map(|found| found.path).collect();
    assert_eq!(paths, ["name", "uid", "gid", "mode", "size"].map(Path::at));
    assert!(validate(&config()).is_empty());
}
