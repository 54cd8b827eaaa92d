//! Files of instances, on the host in memory.

use berth_domain::{FileContent, FileDraft, InstanceDraft};

use crate::ports::runtime::FileWrite;
use crate::tests::support::{Life, WEB, WEB2, World, draft};
use crate::view::InstanceView;
use crate::{EngineError, Reporter};

fn file(content: &str, on_change: &str) -> FileDraft {
    FileDraft {
        content: Some(FileContent::new(content.as_bytes())),
        digest: format!("digest of {content}"),
        on_change: on_change.to_owned(),
        ..FileDraft::default()
    }
}

fn with(image: &str, files: &[(&str, FileDraft)]) -> InstanceDraft {
    let files = files.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect();
    InstanceDraft { files, ..draft("web", image) }
}

fn update(life: &Life, view: &InstanceView, draft: InstanceDraft) -> Result<InstanceView, EngineError> {
    life.run(life.engine.update_instance(view.id, draft, Reporter::silent()))
}

/// What was to be written the last time that anything was told to the host.
fn written(world: &World, view: &InstanceView) -> Vec<(String, Option<String>)> {
    let text = |write: &FileWrite| {
        let content = write.content.as_ref().map(|it| String::from_utf8_lossy(it.reveal()).into_owned());
        (write.path.clone(), content)
    };
    world.host.running()[&view.id].contents.writes.iter().map(text).collect()
}

fn said(path: &str, content: &str) -> (String, Option<String>) {
    (path.to_owned(), Some(content.to_owned()))
}

#[test]
fn a_file_is_written_once_when_it_changes_and_into_a_new_root_filesystem() {
    let world = World::new();
    let life = world.boot();
    let view = life.create(with(WEB, &[("/a", file("one", "")), ("/b", file("one", ""))])).unwrap();
    assert_eq!(written(&world, &view), [said("/a", "one"), said("/b", "one")]);
    life.run(life.engine.restart_instance(
        view.id,
        crate::ports::runtime::StopMode::Kill,
        Reporter::silent(),
    ))
    .unwrap();
    assert_eq!(written(&world, &view), [], "a restart keeps what was changed inside");
    let pid = life.get("web").unwrap().pid;
    let keep = FileDraft::default();
    let changed =
        update(&life, &view, with(WEB, &[("/a", file("two", "signal")), ("/b", keep.clone())])).unwrap();
    assert_eq!((changed.pid, written(&world, &view)), (pid, vec![said("/a", "two")]));
    assert!(world.host.running()[&view.id].contents.notify);
    drop(life);
    let life = world.boot();
    life.until_running("web");
    update(&life, &view, with(WEB2, &[("/a", keep.clone()), ("/b", keep.clone())])).unwrap();
    assert_eq!(written(&world, &view), [said("/a", "two"), said("/b", "one")]);
    let pid = life.get("web").unwrap().pid;
    let changed = update(&life, &view, with(WEB2, &[("/a", keep.clone())])).unwrap();
    assert_eq!((changed.pid, written(&world, &view)), (pid, vec![("/b".to_owned(), None)]));
    let changed = update(&life, &view, with(WEB2, &[("/a", file("three", "restart"))])).unwrap();
    assert_ne!(changed.pid, pid);
    assert_eq!(written(&world, &view), [said("/a", "three")]);
    let unknown = update(&life, &view, with(WEB2, &[("/new", keep)])).unwrap_err();
    assert_eq!(unknown.report().attribute, ["files", "/new"]);
}

#[test]
fn a_change_that_goes_back_writes_what_was_there() {
    let world = World::new();
    let life = world.boot();
    let view = life.create(with(WEB, &[("/a", file("one", ""))])).unwrap();
    let bad = InstanceDraft {
        entrypoint: Some(vec!["missing".to_owned()]),
        ..with(WEB, &[("/a", file("two", "")), ("/b", file("two", ""))])
    };
    update(&life, &view, bad).unwrap_err();
    assert_eq!(life.get("web").unwrap().spec.files.len(), 1);
    update(&life, &view, with(WEB, &[("/a", file("three", ""))])).unwrap();
    assert_eq!(written(&world, &view), [said("/a", "three")]);
}
