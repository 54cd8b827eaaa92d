//! Changing what is mounted in a container that runs: all of it, or nothing.
//!
//! A process that enters the container takes out what is no longer wanted and puts in what is new. Where a step fails, it
//! puts back what it took out, and says under which ids.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_runtime::file::FileWrite;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::mount::MountSpec;
use berth_sys::mount::{MountId, attach_on, clone_tree_of, detach, mount_id};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{Attached, Detached, Ground, Identity, target};
use crate::container::files::{self, Pending};
use crate::container::init::Init;
use crate::container::inside::inside;
use crate::failure::{FailurePipe, launch_error};

/// Makes `wanted` of what is `mounted`; `allow` is asked before anything is put in. With an error, what is mounted is what
/// was, but for new ids.
pub fn change(
    mounted: &mut Vec<Attached>,
    wanted: &[MountSpec],
    writes: &[FileWrite],
    init: &Init,
    ground: Ground<'_>,
    allow: impl FnOnce(&[Detached]) -> Result<(), LaunchError>,
) -> Result<(), LaunchError> {
    let (kept, taken) = split(mounted, wanted);
    let new: Vec<_> =
        wanted.iter().filter(|spec| !kept.iter().any(|kept| kept.spec == **spec)).cloned().collect();
    if taken.is_empty() && new.is_empty() && writes.is_empty() {
        return Ok(());
    }
    let new = Detached::open_all(&new, ground)?;
    allow(&new)?;
    let writes = Pending::open_all(writes)?;
    // The host's, for a machine's pid 1 sees no /proc.
    let table = format!("/proc/{}/mountinfo", init.pid);
    let table = File::open(&table).map_err(launch_error(Stage::MountTarget, table))?;
    let processes = File::open("/proc").map_err(launch_error(Stage::MountTarget, "/proc"))?;
    let mounts = Mounts { table: &table, processes: &processes };
    match in_container(init, &Change { mounts, taken: &taken, new: &new, writes: &writes }) {
        Ok(()) => {
            let settled = super::settle_all(new)?;
            *mounted = kept.into_iter().chain(settled).collect();
            Ok(())
        }
        Err((error, restored)) => {
            for (name, id) in restored {
                if let Some(mount) = mounted.iter_mut().find(|mount| mount.spec.name == name) {
                    mount.identity = Identity::Id(id);
                }
            }
            Err(error)
        }
    }
}

/// What stays as it is, and what is taken out, perhaps to be put in again: a mount goes with the one it lies in, and is
/// hidden by one that comes to lie over it.
fn split(mounted: &[Attached], wanted: &[MountSpec]) -> (Vec<Attached>, Vec<Attached>) {
    let is_wanted = |mount: &Attached| wanted.contains(&mount.spec);
    let is_new = |spec: &&MountSpec| !mounted.iter().any(|mount| mount.spec == **spec);
    let changing: Vec<&Path> = mounted
        .iter()
        .filter(|mount| !is_wanted(mount))
        .map(|mount| &mount.spec)
        .chain(wanted.iter().filter(is_new))
        .map(|spec| spec.target.as_path())
        .collect();
    let stays = |mount: &Attached| {
        is_wanted(mount) && !changing.iter().any(|target| mount.spec.target.starts_with(target))
    };
    mounted.iter().cloned().partition(stays)
}

type Restored = Vec<(String, MountId)>;

/// How mounts are found and taken out where it is to be done.
#[derive(Clone, Copy)]
struct Mounts<'a> {
    /// What is mounted there.
    table: &'a File,
    /// The host's `/proc`.
    processes: &'a File,
}

/// What is to be done in the container.
struct Change<'a> {
    mounts: Mounts<'a>,
    taken: &'a [Attached],
    new: &'a [Detached],
    writes: &'a [Pending],
}

fn in_container(init: &Init, change: &Change<'_>) -> Result<(), (LaunchError, Restored)> {
    let pipe = || launch_error(Stage::MountTarget, "the container");
    let (reader, writer) = io::pipe().map_err(pipe()).map_err(|error| (error, Restored::new()))?;
    let done = inside(init, Stage::MountTarget, |failures| work(change, failures, &writer));
    drop(writer);
    let Err(error) = done else { return Ok(()) };
    let mut restored = Vec::new();
    // What could not be told is not known, and goes with the container.
    let _ = File::from(OwnedFd::from(reader)).read_to_end(&mut restored);
    Err((error, parse(&restored)))
}

fn parse(text: &[u8]) -> Restored {
    let entries: Vec<(String, u64, u64)> = serde_json::from_slice(text).unwrap_or_default();
    entries.into_iter().map(|(name, number, unique)| (name, MountId { number, unique })).collect()
}

/// In the container: the change, or its undoing and the reason.
fn work(change: &Change<'_>, failures: &FailurePipe, mut restored: &io::PipeWriter) -> i32 {
    let mut out = Vec::new();
    let mut placed = 0;
    let Err(error) = step(change, &mut out, &mut placed) else { return 0 };
    for mount in change.new[..placed].iter().rev() {
        // What cannot be taken out again is not known to the supervisor, and goes with the container.
        let _ = take(change.mounts, &mount.attached());
    }
    let mut ids = Vec::new();
    for (mount, tree) in out.iter().rev() {
        if let Ok(id) = put_back(mount, tree) {
            ids.push((mount.spec.name.clone(), id.number, id.unique));
        }
    }
    if let Ok(text) = serde_json::to_vec(&ids) {
        let _ = restored.write_all(&text);
    }
    failures.send(&error);
    1
}

