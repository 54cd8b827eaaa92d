//! A tree of files with everything that can be seen of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use berth_sys::mount::{FsOption, attach, make_all_private, new_filesystem};
use rustix::mount::MountAttrFlags;
use sha2::{Digest, Sha256};

use super::image::Imported;

/// A file as somebody who looks at it finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of a file or a link; what it holds, or where it leads.
    pub content: String,
    /// Of a device.
    pub device: u64,
    pub mtime: i64,
    /// The first of the names that mean the same file.
    pub same_as: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Mounts the image as instances see it, in a mount namespace that goes with its thread, and looks at it.
pub fn mounted<T: Send>(imported: &Imported, look: impl FnOnce(&Path) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let looking = scope.spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            make_all_private().unwrap();
            let tree = new_filesystem(
                "erofs",
                &[FsOption::Flag("ro"), FsOption::Text("source", &imported.image.tree)],
                MountAttrFlags::MOUNT_ATTR_NODEV,
            );
            let tree = tree.unwrap();
            let overlay = new_filesystem(
                "overlay",
                &[
                    FsOption::Fd("lowerdir+", tree.as_fd()),
                    FsOption::Text("datadir+", imported.store.objects_dir()),
                    FsOption::Text("metacopy", Path::new("on")),
                    FsOption::Text("redirect_dir", Path::new("on")),
                ],
                MountAttrFlags::MOUNT_ATTR_NODEV,
            );
            let overlay = overlay.unwrap();
            let target = imported.dir.path().join("mounted");
            fs::create_dir(&target).unwrap();
            attach(overlay.as_fd(), &target).unwrap();
            look(&target)
        });
        looking.join().unwrap()
    })
}

/// Everything below a directory, by path; the directory itself is "".
pub fn read_tree(root: &Path) -> BTreeMap<String, Node> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let name =
            String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let same = first.entry((metadata.dev(), metadata.ino())).or_insert_with(Vec::new);
        same.push(name.clone());
        found.insert(name, node(&path, &metadata));
    }
    for names in first.into_values() {
        let least = names.iter().min().unwrap().clone();
        for name in names {
            found.get_mut(&name).unwrap().same_as = least.clone();
        }
    }
    found
}

fn node(path: &Path, metadata: &fs::Metadata) -> Node {
    let kind = metadata.file_type();
    let (kind, content) = if kind.is_dir() {
        ("directory", String::new())
    } else if kind.is_file() {
        let hash = Sha256::digest(fs::read(path).unwrap());
        (
            "file",
            format!("{} {}", metadata.len(), hash.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        )
    } else if kind.is_symlink() {
        ("symlink", fs::read_link(path).unwrap().to_string_lossy().into_owned())
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else if kind.is_char_device() {
        ("character device", String::new())
    } else {
        ("block device", String::new())
    };
    Node {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        content,
        device: metadata.rdev(),
        mtime: metadata.mtime(),
        same_as: String::new(),
        xattrs: xattrs(path),
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 * 1024];
        let name = String::from_utf8_lossy(name).into_owned();
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
        value.truncate(length);
        (name, value)
    };
    names.map(value).collect()
}
