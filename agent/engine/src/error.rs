//! Everything an operation can fail with, and what a user is told of it.

use berth_domain::{Invalid, Invalids, Protocol};
use thiserror::Error;

use crate::image_error::{image_advice, image_reason};
use crate::ledger::LedgerError;
use crate::mount_error::MountFault;
use crate::network_error::NetworkFault;
use crate::ports::images::ImageError;
use crate::ports::network::NetworkError;
use crate::ports::runtime::{ExecError, LogLine, RuntimeError, StartError};
use crate::start_error::{start_advice, start_attribute};
use crate::volume_error::VolumeFault;
use crate::wait::WaitError;

/// Why, in the API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the API's reason of its name")]
pub enum Reason {
    InvalidArgument,
    NotFound,
    NameTaken,
    InUse,
    RegistryUnreachable,
    Unauthorized,
    ImageNotFound,
    PlatformNotFound,
    BadContent,
    /// Not signed, or not by a key of the remote's.
    NotVerified,
    PortTaken,
    StartFailed,
    HostUnable,
    UnknownRemote,
    Internal,
}

/// What a user is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Why.
    pub reason: Reason,
    /// One line: what failed, and on what.
    pub summary: String,
    /// Why, and what to do.
    pub detail: String,
    /// Path of the argument at fault; empty: the whole.
    pub attribute: Vec<String>,
    /// What has the name already.
    pub existing_id: Option<String>,
    /// The last words of the instance that it is about.
    pub log: Vec<LogLine>,
}

