//! `berth image import`, `export`, `check` and `prune`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{Agent, BERTH, Registry, said, tiny};

fn packed(layout: &Path, compress: bool) -> PathBuf {
    let archive = layout.with_extension(if compress { "tar.gz" } else { "tar" });
    let mut tar = Command::new("tar");
    tar.arg(if compress { "-czf" } else { "-cf" }).arg(&archive).arg("-C").arg(layout).arg(".");
    said(&mut tar, b"").ok();
    archive
}

/// An OCI layout of the tests' image, and what Docker would save of it.
fn layout(agent: &Agent) -> PathBuf {
    let layout = agent.dir.path().join("layouts/layout");
    std::fs::create_dir_all(&layout).unwrap();
    tiny(&layout);
    layout
}

fn docker_archive(layout: &Path) -> PathBuf {
    let archive = layout.with_extension("docker");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--quiet"]).arg(format!("oci:{}:1", layout.display()));
    skopeo.arg(format!("docker-archive:{}:example.com/tiny:3", archive.display()));
    said(&mut skopeo, b"").ok();
    archive
}

/// All files below the objects' directories.
fn objects(agent: &Agent) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(agent.data().join("images/objects")).unwrap();
    let files = dirs.flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn an_archive_gives_the_same_image_in_every_form() {
    let agent = Agent::start();
    let layout = layout(&agent);
    let (plain, gzip) = (packed(&layout, false), packed(&layout, true));
    let import = |path: &Path, reference: &str| {
        let path = path.to_str().unwrap();
        agent.berth(&["image", "import", path, "--reference", reference]).ok().trim().to_owned()
    };
    let id = import(&plain, "example.com/tiny:1");
    assert_eq!(import(&gzip, "example.com/tiny:1"), id);
    assert_eq!(import(&layout, "example.com/tiny:2"), id);
    let piped = agent.berth_with(&["image", "import", "-"], &std::fs::read(&plain).unwrap());
    assert_eq!(piped.ok().trim(), id);
    let image = agent.json(&["image", "inspect", &id]);
    assert_eq!(image["config"]["environment"]["GREETING"], "hello");
    assert_eq!(image["references"].as_array().unwrap().len(), 3, "{image}");
    // Docker's has no manifest of its own; the content is the same.
    let stored = objects(&agent);
    let docker = import(&docker_archive(&layout), "example.com/tiny:3");
    assert_eq!(objects(&agent), stored, "the same files were stored twice");
    assert_eq!(agent.json(&["image", "inspect", &docker])["layers"], image["layers"]);
    agent.berth(&["instance", "launch", &docker, "--name", "a"]).ok();
    let said = agent.berth(&["instance", "exec", "a", "--", "/bin/echo", "it runs"]);
    assert_eq!(said.ok(), "it runs\n");
    agent.berth(&["instance", "launch", "example.com/tiny:3", "--name", "b"]).fails(1, &["example.com"]);
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let agent = Agent::start();
    let layout = layout(&agent);
    let archive = packed(&layout, false);
    let whole = std::fs::read(&archive).unwrap();
    let import = |bytes: &[u8]| agent.berth_with(&["image", "import", "-"], bytes);
    import(b"").fails(1, &["archive", "neither an OCI layout"]);
    import(b"not a tar file at all").fails(1, &["(archive)", "not a whole tar file"]);
    import(&whole[..whole.len() / 2]).fails(1, &["(archive)"]);
    let mut flipped = whole.clone();
    let at = flipped.windows(7).position(|bytes| bytes == b"root:x:").unwrap();
    flipped[at] = b'R';
    import(&flipped).fails(1, &["(archive)", "not what"]);
    let missing = agent.dir.path().join("none.tar");
    agent.berth(&["image", "import", missing.to_str().unwrap()]).fails(1, &["none.tar", "cannot be read"]);
    let path = archive.to_str().unwrap();
    agent
        .berth(&["image", "import", path, "--platform", "linux/s390x"])
        .fails(1, &["linux/s390x", "it has linux/"]);
    agent
        .berth(&["image", "import", path, "--reference", "tiny"])
        .fails(1, &["(reference)", "docker.io/tiny"]);
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
    assert!(std::fs::read_dir(agent.data().join("images/tmp")).unwrap().next().is_none(), "a file is left");
    agent.berth(&["image", "import", path]).ok();
}

