//! All that the host has of one agent: counted, so that what is left behind shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::world::{Agent, said};

const PATIENCE: Duration = Duration::from_secs(20);

/// What there is, and how often. Ids and numbers are not told apart.
pub type Counted = BTreeMap<String, usize>;

/// One that is told from a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// In ticks since the host's boot.
    started: u64,
}

impl Process {
    /// `None` where none has this number, or it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
        let started = fields.get(19)?.parse().ok()?;
        (fields.first() != Some(&"Z")).then_some(Self { pid, started })
    }

    pub fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Of this agent, whose things are marked so, at this moment.
fn count(agent: &Agent, mark: &str) -> Counted {
    let dir = agent.dir.path().to_owned();
    let mut found = Vec::new();
    let processes = processes(&dir, mark);
    found.extend(processes.iter().filter_map(|pid| Some(format!("process {}", comm(pid)?))));
    found.extend(namespaces(&processes).into_iter().map(|(kind, _)| format!("namespace {kind}")));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().filter(|line| line.contains(&*dir.to_string_lossy()));
    found.extend(ours.map(|line| format!("mount {}", line.split(' ').nth(4).unwrap())));
    groups(Path::new("/sys/fs/cgroup"), mark, false, &mut found);
    let marked = [mark.to_owned(), mark.replacen("berth", "vb", 1)];
    let links = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let links = links.filter(|name| marked.iter().any(|mark| name.starts_with(mark)));
    found.extend(links.map(|name| format!("link {name}")));
    found.extend(rules(mark));
    files(&agent.data(), &dir, &mut found);
    files(&dir.join("run"), &dir, &mut found);
    let mut counted = Counted::new();
    for one in found {
        *counted.entry(plain(&one)).or_default() += 1;
    }
    counted
}

/// As it is once what has ended is gone: the same twice.
#[allow(clippy::disallowed_methods, reason = "nothing tells when the kernel has let go of what ended")]
pub fn steady(agent: &Agent, mark: &str) -> Counted {
    let deadline = Instant::now() + PATIENCE;
    let mut before = count(agent, mark);
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = count(agent, mark);
        if now == before {
            return now;
        }
        assert!(Instant::now() < deadline, "it never rests: {:#?}", difference(&before, &now));
        before = now;
    }
}

/// What there is more or less of than there is to be, once what is on its way out is gone.
#[allow(clippy::disallowed_methods, reason = "nothing tells when the kernel has let go of a namespace")]
pub fn left(wanted: &Counted, agent: &Agent, mark: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = difference(wanted, &count(agent, mark));
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The later of two counts of the same, without processes and namespaces that were seen in one of them: they were on their way out.
pub fn settled(before: &Counted, mut now: Counted) -> Counted {
    now.retain(|name, count| {
        if name.starts_with("process ") || name.starts_with("namespace ") {
            *count = before.get(name).map_or(0, |before| (*count).min(*before));
        }
        *count > 0
    });
    now
}

/// What there is more or less of.
fn difference(before: &Counted, after: &Counted) -> Vec<String> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let count = |of: &Counted, name: &String| of.get(name).copied().unwrap_or_default();
    let changed = names.into_iter().filter(|name| count(before, name) != count(after, name));
    changed.map(|name| format!("{name}: {} -> {}", count(before, name), count(after, name))).collect()
}

/// Ids, hardware addresses, names of links and numbers become a sign each.
pub fn plain(text: &str) -> String {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_id = |word: &str| word.len() == 36 && word.bytes().all(|byte| is_hex(byte) || byte == b'-');
    let is_address = |word: &str| word.len() == 17 && word.bytes().all(|byte| is_hex(byte) || byte == b':');
    let is_link = |word: &str| word.starts_with("vb") && word.len() == 13 && word.bytes().skip(6).all(is_hex);
    let sign = |word: &str| match word {
        word if is_id(word) => "ID".to_owned(),
        word if is_address(word) => "MAC".to_owned(),
        word if is_link(word) => "LINK".to_owned(),
        word => word.to_owned(),
    };
    let words: Vec<_> = text
        .split_inclusive(['/', ' ', '"'])
        .map(|word| {
            let end = word.len() - usize::from(word.ends_with(['/', ' ', '"']));
            sign(&word[..end]) + &word[end..]
        })
        .collect();
    let mut plain = String::new();
    for c in words.concat().chars() {
        match c {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            c => plain.push(c),
        }
    }
    plain
}

