//! The files that a guest boots from, made once of a kernel of the host's and of this agent's own pid 1.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::initramfs::{self, Module};
use crate::kernel::{self, KernelError};
use crate::modules::{self, ModulesError};

/// Why nothing can be booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A host without one.
    #[error("there is no kernel for virtual machines in /boot: install the package linux-image-cloud-amd64")]
    NoKernel,
    /// A configured kernel that tells nothing of its modules.
    #[error("the kernel {} is not named vmlinuz-RELEASE, so that its modules are not known", path.display())]
    Unnamed {
        /// It.
        path: PathBuf,
    },
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// "read", "write" or "remove".
        operation: &'static str,
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's modules.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// The kernel itself.
    #[error("the kernel {} is of no use", path.display())]
    Kernel {
        /// Its image.
        path: PathBuf,
        /// Why.
        #[source]
        source: KernelError,
    },
}

/// A kernel of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The image that its package brought.
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
}

/// What QEMU is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// Whether the kernel takes memory, and gives it back, while it runs.
    pub plugs_memory: bool,
}

/// The configured kernel, or else the newest in `root`'s /boot whose modules are there; those that are made for virtual
/// machines come first.
///
/// # Errors
/// Where there is none.
pub fn find_kernel(root: &Path, configured: Option<&Path>) -> Result<Kernel, BootError> {
    let of = |image: PathBuf| {
        let release = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        Some((Kernel { modules: root.join("lib/modules").join(&release), image }, release))
    };
    if let Some(image) = configured {
        let found = of(image.to_owned()).map(|(kernel, _)| kernel);
        return found.ok_or_else(|| BootError::Unnamed { path: image.to_owned() });
    }
    let images = fs::read_dir(root.join("boot")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kernels: Vec<_> = images.filter_map(of).collect();
    kernels.sort_by_key(|(_, release)| Reverse((release.contains("cloud"), numbers(release))));
    let usable = |kernel: &Kernel| modules::order(&kernel.modules, &modules::NEEDED).is_ok();
    kernels.into_iter().map(|(kernel, _)| kernel).find(usable).ok_or(BootError::NoKernel)
}

/// 6.10 is newer than 6.9.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Where boot files are kept.
#[derive(Debug)]
pub struct BootFiles {
    directory: PathBuf,
    /// Held while files are made: machines that start together want the same ones, and a file that is replaced cannot be
    /// mounted by who has opened it before.
    making: Mutex<()>,
}

impl BootFiles {
    /// Those in `directory`, which is made when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, making: Mutex::default() }
    }

    /// Whether a machine was ever started here.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.directory.exists()
    }

    /// Removes what [`BootFiles::prepare`] made of other kernels and other pids 1, but for what is in `keep`.
    ///
    /// # Errors
    /// Where a file cannot be removed, or the kernel is none.
    pub fn prune(&self, kernel: &Kernel, init: &Path, keep: &[PathBuf]) -> Result<(), BootError> {
        let current = self.paths(kernel, init)?;
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let ours = name.starts_with("kernel-") || name.starts_with("initramfs-");
            if ours && path != current.kernel && path != current.initramfs && !keep.contains(&path) {
                fs::remove_file(&path).map_err(at("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes the files, unless those of the same kernel and pid 1 are there. Blocks, while another makes them too.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or the kernel is none.
    pub fn prepare(&self, kernel: &Kernel, init: &Path) -> Result<Boot, BootError> {
        let boot = self.paths(kernel, init)?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !boot.kernel.exists() {
            let image = read(&kernel.image)?;
            let extracted = match kernel::extract(&image) {
                // QEMU boots it as it is, with a second more under translation.
                Err(KernelError::Packing(_)) => image,
                extracted => {
                    extracted.map_err(|source| BootError::Kernel { path: kernel.image.clone(), source })?
                }
            };
            write(&boot.kernel, &extracted)?;
        }
        if !boot.initramfs.exists() {
            let memory = boot.plugs_memory.then_some(modules::MEMORY);
            write(&boot.initramfs, &initramfs(kernel, init, memory)?)?;
        }
        Ok(boot)
    }

    fn paths(&self, kernel: &Kernel, init: &Path) -> Result<Boot, BootError> {
        let key = key(&[&kernel.image, &kernel.modules.join("modules.dep"), init])?;
        let path = |name: &str| self.directory.join(format!("{name}-{key}"));
        let plugs_memory = modules::order(&kernel.modules, &[modules::MEMORY]).is_ok();
        Ok(Boot { kernel: path("kernel"), initramfs: path("initramfs"), plugs_memory })
    }
}

/// Of the modules that every guest needs, and of one more.
fn initramfs(kernel: &Kernel, init: &Path, more: Option<&str>) -> Result<Vec<u8>, BootError> {
    let mut files = Vec::new();
    let wanted: Vec<_> = modules::NEEDED.into_iter().chain(more).collect();
    for file in modules::order(&kernel.modules, &wanted)? {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        files.push((name, read(&kernel.modules.join(&file))?));
    }
    let modules: Vec<_> = files.iter().map(|(name, content)| Module { name, content }).collect();
    Ok(initramfs::make(&read(init)?, &modules))
}

/// Tells files from what they were before an update.
fn key(files: &[&Path]) -> Result<String, BootError> {
    use std::os::unix::fs::MetadataExt;

    let mut text = format!("{}\n", env!("CARGO_PKG_VERSION"));
    for file in files {
        let found = fs::metadata(file).map_err(at("read", file))?;
        let (size, seconds, nanoseconds) = (found.size(), found.mtime(), found.mtime_nsec());
        text.push_str(&format!("{} {size} {seconds}.{nanoseconds}\n", file.display()));
    }
    Ok(Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, BootError> {
    fs::read(path).map_err(at("read", path))
}

fn write(path: &Path, content: &[u8]) -> Result<(), BootError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(at("write", directory))?;
    // QEMU is nobody in particular when it reads them; the directory above lets nobody else in.
    berth_sys::fs::write_atomic(path, content, 0o644)
        .map_err(|error| at("write", path)(io::Error::other(error)))
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BootError {
    let path = path.to_owned();
    move |source| BootError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(releases: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("boot")).unwrap();
        for release in releases {
            fs::write(root.path().join(format!("boot/vmlinuz-{release}")), "MZ").unwrap();
            let modules = root.path().join("lib/modules").join(release);
            fs::create_dir_all(&modules).unwrap();
            let list: String = modules::NEEDED.iter().map(|name| format!("{name}.ko:\n")).collect();
            fs::write(modules.join("modules.dep"), list).unwrap();
            fs::write(modules.join("modules.builtin"), "").unwrap();
        }
        root
    }

    fn found(root: &Path) -> String {
        let kernel = find_kernel(root, None).unwrap();
        kernel.modules.file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_newest_kernel_for_machines_is_taken_and_its_modules_must_be_there() {
        let root = host(&["6.9.0-cloud-amd64", "6.10.1-cloud-amd64", "6.12.0-amd64"]);
        assert_eq!(found(root.path()), "6.10.1-cloud-amd64");
        fs::remove_file(root.path().join("lib/modules/6.10.1-cloud-amd64/modules.dep")).unwrap();
        assert_eq!(found(root.path()), "6.9.0-cloud-amd64");
        assert!(matches!(find_kernel(host(&[]).path(), None), Err(BootError::NoKernel)));
        let odd = find_kernel(root.path(), Some(Path::new("/boot/bzImage")));
        assert!(matches!(odd, Err(BootError::Unnamed { .. })), "{odd:?}");
    }

    #[test]
    fn what_no_machine_boots_from_any_more_is_removed() {
        let root = host(&["6.9.0-cloud-amd64"]);
        let kernel = find_kernel(root.path(), None).unwrap();
        let directory = root.path().join("vm");
        fs::create_dir(&directory).unwrap();
        let files = BootFiles::new(directory.clone());
        let now = files.paths(&kernel, &kernel.image).unwrap();
        let used = directory.join("kernel-used");
        let (old, other) = (directory.join("initramfs-old"), directory.join("note"));
        for path in [&now.kernel, &now.initramfs, &used, &old, &other] {
            fs::write(path, "").unwrap();
        }
        files.prune(&kernel, &kernel.image, std::slice::from_ref(&used)).unwrap();
        assert!([&now.kernel, &now.initramfs, &used, &other].iter().all(|path| path.exists()));
        assert!(!old.exists());
        // Where no machine was ever made, nothing is to be done.
        BootFiles::new(root.path().join("none")).prune(&kernel, &kernel.image, &[]).unwrap();
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let root = host(&["6.9.0-cloud-amd64"]);
        let kernel = find_kernel(root.path(), None).unwrap();
        let error = BootFiles::new(root.path().join("vm")).prepare(&kernel, &kernel.image).unwrap_err();
        assert!(matches!(&error, BootError::Kernel { path, .. } if *path == kernel.image), "{error}");
    }

    #[test]
    fn machines_that_start_together_boot_from_the_same_files() {
        use std::os::unix::fs::MetadataExt;

        let root = host(&["6.9.0-cloud-amd64"]);
        let kernel = find_kernel(root.path(), None).unwrap();
        fs::write(&kernel.image, kernel::tests::image(&[b"\x7fELF".as_slice(), &[7; 4 << 20]].concat()))
            .unwrap();
        for name in modules::NEEDED {
            fs::write(kernel.modules.join(format!("{name}.ko")), name).unwrap();
        }
        let files = BootFiles::new(root.path().join("vm"));
        let together = std::sync::Barrier::new(8);
        let opened = || {
            together.wait();
            let boot = files.prepare(&kernel, &kernel.image).unwrap();
            [boot.kernel, boot.initramfs].map(|path| fs::File::open(path).unwrap())
        };
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(opened)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // A file that was replaced has no name any more.
        let names: Vec<_> = opened.iter().map(|file| file.metadata().unwrap().nlink()).collect();
        assert_eq!(names, [1; 16]);
    }
}
