//! Image references: `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`.
//!
//! A reference says where it was meant to be looked for ([`Origin`]), so that it prints as it was written.

use std::fmt;

use crate::digest::{Digest, DigestError};

/// The longest reference taken; registries allow 255 bytes of repository and 128 of tag.
pub const MAX_REFERENCE: usize = 1024;
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;
const MAX_REMOTE_NAME: usize = 63;
const DOCKER_HUB: &str = "docker.io";

/// What a reference needs to know of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAddress {
    /// The remote's name.
    pub name: String,
    /// The registry's host, with its port if it has one: `ghcr.io`, `127.0.0.1:5000`.
    pub host: String,
    /// What the remote's address has after the host, without slashes at its ends: put before each repository.
    pub path: String,
}

/// The remotes that a reference may name.
pub trait Remotes {
    /// The remote with this name.
    fn by_name(&self, name: &str) -> Option<RemoteAddress>;
    /// The remote with this address, so that its credentials are used.
    fn by_host(&self, host: &str) -> Option<RemoteAddress>;
}

/// No remotes at all: only registry hosts can be named.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRemotes;

impl Remotes for NoRemotes {
    fn by_name(&self, _: &str) -> Option<RemoteAddress> {
        None
    }
    fn by_host(&self, _: &str) -> Option<RemoteAddress> {
        None
    }
}

/// How the registry was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// By a remote's name.
    Remote(String),
    /// By its host.
    Host,
}

/// What a user may write where an image is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `sha256:<hex>`: an image of the store.
    Id(Digest),
    /// A reference to a registry.
    Reference(Reference),
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// How the registry was named.
    pub origin: Origin,
    /// The remote to use, where there is one: named, or found by its address.
    pub remote: Option<String>,
    /// The registry's host, with its port if it has one.
    pub host: String,
    /// The repository in full, as the registry knows it (`library/nginx`).
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest was written.
    pub tag: Option<String>,
    /// The digest of the index or of the platform's manifest. It wins over the tag.
    pub digest: Option<Digest>,
    written: String,
}

/// Why a text is no reference. Each names the malformed part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was written.
    #[error(
        "an image reference is empty: write REGISTRY_HOST/REPOSITORY:TAG, such as docker.io/nginx:latest"
    )]
    Empty,
    /// Longer than any registry takes.
    #[error("an image reference of {0} bytes is too long: at most {MAX_REFERENCE}")]
    TooLong(usize),
    /// Neither a registry host nor a remote.
    #[error(
        "{written:?} names no registry: write {suggestion:?}, or REMOTE:REPOSITORY with the name of a remote"
    )]
    NoRegistry {
        /// The reference.
        written: String,
        /// What was probably meant.
        suggestion: String,
    },
    /// A remote that is not there.
    #[error(
        "{written:?} names the remote {remote:?}, which does not exist: add that remote, or write {suggestion:?}"
    )]
    UnknownRemote {
        /// The reference.
        written: String,
        /// The remote's name.
        remote: String,
        /// What was perhaps meant.
        suggestion: String,
    },
    /// The registry's host.
    #[error(
        "{part:?} in {written:?} is not a registry host: write a host name or an address, and perhaps a port"
    )]
    Host {
        /// The reference.
        written: String,
        /// The malformed part.
        part: String,
    },
    /// The repository.
    #[error(
        "{part:?} in {written:?} is not a repository: lower-case letters, digits, and single '.', '_', '__' or '-' \
         between them, in parts separated by '/', at most {MAX_REPOSITORY} bytes"
    )]
    Repository {
        /// The reference.
        written: String,
        /// The malformed part.
        part: String,
    },
    /// The tag.
    #[error(
        "{part:?} in {written:?} is not a tag: letters, digits, '_', '.' and '-', at most {MAX_TAG} of them"
    )]
    Tag {
        /// The reference.
        written: String,
        /// The malformed part.
        part: String,
    },
    /// The digest.
    #[error("the digest of {written:?} is malformed")]
    Digest {
        /// The reference.
        written: String,
        /// Why.
        #[source]
        source: DigestError,
    },
}

impl ImageName {
    /// Reads an image's id or a reference.
    pub fn parse(text: &str, remotes: &dyn Remotes) -> Result<Self, ReferenceError> {
        if text.starts_with("sha256:") {
            return text
                .parse()
                .map(Self::Id)
                .map_err(|source| ReferenceError::Digest { written: shorten(text), source });
        }
        Reference::parse(text, remotes).map(Self::Reference)
    }
}

