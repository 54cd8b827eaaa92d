//! Where an agent listens: `unix:///path`, `https://host:port`, `ssh://[user@]host[:port]`.

use std::fmt;
use std::path::PathBuf;

/// An agent's address, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// TLS with certificates on both sides.
    Https {
        /// A name or an IP address, without brackets.
        host: String,
        /// The agent's port.
        port: u16,
    },
    /// `berth proxy` on another machine, through the user's own ssh.
    Ssh {
        /// Who to log in as; none leaves it to ssh's configuration.
        user: Option<String>,
        /// What ssh calls the machine.
        host: String,
        /// Where its sshd listens; none leaves it to ssh's configuration.
        port: Option<u16>,
    },
}

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// None of the schemes.
    #[error("\"{0}\" is no agent's address")]
    Scheme(String),
    /// A socket's path that is not absolute.
    #[error("\"{0}\" holds no absolute path of a socket")]
    Path(String),
    /// No host, or one that ssh or TLS could misread.
    #[error("\"{0}\" holds no usable host")]
    Host(String),
    /// No port where one is needed, or none that is a number from 1 to 65535.
    #[error("\"{0}\" holds no usable port")]
    Port(String),
}

impl AddressError {
    /// What to write instead.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Scheme(_) => {
                "Write unix:///path/to/agent.sock, https://host:port or ssh://[user@]host[:port]. A word alone \
                 must be a key of the provider's hosts."
            }
            Self::Path(_) => "Write three slashes: unix:///run/berth/agent.sock.",
            Self::Host(_) => {
                "Write https://host:port or ssh://[user@]host[:port], with nothing after the port."
            }
            Self::Port(_) => "Write the port the agent listens on, as in https://host:7443.",
        }
    }
}

impl Address {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') && path.len() > 1 && !path.contains('\0') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(AddressError::Path(text.to_owned())),
            };
        }
        if let Some(authority) = text.strip_prefix("https://") {
            let (host, port) = host_and_port(authority.trim_end_matches('/'), text)?;
            let port = port.ok_or_else(|| AddressError::Port(text.to_owned()))?;
            return Ok(Self::Https { host, port });
        }
        if let Some(authority) = text.strip_prefix("ssh://") {
            let (user, rest) = match authority.rsplit_once('@') {
                Some((user, rest)) => (Some(user.to_owned()), rest),
                None => (None, authority),
            };
            if user.as_deref().is_some_and(|user| !is_word(user)) {
                return Err(AddressError::Host(text.to_owned()));
            }
            let (host, port) = host_and_port(rest.trim_end_matches('/'), text)?;
            return Ok(Self::Ssh { user, host, port });
        }
        Err(AddressError::Scheme(text.to_owned()))
    }
}

/// A word that cannot be taken for an option and holds nothing a shell or ssh would expand.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn host_and_port(authority: &str, whole: &str) -> Result<(String, Option<u16>), AddressError> {
    let no_host = || AddressError::Host(whole.to_owned());
    let no_port = || AddressError::Port(whole.to_owned());
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(no_host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| no_host())?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':').ok_or_else(no_port)?),
        };
        (host, port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if !is_word(host) {
            return Err(no_host());
        }
        (host, port)
    };
    let port = port.map(|port| crate::text::port::parse_one(port).map_err(|_| no_port())).transpose()?;
    Ok((host.to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracket = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Https { host, port } => write!(f, "https://{}:{port}", bracket(host)),
            Self::Ssh { user, host, port } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(&bracket(host))?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "unix:///run/berth/agent.sock",
            "https://node1.example:7443",
            "https://[fd00::1]:7443",
            "ssh://node1",
            "ssh://admin@node1:2222",
            "ssh://admin@[fd00::1]:22",
        ] {
            assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_says_which_part() {
        let error = |text: &str| Address::parse(text).unwrap_err();
        assert!(matches!(error("node1"), AddressError::Scheme(_)));
        assert!(matches!(error("http://node1:80"), AddressError::Scheme(_)));
        assert!(matches!(error("unix://run/x"), AddressError::Path(_)));
        assert!(matches!(error("https://node1"), AddressError::Port(_)));
        assert!(matches!(error("https://node1:0"), AddressError::Port(_)));
        assert!(matches!(error("https://:80"), AddressError::Host(_)));
        assert!(matches!(error("https://node1/path:80"), AddressError::Host(_)));
    }

    #[test]
    fn nothing_that_looks_like_an_option_reaches_ssh() {
        for text in ["ssh://-oProxyCommand=x", "ssh://-l@node1", "ssh://a b", "ssh://$(x)", "ssh://a@-x"] {
            assert!(matches!(Address::parse(text), Err(AddressError::Host(_))), "{text}");
        }
    }
}
