//! What a user is told of an image that could not be had.

use crate::error::Reason;
use crate::ports::images::ImageError;

pub(crate) fn image_reason(error: &ImageError) -> Reason {
    match error {
        ImageError::BadReference { .. } => Reason::InvalidArgument,
        ImageError::UnknownRemote { .. } => Reason::UnknownRemote,
        ImageError::Unreachable { .. } => Reason::RegistryUnreachable,
        ImageError::BadRemote { .. } => Reason::HostUnable,
        ImageError::NotVerified { .. } => Reason::NotVerified,
        ImageError::NoCatalogue { .. } => Reason::HostUnable,
        ImageError::Unauthorized { .. } => Reason::Unauthorized,
        ImageError::NotFound { .. } => Reason::ImageNotFound,
        ImageError::PlatformNotFound { .. } => Reason::PlatformNotFound,
        ImageError::BadContent { .. } | ImageError::Archive { .. } => Reason::BadContent,
        ImageError::Store { .. } => Reason::HostUnable,
    }
}

pub(crate) fn image_advice(error: &ImageError) -> String {
    match error {
        ImageError::BadReference { .. } => "Write [REMOTE:|HOST/]REPOSITORY[:TAG][@DIGEST]".to_owned(),
        ImageError::UnknownRemote { remote, suggestion, .. } if remote.is_empty() => {
            format!("Name the registry, for example \"{suggestion}\"")
        }
        ImageError::UnknownRemote { remote, suggestion, .. } => {
            format!(
                "Make a remote named \"{remote}\" (a berth_remote resource, or berth remote add), or write \"{suggestion}\""
            )
        }
        ImageError::Unreachable { .. } => {
            "Check the remote's address and that the registry runs, then try again".to_owned()
        }
        ImageError::NoCatalogue { .. } => {
            "Registries of many tenants, such as Docker Hub, have none: name the repository".to_owned()
        }
        ImageError::BadRemote { .. } => "Correct the remote".to_owned(),
        ImageError::NotVerified { .. } => {
            "Have it signed with cosign and one of the keys in the remote's verify, or pull it from another remote"
                .to_owned()
        }
        ImageError::Unauthorized { with_credentials: true, .. } => {
            "Check the remote's username and password, and that they may read the repository".to_owned()
        }
        ImageError::Unauthorized { .. } => {
            "Check the repository's name, or give the remote a username and password".to_owned()
        }
        ImageError::NotFound { .. } => "Check the repository's name and the tag or digest".to_owned(),
        ImageError::PlatformNotFound { available, .. } => format!("It is made for: {}", available.join(", ")),
        ImageError::BadContent { .. } => "Push the image again, or use another tag".to_owned(),
        ImageError::Archive { .. } => {
            "Give an OCI archive or what docker save writes; reference says which image of several".to_owned()
        }
        ImageError::Store { .. } => {
            "Check the agent's data directory: space, inodes and permissions".to_owned()
        }
    }
}
