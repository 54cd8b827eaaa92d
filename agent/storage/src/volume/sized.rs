//! Volumes with a size: an ext4 of their own in the sparse file `image`, through a loop device.
//!
//! Nothing of them is mounted on the host. Each supervisor mounts them for its instance and keeps nothing else, so that
//! mount and device go with the last instance, however it ends, and there is nothing to bring back after a boot. Who
//! mounts one that is mounted already gets the same device, and so the same file system: the file `device` is locked while
//! that is found out.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_sys::loop_device::{LoopDevice, grow_ext4};
use berth_sys::mount::{FsOption, new_filesystem};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

/// Bytes of a block, whatever the size is now: a volume may grow.
const BLOCK: u64 = 4096;

/// Where distributions put them, beside the directories of PATH.
const ELSEWHERE: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What makes and grows them.
pub const PROGRAMS: [&str; 3] = ["mkfs.ext4", "e2fsck", "resize2fs"];

/// The file that a sized volume's files are in.
pub(super) fn image(directory: &Path) -> PathBuf {
    directory.join("image")
}

/// Whether a volume is one with a size.
#[must_use]
pub fn is_sized(directory: &Path) -> bool {
    image(directory).exists()
}

/// Where one of [`PROGRAMS`] is.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(ELSEWHERE.map(PathBuf::from));
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// Makes it if it is missing; one that is smaller grows, whether it is mounted or not.
pub(super) fn ensure(directory: &Path, size: u64) -> io::Result<()> {
    let image = image(directory);
    let _turn = lock(directory)?;
    match fs::symlink_metadata(&image) {
        Ok(metadata) if metadata.len() < size => grow(directory, metadata.len(), size),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory, size),
        Err(error) => Err(error),
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let lock = options.open(directory.join("device"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Under its own name only when it is whole.
fn make(directory: &Path, size: u64) -> io::Result<()> {
    let new = directory.join("image.new");
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&new)?;
    file.set_len(size)?;
    let block = BLOCK.to_string();
    // What is not written yet takes no room of the host's, and none is kept for the host's root.
    let lazily = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
    run("mkfs.ext4", &["-q", "-F", "-m", "0", "-b", &block, "-E", lazily], &new)?;
    remove_lost_found(&new)?;
    file.sync_all()?;
    fs::rename(&new, image(directory))
}

/// A volume is empty at first, and programs such as databases want it so; the programs of ext4 think otherwise. What
/// e2fsck found stays.
fn remove_lost_found(image: &Path) -> io::Result<()> {
    let (_device, mount) = mount_file(&file_for_writing(image)?)?;
    match unlinkat(&mount, "lost+found", AtFlags::REMOVEDIR) {
        Err(error) if !matches!(error, Errno::NOENT | Errno::NOTEMPTY) => Err(error.into()),
        _ => Ok(()),
    }
}

fn grow(directory: &Path, before: u64, size: u64) -> io::Result<()> {
    let path = image(directory);
    let file = file_for_writing(&path)?;
    file.set_len(size)?;
    let grown = match LoopDevice::find(file.as_fd()) {
        Ok(Some(device)) => grow_mounted(&device, size),
        Ok(None) => grow_at_rest(&path),
        Err(error) => Err(error),
    };
    if grown.is_err() {
        // Nothing of the file system is there yet.
        file.set_len(before)?;
        if let Some(device) = LoopDevice::find(file.as_fd())? {
            device.take_size()?;
        }
    }
    grown
}

fn grow_at_rest(image: &Path) -> io::Result<()> {
    run("e2fsck", &["-f", "-p"], image)?;
    run("resize2fs", &[], image)?;
    remove_lost_found(image)
}

fn grow_mounted(device: &LoopDevice, size: u64) -> io::Result<()> {
    device.take_size()?;
    let mount = mount_device(device)?;
    let root = openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    grow_ext4(&root, size / BLOCK).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a file system that is mounted grows only with the capability SYS_RESOURCE, which the agent does not have: \
             stop the instances that have the volume first",
        ),
        _ => error,
    })
}

/// A detached mount of it.
pub(super) fn mount(directory: &Path) -> io::Result<OwnedFd> {
    let _turn = lock(directory)?;
    mount_file(&file_for_writing(&image(directory))?).map(|(_, mount)| mount)
}

