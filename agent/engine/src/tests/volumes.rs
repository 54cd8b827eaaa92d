//! Volumes: made, changed and deleted, with a crash at every point.

use berth_domain::VolumeDraft;

use crate::testing;
use crate::tests::support::{Life, World};
use crate::view::By;
use crate::{EngineError, Reason};

fn draft(name: &str) -> VolumeDraft {
    VolumeDraft { name: name.to_owned(), ..VolumeDraft::default() }
}

fn names(life: &Life) -> Vec<String> {
    let volumes = life.run(life.engine.list_volumes()).unwrap();
    volumes.iter().map(|volume| volume.spec.name.to_string()).collect()
}

#[tokio::test]
async fn the_fake_volumes_keep_their_promises() {
    testing::volumes(&*World::new().host, &draft("data").validate().unwrap()).await;
}

#[test]
fn a_volume_is_renamed_in_place_and_its_name_is_its_own() {
    let world = World::new();
    let life = world.boot();
    let made = life.run(life.engine.create_volume(&draft("data"))).unwrap();
    let taken = life.run(life.engine.create_volume(&draft("data"))).unwrap_err();
    assert!(matches!(taken, EngineError::NameTaken { .. }), "{taken:?}");
    assert_eq!(taken.report().existing_id, Some(made.id.to_string()));
    let renamed = life.run(life.engine.update_volume(made.id, draft("other"))).unwrap();
    assert_eq!((renamed.id, renamed.created_at), (made.id, made.created_at));
    drop(life);
    let life = world.boot();
    assert_eq!(names(&life), ["other"]);
    assert!(life.run(life.engine.get_volume(By::Name("data".to_owned()))).is_err());
    life.run(life.engine.delete_volume(made.id)).unwrap();
    let gone = life.run(life.engine.delete_volume(made.id)).unwrap_err();
    assert_eq!(gone.reason(), Reason::NotFound);
    assert_eq!(world.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_volume_grows_and_its_size_neither_shrinks_nor_comes_nor_goes() {
    let world = World::new();
    let life = world.boot();
    let sized = |name: &str, mib: Option<u64>| VolumeDraft { size: mib.map(|mib| mib << 20), ..draft(name) };
    let made = life.run(life.engine.create_volume(&sized("data", Some(32)))).unwrap();
    let plain = life.run(life.engine.create_volume(&draft("plain"))).unwrap();
    life.run(life.engine.update_volume(made.id, sized("data", Some(64)))).unwrap();
    for (id, wrong) in [
        (made.id, sized("data", Some(63))),
        (made.id, sized("data", None)),
        (plain.id, sized("plain", Some(64))),
    ] {
        let refused = life.run(life.engine.update_volume(id, wrong)).unwrap_err().report();
        assert_eq!((refused.reason, refused.attribute), (Reason::InvalidArgument, vec!["size".to_owned()]));
    }
    drop(life);
    let life = world.boot();
    let sizes: Vec<_> = life.run(life.engine.list_volumes()).unwrap().iter().map(|it| it.spec.size).collect();
    assert_eq!(sizes, [Some(64 << 20), None]);
}

#[test]
fn a_volume_that_cannot_be_made_leaves_nothing() {
    let world = World::new();
    let points = {
        let life = world.boot();
        world.host.faults().disarm();
        let made = life.run(life.engine.create_volume(&draft("data"))).unwrap();
        let points = world.host.faults().passed();
        life.run(life.engine.delete_volume(made.id)).unwrap();
        points
    };
    for (nth, point) in points.iter().enumerate().filter(|(_, point)| !point.starts_with("ledger")) {
        let life = world.boot();
        world.host.faults().fail_at(nth);
        let error = life.run(life.engine.create_volume(&draft("data"))).unwrap_err();
        assert_eq!(error.reason(), Reason::HostUnable, "{point}");
        world.host.faults().disarm();
        assert_eq!((names(&life), world.host.leftovers()), (vec![], vec![]), "{point}");
    }
}

#[test]
fn a_crash_while_a_volume_is_deleted_ends_in_no_volume() {
    let world = World::new();
    let points = {
        let life = world.boot();
        let made = life.run(life.engine.create_volume(&draft("data"))).unwrap();
        world.host.faults().disarm();
        life.run(life.engine.delete_volume(made.id)).unwrap();
        world.host.faults().passed()
    };
    for (nth, point) in points.iter().enumerate() {
        let life = world.boot();
        let made = life.run(life.engine.create_volume(&draft("data"))).unwrap();
        world.host.faults().stop_at(nth);
        let (engine, faults) = (life.engine.clone(), world.host.faults());
        life.run(async {
            let stopped = faults.stopped();
            tokio::select! {
                _ = engine.delete_volume(made.id) => panic!("it went on at {point}"),
                () = stopped => {}
            }
        });
        drop(life);
        world.host.faults().disarm();
        let life = world.boot();
        if names(&life) == ["data"] {
            assert!(
                point.starts_with("ledger: read") || point.ends_with("before"),
                "it is there again: {point}"
            );
            life.run(life.engine.delete_volume(made.id)).unwrap();
        }
        assert_eq!((names(&life), world.host.leftovers()), (vec![], vec![]), "{point}");
    }
}
