//! `berth image`, from a real registry.

use nix::sys::signal::Signal;

use crate::world::{Agent, PASSWORD, Registry, USER};

fn with(registry: &Registry) -> Agent {
    let agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    agent
}

#[test]
fn an_image_is_pulled_shown_and_removed() {
    let registry = Registry::start(false);
    let mut agent = with(&registry);
    let id = agent.berth(&["image", "pull", "reg:tiny:1"]).ok().trim().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let list = agent.json(&["image", "ls"]);
    assert_eq!((&list[0]["id"], &list[0]["references"][0]), (&id.clone().into(), &"reg:tiny:1".into()));
    let image = agent.json(&["image", "inspect", &id[..20]]);
    assert_eq!(image["config"]["command"], serde_json::json!(["/bin/sleep", "1000"]));
    assert_eq!(image["config"]["environment"]["GREETING"], "hello");
    assert_eq!(image["layers"].as_array().unwrap().len(), 1);
    assert_eq!(image["created"], "2026-01-31T12:00:00Z");
    // Again is nothing new; and the registry's host means the same remote.
    assert_eq!(agent.berth(&["image", "pull", "reg:tiny:1"]).ok().trim(), id);
    assert_eq!(agent.berth(&["image", "pull", &format!("{}/tiny:1", registry.host())]).ok().trim(), id);
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 1);
    agent.signal(Signal::SIGKILL);
    agent.run(&[]);
    assert_eq!(agent.json(&["image", "ls"])[0]["id"], id);
    agent.berth(&["image", "rm", &id]).ok();
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
    let objects = std::fs::read_dir(agent.data().join("images/objects")).unwrap();
    let left = objects.flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).into_iter().flatten()).count();
    assert_eq!(left, 0, "objects are left");
    agent.berth(&["image", "rm", &id]).fails(1, &["There is no image"]);
}

#[test]
fn what_is_not_there_says_so_on_the_reference() {
    let registry = Registry::start(false);
    let agent = with(&registry);
    agent.berth(&["image", "pull", "reg:tiny:2"]).fails(1, &["(reference)", "tiny:2", "tag"]);
    agent.berth(&["image", "pull", "reg:other"]).fails(1, &["(reference)", "other"]);
    agent.berth(&["image", "pull", "nginx"]).fails(1, &["(reference)", "docker.io/nginx"]);
    agent.berth(&["image", "pull", "nope:x"]).fails(1, &["(reference)", "nope", "berth remote add"]);
    agent.berth(&["image", "pull", "reg:Tiny:1"]).fails(1, &["(reference)", "Tiny"]);
    agent
        .berth(&["image", "pull", "reg:tiny:1", "--platform", "linux/s390x"])
        .fails(1, &["(platform)", "linux/"]);
    agent.berth(&["image", "pull", "reg:tiny:1", "--platform", "toaster"]).fails(1, &["(platform)"]);
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_registry_that_is_down_is_named() {
    let registry = Registry::start(false);
    let agent = with(&registry);
    let host = registry.host();
    drop(registry);
    agent.berth(&["image", "pull", "reg:tiny:1"]).fails(1, &["(reference)", &host, "cannot be reached"]);
}

#[test]
fn a_wrong_password_is_refused_and_the_right_one_works() {
    let registry = Registry::start(true);
    let agent = Agent::start();
    let add = |name: &str, password: &[u8]| {
        let address = registry.address();
        let args = ["remote", "add", name, &address, "--insecure", "--username", USER, "--password-stdin"];
        agent.berth_with(&args, password).ok();
    };
    agent.berth(&["remote", "add", "nobody", &registry.address(), "--insecure"]).ok();
    agent.berth(&["image", "pull", "nobody:tiny:1"]).fails(1, &["refuses access", "username and password"]);
    add("wrong", b"guess");
    agent
        .berth(&["image", "pull", "wrong:tiny:1"])
        .fails(1, &["refuses access", "Check the remote's username"]);
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
    add("right", PASSWORD.as_bytes());
    agent.berth(&["image", "pull", "right:tiny:1"]).ok();
}