#[test]
fn an_archive_over_the_limit_is_refused_while_it_comes() {
    let mut agent = Agent::start();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    let config = agent.dir.path().join("agent.toml");
    std::fs::write(&config, "[images]\nmax_archive_bytes = '1MiB'\n").unwrap();
    agent.run(&["--config", config.to_str().unwrap()]);
    let bytes = vec![0; 3 << 20];
    let said = agent.berth_with(&["image", "import", "-"], &bytes);
    said.fails(1, &["(archive)", "max_archive_bytes of 1048576"]);
}

#[test]
fn an_export_is_the_image_for_others_and_for_berth() {
    let registry = Registry::start(false);
    let agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    let id = agent.berth(&["image", "pull", "reg:tiny:1"]).ok().trim().to_owned();
    let image = agent.json(&["image", "inspect", &id]);
    let path = agent.dir.path().join("tiny.tar");
    let shown = path.to_str().unwrap();
    agent.berth(&["image", "export", "reg:tiny:1", "--output", shown]).ok();
    let inspected =
        said(Command::new("skopeo").args(["inspect", "--config"]).arg(format!("oci-archive:{shown}")), b"");
    assert_eq!(inspected.json()["config"]["Env"][1], "GREETING=hello");
    // From what is stored the manifest is another, the layers are not.
    let again = Agent::start();
    let stored = again.berth(&["image", "import", shown]).ok().trim().to_owned();
    let layers =
        |agent: &Agent, id: &str| agent.json(&["image", "inspect", id])["layers"][0]["diff_id"].clone();
    assert_eq!(layers(&again, &stored), layers(&agent, &id));
    // The registry's own is the same image to the last byte.
    let piped = said(
        Command::new(BERTH).env("BERTH_HOST", agent.address()).args([
            "image",
            "export",
            &id,
            "--refetch",
            "--output",
            shown,
        ]),
        b"",
    );
    piped.ok();
    assert_eq!(again.berth(&["image", "import", shown]).ok().trim(), id);
    assert_eq!(again.json(&["image", "inspect", &id])["config"], image["config"]);
    agent.berth(&["image", "export", "sha256:00000000", "--output", shown]).fails(1, &["There is no image"]);
    let names = std::fs::read_dir(agent.dir.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(!names.map(|name| name.into_string().unwrap()).any(|name| name.ends_with(".partial")));
}

#[test]
fn damage_is_found_named_and_mended() {
    let registry = Registry::start(false);
    let agent = Agent::start();
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    let id = agent.berth(&["image", "pull", "reg:tiny:1"]).ok().trim().to_owned();
    let checked = agent.berth(&["image", "check"]);
    assert!(checked.ok().contains("1 images verified"));
    let object = objects(&agent).remove(0);
    let good = std::fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    std::fs::write(&object, &bad).unwrap();
    let checked = agent.berth(&["--format", "json", "image", "check"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let report: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(report["damaged"][0]["id"], id);
    let part = report["damaged"][0]["parts"][0].as_str().unwrap();
    assert!(part.starts_with("layer 1: the object ") && part.contains("damaged or missing"), "{part}");
    // An instance that runs from it goes on, and sees the mended file at its next start.
    agent.berth(&["image", "check", "--repair"]).ok();
    assert_eq!(std::fs::read(&object).unwrap(), good);
    for (file, cut) in [("layers", true), ("trees", false), ("configs", true), ("manifests", false)] {
        let dir = agent.data().join("images").join(file);
        let path = std::fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        if cut {
            std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        agent.berth(&["image", "check"]).fails(1, &["1 images are damaged", "--repair"]);
        agent.berth(&["image", "check", "--repair"]).ok();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "{file}");
    }
    // Without its registry it stays as it is, and the reason is told.
    std::fs::remove_file(&object).unwrap();
    drop(registry);
    let checked = agent.berth(&["image", "check", "--repair"]);
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.stdout.contains("cannot be mended") && checked.stdout.contains("reg:tiny:1"),
        "{checked:?}"
    );
}

#[test]
fn unused_images_stay_as_long_as_the_policy_says_and_a_prune_takes_them() {
    let registry = Registry::start(false);
    let mut agent = Agent::start();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    let config = agent.dir.path().join("agent.toml");
    std::fs::write(&config, "[images]\nkeep_unused_for = '1h'\n").unwrap();
    let config = config.to_str().unwrap().to_owned();
    agent.run(&["--config", &config]);
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    let id = agent.berth(&["image", "pull", "reg:tiny:1"]).ok().trim().to_owned();
    let prune = |dry: bool| {
        let args: &[&str] = if dry { &["image", "prune", "--dry-run"] } else { &["image", "prune"] };
        agent.json(args)
    };
    assert_eq!(prune(true)["images"], serde_json::json!([]), "a pinned image would go");
    agent.berth(&["image", "rm", "reg:tiny:1"]).ok();
    assert_eq!(agent.json(&["image", "ls"])[0]["id"], id, "the policy keeps it");
    let would = prune(true);
    assert_eq!(would["images"][0]["id"], id);
    assert!(would["bytes_freed"].as_u64().unwrap() > 100_000, "{would}");
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 1, "a dry run removed it");
    let done = prune(false);
    assert_eq!((&done["images"], &done["bytes_freed"]), (&would["images"], &would["bytes_freed"]));
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
    assert_eq!(objects(&agent), Vec::<PathBuf>::new());
    // Of an hour ago: gone at the next start.
    agent.berth(&["image", "pull", "reg:tiny:1"]).ok();
    agent.berth(&["image", "rm", "reg:tiny:1"]).ok();
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    let record = agent.data().join("images/images").join(format!("{}.json", &id[7..]));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3700);
    std::fs::File::options().append(true).open(record).unwrap().set_modified(old).unwrap();
    agent.run(&["--config", &config]);
    assert_eq!(agent.json(&["image", "ls"]).as_array().unwrap().len(), 0);
}