/// All but the agent itself, and what has ended.
fn processes(dir: &Path, mark: &str) -> Vec<PathBuf> {
    let dir = dir.to_string_lossy().into_owned();
    let is_ours = |proc: &PathBuf| {
        let read =
            |name: &str| fs::read(proc.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned());
        let text = |name: &str| read(name).unwrap_or_default();
        if text("stat").rsplit(')').next().is_none_or(|rest| rest.starts_with(" Z")) {
            return false;
        }
        let program = fs::read_link(proc.join("exe")).unwrap_or_default();
        let program = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let helper = program.starts_with("berth-");
        text("cgroup").contains(mark)
            || helper
                && (text("cmdline").contains(&dir)
                    || text("mountinfo").contains(&dir)
                    || has_open(proc, &dir))
    };
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let numbered = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    numbered.map(|entry| entry.path()).filter(is_ours).collect()
}

fn has_open(proc: &Path, dir: &str) -> bool {
    let Ok(entries) = fs::read_dir(proc.join("fd")) else { return false };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.into_iter().any(|path| path.to_string_lossy().starts_with(dir))
}

/// `None` where it has ended since.
fn comm(proc: &Path) -> Option<String> {
    fs::read_to_string(proc.join("comm")).ok().map(|name| name.trim().to_owned())
}

/// Those that these processes are in, or hold by a descriptor, and this one is not in.
fn namespaces(processes: &[PathBuf]) -> BTreeSet<(String, u64)> {
    let own =
        |kind: &str| fs::metadata(format!("/proc/self/ns/{kind}")).map(|it| it.ino()).unwrap_or_default();
    let mut found = BTreeSet::new();
    for proc in processes {
        for directory in ["ns", "fd"] {
            let Ok(entries) = fs::read_dir(proc.join(directory)) else { continue };
            for link in entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()) {
                let text = link.to_string_lossy().into_owned();
                let Some((kind, rest)) = text.split_once(":[") else { continue };
                let Ok(number) = rest.trim_end_matches(']').parse() else { continue };
                let kinds = ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"];
                if kinds.contains(&kind) && number != own(kind) {
                    found.insert((kind.to_owned(), number));
                }
            }
        }
    }
    found
}

fn groups(dir: &Path, mark: &str, inside: bool, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let ours = inside || entry.file_name().to_string_lossy().starts_with(mark);
        groups(&entry.path(), mark, ours, found);
        if ours {
            found.push(format!("cgroup {}", entry.path().display()));
        }
    }
}

/// The lines of its tables, without counters.
fn rules(mark: &str) -> Vec<String> {
    let tables = said(Command::new("nft").args(["list", "tables"]), b"").ok();
    let tables = tables.lines().filter(|line| line.contains(mark));
    let list =
        |table: &str| said(Command::new("nft").args(["-s", "list"]).args(table.split(' ')), b"").stdout;
    // Elements stand several in a line.
    let lines = tables.flat_map(|table| list(table).lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .flat_map(|line| line.split(", ").map(|part| format!("rule {}", part.trim())).collect::<Vec<_>>())
        .collect()
}

/// All but the store's, which pulls are tested on, and what is open while the agent runs.
fn files(dir: &Path, root: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path == root.join("data/images") || name.starts_with("ledger.sqlite-") {
            continue;
        }
        // Files on their way into an instance are in there; whether it is there itself is nothing to anybody.
        if name != "pending" {
            found.push(format!("file {}", path.strip_prefix(root).unwrap().display()));
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, root, found);
        }
    }
}