fn file_for_writing(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn mount_file(file: &File) -> io::Result<(LoopDevice, OwnedFd)> {
    let device = match LoopDevice::find(file.as_fd())? {
        Some(device) => device,
        None => LoopDevice::attach(file.as_fd())?,
    };
    let mount = mount_device(&device)?;
    Ok((device, mount))
}

fn mount_device(device: &LoopDevice) -> io::Result<OwnedFd> {
    let options = [
        FsOption::Text("source", device.path()),
        FsOption::Text("errors", Path::new("remount-ro")),
        // What is deleted inside gives its room back to the host.
        FsOption::Flag("discard"),
    ];
    new_filesystem("ext4", &options, MountAttrFlags::MOUNT_ATTR_NODEV)
}

/// Runs one of the file system's programs on an image.
fn run(program: &str, arguments: &[&str], image: &Path) -> io::Result<()> {
    let found = find_program(program).ok_or_else(|| {
        let text = format!("there is no {program} on the host: install the package e2fsprogs");
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    let mut command = Command::new(found);
    let output = command.args(arguments).arg(image).env_clear().stdin(Stdio::null()).output()?;
    // e2fsck says with 1 that it mended something.
    if matches!((program, output.status.code()), (_, Some(0)) | ("e2fsck", Some(1))) {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(io::Error::other(format!("{program} failed ({}): {line}", output.status)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{fstatvfs, mkdirat};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn bytes(mount: &OwnedFd) -> u64 {
        let stat = fstatvfs(mount).unwrap();
        stat.f_blocks * stat.f_frsize
    }

    #[test]
    fn who_mounts_one_volume_has_one_file_system_and_its_device_goes_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), 32 * MIB).unwrap();
        let on_disk = fs::metadata(image(dir.path())).unwrap();
        assert!(on_disk.blocks() * 512 < 4 * MIB, "{} blocks are the host's", on_disk.blocks());
        let file = file_for_writing(&image(dir.path())).unwrap();
        assert!(LoopDevice::find(file.as_fd()).unwrap().is_none());
        let (one, other) = (mount(dir.path()).unwrap(), mount(dir.path()).unwrap());
        mkdirat(&one, "seen", Mode::RWXU).unwrap();
        rustix::fs::statat(&other, "seen", AtFlags::empty()).unwrap();
        assert!(bytes(&one) <= 32 * MIB);
        drop((one, other));
        assert!(LoopDevice::find(file.as_fd()).unwrap().is_none(), "the device is still there");
    }

    #[test]
    fn one_that_nobody_has_mounted_grows_and_keeps_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), 16 * MIB).unwrap();
        let before = mount(dir.path()).unwrap();
        mkdirat(&before, "kept", Mode::RWXU).unwrap();
        let small = bytes(&before);
        drop(before);
        ensure(dir.path(), 64 * MIB).unwrap();
        let after = mount(dir.path()).unwrap();
        rustix::fs::statat(&after, "kept", AtFlags::empty()).unwrap();
        let absent = rustix::fs::statat(&after, "lost+found", AtFlags::empty());
        assert_eq!(absent.map(|_| ()), Err(Errno::NOENT));
        assert!(bytes(&after) > small + 40 * MIB, "{} of {small}", bytes(&after));
        // A smaller one is nothing to do here: who asks is refused before.
        ensure(dir.path(), 16 * MIB).unwrap();
        assert_eq!(fs::metadata(image(dir.path())).unwrap().len(), 64 * MIB);
    }

    #[test]
    fn one_that_is_mounted_grows_where_the_kernel_lets_it_and_else_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), 16 * MIB).unwrap();
        let mounted = mount(dir.path()).unwrap();
        let small = bytes(&mounted);
        match ensure(dir.path(), 64 * MIB) {
            Ok(()) => assert!(bytes(&mounted) > small + 40 * MIB),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                assert_eq!(fs::metadata(image(dir.path())).unwrap().len(), 16 * MIB);
                drop(mounted);
                ensure(dir.path(), 64 * MIB).unwrap();
                assert!(bytes(&mount(dir.path()).unwrap()) > small + 40 * MIB);
            }
        }
    }
}
