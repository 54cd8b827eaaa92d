//! Pulls: against peers in the same run, against what is the least possible, and what they cost in memory and on disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use berth_acceptance_tests::{Registry, TestAgent, command, images};
use serde_json::{Value, json};

use super::{Report, compared, failed, spread};
use crate::step::{StepError, file, find, programs, target};

const ROUNDS: usize = 5;
/// Where in memory the benches write, so that no disk is measured.
const MEMORY: &str = "/dev/shm";
const GIB: u64 = 1 << 30;

/// All of them, by name.
pub fn run(report: &mut Report) -> Result<(), StepError> {
    report.add("pull", against(Path::new(MEMORY))?)?;
    if let Some(figures) = journaled(against)? {
        report.add("pull ext4", figures)?;
    }
    report.add("pull podman", podman()?)?;
    report.add("pull bound", bound()?)?;
    report.add("pull 2 GB", memory()?)?;
    report.add("shared files", shared()?)?;
    report.add("page cache", page_cache()?)?;
    report.add("pulled again", again()?)?;
    report.add("image ls", many()?)
}

/// A directory that goes when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new(parent: &Path) -> Result<Self, StepError> {
        let path = parent.join(format!("berth-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(file("make", &path))?;
        Ok(Self(path))
    }

    fn empty(&self) -> Result<(), StepError> {
        fs::remove_dir_all(&self.0).map_err(file("remove", &self.0))?;
        fs::create_dir_all(&self.0).map_err(file("make", &self.0))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left of a bench that failed is only in the way.
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn layered() -> Result<(Registry, String), StepError> {
    let storage = images::layered_storage().map_err(failed)?;
    let registry = Registry::start_on(&storage, Default::default()).map_err(failed)?;
    let reference = format!("{}/{}", registry.host(), images::layered().reference());
    Ok((registry, reference))
}

/// One pull into an empty store: milliseconds, and KiB of memory at the most.
fn ours(reference: &str, store: &Path) -> Result<(f64, u64), StepError> {
    let mut pull = Command::new(programs().join("examples/pull"));
    let pulled = command::json(pull.arg(reference).arg(store)).map_err(failed)?;
    let milliseconds = pulled["milliseconds"].as_f64().unwrap_or(f64::NAN);
    Ok((milliseconds, pulled["peak_kib"].as_u64().unwrap_or(0)))
}

/// Five layers against skopeo and umoci, into the same place in turn.
fn against(parent: &Path) -> Result<Value, StepError> {
    let (_registry, reference) = layered()?;
    let (mut own, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    let place = Place::new(parent)?;
    for _ in 0..ROUNDS {
        let (milliseconds, kib) = ours(&reference, &place.0.join("store"))?;
        own.push(milliseconds);
        peak = peak.max(kib);
        let begun = Instant::now();
        let layout = place.0.join("layout");
        let copy = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
        let (from, to) = (format!("docker://{reference}"), format!("oci:{}:latest", layout.display()));
        command::run(Command::new("skopeo").args(copy).args([from, to])).map_err(failed)?;
        let mut unpack = Command::new("umoci");
        unpack.args(["unpack", "--image"]).arg(format!("{}:latest", layout.display()));
        command::run(unpack.arg(place.0.join("bundle"))).map_err(failed)?;
        theirs.push(begun.elapsed().as_secs_f64() * 1000.0);
        place.empty()?;
    }
    Ok(compared(&mut own, &mut theirs, json!({ "peak_kib": peak, "peer_is": "skopeo copy, umoci unpack" })))
}

/// On an ext4 with a journal, in a file; `None` where there is no loop device to be had.
fn journaled(bench: impl FnOnce(&Path) -> Result<Value, StepError>) -> Result<Option<Value>, StepError> {
    let place = Place::new(&target())?;
    let (image, mounted) = (place.0.join("ext4.img"), place.0.join("ext4"));
    let made = fs::File::create(&image).and_then(|image| image.set_len(8 * GIB));
    made.map_err(file("make", &image))?;
    fs::create_dir_all(&mounted).map_err(file("make", &mounted))?;
    command::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image)).map_err(failed)?;
    let mut mount = Command::new("mount");
    if command::run(mount.args(["-o", "loop"]).arg(&image).arg(&mounted)).is_err() {
        println!("no loop device: the pull is not measured on ext4");
        return Ok(None);
    }
    let figures = bench(&mounted);
    command::run(Command::new("umount").arg(&mounted)).map_err(failed)?;
    figures.map(Some)
}

fn podman() -> Result<Value, StepError> {
    find("podman").ok_or_else(|| StepError::Rule("install the package podman".into()))?;
    let (_registry, reference) = layered()?;
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    let place = Place::new(Path::new(MEMORY))?;
    for _ in 0..ROUNDS {
        own.push(ours(&reference, &place.0.join("store"))?.0);
        let begun = Instant::now();
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(place.0.join("root")).arg("--runroot").arg(place.0.join("run"));
        podman.args(["--storage-driver", "overlay", "pull", "--quiet", "--tls-verify=false", &reference]);
        command::run(&mut podman).map_err(failed)?;
        theirs.push(begun.elapsed().as_secs_f64() * 1000.0);
        place.empty()?;
    }
    Ok(compared(&mut own, &mut theirs, json!({ "peer_is": "podman pull" })))
}

/// The same layers fetched, inflated and hashed, and nothing written.
fn bound() -> Result<Value, StepError> {
    let (_registry, reference) = layered()?;
    let (mut own, mut least) = (Vec::new(), Vec::new());
    let place = Place::new(Path::new(MEMORY))?;
    for _ in 0..ROUNDS {
        own.push(ours(&reference, &place.0.join("store"))?.0);
        let mut bound = Command::new(programs().join("examples/bound"));
        least.extend(command::json(bound.arg(&reference)).map_err(failed)?["milliseconds"].as_f64());
        place.empty()?;
    }
    Ok(compared(&mut own, &mut least, json!({ "peer_is": "fetched, inflated, hashed, not written" })))
}

/// Bytes that look like a program's: half of each block does not compress.
fn fill(path: &Path, size: u64, seed: u64) -> Result<(), StepError> {
    let mut out = std::io::BufWriter::new(fs::File::create(path).map_err(file("make", path))?);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = vec![0u8; 4096];
    for _ in 0..size / 4096 {
        for word in block[..2048].chunks_exact_mut(8) {
            // xorshift64: it is only to be incompressible.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        out.write_all(&block).map_err(file("write", path))?;
    }
    out.flush().map_err(file("write", path))
}

/// A registry with images of these trees, one layer each.
fn registry_of(place: &Place, repository: &str, trees: &[Vec<PathBuf>]) -> Result<Registry, StepError> {
    let storage = place.0.join("registry");
    fs::create_dir_all(&storage).map_err(file("make", &storage))?;
    let options = berth_acceptance_tests::registry::Options { writable: true, ..Default::default() };
    let registry = Registry::start_on(&storage, options).map_err(failed)?;
    for (number, layers) in trees.iter().enumerate() {
        let layout = place.0.join(format!("layout{number}"));
        images::layout_of(layers, &layout).map_err(failed)?;
        images::push(&layout, &registry, &format!("{repository}:{}", number + 1)).map_err(failed)?;
        fs::remove_dir_all(&layout).map_err(file("remove", &layout))?;
    }
    Ok(registry)
}

fn tree(place: &Place, name: &str) -> Result<PathBuf, StepError> {
    let tree = place.0.join("trees").join(name);
    fs::create_dir_all(tree.join("bin")).map_err(file("make", &tree))?;
    let shell = tree.join("bin/sh");
    fs::copy("/bin/busybox", &shell).map_err(file("copy", &shell))?;
    Ok(tree)
}

/// Memory does not grow with a layer.
fn memory() -> Result<Value, StepError> {
    let place = Place::new(&target())?;
    let large = tree(&place, "large")?;
    for number in 0..4 {
        fill(&large.join(format!("file{number}")), GIB / 2, number + 1)?;
    }
    let small = tree(&place, "small")?;
    fill(&small.join("file"), GIB / 64, 9)?;
    let registry = registry_of(&place, "berth/large", &[vec![large], vec![small]])?;
    let pulled = |tag: u8| {
        let store = place.0.join(format!("store{tag}"));
        let pulled = ours(&format!("{}/berth/large:{tag}", registry.host()), &store);
        fs::remove_dir_all(&store).map_err(file("remove", &store))?;
        pulled
    };
    let (milliseconds, large) = pulled(1)?;
    let (_, small) = pulled(2)?;
    Ok(json!({
        "ours": spread(&mut [milliseconds]), "peak_kib": large, "peak_kib_of_16_mib": small, "bytes": 2 * GIB,
    }))
}

/// Bytes on disk of an image that shares nine tenths of its files with one that is there, in other layers.
fn shared() -> Result<Value, StepError> {
    let place = Place::new(&target())?;
    let (one, other) = (tree(&place, "one")?, tree(&place, "other")?);
    let upper = tree(&place, "upper")?;
    for number in 0..100u64 {
        let name = format!("file{number}");
        fill(&one.join(&name), 1 << 20, number)?;
        let (target, seed) = match number {
            0..45 => (&other, number),
            45..90 => (&upper, number),
            _ => (&upper, number + 1000),
        };
        fill(&target.join(&name), 1 << 20, seed)?;
    }
    let registry = registry_of(&place, "berth/shared", &[vec![one], vec![other, upper]])?;
    let store = place.0.join("store");
    let mut bytes = [0; 2];
    for (tag, bytes) in bytes.iter_mut().enumerate() {
        ours(&format!("{}/berth/shared:{}", registry.host(), tag + 1), &store)?;
        *bytes = on_disk(&store)?;
    }
    let grown = bytes[1].saturating_sub(bytes[0]);
    Ok(json!({ "first_bytes": bytes[0], "second_bytes": grown, "share": grown as f64 / bytes[0] as f64 }))
}

fn on_disk(path: &Path) -> Result<u64, StepError> {
    let said = command::run(Command::new("du").args(["-s", "-B1"]).arg(path)).map_err(failed)?;
    let number = said.split_whitespace().next().and_then(|text| text.parse().ok());
    number.ok_or_else(|| StepError::Rule(format!("du said {said:?}")))
}

fn agent(registry: &Registry) -> Result<TestAgent, StepError> {
    let agent = TestAgent::start().map_err(failed)?;
    let address = registry.address();
    agent.berth_ok(&["remote", "add", "bench", &address, "--insecure"]).map_err(failed)?;
    Ok(agent)
}

/// Two images with one large file in different layers, read whole by an instance of each.
fn page_cache() -> Result<Value, StepError> {
    let place = Place::new(&target())?;
    let (one, base, upper) = (tree(&place, "one")?, tree(&place, "base")?, tree(&place, "upper")?);
    fill(&one.join("large"), GIB, 5)?;
    fill(&upper.join("large"), GIB, 5)?;
    let registry = registry_of(&place, "berth/pages", &[vec![one], vec![base, upper]])?;
    fs::remove_dir_all(place.0.join("trees")).map_err(file("remove", &place.0))?;
    let agent = agent(&registry)?;
    for name in ["1", "2"] {
        let (reference, instance) = (format!("bench:berth/pages:{name}"), format!("pages{name}"));
        let launch = ["instance", "launch", &reference, "--name", &instance, "--entrypoint", "/bin/sh"];
        let sleep = ["--", "-c", "trap 'exit 0' TERM; /bin/sh -c 'kill -STOP $$'"];
        agent.berth_ok(&[&launch[..], &sleep[..]].concat()).map_err(failed)?;
    }
    // What pulling has left of the file in memory goes: it is on the disk, and clean after this.
    forget(&agent.data_dir().join("images/objects"))?;
    let before = cached()?;
    for instance in ["pages1", "pages2"] {
        let read = ["instance", "exec", instance, "--", "/bin/sh", "-c", "cat /large > /dev/null"];
        agent.berth_ok(&read).map_err(failed)?;
    }
    let grown = cached()?.saturating_sub(before);
    Ok(json!({ "file_bytes": GIB, "grown_bytes": grown, "share": grown as f64 / GIB as f64 }))
}

/// Writes back and drops the pages of all files below.
fn forget(dir: &Path) -> Result<(), StepError> {
    for entry in fs::read_dir(dir).map_err(file("list", dir))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            let mut drop = Command::new("dd");
            drop.arg(format!("of={}", path.display())).args([
                "oflag=nocache",
                "conv=notrunc,fdatasync",
                "count=0",
            ]);
            command::run(drop.arg("status=none")).map_err(failed)?;
        }
    }
    Ok(())
}