#[test]
fn the_second_driver_runs_the_same_images_and_the_check_says_why() {
    let registry = Registry::start(false);
    let mut agent = Agent::start();
    let found = |agent: &Agent| {
        let checks = agent.json(&["check"]);
        let checks = checks.as_array().unwrap();
        checks.iter().find(|item| item["name"] == "root file systems").unwrap().clone()
    };
    let before = found(&agent);
    assert_eq!((&before["outcome"], before["fix"].as_str()), (&"ok".into(), None), "{before}");
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    let config = agent.dir.path().join("agent.toml");
    std::fs::write(&config, "rootfs_driver = 'directory'\n").unwrap();
    agent.run(&["--config", config.to_str().unwrap()]);
    let after = found(&agent);
    assert!(after["found"].as_str().unwrap().contains("as the configuration says"), "{after}");
    agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "a"]).ok();
    agent.berth(&["instance", "launch", "reg:tiny:1", "--name", "b"]).ok();
    let exec = |name: &str, script: &str| {
        agent.berth(&["instance", "exec", name, "--", "/bin/sh", "-c", script]).ok()
    };
    assert_eq!(exec("a", "echo changed > /etc/passwd; cat /etc/passwd; id -u"), "changed\n0\n");
    assert!(exec("b", "cat /etc/passwd").starts_with("root:x:"), "one instance changed another's image");
    let checkouts = agent.data().join("images/checkouts");
    assert_eq!(std::fs::read_dir(&checkouts).unwrap().count(), 1);
    agent.berth(&["instance", "rm", "--force", "a", "b"]).ok();
    assert_eq!(std::fs::read_dir(&checkouts).unwrap().count(), 0, "the checkout is left");
}
