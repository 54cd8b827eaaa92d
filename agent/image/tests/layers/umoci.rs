//! Random stacks of layers: the mounted tree is what `umoci unpack` makes of the same image.
//!
//! Where the two are known to differ, the generator or the comparison says so and why.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Layer, Node, import, layout, mounted, read_tree};

/// What a random layer does, with names from a small set so that layers meet.
#[derive(Debug, Clone)]
enum Step {
    Directory(Vec<u8>),
    File(Vec<u8>, u16),
    Symlink(Vec<u8>, Vec<u8>),
    Hardlink(Vec<u8>, Vec<u8>),
    Device(Vec<u8>, bool),
    Fifo(Vec<u8>),
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

/// How the entry of a step is dressed.
#[derive(Debug, Clone)]
struct Dress {
    mode: u32,
    owner: (u32, u32),
    mtime: u64,
    xattr: Option<u8>,
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..4, 1..4)
}

fn step() -> impl Strategy<Value = (Step, Dress)> {
    let step = prop_oneof![
        3 => path().prop_map(Step::Directory),
        4 => (path(), prop_oneof![0u16..600, Just(513u16), 600u16..5000]).prop_map(|(p, n)| Step::File(p, n)),
        1 => (path(), path()).prop_map(|(p, t)| Step::Symlink(p, t)),
        2 => (path(), path()).prop_map(|(p, t)| Step::Hardlink(p, t)),
        1 => (path(), any::<bool>()).prop_map(|(p, block)| Step::Device(p, block)),
        1 => path().prop_map(Step::Fifo),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ];
    let mode = prop_oneof![Just(0o644u32), Just(0o755), Just(0o4711), Just(0o1777), 0u32..0o7777];
    let dress =
        (mode, (0u32..3, 0u32..70), 1u64..2_000_000_000, proptest::option::weighted(0.2, any::<u8>()));
    let dress = dress.prop_map(|(mode, owner, mtime, xattr)| Dress { mode, owner, mtime, xattr });
    (step, dress)
}

fn text(path: &[u8]) -> String {
    let names: Vec<String> = path.iter().map(|name| char::from(b'a' + name).to_string()).collect();
    names.join("/")
}

/// What is where after some layers: enough to leave out what no tool would write.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, &'static str>);

impl Model {
    /// All that is above is a directory or not there.
    fn fits(&self, path: &[u8]) -> bool {
        (1..path.len()).all(|length| self.0.get(&path[..length]).is_none_or(|kind| *kind == "directory"))
    }

    fn put(&mut self, path: &[u8], kind: &'static str) {
        if kind != "directory" {
            self.clear(path);
        }
        for length in 1..path.len() {
            self.0.insert(path[..length].to_vec(), "directory");
        }
        self.0.insert(path.to_vec(), kind);
    }

    fn clear(&mut self, path: &[u8]) {
        self.0.retain(|known, _| !(known.starts_with(path) && known.len() > path.len()));
    }
}

/// Writes the layers. What no layer of a real tool holds is left out: an entry below a file, a hard link to nothing or in the place of a directory that holds its target, one
/// name twice in a layer, a whiteout of what its own layer has.
fn write(stack: &[Vec<(Step, Dress)>]) -> Vec<Vec<u8>> {
    let mut model = Model::default();
    stack.iter().map(|steps| write_layer(steps, &mut model)).collect()
}

fn write_layer(steps: &[(Step, Dress)], model: &mut Model) -> Vec<u8> {
    let mut tar = Layer::new().dir("./");
    let mut own = Model::default();
    // Whiteouts stand first, as tools write them: umoci removes what its own layer wrote before.
    for (step, _) in steps {
        let (path, name) = match step {
            Step::Whiteout(path) => (path, format!(".wh.{}", text(&path[path.len() - 1..]))),
            Step::Opaque(path) => (path, format!("{}/.wh..wh..opq", text(&path[path.len() - 1..]))),
            _ => continue,
        };
        let there = model.0.get(path).copied();
        let fits = model.fits(path) && there.is_some() && !own.0.contains_key(path);
        if !fits || (matches!(step, Step::Opaque(_)) && there != Some("directory")) {
            continue;
        }
        let parent = text(&path[..path.len() - 1]);
        tar = tar
            .mode(0o644)
            .owner(0, 0)
            .whiteout(format!("{parent}{}{name}", if parent.is_empty() { "" } else { "/" }));
        model.clear(path);
        if matches!(step, Step::Whiteout(_)) {
            model.0.remove(path);
        }
        own.0.insert(path.clone(), "whiteout");
    }
    let mut own = Model::default();
    for (step, dress) in steps {
        let (path, kind) = match step {
            Step::Directory(path) => (path, "directory"),
            Step::File(path, _) | Step::Hardlink(path, _) => (path, "file"),
            Step::Symlink(path, _) => (path, "symlink"),
            Step::Device(path, _) => (path, "device"),
            Step::Fifo(path) => (path, "fifo"),
            Step::Whiteout(_) | Step::Opaque(_) => continue,
        };
        // Parents are written, as tools do: what a reader makes of missing ones is its own affair.
        let parents: Vec<&[u8]> = (1..path.len()).map(|length| &path[..length]).collect();
        let written = |parent: &&[u8]| model.0.get(*parent) == Some(&"directory");
        if !model.fits(path) || own.0.contains_key(path) {
            continue;
        }
        if let Step::Hardlink(path, target) = step
            && (model.0.get(target) != Some(&"file") || target.starts_with(path) || !model.fits(target))
        {
            continue;
        }
        for parent in parents.iter().filter(|parent| !written(parent)) {
            tar = tar.mode(0o755).owner(0, 0).mtime(7).dir(text(parent));
        }
        tar = dressed(tar, step, dress);
        model.put(path, kind);
        own.put(path, kind);
    }
    tar.finish()
}