fn step<'a>(
    change: &Change<'a>,
    out: &mut Vec<(&'a Attached, OwnedFd)>,
    placed: &mut usize,
) -> Result<(), LaunchError> {
    let mut taken: Vec<_> = change.taken.iter().collect();
    taken.sort_by_key(|mount| std::cmp::Reverse(mount.spec.target.components().count()));
    for mount in taken {
        let tree =
            take(change.mounts, mount).map_err(launch_error(Stage::MountTarget, &mount.spec.target))?;
        out.extend(tree.map(|tree| (mount, tree)));
    }
    for mount in change.new {
        mount.place()?;
        *placed += 1;
    }
    files::write_all(change.writes)
}

/// Takes a mount out and gives a copy of it; `None` where the container has taken it out itself.
fn take(mounts: Mounts<'_>, mount: &Attached) -> io::Result<Option<OwnedFd>> {
    let Some(root) = find(mounts.table, &mount.identity)? else { return Ok(None) };
    let copy = clone_tree_of(root.as_fd(), true)?;
    // By its descriptor: a path could be changed meanwhile to lead to what must stay covered.
    nix::unistd::fchdir(mounts.processes)?;
    let taken = detach(Path::new(&format!("self/fd/{}", root.as_raw_fd())));
    nix::unistd::chdir("/")?;
    taken.map(|()| Some(copy))
}

fn put_back(mount: &Attached, tree: &OwnedFd) -> io::Result<MountId> {
    let root = openat2(
        CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::empty(),
    )?;
    let path = mount.spec.target.strip_prefix("/").map_err(io::Error::other)?;
    let target = target::within(root.as_fd(), path)?;
    attach_on(tree.as_fd(), target.as_fd())?;
    mount_id(tree.as_fd())
}

/// The root of a mount, wherever it is now.
fn find(mut table: &File, identity: &Identity) -> io::Result<Option<OwnedFd>> {
    let mut text = String::new();
    table.rewind()?;
    table.read_to_string(&mut text)?;
    for line in text.lines() {
        let Some(entry) = Entry::parse(line) else { continue };
        let is_it = match identity {
            Identity::Id(id) => entry.number == id.number,
            Identity::Tag(tag) => entry.source == *tag,
        };
        if !is_it {
            continue;
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = openat2(CWD, &entry.target, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        let there = mount_id(root.as_fd())?;
        let same = match identity {
            Identity::Id(id) => there == *id,
            Identity::Tag(_) => there.number == entry.number,
        };
        if same {
            return Ok(Some(root));
        }
        // Something of the container's covers it.
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Ok(None)
}

/// A line of mountinfo.
struct Entry {
    number: u64,
    target: PathBuf,
    source: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ');
        let number = head.next()?.parse().ok()?;
        let target = unescape(head.nth(3)?);
        Some(Self { number, target, source: tail.split(' ').nth(1)?.to_owned() })
    }
}

/// Blanks and the like are three octal digits after a backslash.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use berth_runtime::mount::MountSource;

    use super::*;

    fn mount(name: &str, target: &str, mode: u32) -> MountSpec {
        let source = MountSource::Tmpfs { size: None, uid: 0, gid: 0, mode };
        MountSpec { name: name.into(), target: target.into(), read_only: false, source }
    }

    fn names(mounts: &[Attached]) -> Vec<&str> {
        mounts.iter().map(|mount| mount.spec.name.as_str()).collect()
    }

    #[test]
    fn what_lies_in_a_changed_mount_is_put_in_again() {
        let specs = [mount("a", "/a", 0), mount("b", "/a/b", 0), mount("c", "/ab", 0)];
        let mounted: Vec<_> = specs
            .iter()
            .map(|spec| Attached {
                spec: spec.clone(),
                device: None,
                identity: Identity::Tag(spec.name.clone()),
            })
            .collect();
        let changed = [mount("a", "/a", 1), specs[1].clone(), specs[2].clone()];
        let (kept, taken) = split(&mounted, &changed);
        assert_eq!((names(&kept), names(&taken)), (vec!["c"], vec!["a", "b"]));
        let over = [specs[0].clone(), specs[1].clone(), specs[2].clone(), mount("d", "/a/b/d", 0)];
        assert_eq!(names(&split(&mounted, &over).1), Vec::<&str>::new());
        let hiding = [specs[1].clone(), specs[2].clone(), mount("d", "/a", 0)];
        assert_eq!(names(&split(&mounted, &hiding).1), ["a", "b"]);
    }

    #[test]
    fn lines_of_mountinfo_are_read() {
        let line = "131 99 0:26 / /srv/with\\040blank rw,nodev shared:1 - tmpfs berth-tmpfs-1-2 rw,size=4k";
        let entry = Entry::parse(line).unwrap();
        assert_eq!((entry.number, entry.target.to_str()), (131, Some("/srv/with blank")));
        assert_eq!(entry.source, "berth-tmpfs-1-2");
        assert_eq!(unescape("/a\\134b\\").to_str(), Some("/a\\b\\"));
    }
}
