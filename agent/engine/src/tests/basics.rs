//! Operations without faults.

use crate::error::Reason;
use crate::ports::runtime::{ExecOutput, ExecRequest, StopMode};
use crate::view::By;
use crate::{EngineError, Reporter};
use berth_domain::{PasswordChange, PinId, RemoteSecretChanges, RemoteSecrets, Status};

use crate::tests::support::{Life, WEB, WEB2, World, draft};

fn update(
    life: &Life,
    view: &crate::view::InstanceView,
    draft: berth_domain::InstanceDraft,
) -> Result<crate::view::InstanceView, EngineError> {
    life.run(life.engine.update_instance(view.id, draft, Reporter::silent()))
}

#[test]
fn an_instance_is_made_started_and_removed_without_a_trace() {
    let world = World::new();
    let life = world.boot();
    let view = life.create(draft("web", WEB)).unwrap();
    assert_eq!(
        (view.status, view.image, view.image_reference.as_str()),
        (Status::Running, world.web.clone(), WEB)
    );
    let port = view.ports["http"].host_port.unwrap();
    assert!((20_000..32_000).contains(&port));
    assert_eq!(world.host.published(view.id)[0].host_port, port);
    assert_eq!(view.pid, world.host.pid(view.id));
    let again = life.create(draft("web", WEB)).unwrap_err().report();
    assert_eq!((again.reason, again.existing_id), (Reason::NameTaken, Some(view.id.to_string())));
    life.run(life.engine.delete_instance(view.id, StopMode::Graceful, Reporter::silent())).unwrap();
    assert_eq!(world.host.leftovers(), Vec::<String>::new());
    assert!(life.get("web").is_none());
    let same_name = life.create(draft("web", WEB)).unwrap();
    assert_eq!((same_name.ipv4, same_name.mac_addresses), (view.ipv4, view.mac_addresses));
    assert_ne!(same_name.id, view.id);
}

#[test]
fn a_create_that_cannot_start_leaves_nothing_and_names_the_argument() {
    let world = World::new();
    let life = world.boot();
    world.host.occupy(8080);
    let mut missing = draft("web", WEB);
    missing.entrypoint = Some(vec!["missing".to_owned()]);
    let mut user = draft("web", WEB);
    user.user = Some("nobody-here".to_owned());
    let mut port = draft("web", WEB);
    port.ports.get_mut("http").unwrap().host_port = 8080;
    let cases = [
        (missing, Reason::StartFailed, vec!["entrypoint"]),
        (user, Reason::StartFailed, vec!["user"]),
        (port.clone(), Reason::PortTaken, vec!["ports", "http", "host_port"]),
        (draft("web", "registry.test/none:1"), Reason::ImageNotFound, vec!["image"]),
        (draft("web", &format!("sha256:{}", "0".repeat(64))), Reason::ImageNotFound, vec!["image"]),
        (draft("Web!", WEB), Reason::InvalidArgument, vec!["name"]),
    ];
    for (bad, reason, attribute) in cases {
        let report = life.create(bad).unwrap_err().report();
        assert_eq!(
            (report.reason, report.attribute),
            (reason, attribute.iter().map(ToString::to_string).collect())
        );
        assert!(!report.detail.is_empty(), "{}", report.summary);
        assert_eq!(world.host.leftovers(), Vec::<String>::new(), "{attribute:?}");
        assert!(life.get("web").is_none());
    }
    world.host.vacate(8080);
    assert_eq!(life.create(port.clone()).unwrap().ports["http"].host_port, Some(8080));
    port.name = "other".to_owned();
    let held = life.create(port).unwrap_err();
    assert!(matches!(&held, EngineError::PortHeld { holder, .. } if holder == "web"), "{held}");
}

