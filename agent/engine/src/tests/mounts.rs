//! What instances mount, on the host in memory.

use std::collections::BTreeMap;

use berth_domain::mount::{MountSource, Mounted};
use berth_domain::{ImageConfig, InstanceDraft, Mount, MountDraft, VolumeDraft, VolumeId};

use crate::ports::runtime::StopMode;
use crate::tests::support::{Life, WEB, World, draft};
use crate::view::InstanceView;
use crate::{EngineError, Reason, Reporter};

const DB: &str = "registry.test/db:1";
const DB2: &str = "registry.test/db:2";

fn with(mounts: &[(&str, &str, &str)]) -> InstanceDraft {
    let mount = |(name, source, target): &(&str, &str, &str)| {
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        let mount = MountDraft {
            kind: kind.to_owned(),
            source: (*source).to_owned(),
            target: (*target).to_owned(),
            ..MountDraft::default()
        };
        ((*name).to_owned(), mount)
    };
    InstanceDraft { mounts: mounts.iter().map(mount).collect(), ..draft("web", WEB) }
}

fn volume(life: &Life, name: &str) -> VolumeId {
    let draft = VolumeDraft { name: name.to_owned(), ..VolumeDraft::default() };
    life.run(life.engine.create_volume(&draft)).unwrap().id
}

fn update(life: &Life, view: &InstanceView, draft: InstanceDraft) -> Result<InstanceView, EngineError> {
    life.run(life.engine.update_instance(view.id, draft, Reporter::silent()))
}

fn mounted(world: &World, view: &InstanceView) -> Vec<Mount> {
    world.host.running()[&view.id].contents.mounts.clone()
}

fn ids(mounts: &[Mount]) -> BTreeMap<&str, VolumeId> {
    let id = |mount: &Mount| match &mount.source {
        Mounted::Volume { id, .. } => Some(*id),
        Mounted::Other(_) | Mounted::Device(_) => None,
    };
    mounts.iter().filter_map(|mount| Some((mount.target.as_str(), id(mount)?))).collect()
}

#[test]
fn mounts_change_in_place_and_a_renamed_volume_stays_mounted() {
    let world = World::new();
    let life = world.boot();
    let (data, more) = (volume(&life, "data"), volume(&life, "more"));
    let view = life.create(with(&[("a", "data", "/a")])).unwrap();
    let changed = update(&life, &view, with(&[("a", "data", "/a"), ("b", &more.to_string(), "/b")])).unwrap();
    assert_eq!(changed.pid, view.pid);
    assert_eq!(ids(&mounted(&world, &view)), [("/a", data), ("/b", more)].into());
    let renamed = VolumeDraft { name: "other".to_owned(), ..VolumeDraft::default() };
    life.run(life.engine.update_volume(data, renamed)).unwrap();
    // By the old name it is still the same one, and by the new name, too.
    for name in ["data", "other"] {
        let changed = update(&life, &view, with(&[("a", name, "/a"), ("c", "/srv", "/c")])).unwrap();
        assert_eq!(changed.pid, view.pid);
        assert_eq!(ids(&mounted(&world, &view)), [("/a", data)].into(), "{name}");
    }
    assert!(matches!(&mounted(&world, &view)[1].source, Mounted::Other(MountSource::Bind { .. })));
    drop(life);
    let life = world.boot();
    let view = life.until_running("web");
    assert_eq!((view.pid, ids(&mounted(&world, &view))), (changed.pid, [("/a", data)].into()));
    let used = life.run(life.engine.delete_volume(data)).unwrap_err();
    assert!(used.to_string().contains("the instance \"web\""), "{used}");
    life.run(life.engine.delete_volume(more)).unwrap();
}

#[test]
fn a_mount_that_cannot_be_is_refused_with_its_argument_and_nothing_changes() {
    let world = World::new();
    let life = world.boot();
    let data = volume(&life, "data");
    let view = life.create(with(&[("a", "data", "/a")])).unwrap();
    let bad = [
        (with(&[("a", "gone", "/a")]), Reason::InvalidArgument, "mounts.a.source"),
        (with(&[("a", "data", "/a"), ("b", "/missing", "/b")]), Reason::InvalidArgument, "mounts.b.source"),
        (with(&[("a", "data", "/proc")]), Reason::InvalidArgument, "mounts.a.target"),
    ];
    for (draft, reason, attribute) in bad {
        let created = life.create(InstanceDraft { name: "new".to_owned(), ..draft.clone() }).unwrap_err();
        let updated = update(&life, &view, draft).unwrap_err();
        for error in [created, updated] {
            let report = error.report();
            assert_eq!((report.reason, report.attribute.join(".").as_str()), (reason, attribute));
            assert!(!report.detail.is_empty());
        }
        assert_eq!(
            (life.get("web").unwrap().pid, ids(&mounted(&world, &view))),
            (view.pid, [("/a", data)].into())
        );
        assert!(life.get("new").is_none());
    }
}

#[test]
fn an_image_s_volumes_follow_the_instance_through_a_rebuild() {
    let world = World::new();
    let config = ImageConfig {
        entrypoint: vec!["/bin/db".to_owned()],
        volumes: ["/data", "logs"].map(str::to_owned).into(),
        ..ImageConfig::default()
    };
    world.host.push(DB, 5, config.clone()).unwrap();
    world.host.push(DB2, 6, ImageConfig { volumes: vec!["/data/".to_owned()], ..config }).unwrap();
    let life = world.boot();
    let mine = volume(&life, "mine");
    let db = |image: &str| InstanceDraft { image: image.to_owned(), ..with(&[("logs", "mine", "/logs")]) };
    let view = life.create(db(DB)).unwrap();
    let before = mounted(&world, &view);
    assert_eq!(ids(&before).keys().copied().collect::<Vec<_>>(), ["/data", "/logs"]);
    assert_eq!(ids(&before)["/logs"], mine);
    update(&life, &view, db(DB2)).unwrap();
    assert_eq!(ids(&mounted(&world, &view)), ids(&before));
    let own = ids(&before)["/data"];
    let refused = life.run(life.engine.delete_volume(own)).unwrap_err();
    assert_eq!(refused.reason(), Reason::InUse);
    let foreign = InstanceDraft { name: "b".to_owned(), ..with(&[("x", &own.to_string(), "/x")]) };
    assert_eq!(life.create(foreign).unwrap_err().report().attribute.join("."), "mounts.x.source");
    life.run(life.engine.delete_instance(view.id, StopMode::Kill, Reporter::silent())).unwrap();
    assert_eq!(world.host.leftovers(), [format!("volume {mine}")]);
}
