//! The ways to an agent: a wait for a fresh host, and the user's own ssh.

use std::os::unix::fs::PermissionsExt;

use crate::fake::FakeAgent;
use crate::instance::web;
use crate::run::Workspace;

/// A program named ssh, first on the PATH.
fn with_ssh(workspace: &mut Workspace, script: &str) {
    let bin = workspace.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let ssh = bin.join("ssh");
    std::fs::write(&ssh, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    workspace.set("PATH", path);
}

fn over_ssh() -> String {
    format!("provider \"berth\" {{\n  host = \"ssh://me@node1:2222\"\n}}\n{}", web(""))
}

#[test]
fn ssh_carries_the_connection() {
    let agent = FakeAgent::start();
    let mut workspace = Workspace::bare();
    let bridge = format!(
        r#"echo "$*" >> "$0.log"
exec python3 -c '
import os, socket, threading
s = socket.socket(socket.AF_UNIX); s.connect("{}")
def up():
    while data := os.read(0, 65536): s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := s.recv(65536): os.write(1, data)
'"#,
        agent.socket().display()
    );
    with_ssh(&mut workspace, &bridge);
    workspace.write(&over_ssh());
    workspace.apply().ok();
    workspace.plans_empty();
    let log = std::fs::read_to_string(workspace.path().join("bin/ssh.log")).unwrap();
    assert!(log.lines().all(|line| line.ends_with("-p 2222 -l me -- node1 berth proxy")), "{log}");
}

#[test]
fn what_ssh_says_is_told() {
    let mut workspace = Workspace::bare();
    with_ssh(&mut workspace, "echo 'me@node1: Permission denied (publickey).' >&2; exit 255");
    workspace.write(&over_ssh());
    let said = workspace.apply().fails().says("The host ssh://me@node1:2222 cannot be reached");
    said.says("ssh said: me@node1: Permission denied (publickey).").says("\"ssh me@node1 berth proxy\"");
}

#[test]
fn a_change_waits_for_its_host() {
    let mut agent = FakeAgent::start();
    agent.go_down();
    let workspace = Workspace::bare();
    let head =
        format!("provider \"berth\" {{\n  host = \"{}\"\n  wait_for_host = \"60s\"\n}}\n", agent.address());
    workspace.write(&format!("{head}{}", web("")));
    let not_ready = std::os::unix::net::UnixListener::bind(agent.socket()).unwrap();
    std::thread::scope(|scope| {
        let apply = scope.spawn(|| workspace.apply());
        // The first attempt is hung up on; the agent is there for a later one.
        drop(not_ready.accept().unwrap());
        std::fs::remove_file(agent.socket()).unwrap();
        drop(not_ready);
        agent.listen();
        apply.join().unwrap().ok();
    });
}

#[test]
fn a_change_waits_for_its_host_no_longer_than_it_is_told() {
    let mut agent = FakeAgent::start();
    agent.go_down();
    let workspace = Workspace::bare();
    let head =
        format!("provider \"berth\" {{\n  host = \"{}\"\n  wait_for_host = \"1s\"\n}}\n", agent.address());
    workspace.write(&format!("{head}{}", web("")));
    workspace.apply().fails().says(&format!("The host {} cannot be reached", agent.address()));
    assert!(workspace.resource("berth_instance.web").is_null());
}
