//! From the kernel's start to an open port.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::network::Network;
use crate::resources::Resources;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::mount::MountAttrFlags;

/// Where the agent put the modules, and the list of them in the order in which they are loaded.
const MODULES: &str = "/modules";
const ORDER: &str = "/modules/order";

/// What could not be done, on what.
#[derive(Debug)]
pub struct BootError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.what, self.path.display(), self.source)
    }
}

fn at<E: Into<io::Error>>(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> BootError {
    move |error| BootError { what, path: path.into(), source: error.into() }
}

/// What was opened before the root is another.
pub struct Booted {
    /// To the host.
    pub port: OwnedFd,
    /// Processors and memory.
    pub resources: Resources,
    /// Interfaces.
    pub network: Network,
}

/// Mounts what the kernel offers, loads the modules, and waits for the port.
pub fn boot() -> Result<Booted, BootError> {
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs")] {
        mount(kind, path).map_err(at("mount", path))?;
    }
    let resources = Resources::at_boot().map_err(at("look at", "/sys/devices/system/cpu"))?;
    let network = Network::open().map_err(at("open", "/proc/sys/net"))?;
    // Before the modules: what they make is noticed.
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).map_err(at("watch", "/dev"))?;
    watch.add_watch("/dev", AddWatchFlags::IN_CREATE).map_err(at("watch", "/dev"))?;
    for name in fs::read_to_string(ORDER).map_err(at("read", ORDER))?.lines() {
        let path = Path::new(MODULES).join(name);
        load(&path).map_err(at("load", path))?;
    }
    let name = loop {
        if let Some(name) = find_port().map_err(at("read", "/dev"))? {
            break name;
        }
        watch.read_events().map_err(at("watch", "/dev"))?;
    };
    let port = OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&name);
    Ok(Booted { port: port.map_err(at("open", name))?.into(), resources, network })
}

fn mount(kind: &str, path: &str) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mount = berth_sys::mount::new_filesystem(kind, &[], MountAttrFlags::empty())?;
    berth_sys::mount::attach(mount.as_fd(), Path::new(path))
}

fn load(path: &Path) -> io::Result<()> {
    match finit_module(File::open(path)?.as_fd(), c"", ModuleInitFlags::empty()) {
        // Built in, or there by another's need.
        Err(nix::errno::Errno::EEXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// The one port of the one serial device that a machine of Berth's has.
fn find_port() -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir("/dev")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vport") {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