/// Bytes of files in memory, on the whole machine.
fn cached() -> Result<u64, StepError> {
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("Cached:")?.trim().split(' ').next()?.parse().ok());
    kib.map(|kib: u64| kib * 1024)
        .ok_or_else(|| StepError::Rule("there is no Cached in /proc/meminfo".into()))
}

/// A pull of what is there already: as the command sees it, and a HEAD of the registry by itself beside it.
fn again() -> Result<Value, StepError> {
    let (registry, _) = layered()?;
    let agent = agent(&registry)?;
    let reference = format!("bench:{}", images::layered().reference());
    agent.berth_ok(&["image", "pull", &reference]).map_err(failed)?;
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        agent.berth_ok(&["image", "pull", &reference]).map_err(failed)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let mut bare = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        agent.berth_ok(&["network", "ls"]).map_err(failed)?;
        bare.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(json!({ "ours": spread(&mut times), "command_alone": spread(&mut bare) }))
}

/// A list of a hundred images.
fn many() -> Result<Value, StepError> {
    let place = Place::new(&target())?;
    let trees: Result<Vec<_>, StepError> = (0..100)
        .map(|number| {
            let tree = place.0.join("trees").join(number.to_string());
            fs::create_dir_all(&tree).map_err(file("make", &tree))?;
            fs::write(tree.join("name"), number.to_string()).map_err(file("write", &tree))?;
            Ok(vec![tree])
        })
        .collect();
    let registry = registry_of(&place, "berth/many", &trees?)?;
    let agent = agent(&registry)?;
    for tag in 1..=100 {
        agent.berth_ok(&["image", "pull", &format!("bench:berth/many:{tag}")]).map_err(failed)?;
    }
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        agent.berth_ok(&["image", "ls"]).map_err(failed)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(json!({ "ours": spread(&mut times), "images": 100 }))
}