#[test]
fn each_change_has_its_effect_and_no_more() {
    let world = World::new();
    let life = world.boot();
    let made = life.create(draft("web", WEB)).unwrap();
    let mut change = draft("web", WEB);
    change.limits.pids = 50;
    change.labels.insert("a".to_owned(), "b".to_owned());
    let in_place = update(&life, &made, change.clone()).unwrap();
    assert_eq!((in_place.pid, &in_place.ports), (made.pid, &made.ports));
    assert_eq!(world.host.settings(made.id).unwrap().limits.pids, Some(50));
    change.environment.insert("A".to_owned(), Some("1".to_owned()));
    let restarted = update(&life, &made, change.clone()).unwrap();
    assert_ne!(restarted.pid, made.pid);
    assert_eq!((restarted.ipv4, world.host.rootfs(made.id).len()), (made.ipv4, 1));
    let before = world.host.rootfs(made.id);
    change.image = WEB2.to_owned();
    let rebuilt = update(&life, &made, change.clone()).unwrap();
    assert_eq!((rebuilt.image, rebuilt.ipv4, rebuilt.id), (world.web2.clone(), made.ipv4, made.id));
    let after = world.host.rootfs(made.id);
    assert_eq!(after.len(), 1);
    assert!(before.keys().all(|n| !after.contains_key(n)));
    assert!(life.run(life.engine.get_image(world.web.as_str())).is_err(), "the old image went");
    change.name = "renamed".to_owned();
    update(&life, &made, change).unwrap();
    assert!(life.get("web").is_none());
    assert!(life.create(draft("web", WEB)).is_ok(), "the old name is free");
}

#[test]
fn a_change_that_does_not_come_up_goes_back() {
    let world = World::new();
    let life = world.boot();
    let made = life.create(draft("web", WEB)).unwrap();
    let mut change = draft("other", WEB2);
    change.entrypoint = Some(vec!["missing".to_owned()]);
    let report = update(&life, &made, change).unwrap_err().report();
    assert_eq!(report.attribute, ["entrypoint"]);
    let back = life.get("web").unwrap();
    assert_eq!((&back.spec, back.status, &back.image), (&made.spec, Status::Running, &made.image));
    assert_eq!(world.host.rootfs(made.id).values().collect::<Vec<_>>(), [&world.web]);
    assert!(life.create(draft("other", WEB)).is_ok(), "the name it failed to take is free");
    world.host.occupy(8080);
    let mut port = draft("web", WEB);
    port.ports.get_mut("http").unwrap().host_port = 8080;
    assert!(update(&life, &made, port).is_err());
    assert_eq!(life.get("web").unwrap().pid, back.pid, "what runs was not touched");
}

#[test]
fn an_exit_is_recorded_and_a_stop_is_never_undone() {
    let world = World::new();
    let life = world.boot();
    let made = life.create(draft("web", WEB)).unwrap();
    world.host.exit(made.id, 3);
    let exited = life.until("web", |view| view.status == Status::Exited);
    assert_eq!((exited.exit_code, exited.spec.running), (Some(3), true));
    assert!(world.host.published(made.id).is_empty());
    let started = life.run(life.engine.start_instance(made.id, Reporter::silent())).unwrap();
    assert_eq!((started.status, started.exit_code), (Status::Running, None));
    let stopped =
        life.run(life.engine.stop_instance(made.id, StopMode::Graceful, Reporter::silent())).unwrap();
    assert_eq!((stopped.status, stopped.spec.running), (Status::Stopped, false));
    drop(life);
    world.host.reboot();
    let life = world.boot();
    assert_eq!(life.until("web", |view| view.status == Status::Stopped).id, made.id);
    assert!(world.host.running().is_empty());
}

#[test]
fn what_runs_is_adopted_and_what_a_reboot_ended_is_started() {
    let world = World::new();
    let life = world.boot();
    let agent = life.engine.agent_id();
    let made = life.create(draft("web", WEB)).unwrap();
    drop(life);
    let life = world.boot();
    assert_eq!(life.engine.agent_id(), agent);
    let adopted = life.until_running("web");
    assert_eq!((adopted.pid, &adopted.ports), (made.pid, &made.ports));
    drop(life);
    world.host.reboot();
    let life = world.boot();
    let started = life.until_running("web");
    assert_ne!(started.pid, made.pid);
    assert_eq!((started.ipv4, &started.ports), (made.ipv4, &made.ports));
    assert!(world.try_boot().is_err_and(|e| e.report().detail.contains("Another agent")));
}