/// What kind of thing was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An instance.
    Instance,
    /// An image in the store.
    Image,
    /// A pin.
    Pin,
    /// A remote.
    Remote,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Image => "image",
            Self::Pin => "pin",
            Self::Remote => "remote",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// What was asked for is wrong.
    #[error("The request is invalid")]
    Invalid(#[from] Invalids),
    /// There is no such thing.
    #[error("There is no {} {by}", kind.as_str())]
    NotFound {
        /// Of this kind.
        kind: Kind,
        /// Its id or name, as it was asked for.
        by: String,
    },
    /// The name belongs to another.
    #[error("The name \"{name}\" is taken by another {}", kind.as_str())]
    NameTaken {
        /// Of this kind.
        kind: Kind,
        /// The name.
        name: String,
        /// Whose it is.
        existing: String,
    },
    /// More than one image begins so.
    #[error("More than one image begins with {prefix}")]
    AmbiguousImage {
        /// What was asked for.
        prefix: String,
    },
    /// The change needs another instance.
    #[error("The instance \"{name}\" cannot change its {argument}")]
    NeedsReplace {
        /// The instance.
        name: String,
        /// The argument.
        argument: &'static str,
    },
    /// An instance is made from an image that is not in the store.
    #[error("The image {image} is not on this host")]
    ImageNotHere {
        /// Its digest.
        image: String,
    },
    /// A reference could not be resolved or its image pulled.
    #[error("The image could not be had")]
    Image {
        /// The argument that holds the reference: `image`, `reference`.
        argument: &'static str,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// A workload could not be started.
    #[error("The instance \"{name}\" could not be started")]
    Start {
        /// The instance.
        name: String,
        /// The argument that names the program: `entrypoint` or `command`.
        program: &'static str,
        /// Why.
        #[source]
        source: StartError,
    },
    /// A host port that another instance of this agent has.
    #[error("Port {port}/{protocol} of the host is taken by the instance \"{holder}\"")]
    PortHeld {
        /// The port's name in the spec.
        name: String,
        /// The host's port.
        port: u16,
        /// The transport.
        protocol: Protocol,
        /// Whose it is.
        holder: String,
    },
    /// A port that cannot be published.
    #[error("The port \"{name}\" cannot be published")]
    Port {
        /// The port's name in the spec.
        name: String,
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// The network failed.
    #[error("The network \"{name}\" does not work")]
    Network {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// Every address or id range is in use.
    #[error("No {what} is left")]
    Exhausted {
        /// "address on the network \"default\"" and the like.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The runtime failed.
    #[error("The instance \"{name}\": could not {operation}")]
    Runtime {
        /// The instance.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// Why.
        #[source]
        source: RuntimeError,
    },
    /// A process could not be run inside an instance.
    #[error("Could not run a process in the instance \"{name}\"")]
    Exec {
        /// The instance.
        name: String,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// The thing was changed by another at the same time.
    #[error("The instance \"{name}\" was changed by another request at the same time")]
    Conflict {
        /// The instance.
        name: String,
    },
    /// Something about a volume.
    #[error(transparent)]
    Volume(#[from] VolumeFault),
    /// Something about a network.
    #[error(transparent)]
    Net(#[from] NetworkFault),
    /// Something that cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountFault),
    /// An instance did not come to what was waited for.
    #[error("The instance \"{name}\" {source}")]
    Wait {
        /// The instance.
        name: String,
        /// What was waited for, and why it did not come.
        source: WaitError,
    },
    /// Another of these, with the last words of the instance that it is about.
    #[error("{error}")]
    Logged {
        /// What failed.
        error: Box<EngineError>,
        /// The instance's last words.
        log: Vec<LogLine>,
    },
    /// The ledger failed.
    #[error("The agent's ledger failed")]
    Ledger(#[from] LedgerError),
    /// The agent is about to end.
    #[error("The agent is shutting down")]
    Closing,
}

impl EngineError {
    /// Nothing of this kind goes by this id or name.
    pub fn not_found(kind: Kind, by: impl ToString) -> Self {
        Self::NotFound { kind, by: by.to_string() }
    }

    /// What a user is told of it: the chain of reasons once, and what to do.
    #[must_use]
    pub fn report(&self) -> Report {
        if let Self::Logged { error, log } = self {
            return Report { log: log.clone(), ..error.report() };
        }
        let advice = self.advice();
        let mut detail = chain(self);
        if !advice.is_empty() {
            detail = if detail.is_empty() { advice } else { format!("{detail}. {advice}") };
        }
        let existing_id = match self {
            Self::NameTaken { existing, .. } => Some(existing.clone()),
            _ => None,
        };
        Report {
            reason: self.reason(),
            summary: self.summary(),
            detail,
            attribute: self.attribute(),
            existing_id,
            log: Vec::new(),
        }
    }

    fn first_invalid(&self) -> Option<&Invalid> {
        match self {
            Self::Invalid(invalids) => invalids.as_slice().first(),
            _ => None,
        }
    }

    fn summary(&self) -> String {
        self.first_invalid().map_or_else(|| self.to_string(), |invalid| invalid.summary.clone())
    }

    /// Why, in the API's words.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) | Self::NeedsReplace { .. } | Self::AmbiguousImage { .. } => {
                Reason::InvalidArgument
            }
            Self::NotFound { .. } => Reason::NotFound,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::ImageNotHere { .. } => Reason::ImageNotFound,
            Self::Image { source, .. } => image_reason(source),
            Self::Start { source, .. } => match source {
                StartError::Host { .. } | StartError::Interface { .. } => Reason::HostUnable,
                StartError::ImageGone { .. } => Reason::ImageNotFound,
                StartError::IdOutOfRange { .. } => Reason::BadContent,
                _ => Reason::StartFailed,
            },
            Self::PortHeld { .. } => Reason::PortTaken,
            Self::Port { source, .. } => match source {
                NetworkError::PortTaken { .. } => Reason::PortTaken,
                NetworkError::NotAnAddress { .. } => Reason::InvalidArgument,
                _ => Reason::HostUnable,
            },
            Self::Runtime { source: RuntimeError::NotRunning, .. } => Reason::InUse,
            Self::Runtime { source: RuntimeError::UnreadableFile { .. }, .. } => Reason::InvalidArgument,
            Self::Network { .. } | Self::Exhausted { .. } | Self::Runtime { .. } => Reason::HostUnable,
            Self::Exec { source: ExecError::Host { .. }, .. } => Reason::HostUnable,
            Self::Exec { .. } => Reason::InvalidArgument,
            Self::Conflict { .. } => Reason::InUse,
            Self::Volume(fault) => fault.reason(),
            Self::Net(fault) => fault.reason(),
            Self::Mount(fault) => fault.reason(),
            Self::Wait { source, .. } => source.reason(),
            Self::Logged { error, .. } => error.reason(),
            Self::Ledger(_) | Self::Closing => Reason::Internal,
        }
    }

    /// Path of the argument at fault; empty: the whole.
    #[must_use]
    pub fn attribute(&self) -> Vec<String> {
        let path = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect();
        match self {
            Self::Invalid(_) => {
                self.first_invalid().map(|invalid| invalid.attribute.clone()).unwrap_or_default()
            }
            Self::NameTaken { .. } => path(&["name"]),
            Self::NeedsReplace { argument, .. } => path(&[argument]),
            Self::ImageNotHere { .. } => path(&["image"]),
            Self::Image { argument, source } => match source {
                ImageError::PlatformNotFound { .. } if *argument == "reference" => path(&["platform"]),
                _ => path(&[argument]),
            },
            Self::Start { program, source, .. } => start_attribute(program, source),
            Self::Volume(fault) => fault.attribute(),
            Self::Mount(fault) => fault.attribute(),
            Self::Net(fault) => fault.attribute(),
            Self::PortHeld { name, .. } => path(&["ports", name, "host_port"]),
            Self::Port { name, source: NetworkError::NotAnAddress { .. } } => {
                path(&["ports", name, "host_address"])
            }
            Self::Port { name, .. } => path(&["ports", name, "host_port"]),
            Self::Runtime {
                source: RuntimeError::Limit { limit, .. } | RuntimeError::LimitExceeded { limit },
                ..
            } => path(&["limits", limit]),
            Self::Wait { .. } => path(&["wait_for"]),
            Self::Logged { error, .. } => error.attribute(),
            Self::Exec { source, .. } => match source {
                ExecError::UserNotFound { .. } => path(&["user"]),
                ExecError::ProgramNotFound { .. } | ExecError::NotExecutable { .. } => path(&["command"]),
                ExecError::WorkingDir { .. } => path(&["working_dir"]),
                ExecError::NotRunning | ExecError::Host { .. } => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// What to do about it; empty where nothing is known.
    #[must_use]
    pub fn advice(&self) -> String {
        let text = match self {
            Self::Invalid(invalids) => return advice_on(invalids.as_slice()),
            Self::NameTaken { kind, existing, .. } => {
                return format!(
                    "Choose another name, or import the {} with the id {existing}",
                    kind.as_str()
                );
            }
            Self::AmbiguousImage { .. } => "Give more of the image's digest",
            Self::NeedsReplace { .. } => "Delete the instance and make another",
            Self::ImageNotHere { .. } => "Pull it first (a berth_image resource, or berth image pull)",
            Self::Image { source, .. } => return image_advice(source),
            Self::Start { source, .. } => return start_advice(source),
            Self::PortHeld { .. } | Self::Port { source: NetworkError::PortTaken { .. }, .. } => {
                "Choose another host_port, or leave it out and one is chosen"
            }
            Self::Port { source: NetworkError::NotAnAddress { .. }, .. } => {
                "Use an address of this host, 127.0.0.1 or ::1, or 0.0.0.0 or :: for all of a family"
            }
            Self::Port { source, .. } | Self::Network { source, .. } => match source {
                NetworkError::Host { advice, .. } => advice,
                NetworkError::NoParent { .. } => {
                    "Bring the interface back (ip link lists them), or make another network"
                }
                NetworkError::NoSubnet6 => "Give the network a subnet that the host does not need",
                NetworkError::NoSubnet => "Free a /24 of 10.0.0.0/8 from the host's routes",
                _ => "",
            },
            Self::Exhausted { advice, .. } => advice,
            Self::Runtime { source: RuntimeError::NotRunning, .. }
            | Self::Exec { source: ExecError::NotRunning, .. } => "Start it first: berth instance start",
            Self::Runtime { source: RuntimeError::LimitExceeded { .. }, .. } => {
                "Use a higher limit, or stop the instance first; it goes on as it was"
            }
            Self::Runtime { source: RuntimeError::UnreadableFile { .. }, .. } => {
                "Give the path of a file: no directory, device or pipe, and nothing in /proc or /sys"
            }
            Self::Volume(fault) => return fault.advice(),
            Self::Net(fault) => return fault.advice(),
            Self::Mount(fault) => return fault.advice(),
            Self::Runtime { source: RuntimeError::Limit { .. }, .. } => {
                "Use another limit, or leave it out; the instance goes on as it was"
            }
            Self::Wait { source, .. } => source.advice(),
            Self::Logged { error, .. } => return error.advice(),
            Self::Conflict { .. } => "Try again",
            Self::Ledger(error) => return error.advice(),
            Self::Closing => "Try again when it has started anew",
            Self::NotFound { .. } | Self::Runtime { .. } | Self::Exec { .. } => "",
        };
        text.to_owned()
    }

    /// Whether trying again without a change of the spec is of no use.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::ImageNotHere { .. } | Self::NeedsReplace { .. } => true,
            Self::Start { source, .. } => {
                !matches!(source, StartError::Host { .. } | StartError::Interface { .. })
            }
            Self::Mount(fault) => fault.is_lasting(),
            Self::Net(fault) => fault.is_lasting(),
            Self::Logged { error, .. } => error.is_lasting(),
            _ => false,
        }
    }
}

/// The reasons under an error, the nearest first; the error's own text is not in it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(reason) = source {
        reasons.push(reason.to_string());
        source = reason.source();
    }
    // Invalids say all of themselves in the advice.
    if error.source().is_some_and(|s| s.is::<Invalids>()) { String::new() } else { reasons.join(": ") }
}

fn advice_on(invalids: &[Invalid]) -> String {
    match invalids {
        [] => String::new(),
        [first] => first.advice.clone(),
        [first, rest @ ..] => {
            let others: Vec<String> = rest.iter().map(ToString::to_string).collect();
            format!("{}. And:\n{}", first.advice, others.join("\n"))
        }
    }
}
