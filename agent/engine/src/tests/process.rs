//! Health, waiting, boot order and secrets.

use std::time::Duration;

use berth_domain::{Boot, HealthDraft, InstanceDraft, Status};

use crate::error::Reason;
use crate::tests::support::{Life, WEB, WEB2, World, draft};
use crate::view::InstanceView;
use crate::wait::Condition;
use crate::{EngineError, Reporter};

const SOON: Duration = Duration::from_millis(200);

fn checked(name: &str, image: &str) -> InstanceDraft {
    let check = HealthDraft { tcp: Some(80), ..HealthDraft::default() };
    InstanceDraft { health_check: Some(check), ..draft(name, image) }
}

fn wait(life: &Life, view: &InstanceView, condition: Condition) -> Result<InstanceView, EngineError> {
    life.run(life.engine.wait(view.id, &condition, SOON))
}

#[test]
fn a_wait_ends_when_it_holds_or_cannot_hold_any_more() {
    let world = World::new();
    let life = world.boot();
    let view = life.create(checked("web", WEB)).unwrap();
    let address = Condition::Address { interface: Some("eth0".to_owned()), ipv6: Some(false) };
    for condition in [Condition::Started, Condition::Healthy, address, Condition::Port(80)] {
        assert_eq!(wait(&life, &view, condition).unwrap().status, Status::Running);
    }
    let none = Condition::Address { interface: Some("eth7".to_owned()), ipv6: None };
    let late = wait(&life, &view, none).unwrap_err().report();
    assert_eq!((late.reason, late.attribute), (Reason::StartFailed, vec!["wait_for".to_owned()]));
    let plain = life.create(draft("plain", WEB)).unwrap();
    let no_check = wait(&life, &plain, Condition::Healthy).unwrap_err().report();
    assert!(no_check.reason == Reason::InvalidArgument && no_check.summary.contains("no health check"));
    world.host.exit(view.id, 3);
    life.until("web", |view| view.status == Status::Exited);
    let exited = |codes: &[i32]| Condition::Exited { codes: codes.to_vec() };
    assert_eq!(wait(&life, &view, exited(&[0, 3])).unwrap().exit_code, Some(3));
    assert!(wait(&life, &view, exited(&[0])).unwrap_err().report().summary.contains("ended with code 3"));
    let ended = wait(&life, &view, Condition::Healthy).unwrap_err().report();
    assert!(ended.summary.contains("ended with code 3, before it was healthy"), "{}", ended.summary);
}

#[test]
fn a_rebuild_that_is_not_well_goes_back() {
    let world = World::new();
    let life = world.boot();
    let view = life.create(checked("web", WEB)).unwrap();
    world.host.sicken(&world.web2);
    let change = life.engine.update_instance(view.id, checked("web", WEB2), Reporter::silent());
    let error = life.run(change).unwrap_err().report();
    assert!(error.summary.contains("is unhealthy: it aches"), "{}", error.summary);
    let now = life.until_running("web");
    assert_eq!(now.image, world.web);
    assert_eq!(wait(&life, &now, Condition::Healthy).unwrap().id, view.id);
}

#[test]
fn instances_come_up_after_their_host_by_priority() {
    let world = World::new();
    let life = world.boot();
    for (name, priority) in [("late", -5), ("first", 10), ("plain", 0)] {
        let boot = Boot { priority, delay_ms: 20 };
        life.create(InstanceDraft { boot, ..draft(name, WEB) }).unwrap();
    }
    life.create(InstanceDraft { running: false, ..draft("off", WEB) }).unwrap();
    drop(life);
    world.host.reboot();
    let life = world.boot();
    let pids = ["first", "plain", "late"].map(|name| life.until_running(name).pid.unwrap());
    assert!(pids.is_sorted(), "{pids:?}");
    assert_eq!(life.get("off").unwrap().status, Status::Stopped);
}

#[test]
fn secrets_reach_the_start_alone_and_stay_until_others_come() {
    let world = World::new();
    let life = world.boot();
    let secrets = |value: &str| Some([("KEY".to_owned(), value.to_owned())].into());
    let view = life.create(InstanceDraft { secrets: secrets("hunter2"), ..draft("web", WEB) }).unwrap();
    let given = || {
        let running = world.host.running();
        running[&view.id].config.secrets.reveal().map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(given(), ["hunter2"]);
    assert!(!format!("{view:?}").contains("hunter2"));
    let update = |draft: InstanceDraft| {
        life.run(life.engine.update_instance(view.id, draft, Reporter::silent())).unwrap().pid
    };
    // Not said, they stay; and what does not differ does not restart.
    let labelled = InstanceDraft { labels: [("a".to_owned(), "b".to_owned())].into(), ..draft("web", WEB) };
    assert_eq!((update(labelled.clone()), given()), (view.pid, vec!["hunter2".to_owned()]));
    assert_ne!(update(InstanceDraft { secrets: secrets("other"), ..labelled.clone() }), view.pid);
    assert_eq!(given(), ["other"]);
    update(InstanceDraft { secrets: Some([].into()), ..labelled });
    assert_eq!(given(), Vec::<String>::new());
}
