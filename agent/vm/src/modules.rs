//! Which of a kernel's modules a guest needs, and in what order they are loaded.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What every guest needs: the bus, the channel, the root file system, the network.
pub const NEEDED: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "virtio_net"];

/// What a guest's memory is plugged in with, where its kernel can.
pub const MEMORY: &str = "virtio_mem";

/// Why a kernel's modules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A list of them.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One that the kernel does not have, neither as a module nor built in.
    #[error("{} has no module {name}: install the package linux-image-cloud-amd64", directory.display())]
    Missing {
        /// The kernel's.
        directory: PathBuf,
        /// Its name.
        name: String,
    },
    /// A dependency that leads back to itself, or nowhere.
    #[error("the dependencies of {name} make no sense; run depmod")]
    Dependencies {
        /// Whose.
        name: String,
    },
}

/// The files of the modules that `wanted` names and of what they depend on, below the kernel's directory (such as
/// `/lib/modules/6.1.0-1-cloud-amd64`), each after those that it needs.
///
/// # Errors
/// Where a list cannot be read, or a module is not there.
pub fn order(directory: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>, ModulesError> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|source| ModulesError::Read { path, source })
    };
    let list = read("modules.dep")?;
    let built_in = read("modules.builtin")?;
    let dependencies: BTreeMap<&str, Vec<&str>> = list
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let mut ordered = Vec::new();
    for name in wanted {
        match dependencies.keys().find(|file| module_name(file) == *name) {
            Some(file) => visit(file, &dependencies, &mut ordered, 0)?,
            None if built_in.lines().any(|file| module_name(file) == *name) => {}
            None => {
                let (directory, name) = (directory.to_owned(), (*name).to_owned());
                return Err(ModulesError::Missing { directory, name });
            }
        }
    }
    Ok(ordered.into_iter().map(PathBuf::from).collect())
}

/// As the kernel has it: `-` and `_` are the same in a file's name.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

fn visit<'a>(
    file: &'a str,
    dependencies: &BTreeMap<&'a str, Vec<&'a str>>,
    ordered: &mut Vec<&'a str>,
    depth: usize,
) -> Result<(), ModulesError> {
    if ordered.contains(&file) {
        return Ok(());
    }
    // No chain is as long as all modules together.
    let needs = dependencies.get(file).filter(|_| depth <= dependencies.len());
    let needs = needs.ok_or_else(|| ModulesError::Dependencies { name: module_name(file) })?;
    for need in needs {
        visit(need, dependencies, ordered, depth + 1)?;
    }
    ordered.push(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(list: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("modules.dep"), list).unwrap();
        std::fs::write(directory.path().join("modules.builtin"), "kernel/fs/virtio-mmio.ko\n").unwrap();
        directory
    }

    #[test]
    fn each_comes_after_what_it_needs_and_once() {
        let kernel =
            kernel("a/net-b.ko: a/c.ko a/d.ko\na/c.ko: a/d.ko\na/d.ko:\na/other.ko:\na/e.ko.xz: a/c.ko\n");
        let found = order(kernel.path(), &["net_b", "virtio_mmio", "e"]).unwrap();
        assert_eq!(found, ["a/d.ko", "a/c.ko", "a/net-b.ko", "a/e.ko.xz"].map(PathBuf::from));
    }

    #[test]
    fn one_that_is_not_there_is_named_and_a_circle_ends() {
        let kernel = kernel("a.ko: b.ko\nb.ko: a.ko\nc.ko: gone.ko\n");
        let said = |name| order(kernel.path(), &[name]).unwrap_err();
        assert!(matches!(said("fuse"), ModulesError::Missing { name, .. } if name == "fuse"));
        assert!(matches!(said("a"), ModulesError::Dependencies { .. }));
        assert!(matches!(said("c"), ModulesError::Dependencies { name } if name == "gone"));
    }
}
