//! `berth volume` and `berth instance launch --volume`, on the host's own kernel.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::world::{Agent, Registry};

fn world(config: &str) -> (Registry, Agent) {
    let registry = Registry::start(false);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    fs::write(&path, config).unwrap();
    let agent = Agent::start_with(&["--config", path.to_str().unwrap()]);
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    (registry, agent)
}

fn exec(agent: &Agent, name: &str, script: &str) -> String {
    agent.berth(&["instance", "exec", name, "--", "sh", "-c", script]).ok().trim().to_owned()
}

fn volumes(agent: &Agent) -> Vec<Value> {
    agent.json(&["volume", "ls"]).as_array().unwrap().clone()
}

fn on_disk(agent: &Agent) -> usize {
    fs::read_dir(agent.data().join("volumes")).map_or(0, Iterator::count)
}

#[test]
fn a_volume_is_shared_kept_and_removed_when_nobody_uses_it() {
    let (_registry, agent) = world("");
    for name in ["one", "two"] {
        agent.berth(&["instance", "launch", "reg:tiny:1", "--name", name, "--volume", "data:/var/data"]).ok();
    }
    assert_eq!(exec(&agent, "one", "cat /var/data/seed; echo one > /var/data/file"), "from the image");
    assert_eq!(
        exec(&agent, "two", "cat /var/data/file; id -u; busybox stat -c %u /var/data/file"),
        "one\n0\n0"
    );
    let volume = agent.json(&["volume", "inspect", "data"]);
    assert_eq!(volume["used_by"].as_array().unwrap().len(), 2);
    let file = agent.data().join("volumes").join(volume["id"].as_str().unwrap()).join("data/file");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    assert_eq!(fs::metadata(agent.data()).unwrap().mode() & 0o077, 0);
    agent.berth(&["volume", "rm", "data"]).fails(1, &["used by the instances \"one\", \"two\""]);
    agent.berth(&["instance", "rm", "--force", "one"]).ok();
    agent.berth(&["instance", "stop", "--force", "two"]).ok();
    agent.berth(&["volume", "rm", "data"]).fails(1, &["used by the instance \"two\""]);
    agent.berth(&["instance", "rm", "--force", "two"]).ok();
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "three", "--volume", "data:/again"]).ok();
    assert_eq!(exec(&agent, "three", "cat /again/file /again/seed"), "one\nfrom the image");
    agent.berth(&["instance", "rm", "--force", "three"]).ok();
    agent.berth(&["volume", "rm", "data"]).ok();
    agent.berth(&["volume", "rm", "data"]).fails(1, &["There is no volume data"]);
    assert_eq!((volumes(&agent), on_disk(&agent)), (vec![], 0));
}

#[test]
fn an_image_s_own_volume_follows_its_instance() {
    let (registry, agent) = world("");
    registry.push_with_volumes("vol", &["/var/data", "cache"]);
    registry.push_with_volumes("bad", &["/proc/sys"]);
    agent.berth(&["instance", "launch", "reg:tiny:vol", "--name", "db"]).ok();
    assert_eq!(
        exec(&agent, "db", "cat /var/data/seed; echo kept > /var/data/file; echo kept > /cache/file"),
        "from the image"
    );
    agent.berth(&["instance", "restart", "--force", "db"]).ok();
    assert_eq!(exec(&agent, "db", "cat /var/data/file /cache/file"), "kept\nkept");
    let id = agent.json(&["instance", "inspect", "db"])["id"].clone();
    let all = volumes(&agent);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|volume| volume["instance_id"] == id && volume["used_by"] == json!([id])));
    let name = all[0]["name"].as_str().unwrap();
    agent.berth(&["volume", "rm", name]).fails(1, &["follows the instance \"db\""]);
    let foreign = format!("{name}:/x");
    agent
        .berth(&["instance", "launch", "reg:tiny:1", "--name", "other", "--volume", &foreign])
        .fails(1, &["(mounts."]);
    agent.berth(&["instance", "launch", "reg:tiny:bad", "--name", "bad"]).fails(1, &["(image)", "/proc/sys"]);
    agent.berth(&["instance", "rm", "--force", "db"]).ok();
    assert_eq!((volumes(&agent), on_disk(&agent)), (vec![], 0));
}

#[test]
fn what_cannot_be_mounted_names_its_argument_and_leaves_nothing() {
    let allowed = tempfile::tempdir().unwrap();
    let root = allowed.path().canonicalize().unwrap();
    fs::create_dir(root.join("in")).unwrap();
    fs::write(root.join("in/file"), "hello\n").unwrap();
    std::os::unix::fs::symlink("/etc", root.join("in/escape")).unwrap();
    let (_registry, agent) = world(&format!("bind_sources = ['{}']", root.join("in").display()));
    let launch =
        |volume: &str| agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "x", "--volume", volume]);
    let inside = |name: &str| format!("{}/{name}:/mnt", root.join("in").display());
    launch(&inside("gone")).fails(1, &["(mounts.mnt.source)", "gone"]);
    launch(&inside("escape")).fails(1, &["(mounts.mnt.source)", "bind_sources"]);
    launch("/etc:/mnt").fails(1, &["(mounts.mnt.source)", "bind_sources"]);
    for target in ["/", "/proc/sys", "/sys", "/dev", "/a/../../etc"] {
        launch(&format!("data:{target}")).fails(1, &["(mounts.data.target)"]);
    }
    launch("data:/etc/passwd").fails(1, &["(mounts.data.target)", "/etc/passwd"]);
    launch("../x:/mnt").fails(1, &["(name)"]);
    assert_eq!((volumes(&agent), on_disk(&agent), agent.json(&["instance", "ls"])), (vec![], 0, json!([])));
    launch(&inside("file")).ok();
    assert_eq!(exec(&agent, "x", "cat /mnt; echo more >> /mnt"), "hello");
    assert_eq!(fs::read(root.join("in/file")).unwrap(), b"hello\nmore\n");
}
