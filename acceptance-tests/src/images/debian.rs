//! Debian packages with all they depend on, unpacked into a directory without being installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Layer;
use crate::{Error, command};

/// Unpacks a layer's packages into `tree`; `work` is for what apt needs beside it.
pub fn extract(layer: &Layer, work: &Path, tree: &Path) -> Result<(), Error> {
    if layer.packages.is_empty() {
        return Ok(());
    }
    let archives = work.join("archives");
    let _ = fs::remove_dir_all(&archives);
    fs::create_dir_all(archives.join("partial")).map_err(Error::io("make", &archives))?;
    download(layer, work, &archives)?;
    let entries = fs::read_dir(&archives).map_err(Error::io("read", &archives))?;
    for package in entries.flatten().map(|entry| entry.path()) {
        let name = package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.split('_').next().unwrap_or_default();
        let leave = layer.leave_out.iter().any(|prefix| name.starts_with(prefix));
        if package.extension().is_some_and(|extension| extension == "deb") && !leave {
            command::run(Command::new("dpkg-deb").arg("-x").args([package.as_path(), tree]))?;
        }
    }
    remove_documentation(tree)?;
    merge_usr(tree)
}

/// An empty dpkg status makes apt take every dependency, as if nothing were installed.
fn download(layer: &Layer, work: &Path, archives: &Path) -> Result<(), Error> {
    let status = work.join("status");
    fs::write(&status, "").map_err(Error::io("write", &status))?;
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-y", "--no-install-recommends", "--download-only"]);
    for (option, path) in [
        ("Dir::State::status", status.as_path()),
        ("Dir::Cache", &work.join("cache")),
        ("Dir::Cache::archives", archives),
    ] {
        apt.arg("-o").arg(format!("{option}={}", path.display()));
    }
    apt.args(["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=true", "install"]);
    command::run(apt.args(layer.packages)).map(drop)
}

fn remove_documentation(tree: &Path) -> Result<(), Error> {
    for path in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info"]
    {
        let path = tree.join(path);
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Moves /bin, /sbin, /lib and /lib64 into /usr, as on an installed system.
fn merge_usr(tree: &Path) -> Result<(), Error> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (old, new) = (tree.join(name), tree.join("usr").join(name));
        if old.is_symlink() {
            continue;
        }
        fs::create_dir_all(&new).map_err(Error::io("make", &new))?;
        if old.is_dir() {
            command::run(Command::new("cp").arg("-a").arg(old.join(".")).arg(&new))?;
            fs::remove_dir_all(&old).map_err(Error::io("remove", &old))?;
        }
        std::os::unix::fs::symlink(format!("usr/{name}"), &old).map_err(Error::io("link", &old))?;
    }
    Ok(())
}
