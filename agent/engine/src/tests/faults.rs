//! Every operation, with a fault or a crash at every point it passes; afterwards a new agent on the same ledger
//! and host comes to rest with nothing lost and nothing left over.

use crate::Reporter;
use crate::ports::runtime::StopMode;
use crate::view::InstanceView;
use berth_domain::{InstanceDraft, Status};

use crate::tests::support::{Life, WEB, WEB2, World, draft};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Restart,
    Change,
    Rebuild,
    Stop,
    Delete,
}

const ALL: [Operation; 6] = [
    Operation::Create,
    Operation::Restart,
    Operation::Change,
    Operation::Rebuild,
    Operation::Stop,
    Operation::Delete,
];

/// Every world has an instance that no operation may touch.
fn world(operation: Operation) -> (World, Life, Option<InstanceView>) {
    let world = World::new();
    let life = world.boot();
    life.create(draft("bystander", WEB)).unwrap();
    let made = (operation != Operation::Create).then(|| life.create(draft("web", WEB)).unwrap());
    (world, life, made)
}

fn changed(operation: Operation) -> InstanceDraft {
    let mut draft = draft("web", if operation == Operation::Rebuild { WEB2 } else { WEB });
    draft.environment.insert("A".to_owned(), Some("1".to_owned()));
    draft
}

async fn operate(engine: crate::Engine, operation: Operation, made: Option<InstanceView>) -> bool {
    let silent = Reporter::silent();
    let id = made.map(|view| view.id);
    match (operation, id) {
        (Operation::Restart, Some(id)) => engine.restart_instance(id, StopMode::Kill, silent).await.is_ok(),
        (Operation::Change | Operation::Rebuild, Some(id)) => {
            engine.update_instance(id, changed(operation), silent).await.is_ok()
        }
        (Operation::Stop, Some(id)) => engine.stop_instance(id, StopMode::Kill, silent).await.is_ok(),
        (Operation::Delete, Some(id)) => engine.delete_instance(id, StopMode::Kill, silent).await.is_ok(),
        _ => engine.create_instance(draft("web", WEB), silent).await.is_ok(),
    }
}

/// How many points an operation passes.
fn points(operation: Operation) -> usize {
    let (world, life, made) = world(operation);
    world.host.faults().disarm();
    assert!(life.run(operate(life.engine.clone(), operation, made)));
    let passed = world.host.faults().passed();
    assert!(passed.len() > 3, "{passed:?}");
    passed.len()
}

/// What must hold once a new agent has come to rest.
fn check(world: &World, life: &Life, operation: Operation, what: &str) {
    let bystander = life.until_running("bystander");
    assert_eq!(bystander.pid, Some(1), "{what}: another instance was touched");
    let view = life.get("web");
    let view = view.map(|_| life.until("web", |now| settled(world, now)));
    let running = world.host.running();
    match view {
        None => assert!(
            matches!(operation, Operation::Create | Operation::Delete),
            "{what}: the instance is lost"
        ),
        Some(view) => {
            let wanted = view.spec.running;
            assert_eq!(running.contains_key(&view.id), wanted, "{what}: {:?}", view.status);
            assert_eq!(world.host.rootfs(view.id).len(), 1, "{what}: root filesystems");
            assert_eq!(!world.host.published(view.id).is_empty(), wanted, "{what}: ports");
            if let Some(request) = running.get(&view.id) {
                assert_eq!(
                    request.config.environment.contains_key("A"),
                    !view.spec.environment.is_empty(),
                    "{what}"
                );
                assert_eq!(request.image, view.image, "{what}");
            }
            let removed = life.run(life.engine.delete_instance(view.id, StopMode::Kill, Reporter::silent()));
            removed.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        }
    }
    let id = bystander.id;
    life.run(life.engine.delete_instance(id, StopMode::Kill, Reporter::silent())).unwrap();
    assert_eq!(world.host.leftovers(), Vec::<String>::new(), "{what}");
}

/// It is as its spec says, and the agent is done with it: an adopted workload of an old version is not enough.
fn settled(world: &World, now: &InstanceView) -> bool {
    let running = world.host.running();
    let runs_this = running.get(&now.id).is_some_and(|request| {
        request.config.environment.contains_key("A") == now.spec.environment.contains_key("A")
            && request.image == now.image
    });
    let at_rest = world.host.rootfs(now.id).len() == 1
        && world.host.published(now.id).is_empty() != now.spec.running
        && runs_this == now.spec.running;
    at_rest && now.status == if now.spec.running { Status::Running } else { Status::Stopped }
}

/// Waits until an instance that is on its way out is gone.
fn rest(life: &Life) {
    while life.get("web").is_some_and(|view| view.status == Status::Deleting) {
        life.run(tokio::task::yield_now());
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing() {
    for operation in ALL {
        for nth in 0..points(operation) {
            let (world, life, made) = world(operation);
            let faults = world.host.faults();
            faults.stop_at(nth);
            life.run(async {
                tokio::select! {
                    _done = operate(life.engine.clone(), operation, made) => {}
                    () = faults.stopped() => {}
                }
            });
            let what = format!("{operation:?}, crash at {:?}", faults.passed().last());
            faults.disarm();
            drop(life);
            let life = world.boot();
            rest(&life);
            check(&world, &life, operation, &what);
        }
    }
}

#[test]
fn a_fault_at_any_point_loses_nothing() {
    for operation in ALL {
        for nth in 0..points(operation) {
            let (world, life, made) = world(operation);
            let faults = world.host.faults();
            faults.fail_at(nth);
            let done = life.run(operate(life.engine.clone(), operation, made));
            let what = format!("{operation:?}, done {done}, fault at {:?}", faults.passed().get(nth));
            faults.disarm();
            drop(life);
            let life = world.boot();
            rest(&life);
            check(&world, &life, operation, &what);
        }
    }
}
