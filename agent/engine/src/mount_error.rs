//! What can go wrong with a mount of an instance, and what a user is told of it.

use berth_domain::Invalid;
use thiserror::Error;

use crate::error::Reason;
use crate::ports::Cause;

/// Why something could not be mounted.
#[derive(Debug, Error)]
pub enum MountFault {
    /// The volume that it names is not there.
    #[error("There is no volume \"{volume}\"")]
    NoVolume {
        /// The mount.
        mount: String,
        /// As it was written.
        volume: String,
    },
    /// The volume that it names is another instance's own.
    #[error("The volume \"{volume}\" follows another instance, whose image declares it")]
    Foreign {
        /// The mount.
        mount: String,
        /// As it was written.
        volume: String,
    },
    /// The image's config declares a volume where none can be.
    #[error("The image declares a volume that cannot be: {}", invalid.summary)]
    Declared {
        /// Why.
        invalid: Invalid,
    },
    /// The agent's configuration does not allow it.
    #[error("The agent does not let {path} be bound")]
    Forbidden {
        /// The mount.
        mount: String,
        /// What was asked for, or where that leads.
        path: String,
        /// What may be bound.
        allowed: String,
    },
    /// What is to be mounted is not there, or cannot be used.
    #[error("{path} of the host cannot be mounted")]
    Source {
        /// The mount.
        mount: String,
        /// On the host.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A device is not there, or cannot be given.
    #[error("The device \"{}\" cannot be plugged in", device(mount))]
    Device {
        /// The device's mount.
        mount: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Its filesystem does not let ids be mapped.
    #[error("The ids of {path} cannot be mapped")]
    Ids {
        /// The mount.
        mount: String,
        /// On the host.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The place inside cannot be used.
    #[error("Nothing can be mounted at {path} of the instance")]
    Target {
        /// The mount.
        mount: String,
        /// Inside.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A file could not be written.
    #[error("The file {path} could not be written into the instance")]
    File {
        /// Inside.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The image's content could not be copied into the volume.
    #[error("The volume at {path} could not be filled with what the image has there")]
    Fill {
        /// The mount.
        mount: String,
        /// Inside.
        path: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl MountFault {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NoVolume { .. } | Self::Foreign { .. } | Self::Forbidden { .. } => Reason::InvalidArgument,
            Self::Declared { .. } => Reason::BadContent,
            Self::Source { .. } | Self::Device { .. } | Self::Target { .. } | Self::File { .. } => {
                Reason::InvalidArgument
            }
            Self::Ids { .. } | Self::Fill { .. } => Reason::HostUnable,
        }
    }

    pub(crate) fn attribute(&self) -> Vec<String> {
        let (mount, field) = match self {
            Self::Declared { .. } => return vec!["image".to_owned()],
            Self::File { path, .. } => return vec!["files".to_owned(), path.clone()],
            Self::NoVolume { mount, .. }
            | Self::Foreign { mount, .. }
            | Self::Forbidden { mount, .. }
            | Self::Device { mount, .. }
            | Self::Source { mount, .. } => (mount, "source"),
            Self::Ids { mount, .. } => (mount, "idmap"),
            Self::Target { mount, .. } | Self::Fill { mount, .. } => (mount, "target"),
        };
        if mount.starts_with("device/") {
            return ["devices", device(mount), field].map(str::to_owned).into();
        }
        // A volume that the image declares is named by its target.
        if mount.starts_with('/') {
            return vec!["image".to_owned()];
        }
        ["mounts", mount, field].map(str::to_owned).into()
    }

    pub(crate) fn advice(&self) -> String {
        let text = match self {
            Self::NoVolume { .. } => "Make it first (a berth_volume resource), or name one that is there",
            Self::Foreign { .. } => "Use a volume of its own name (a berth_volume resource)",
            Self::Declared { .. } => "Use another image",
            Self::Forbidden { allowed, .. } if allowed.is_empty() => {
                "Use a volume: the agent's configuration (bind_sources) allows no bind"
            }
            Self::Forbidden { allowed, .. } => {
                return format!("The agent's configuration (bind_sources) allows {allowed}");
            }
            Self::Source { mount, .. } if mount.starts_with("device/") => {
                "Give a device node of the type that is there, or set required = false"
            }
            Self::Device { .. } => {
                "Give one that is there (see /dev, lsusb, and the specifications in /etc/cdi and /run/cdi), or set \
                 required = false"
            }
            Self::Source { .. } => "Give a file or directory that is there",
            Self::Ids { .. } => "Set idmap = false, or bind something of another filesystem",
            Self::Target { .. } => {
                "Use another path, or see to it that it is a directory where a directory is mounted, and a file where a \
                 file is"
            }
            Self::File { .. } => "Use another path: of a directory or in a file it cannot be",
            Self::Fill { .. } => "Check the agent's data directory: space, inodes and permissions",
        };
        text.to_owned()
    }

    /// Whether trying again without a change of the spec is of no use.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Fill { .. } | Self::Source { .. } | Self::Device { .. } | Self::File { .. })
    }
}

/// The name of the device that a mount is of: one device may have many nodes.
fn device(mount: &str) -> &str {
    let name = mount.strip_prefix("device/").unwrap_or(mount);
    name.split('/').next().unwrap_or(name)
}
