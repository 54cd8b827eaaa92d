//! What a user is told of a workload that could not be started.

use crate::ports::runtime::StartError;

/// What to do about an interface that cannot be made.
pub(crate) const INTERFACE_ADVICE: &str =
    "Look at the parent of its network with ip link; berth check says what this host lacks";

/// The argument that mends it.
pub(crate) fn start_attribute(program: &str, error: &StartError) -> Vec<String> {
    let one = |part: &str| vec![part.to_owned()];
    match error {
        StartError::UserNotFound { .. } => one("user"),
        StartError::EntrypointNotFound { .. } | StartError::EntrypointNotExecutable { .. } => one(program),
        StartError::WorkingDir { .. } => one("working_dir"),
        StartError::ImageGone { .. } | StartError::IdOutOfRange { .. } => one("image"),
        StartError::Limit { limit, .. } => vec!["limits".to_owned(), limit.clone()],
        StartError::Sysctl { name, .. } => vec!["sysctls".to_owned(), name.clone()],
        StartError::NotAllowed { field } => vec!["security".to_owned(), (*field).to_owned()],
        StartError::Mount(fault) => fault.attribute(),
        StartError::Interface { interface, .. } => vec!["networks".to_owned(), interface.clone()],
        StartError::Machine { .. } => one("type"),
        StartError::Host { .. } => Vec::new(),
    }
}

/// What to do.
pub(crate) fn start_advice(error: &StartError) -> String {
    match error {
        StartError::UserNotFound { .. } => {
            "Use a name that the image's /etc/passwd has, or a number".to_owned()
        }
        StartError::EntrypointNotFound { .. } => {
            "Give a program that is in the image, by its path or by a name found in PATH".to_owned()
        }
        StartError::EntrypointNotExecutable { .. } => {
            "Check its mode, its interpreter, and that the image is made for this host's processor".to_owned()
        }
        StartError::WorkingDir { .. } => "Use a directory that the image has".to_owned(),
        StartError::ImageGone { .. } => "Pull it again".to_owned(),
        StartError::IdOutOfRange { .. } => "Use an image whose files belong to ids below 65536".to_owned(),
        StartError::Limit { .. } => "Use another limit, or leave it out".to_owned(),
        StartError::Sysctl { .. } => "Use a name and a value that this host's kernel knows".to_owned(),
        StartError::NotAllowed { .. } => {
            "It makes the instance's root the host's: write allow_privileged = true in the agent's configuration \
             where that is wanted, or leave it out"
                .to_owned()
        }
        StartError::Mount(fault) => fault.advice(),
        StartError::Interface { .. } => INTERFACE_ADVICE.to_owned(),
        StartError::Machine { advice, .. } | StartError::Host { advice, .. } => advice.clone(),
    }
}
