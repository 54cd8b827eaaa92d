//! What Terraform tells a plugin in its environment.

use std::{env, path::PathBuf};

const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// What was asked of this process.
#[derive(Debug)]
pub(super) struct Environment {
    /// PEM; `None` where Terraform was told to do without TLS.
    pub client_certificate: Option<String>,
    /// Where sockets may be made, if that was said.
    pub socket_directory: Option<PathBuf>,
}

/// Why a process will not be a plugin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "it is started by Terraform or OpenTofu, not by hand; see its documentation for how to install it"
    )]
    NotTerraform,
    #[error("it speaks protocol 6 alone, and was offered {0}: Terraform 1.0 or newer is needed")]
    Protocol(String),
}

impl Environment {
    /// Reads it, and refuses who is not Terraform, or too old.
    pub(super) fn of_process() -> Result<Self, Refusal> {
        Self::read(|name| env::var(name).ok())
    }

    /// For a Terraform that is told of this process by its user.
    pub(super) fn for_debugging() -> Self {
        Self { client_certificate: None, socket_directory: None }
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        if variable("TF_PLUGIN_MAGIC_COOKIE").as_deref() != Some(COOKIE) {
            return Err(Refusal::NotTerraform);
        }
        let offered = variable("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default();
        if !offered.split(',').any(|version| version.trim() == "6") {
            return Err(Refusal::Protocol(if offered.is_empty() { "none".to_owned() } else { offered }));
        }
        Ok(Self {
            client_certificate: variable("PLUGIN_CLIENT_CERT").filter(|text| !text.is_empty()),
            socket_directory: variable("PLUGIN_UNIX_SOCKET_DIR")
                .filter(|text| !text.is_empty())
                .map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, Refusal> {
        Environment::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn only_terraform_with_protocol_6_is_served() {
        assert_eq!(read(&[]).unwrap_err(), Refusal::NotTerraform);
        assert_eq!(read(&[("TF_PLUGIN_MAGIC_COOKIE", "no")]).unwrap_err(), Refusal::NotTerraform);
        let cookie = ("TF_PLUGIN_MAGIC_COOKIE", COOKIE);
        let versions = |text| read(&[cookie, ("PLUGIN_PROTOCOL_VERSIONS", text)]);
        assert_eq!(versions("5,16").unwrap_err(), Refusal::Protocol("5,16".into()));
        assert!(versions("6,5").unwrap().client_certificate.is_none());
        assert!(versions("5,6").is_ok());
    }
}