#[test]
fn pins_keep_images_and_the_last_use_lets_them_go() {
    let world = World::new();
    let life = world.boot();
    let pull = |pin, keep_on_destroy| {
        let query = crate::engine::PullQuery {
            reference: WEB.to_owned(),
            platform: None,
            image_digest: None,
            pin,
            keep_on_destroy,
        };
        life.run(life.engine.pull_image(query, Reporter::silent())).unwrap()
    };
    use crate::engine::PinTarget;
    let first = pull(PinTarget::New, false);
    assert_eq!(pull(PinTarget::Reuse, false).id, first.id);
    let second = pull(PinTarget::New, true);
    let made = life.create(draft("web", world.web.as_str())).unwrap();
    assert_eq!(made.image_reference, WEB);
    let drop_pin = |id: PinId| life.run(life.engine.delete_pin(id)).unwrap();
    assert!(!drop_pin(first.id) && !drop_pin(second.id) && !drop_pin(second.id));
    assert!(life.run(life.engine.get_pin(second.id)).is_err());
    assert_eq!(life.run(life.engine.get_image(&world.web.hex()[..8])).unwrap().used_by, [made.id]);
    life.run(life.engine.delete_instance(made.id, StopMode::Kill, Reporter::silent())).unwrap();
    assert_eq!(world.host.leftovers(), Vec::<String>::new());
}

#[test]
fn a_process_runs_only_in_what_runs() {
    let world = World::new();
    let life = world.boot();
    let made = life.create(draft("web", WEB)).unwrap();
    let request = ExecRequest {
        argv: vec![b"echo".to_vec(), b"x".to_vec()],
        environment: Default::default(),
        user: None,
        working_dir: None,
        terminal: None,
        stdin: false,
    };
    let mut session = life.run(life.engine.exec(made.id, &request)).unwrap();
    assert_eq!(life.run(session.output.recv()), Some(ExecOutput::Stdout(b"echo x".to_vec())));
    life.run(life.engine.stop_instance(made.id, StopMode::Kill, Reporter::silent())).unwrap();
    assert!(life.run(life.engine.exec(made.id, &request)).is_err());
}

#[test]
fn a_remote_keeps_its_password_and_never_shows_it() {
    let world = World::new();
    let life = world.boot();
    let draft = berth_domain::RemoteDraft {
        name: "hub".to_owned(),
        address: "https://docker.io".to_owned(),
        username: Some("me".to_owned()),
        ..Default::default()
    };
    let secret = || Some(berth_domain::Password::new("s3cret".to_owned()));
    let none = RemoteSecrets::default;
    let secrets = RemoteSecrets { password: secret(), client_key: None };
    let made = life.run(life.engine.create_remote(&draft, secrets)).unwrap();
    assert!(made.has_password && !format!("{made:?}").contains("s3cret"));
    assert!(
        life.run(life.engine.create_remote(&draft, none())).is_err_and(|e| e.reason() == Reason::NameTaken)
    );
    let update = |draft: &berth_domain::RemoteDraft, password, client_key| {
        let changes = RemoteSecretChanges { password, client_key };
        life.run(life.engine.update_remote(made.id, draft, changes))
    };
    let kept = update(&draft, PasswordChange::Keep, PasswordChange::Keep).unwrap();
    assert!(kept.has_password && !kept.has_client_key);
    let cleared = update(&draft, PasswordChange::Clear, PasswordChange::Keep).unwrap();
    assert!(!cleared.has_password);
    // A certificate and its key come and go together.
    let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let shown = berth_domain::RemoteDraft { client_certificate: Some(pem.to_owned()), ..draft.clone() };
    assert!(update(&shown, PasswordChange::Keep, PasswordChange::Keep).is_err());
    let key = || PasswordChange::Set(secret().unwrap());
    let keyed = update(&shown, PasswordChange::Keep, key()).unwrap();
    assert!(keyed.has_client_key && !format!("{keyed:?}").contains("s3cret"));
    assert!(update(&draft, PasswordChange::Keep, PasswordChange::Keep).is_err());
    assert!(!update(&draft, PasswordChange::Keep, PasswordChange::Clear).unwrap().has_client_key);
    life.run(life.engine.delete_remote(made.id)).unwrap();
    assert!(life.run(life.engine.get_remote(By::Name("hub".to_owned()))).is_err());
}
