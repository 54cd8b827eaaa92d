//! What can go wrong with a volume, and what a user is told of it.

use thiserror::Error;

use crate::error::Reason;
use crate::ports::volumes::VolumeError;

/// Why an operation on a volume failed.
#[derive(Debug, Error)]
pub enum VolumeFault {
    /// Instances have it among their mounts.
    #[error("The volume \"{name}\" is used by {}", listed(.users))]
    InUse {
        /// The volume.
        name: String,
        /// The instances' names.
        users: Vec<String>,
    },
    /// It belongs to an instance, whose image declares it.
    #[error("The volume \"{name}\" follows the instance \"{instance}\", whose image declares it")]
    Follows {
        /// The volume.
        name: String,
        /// The instance.
        instance: String,
    },
    /// The host does not do it.
    #[error("The volume \"{name}\" does not work")]
    Host {
        /// The volume.
        name: String,
        /// Why.
        #[source]
        source: VolumeError,
    },
}

fn listed(users: &[String]) -> String {
    let quoted: Vec<_> = users.iter().map(|user| format!("\"{user}\"")).collect();
    match quoted.as_slice() {
        [one] => format!("the instance {one}"),
        all => format!("the instances {}", all.join(", ")),
    }
}

impl VolumeFault {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::InUse { .. } | Self::Follows { .. } => Reason::InUse,
            Self::Host { .. } => Reason::HostUnable,
        }
    }

    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "Take it out of their mounts, or delete them, and try again",
            Self::Follows { .. } => "Delete the instance: the volume goes with it",
            Self::Host { .. } => "Check the agent's data directory: space, inodes and permissions",
        }
    }
}
