//! Starting and stopping.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use crate::world::{Agent, said};

#[test]
fn the_socket_and_the_directories_are_for_those_they_are_meant_for() {
    let agent = Agent::start();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&agent.socket()), 0o660);
    assert_eq!(mode(&agent.data()), 0o700);
}

#[test]
fn a_second_agent_on_a_data_directory_is_refused_by_its_name() {
    let agent = Agent::start();
    let other = agent.dir.path().join("other");
    let mut second = agent.command();
    second.arg("--run-dir").arg(&other);
    // Given twice, a flag would be wrong usage: this is a command of its own.
    let mut second = std::process::Command::new(second.get_program());
    second.arg("--data-dir").arg(agent.data()).arg("--run-dir").arg(&other);
    said(&mut second, b"").fails(1, &["Another agent runs on", &agent.data().display().to_string()]);
    agent.berth(&["image", "ls"]).ok();
}

#[test]
fn agents_run_side_by_side_under_names_of_their_own() {
    let (one, two) = (Agent::start(), Agent::start());
    let bridge = |agent: &Agent| agent.json(&["network", "inspect", "default"])["bridge"].clone();
    let subnet = |agent: &Agent| agent.json(&["network", "inspect", "default"])["ipv4_subnet"].clone();
    assert_ne!(bridge(&one), bridge(&two));
    assert_ne!(subnet(&one), subnet(&two));
}

#[test]
fn asked_to_stop_it_ends_well_and_takes_its_socket_along() {
    let mut agent = Agent::start();
    let watching = std::process::Command::new(crate::world::BERTH)
        .args(["--host", &agent.address(), "events"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = agent.signal(Signal::SIGTERM);
    assert!(status.success(), "{status}");
    assert!(!agent.socket().exists());
    let mut watching = watching;
    watching.wait().unwrap();
    agent.berth(&["image", "ls"]).fails(1, &["does not answer", "Start berthd"]);
}

#[test]
fn what_was_asked_for_survives_a_kill() {
    let mut agent = Agent::start();
    agent.berth(&["remote", "add", "kept", "https://registry.example"]).ok();
    let id = agent.json(&["remote", "ls"])[0]["id"].clone();
    agent.signal(Signal::SIGKILL);
    assert!(agent.socket().exists());
    agent.run(&[]);
    assert_eq!(agent.json(&["remote", "ls"])[0]["id"], id);
}

#[test]
fn a_key_that_nobody_knows_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, "data_dri = '/x'\n").unwrap();
    let mut command = std::process::Command::new(crate::world::BERTHD);
    command.arg("--config").arg(&config);
    said(&mut command, b"").fails(1, &["agent.toml", "data_dri", "data_dir"]);
    let mut command = std::process::Command::new(crate::world::BERTHD);
    command.arg("--config").arg(dir.path().join("missing.toml"));
    said(&mut command, b"").fails(1, &["missing.toml"]);
}

#[test]
fn check_names_each_thing_with_its_fix() {
    let agent = Agent::start();
    let said = agent.berth(&["--format", "json", "check"]);
    let items: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).unwrap();
    let find = |name: &str| items.iter().find(|item| item["name"] == name).unwrap().clone();
    for name in ["kernel", "cgroups", "erofs", "overlay", "nft", "bridge", "ip_forward", "supervisor", "disk"]
    {
        let item = find(name);
        assert!(item["outcome"] == "ok" || item["fix"].is_string(), "{item}");
    }
    let missing = items.iter().any(|item| item["outcome"] == "missing");
    assert_eq!(said.code, Some(i32::from(missing)));
}
