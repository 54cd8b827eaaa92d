//! What a draft becomes, what runs, what a change does, and what is planned.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use berth_domain::{
    Desired, Effect, EffectiveConfig, ExitRecord, ImageConfig, InstanceDraft, InstanceSpec, Observed,
    PortDraft, RemoteDraft, Step, Timestamp, Wanted, Workload, change_effect, plan,
};
use proptest::prelude::*;

fn draft() -> InstanceDraft {
    InstanceDraft {
        name: "web".to_owned(),
        image: "docker.io/nginx:1".to_owned(),
        running: true,
        ..InstanceDraft::default()
    }
}

fn changed(change: impl FnOnce(&mut InstanceDraft)) -> InstanceSpec {
    let mut draft = draft();
    change(&mut draft);
    draft.validate().unwrap()
}

fn list(parts: &[&str]) -> Vec<String> {
    parts.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_named_at_once() {
    let port = |host_address: &str, container_port| PortDraft {
        container_port,
        host_port: 80,
        host_address: host_address.to_owned(),
        ..PortDraft::default()
    };
    let bad = InstanceDraft {
        name: "-".to_owned(),
        kind: "vm".to_owned(),
        image: String::new(),
        working_dir: Some("relative".to_owned()),
        user: Some("a:b:c".to_owned()),
        stop_signal: Some("SIGNOPE".to_owned()),
        environment: BTreeMap::from([("A".to_owned(), Some("\0".to_owned()))]),
        ports: BTreeMap::from([
            ("a".to_owned(), port("", 80)),
            ("b".to_owned(), port("0.0.0.0", 80)),
            ("c".to_owned(), port("fe80::1", 0)),
        ]),
        ..InstanceDraft::default()
    };
    let invalids = bad.validate().unwrap_err();
    let paths: Vec<String> = invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect();
    let wanted = [
        "name",
        "type",
        "image",
        "environment.A",
        "working_dir",
        "user",
        "stop_signal",
        "ports.b.host_port",
        "ports.c.container_port",
        "ports.c.host_address",
    ];
    assert_eq!(paths, wanted);
    assert!(invalids.as_slice().iter().all(|invalid| !invalid.advice.is_empty()));
}

#[test]
fn a_spec_lies_over_the_image_by_the_oci_rule() {
    let image = ImageConfig { entrypoint: list(&["e"]), command: list(&["c"]), ..ImageConfig::default() };
    let some = |parts: &[&str]| Some(list(parts));
    let cases = [
        (None, None, vec!["e", "c"]),
        (None, some(&["x"]), vec!["e", "x"]),
        (None, some(&[]), vec!["e"]),
        (some(&["n"]), None, vec!["n"]),
        (some(&["n"]), some(&["x"]), vec!["n", "x"]),
        (some(&[]), some(&["x"]), vec!["x"]),
    ];
    for (entrypoint, command, argv) in cases {
        let spec = changed(|draft| (draft.entrypoint, draft.command) = (entrypoint, command));
        assert_eq!(EffectiveConfig::new(&image, &spec).unwrap().argv, argv);
    }
    let nothing = changed(|draft| draft.entrypoint = Some(Vec::new()));
    assert_eq!(EffectiveConfig::new(&image, &nothing).unwrap_err().as_slice()[0].attribute, ["command"]);
}

#[test]
fn a_null_unsets_and_a_bad_image_is_mended_by_the_argument_that_is_named() {
    let environment = [("A", "1"), ("B", "2"), ("PATH", "/p")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let image = ImageConfig {
        entrypoint: list(&["e"]),
        environment: environment.into(),
        user: "4294967295".to_owned(),
        working_dir: "app".to_owned(),
        ..ImageConfig::default()
    };
    let invalids = EffectiveConfig::new(&image, &changed(|_| {})).unwrap_err();
    assert_eq!(invalids.as_slice()[0].attribute, ["user"]);
    let spec = changed(|draft| {
        draft.user = Some("1000".to_owned());
        draft.environment =
            BTreeMap::from([("A".to_owned(), None), ("C".to_owned(), Some("x\ny".to_owned()))]);
    });
    let config = EffectiveConfig::new(&image, &spec).unwrap();
    let wanted = [("B", "2"), ("C", "x\ny"), ("PATH", "/p")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(config.environment, wanted.into());
    assert_eq!((config.working_dir.as_str(), config.hostname.as_str()), ("/app", "web"));
}

#[test]
fn each_argument_has_the_effect_of_the_interface() {
    type Change = fn(&mut InstanceDraft);
    let cases: [(Change, Effect); 11] = [
        (|d| d.image = "docker.io/nginx:2".to_owned(), Effect::Rebuild),
        (|d| d.name = "other".to_owned(), Effect::Restart),
        (|d| d.command = Some(Vec::new()), Effect::Restart),
        (|d| drop(d.environment.insert("A".to_owned(), None)), Effect::Restart),
        (|d| d.hostname = Some("h".to_owned()), Effect::Restart),
        (|d| d.stop_timeout_ms = Some(1), Effect::Restart),
        (|d| drop(d.labels.insert("a".to_owned(), "b".to_owned())), Effect::InPlace),
        (|d| d.running = false, Effect::InPlace),
        (|d| d.restart.max_retries = 3, Effect::InPlace),
        (|d| d.limits.pids = 9, Effect::InPlace),
        (
            |d| drop(d.ports.insert("p".to_owned(), PortDraft { container_port: 1, ..Default::default() })),
            Effect::InPlace,
        ),
    ];
    let old = changed(|_| {});
    for (index, (change, effect)) in cases.into_iter().enumerate() {
        assert_eq!(change_effect(&old, &changed(change)), Some(effect), "case {index}");
    }
    assert_eq!(change_effect(&old, &old), None);
    let named = |name: &str| changed(|d| (d.name, d.hostname) = (name.to_owned(), Some("h".to_owned())));
    assert_eq!(change_effect(&named("a"), &named("b")), Some(Effect::InPlace));
}

#[test]
fn a_remote_is_checked_whole() {
    let bad = RemoteDraft {
        name: "docker.io".to_owned(),
        address: "http://registry.test".to_owned(),
        username: Some("a:b".to_owned()),
        credential_helper: Some("--help".to_owned()),
        ca_certificate: Some("x".to_owned()),
        ..RemoteDraft::default()
    };
    let invalids = bad.validate().unwrap_err();
    let paths: Vec<String> = invalids.as_slice().iter().map(|invalid| invalid.attribute.join(".")).collect();
    let wanted = ["name", "address", "username", "ca_certificate", "credential_helper", "credential_helper"];
    assert_eq!(paths, wanted);
}

/// hostile.md, lines 24 and 28: what a remote may say, one thing at a time.
#[test]
fn each_mistake_in_a_remote_is_told() {
    let good = || RemoteDraft {
        name: "hub".to_owned(),
        address: "https://registry.test/path".to_owned(),
        ..RemoteDraft::default()
    };
    good().validate().unwrap();
    let says = |draft: &RemoteDraft, path: &str, summary: &str| {
        let invalids = draft.validate().unwrap_err();
        let [invalid] = invalids.as_slice() else { panic!("{invalids:?}") };
        assert_eq!(invalid.attribute.join("."), path, "{invalid:?}");
        assert!(invalid.summary.contains(summary), "{invalid:?}");
    };
    for (address, summary) in [
        ("https://u:p@registry.test", "holds a user or a password"),
        ("http://registry.test", "without encryption"),
        ("file:///etc/passwd", "neither https:// nor http://"),
        ("https://", "is not the address"),
        ("https://a/?q", "query or a fragment"),
        ("https://a/#f", "query or a fragment"),
        ("x", "is not the address"),
    ] {
        says(&RemoteDraft { address: address.to_owned(), ..good() }, "address", summary);
        says(&RemoteDraft { mirrors: vec![address.to_owned()], ..good() }, "mirrors", summary);
    }
    for name in [String::new(), "Hub".to_owned(), "-hub".to_owned(), "_".to_owned(), "a".repeat(64)] {
        says(&RemoteDraft { name, ..good() }, "name", "is not a remote's name");
    }
    for helper in ["--help", "../helper", "a/b", ".hidden", "", &"a".repeat(65)] {
        let draft = RemoteDraft { credential_helper: Some(helper.to_owned()), ..good() };
        says(&draft, "credential_helper", "is not a credential helper");
    }
    // An empty file is no certificate and no key.
    for pem in ["", "-----BEGIN CERTIFICATE-----"] {
        let pem = || Some(pem.to_owned());
        says(&RemoteDraft { ca_certificate: pem(), ..good() }, "ca_certificate", "not a certificate");
        says(&RemoteDraft { client_certificate: pem(), ..good() }, "client_certificate", "not a certificate");
        let keys = pem().into_iter().collect();
        says(&RemoteDraft { verify_keys: keys, ..good() }, "verify.keys", "not a public key");
    }
    let draft = RemoteDraft { docker_config: Some("config.json".to_owned()), ..good() };
    says(&draft, "docker_config", "");
    let both = RemoteDraft {
        username: Some("me".to_owned()),
        docker_config: Some("/config.json".to_owned()),
        ..good()
    };
    says(&both, "docker_config", "Both username and docker_config");
}

/// What the steps do, on a host that is only its observation.
fn take(step: Step, desired: &mut Desired, observed: &mut Observed) {
    let revision = desired.revision;
    match step {
        Step::PrepareRootfs(n) if !observed.rootfs.contains(&n) => observed.rootfs.push(n),
        Step::Start => {
            assert!(!observed.workload.is_live(), "started beside what runs");
            assert!(observed.rootfs.contains(&desired.rootfs), "started on nothing");
            observed.workload = Workload::Running { revision, pid: 1, started_at: Timestamp(0), restarts: 0 };
        }
        Step::Stop => observed.workload = Workload::Absent,
        Step::PublishPorts | Step::WithdrawPorts => observed.settings = Some(desired.generation),
        Step::RecordExit => desired.ended = true,
        Step::KeepOnlyRootfs(n) => {
            assert_eq!(n, desired.rootfs, "the wrong root filesystem stays");
            observed.rootfs.retain(|m| *m == n);
        }
        _ => {}
    }
}

fn workload(kind: u8, revision: u64) -> Workload {
    let exit = ExitRecord { code: 1, signal: None, oom_killed: false, at: Timestamp(0), reason: None };
    match kind {
        0 => Workload::Absent,
        1 => Workload::Running { revision, pid: 1, started_at: Timestamp(0), restarts: 0 },
        2 => Workload::Waiting { revision, restarts: 1, exit },
        _ => Workload::Ended { revision, restarts: 1, exit },
    }
}

proptest! {
    #[test]
    fn a_plan_comes_to_rest_from_wherever_it_begins(
        kind in 0_u8..4, at in 1_u64..4, revision in 1_u64..4, running: bool, ended: bool,
        settings in proptest::option::of(1_u64..5), rootfs in proptest::collection::vec(1_u32..4, 0..3),
        cut in 0_usize..20,
    ) {
        let wanted = if running { Wanted::Running } else { Wanted::Stopped };
        let mut desired = Desired { wanted, generation: 4, revision, ended, rootfs: 1 };
        let mut observed = Observed { workload: workload(kind, at), settings, rootfs };
        let was = observed.workload.clone();
        let mut taken = 0;
        for _ in 0..4 {
            for step in plan(&desired, &observed) {
                // The agent dies once in the middle: the next begins with what it finds, and knows no settings.
                if taken == cut {
                    observed.settings = None;
                    taken += 1;
                    break;
                }
                taken += 1;
                take(step, &mut desired, &mut observed);
            }
        }
        prop_assert_eq!(plan(&desired, &observed), Vec::new());
        let live = observed.workload.is_live();
        match wanted {
            Wanted::Stopped => prop_assert!(!live),
            _ if desired.ended => prop_assert!(!live || observed.workload == was),
            _ => prop_assert!(live && observed.workload.revision() == Some(revision)),
        }
        // A workload that was right is left alone.
        if running && was.is_live() && at == revision {
            prop_assert_eq!(observed.workload, was);
        }
    }

    #[test]
    fn no_text_makes_validation_fail_otherwise_than_by_saying_so(
        name in ".*", image in ".*", user in ".*", signal in ".*", value in ".*",
    ) {
        let draft = InstanceDraft {
            name, image, user: Some(user), stop_signal: Some(signal),
            environment: BTreeMap::from([("A".to_owned(), Some(value))]), ..InstanceDraft::default()
        };
        match draft.validate() {
            Ok(spec) => {
                let json = serde_json::to_string(&spec).unwrap();
                prop_assert_eq!(serde_json::from_str::<InstanceSpec>(&json).unwrap(), spec);
            }
            Err(invalids) => prop_assert!(invalids.as_slice().iter().all(|i| !i.summary.contains(['\n', '\0']))),
        }
    }
}
