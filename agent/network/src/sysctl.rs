//! Reading and writing `/proc/sys`, of the calling thread's network namespace.

use std::{fs, io, path::PathBuf};

const ROOT: &str = "/proc/sys";

/// A sysctl that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the kernel setting {name}")]
pub struct SysctlError {
    /// `read` or `set`.
    pub action: &'static str,
    /// Its path below `/proc/sys`.
    pub name: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl SysctlError {
    fn new(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, name: name.to_owned(), source }
    }

    /// Whether the kernel has no such setting: the family, or the link that it belongs to, is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(ROOT).join(name)
}

pub(crate) fn read(name: &str) -> Result<String, SysctlError> {
    let value = fs::read_to_string(path(name)).map_err(SysctlError::new("read", name))?;
    Ok(value.trim_end().to_owned())
}

/// Sets a value if it is another; so a host whose settings are right already needs no right to change them.
pub(crate) fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    if read(name)? == value {
        return Ok(());
    }
    fs::write(path(name), value).map_err(SysctlError::new("set", name))
}

/// The names of the directories below `name`.
pub(crate) fn children(name: &str) -> Result<Vec<String>, SysctlError> {
    let entries = fs::read_dir(path(name)).map_err(SysctlError::new("read", name))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(SysctlError::new("read", name))
}
