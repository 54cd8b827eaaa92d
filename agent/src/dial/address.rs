//! Addresses of agents.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::{Host, Url};

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:///path`
    Unix(PathBuf),
    /// `https://host:port`
    Https {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `ssh://[user@]host[:port]`
    Ssh {
        /// Who logs in.
        user: Option<String>,
        /// As ssh knows it.
        host: String,
        /// Where it is not ssh's own choice.
        port: Option<u16>,
    },
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an agent's address: {why}")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl Address {
    /// Where an agent answers by default.
    #[must_use]
    pub fn default_socket() -> Self {
        Self::Unix("/run/berth/agent.sock".into())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = |why| AddressError { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(bad("after unix:// comes an absolute path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let known = bad("write unix:///PATH, https://HOST:PORT or ssh://[USER@]HOST[:PORT]");
        let url = Url::parse(text).map_err(|_| known.clone())?;
        let rest = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !rest || url.password().is_some() {
            return Err(bad("nothing but a host and a port belong into it"));
        }
        match url.scheme() {
            "https" if !url.username().is_empty() => Err(bad("an https:// address takes no user")),
            "https" => {
                let host = match url.host().ok_or_else(|| known.clone())? {
                    Host::Domain(name) => name.to_owned(),
                    Host::Ipv4(address) => address.to_string(),
                    Host::Ipv6(address) => address.to_string(),
                };
                Ok(Self::Https { host, port: url.port_or_known_default().unwrap_or(443) })
            }
            "ssh" => {
                let host = url.host_str().filter(|host| !host.is_empty()).ok_or(known)?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                if host.starts_with('-') || url.username().starts_with('-') {
                    return Err(bad("a host or user that begins with a hyphen would be an option of ssh"));
                }
                let user = (!url.username().is_empty()).then(|| url.username().to_owned());
                Ok(Self::Ssh { user, host, port: url.port() })
            }
            _ => Err(known),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Https { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Ssh { user, host, port } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in [
            "unix:///run/berth/agent.sock",
            "https://host.example:8443",
            "https://[::1]:8443",
            "ssh://root@host:2222",
            "ssh://host",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "host",
            "unix://relative",
            "http://host:1",
            "https://",
            "https://user@host:1",
            "https://host:1/path",
            "ssh://user:secret@host",
            "ssh://-oProxyCommand=x",
            "tcp://host:1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
