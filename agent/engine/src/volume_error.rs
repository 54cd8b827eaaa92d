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
    /// What is in it may need the room.
    #[error("The volume \"{name}\" cannot become smaller")]
    Shrinks {
        /// The volume.
        name: String,
        /// Bytes that it has.
        before: u64,
    },
    /// Whether it has a size is said when it is made.
    #[error("The volume \"{name}\" {}", if *has_one { "cannot lose its size" } else { "was made without a size" })]
    Sized {
        /// The volume.
        name: String,
        /// Whether it has one.
        has_one: bool,
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
            Self::Shrinks { .. } | Self::Sized { .. } => Reason::InvalidArgument,
            Self::Host { .. } => Reason::HostUnable,
        }
    }

    /// Path of the argument at fault; empty: the whole.
    pub(crate) fn attribute(&self) -> Vec<String> {
        let argument = match self {
            Self::Shrinks { .. } | Self::Sized { .. } => Some("size"),
            Self::Host { source, .. } => source.argument,
            Self::InUse { .. } | Self::Follows { .. } => None,
        };
        argument.map(str::to_owned).into_iter().collect()
    }

    pub(crate) fn advice(&self) -> String {
        let text = match self {
            Self::InUse { .. } => "Take it out of their mounts, or delete them, and try again",
            Self::Follows { .. } => "Delete the instance: the volume goes with it",
            Self::Shrinks { before, .. } => {
                return format!(
                    "It has {before} bytes. Give it as many or more, or copy what is in it to a new volume"
                );
            }
            Self::Sized { has_one: true, .. } => {
                "Give it a large size, or copy what is in it to a volume without one"
            }
            Self::Sized { has_one: false, .. } => {
                "Leave the size out, or copy what is in it to a new volume with one"
            }
            // What the host says of an argument says what to do, too.
            Self::Host { source, .. } if source.argument.is_some() => "",
            Self::Host { .. } => "Check the agent's data directory: space, inodes and permissions",
        };
        text.to_owned()
    }
}
