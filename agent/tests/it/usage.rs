//! How `berth` is written, and what it says when it is written wrong.

use std::process::Command;

use crate::world::{Agent, BERTH, said};

#[test]
fn wrong_usage_ends_with_two() {
    let run = |args: &[&str]| said(Command::new(BERTH).args(args), b"");
    run(&["image", "pull"]).fails(2, &["Usage"]);
    run(&["bogus"]).fails(2, &["bogus"]);
    run(&["--host", "tcp://x", "image", "ls"]).fails(2, &["tcp://x", "unix:///PATH"]);
    run(&["instance", "launch", "x", "--name", "a", "--publish", "99999:1"]).fails(1, &["does not answer"]);
    // An empty variable is none.
    said(Command::new(BERTH).env("BERTH_HOST", "").args(["image", "ls"]), b"")
        .fails(1, &["/run/berth/agent.sock"]);
    assert!(run(&["--help"]).ok().contains("instance"));
    assert!(run(&["--version"]).ok().starts_with("berth "));
}

#[test]
fn a_host_that_is_down_is_named() {
    let run = |args: &[&str]| said(Command::new(BERTH).args(args), b"");
    run(&["--host", "unix:///nowhere/agent.sock", "image", "ls"])
        .fails(1, &["/nowhere/agent.sock", "Start berthd"]);
    run(&["--host", "ssh://-x", "image", "ls"]).fails(2, &["ssh://-x"]);
    run(&["--host", "https://127.0.0.1:1", "image", "ls"]).fails(1, &["BERTH_CA_CERTIFICATE"]);
}

#[test]
fn proxy_carries_a_connection() {
    let agent = Agent::start();
    let dir = tempfile::tempdir().unwrap();
    // An ssh that stays on this host: it runs what follows the host's name.
    let ssh = dir.path().join("ssh");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 3\nexec {BERTH} --host {} \"$@\"\n",
        agent.address()
    );
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(BERTH);
    command
        .args(["--host", "ssh://me@elsewhere:2222", "--format", "json", "network", "ls"])
        .env("PATH", path);
    assert_eq!(said(&mut command, b"").json()[0]["name"], "default");
}

#[test]
fn unknown_things_are_named() {
    let agent = Agent::start();
    agent.berth(&["instance", "inspect", "web"]).fails(1, &["There is no instance web"]);
    agent.berth(&["instance", "exec", "web", "--", "true"]).fails(1, &["There is no instance web"]);
    agent.berth(&["instance", "rm", "web"]).fails(1, &["There is no instance web"]);
    agent.berth(&["network", "inspect", "web"]).fails(1, &["There is no network web"]);
    assert_eq!(agent.json(&["instance", "ls"]), serde_json::json!([]));
}