impl Reference {
    /// Reads a reference; `remotes` says which names and addresses there are.
    pub fn parse(text: &str, remotes: &dyn Remotes) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > MAX_REFERENCE {
            return Err(ReferenceError::TooLong(text.len()));
        }
        let written = || text.to_owned();
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let parsed =
                    digest.parse().map_err(|source| ReferenceError::Digest { written: written(), source })?;
                (rest, Some(parsed))
            }
            None => (text, None),
        };
        let (origin, remote, name) = split_registry(text, rest, remotes)?;
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (name, None),
        };
        if !is_repository(repository) {
            return Err(ReferenceError::Repository { written: written(), part: repository.to_owned() });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag { written: written(), part: tag.to_owned() });
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            origin,
            repository: full_repository(&remote, repository),
            host: remote.host,
            remote: Some(remote.name).filter(|name| !name.is_empty()),
            tag,
            digest,
            written: written(),
        })
    }

    /// `host/repository@digest`: what a resolved reference is written as.
    pub fn resolved(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.host, self.repository)
    }

    /// `host/repository:tag@digest` whatever way it was written.
    pub fn canonical(&self) -> String {
        let mut text = format!("{}/{}", self.host, self.repository);
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Splits the registry off. A host that no remote has gives an address without a name.
fn split_registry<'a>(
    text: &str,
    rest: &'a str,
    remotes: &dyn Remotes,
) -> Result<(Origin, RemoteAddress, &'a str), ReferenceError> {
    if let Some((host, name)) = rest.split_once('/').filter(|(host, _)| looks_like_host(host)) {
        if !is_host(host) {
            return Err(ReferenceError::Host { written: text.to_owned(), part: host.to_owned() });
        }
        let address = remotes.by_host(host).unwrap_or_else(|| RemoteAddress {
            name: String::new(),
            host: host.to_owned(),
            path: String::new(),
        });
        // The reference was written in full: the remote's own path is not put before it again.
        return Ok((Origin::Host, RemoteAddress { path: String::new(), ..address }, name));
    }
    let suggestion = || format!("{DOCKER_HUB}/{text}");
    let no_registry = || ReferenceError::NoRegistry { written: text.to_owned(), suggestion: suggestion() };
    let (remote, name) = rest.split_once(':').ok_or_else(no_registry)?;
    if !is_remote_name(remote) {
        return Err(no_registry());
    }
    let address = remotes.by_name(remote).ok_or_else(|| ReferenceError::UnknownRemote {
        written: text.to_owned(),
        remote: remote.to_owned(),
        suggestion: suggestion(),
    })?;
    Ok((Origin::Remote(remote.to_owned()), address, name))
}

fn full_repository(remote: &RemoteAddress, repository: &str) -> String {
    if !remote.path.is_empty() {
        return format!("{}/{repository}", remote.path);
    }
    if is_docker_hub(&remote.host) && !repository.contains('/') {
        return format!("library/{repository}");
    }
    repository.to_owned()
}

/// Whether this host is Docker Hub under any of its names.
pub fn is_docker_hub(host: &str) -> bool {
    matches!(host, DOCKER_HUB | "index.docker.io" | "registry-1.docker.io")
}

/// The rule of the interface for what stands before the first `/`.
fn looks_like_host(text: &str) -> bool {
    let with_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    text == "localhost"
        || (text.contains('.') && !text.contains(':'))
        || with_port
        || (text.starts_with('[') && text.ends_with(']'))
}

/// Whether this is a host name, an IPv4 address or a bracketed IPv6 address, with or without a port.
pub fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port != 0) || port.starts_with('+')) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    !host.is_empty() && host.len() <= 253 && host.split('.').all(label)
}

fn is_remote_name(text: &str) -> bool {
    // `sha256` begins an image's id.
    text != "sha256"
        && !text.is_empty()
        && text.len() <= MAX_REMOTE_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

pub(crate) fn is_repository(text: &str) -> bool {
    text.len() <= MAX_REPOSITORY && text.split('/').all(is_repository_part)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, as the distribution specification has it.
fn is_repository_part(part: &str) -> bool {
    let mut separator = String::new();
    let mut seen = false;
    for c in part.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            let dashes = !separator.is_empty() && separator.bytes().all(|b| b == b'-');
            let between = matches!(separator.as_str(), "." | "_" | "__") || dashes;
            if !(separator.is_empty() || seen && between) {
                return false;
            }
            separator.clear();
            seen = true;
        } else {
            separator.push(c);
        }
    }
    seen && separator.is_empty()
}

pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
