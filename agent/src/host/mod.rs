//! The engine's ports, made from the host crates. Each adapter runs blocking work at one call site.

mod archives;
mod checks;
mod credentials;
mod driver;
mod guests;
mod images;
mod machine;
mod network;
mod published;
mod remotes;
mod runtime;
mod supervisor;
mod volumes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use driver::Wanted as RootfsDriver;
pub(crate) use runtime::SPEC_DIRS as CDI_SPEC_DIRS;

use berth_domain::InstanceId;
use berth_engine::Ports;
use berth_image::registry::Downloads;
use berth_image::store::{Store, StoreError};
use berth_network::Prefix;
use data_encoding::Specification;
use sha2::{Digest as _, Sha256};

use self::driver::Driver;
use crate::daemon::Config;

/// Shared by all agents of a host.
const SHARED_DIR: &str = "/run/berth-host";

/// Why the host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The image store.
    #[error("The image store {} cannot be opened", path.display())]
    Store {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The prefix that marks this agent's things.
    #[error("No prefix can be made from the data directory's name")]
    Prefix(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was published before.
    #[error("What is recorded of the host's network cannot be read")]
    Published(#[from] published::RecordError),
    /// A thread.
    #[error("The work on the host was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl HostError {
    /// What to do; empty where nothing is known.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Store { path, .. } => {
                format!("Check the permissions and the free space of {}", path.display())
            }
            Self::Published(error) => error.advice(),
            Self::Prefix(_) | Self::Interrupted(_) => String::new(),
        }
    }
}

/// What adapters share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    data: PathBuf,
    run: PathBuf,
    prefix: Prefix,
}

impl Place {
    /// What the host's end of an instance's interface is called.
    fn link(&self, instance: InstanceId, slot: u8) -> String {
        let id: String = instance.as_bytes().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
        format!("vb{}{id}{slot}", self.prefix)
    }
}

/// Makes all ports.
///
/// # Errors
/// The store cannot be opened, or what was recorded of the network not be read.
pub async fn ports(config: &Config, data: &Path, run: &Path) -> Result<Ports, HostError> {
    let place = Place { data: data.to_owned(), run: run.to_owned(), prefix: prefix(data)? };
    let root = place.data.join("images");
    let opening = root.clone();
    let limits = config.images.limits();
    let store = tokio::task::spawn_blocking(move || Store::open_with(&opening, limits)).await?;
    let store = store.map_err(|source| HostError::Store { path: root, source })?;
    let supervisor = supervisor::Finder::new(config.supervisor.clone());
    let driver = Driver::choose(config.rootfs_driver, &supervisor, &store, config.uid_base).await;
    let served = network::Served::default();
    let network = network::Networks::open(place.clone(), supervisor.clone(), served.clone()).await?;
    let guests = guests::Guests::new(&place, supervisor.clone(), config.vm.clone());
    let pruning = guests.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || pruning.prune()).await? {
        // They are only in the way.
        tracing::warn!(%error, "boot files of other kernels stay for now");
    }
    let downloads = Downloads::new(config.pull.connections, config.pull.bytes_per_second);
    Ok(Ports {
        images: Arc::new(images::ImageStore::new(store.clone(), downloads)),
        runtime: Arc::new(runtime::Supervisors::new(
            place.clone(),
            supervisor.clone(),
            store.clone(),
            driver.clone(),
            runtime::Allowed {
                bind_sources: config.bind_sources.clone(),
                devices: runtime::Places::new(config.cdi_spec_dirs.clone()),
                privileged: config.allow_privileged,
            },
            guests.clone(),
            served,
        )),
        network: Arc::new(network),
        volumes: Arc::new(volumes::Directories::new(&place)),
        host: Arc::new(machine::Machine::new(place, supervisor, config, driver, store.has_verity(), guests)),
    })
}

/// Four base32 characters of the SHA-256 of the data directory's canonical path.
fn prefix(data: &Path) -> Result<Prefix, HostError> {
    use std::os::unix::ffi::OsStrExt;

    let mut alphabet = Specification::new();
    alphabet.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    let encoding = alphabet.encoding().map_err(|error| HostError::Prefix(error.into()))?;
    let mut hash = Sha256::digest(data.as_os_str().as_bytes()).to_vec();
    // Five bytes are eight characters.
    hash.truncate(5);
    let text: String = encoding.encode(&hash).chars().take(4).collect();
    Prefix::new(&text).map_err(|error| HostError::Prefix(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_hash_of_the_path() {
        // printf /var/lib/berth | sha256sum | xxd -r -p | base32
        assert_eq!(prefix(Path::new("/var/lib/berth")).unwrap().as_str(), "liwn");
        assert_ne!(prefix(Path::new("/a")).unwrap(), prefix(Path::new("/b")).unwrap());
    }
}