fn dressed(tar: Layer, step: &Step, dress: &Dress) -> Layer {
    let Dress { mode, owner: (uid, gid), mtime, xattr } = *dress;
    let mut tar = tar.mode(mode).owner(uid, gid).mtime(mtime);
    // Attributes of a user's are for files and directories alone.
    if let (Some(value), Step::File(..) | Step::Directory(_)) = (xattr, step) {
        tar = tar.xattr("user.note", [value]);
    }
    match step {
        Step::Directory(path) => tar.entry(b'5', text(path), "", b""),
        Step::File(path, size) => tar.file(text(path), vec![b'0' + (size % 10) as u8; usize::from(*size)]),
        Step::Symlink(path, target) => tar.symlink(text(path), format!("/{}", text(target))),
        Step::Hardlink(path, target) => tar.hardlink(text(path), text(target)),
        Step::Device(path, false) => tar.device(b'3', text(path), 1, 3),
        Step::Device(path, true) => tar.device(b'4', text(path), 7, 9),
        Step::Fifo(path) => tar.fifo(text(path)),
        Step::Whiteout(_) | Step::Opaque(_) => tar,
    }
}

fn unpacked(layers: &[Vec<u8>]) -> BTreeMap<String, Node> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let pairs: Vec<_> = layers.iter().map(|tar| (tar.clone(), tar.clone())).collect();
    for (name, bytes) in layout(&pairs) {
        let path = image.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let bundle = dir.path().join("bundle");
    let mut umoci = Command::new("umoci");
    umoci.arg("unpack").arg("--image").arg(format!("{}:test", image.display())).arg(&bundle);
    let output = umoci.output().unwrap();
    assert!(output.status.success(), "umoci: {}", String::from_utf8_lossy(&output.stderr));
    read_tree(&bundle.join("rootfs"))
}

/// A directory's time is not compared: umoci changes it when it writes into the directory after its entry; the
/// specification says what the entry says, and that is what Berth shows.
fn comparable(mut tree: BTreeMap<String, Node>) -> BTreeMap<String, Node> {
    for node in tree.values_mut() {
        if node.kind == "directory" {
            node.mtime = 0;
        }
        // The mode of a link means nothing, and its owner's own umask makes it.
        if node.kind == "symlink" {
            node.mode = 0o777;
        }
    }
    tree
}

fn first_difference(ours: &BTreeMap<String, Node>, theirs: &BTreeMap<String, Node>) -> Option<String> {
    let paths = ours.keys().chain(theirs.keys());
    let mut different = paths.filter(|path| ours.get(*path) != theirs.get(*path));
    different
        .next()
        .map(|path| format!("{path:?}\n ours   {:?}\n theirs {:?}", ours.get(path), theirs.get(path)))
}

fn compare(stack: &[Vec<(Step, Dress)>]) -> Result<(), TestCaseError> {
    let layers = write(stack);
    let imported = import(&layers).map_err(TestCaseError::fail)?;
    let ours = comparable(mounted(&imported, |root: &Path| read_tree(root)));
    let theirs = comparable(unpacked(&layers));
    match first_difference(&ours, &theirs) {
        None => Ok(()),
        Some(difference) => Err(TestCaseError::fail(difference)),
    }
}

#[test]
fn random_stacks_are_what_umoci_makes_of_them() {
    let layers = proptest::collection::vec(proptest::collection::vec(step(), 1..14), 1..5);
    let config = Config { cases: 32, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    if let Err(error) = runner.run(&layers, |stack| compare(&stack)) {
        panic!("{error}");
    }
}
