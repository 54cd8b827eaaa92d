//! A light check of image references: what no remote could make right.
//!
//! `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`. The agent knows the remotes and has the last
//! word; here only what is malformed under every set of remotes is refused, at plan time.

/// What is wrong, and in which part.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the reference is empty")]
    Empty,
    /// White space or control characters.
    #[error("\"{reference}\" holds {character:?}")]
    Character {
        /// What was written.
        reference: String,
        /// What it may not hold.
        character: char,
    },
    /// Neither a remote nor a registry host.
    #[error("\"{0}\" names no registry")]
    NoRegistry(String),
    /// The repository's path.
    #[error("the repository \"{0}\" is malformed")]
    Repository(String),
    /// What stands after the repository's colon.
    #[error("the tag \"{0}\" is malformed")]
    Tag(String),
    /// What stands after the at sign.
    #[error("the digest \"{0}\" is malformed")]
    Digest(String),
    /// An id where a reference is needed.
    #[error("\"{0}\" is an image's id, not a reference")]
    Id(String),
}

impl ReferenceError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Empty | Self::Character { .. } => {
                "Write a reference such as \"docker.io/postgres:16\", or \"REMOTE:postgres:16\" with the name of \
                 a berth_remote."
                    .to_owned()
            }
            Self::NoRegistry(reference) => format!(
                "Write \"docker.io/{reference}\" for Docker Hub, or put the registry's host and a slash, or the \
                 name of a berth_remote and a colon, before it."
            ),
            Self::Repository(_) => {
                "A repository is lower-case letters and digits, with single dots, underscores, hyphens and \
                 slashes between them."
                    .to_owned()
            }
            Self::Tag(_) => {
                "A tag is up to 128 letters, digits, underscores, dots and hyphens, and begins with none of the \
                 last two."
                    .to_owned()
            }
            Self::Digest(_) => "A digest is \"sha256:\" and 64 lower-case hexadecimal digits.".to_owned(),
            Self::Id(_) => "Write where the image is: \"REGISTRY/REPOSITORY@DIGEST\".".to_owned(),
        }
    }
}

/// Whether this is an image's id: a full digest.
pub fn is_id(text: &str) -> bool {
    is_digest(text)
}

/// Whether a reference is fixed by a digest, so that nothing can move under it.
pub fn has_digest(reference: &str) -> bool {
    reference.rsplit_once('@').is_some_and(|(_, digest)| is_digest(digest))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Checks an image's id or a reference.
pub fn check_id_or_reference(text: &str) -> Result<(), ReferenceError> {
    if is_id(text) { Ok(()) } else { check(text) }
}

/// Checks a reference.
pub fn check(reference: &str) -> Result<(), ReferenceError> {
    parse(reference).map(drop)
}

/// The parts of a reference, each as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The registry's host, with its port; then there is no remote.
    pub registry: Option<&'a str>,
    /// The name of a remote; then there is no registry.
    pub remote: Option<&'a str>,
    /// What follows it.
    pub repository: &'a str,
    /// After the repository's colon.
    pub tag: Option<&'a str>,
    /// After the at sign.
    pub digest: Option<&'a str>,
}

/// Takes a reference apart.
pub fn parse(reference: &str) -> Result<Parts<'_>, ReferenceError> {
    if reference.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if let Some(character) = reference.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(ReferenceError::Character { reference: reference.to_owned(), character });
    }
    if is_id(reference) {
        return Err(ReferenceError::Id(reference.to_owned()));
    }
    if reference.starts_with("sha256:") {
        return Err(ReferenceError::Digest(reference.to_owned()));
    }
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
        return Err(ReferenceError::Digest(digest.to_owned()));
    }
    let no_registry = || ReferenceError::NoRegistry(reference.to_owned());
    let (registry, remote, path) = split_registry(named).ok_or_else(no_registry)?;
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (path, None),
    };
    if !is_repository(repository) {
        return Err(ReferenceError::Repository(repository.to_owned()));
    }
    match tag.filter(|tag| !is_tag(tag)) {
        Some(tag) => Err(ReferenceError::Tag(tag.to_owned())),
        None => Ok(Parts { registry, remote, repository, tag, digest }),
    }
}

/// The registry's host, or the remote's name, and what follows it.
fn split_registry(named: &str) -> Option<(Option<&str>, Option<&str>, &str)> {
    if let Some((first, rest)) = named.split_once('/')
        && is_registry_host(first)
    {
        return Some((Some(first), None, rest));
    }
    let (remote, rest) = named.split_once(':')?;
    (!remote.is_empty() && !remote.contains('/')).then_some((None, Some(remote), rest))
}

fn is_registry_host(first: &str) -> bool {
    let port = first.rsplit_once(':').map(|(_, port)| port);
    let ends_in_port = port.is_some_and(|p| !p.is_empty() && p.bytes().all(|byte| byte.is_ascii_digit()));
    first == "localhost"
        || (first.contains('.') && !first.contains(':'))
        || (ends_in_port && first.matches(':').count() == 1 && !first.starts_with(':'))
        || first.starts_with('[')
}

fn is_repository(repository: &str) -> bool {
    let component = |part: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.chars().all(allowed)
            && alphanumeric(part.chars().next())
            && alphanumeric(part.chars().last())
            && !part.contains("..")
    };
    repository.len() <= 255 && repository.split('/').all(component)
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn well_formed() {
        for reference in [
            "docker.io/nginx",
            "docker.io/library/nginx:1.27",
            "localhost/web:dev",
            "127.0.0.1:5000/berth/web:1",
            "registry:5000/web",
            "[::1]:5000/web",
            "hub:nginx",
            "hub:library/nginx:1.27",
            "postgres:16",
            &format!("docker.io/nginx@{DIGEST}"),
            &format!("hub:nginx:1.27@{DIGEST}"),
        ] {
            assert_eq!(check(reference), Ok(()), "{reference}");
        }
        assert_eq!(check_id_or_reference(DIGEST), Ok(()));
    }

    #[test]
    fn no_registry_shows_docker_io() {
        for reference in ["nginx", "library/nginx", "library/nginx:1.27"] {
            let error = check(reference).unwrap_err();
            assert_eq!(error, ReferenceError::NoRegistry(reference.to_owned()));
            assert!(error.advice().contains(&format!("\"docker.io/{reference}\"")));
        }
    }

    #[test]
    fn the_malformed_part_is_named() {
        let part = |text: &str| check(text).unwrap_err();
        assert_eq!(part(""), ReferenceError::Empty);
        assert!(matches!(part("docker.io/ng inx"), ReferenceError::Character { character: ' ', .. }));
        assert_eq!(part("docker.io/Nginx"), ReferenceError::Repository("Nginx".to_owned()));
        assert_eq!(part("docker.io/../x"), ReferenceError::Repository("../x".to_owned()));
        assert_eq!(part("docker.io/nginx:-x"), ReferenceError::Tag("-x".to_owned()));
        assert_eq!(part("docker.io/nginx:"), ReferenceError::Tag(String::new()));
        assert_eq!(part("docker.io/nginx@sha256:12"), ReferenceError::Digest("sha256:12".to_owned()));
        assert_eq!(part("sha256:12"), ReferenceError::Digest("sha256:12".to_owned()));
        assert_eq!(part(DIGEST), ReferenceError::Id(DIGEST.to_owned()));
    }

    #[test]
    fn digests_are_seen() {
        assert!(has_digest(&format!("docker.io/nginx@{DIGEST}")));
        assert!(!has_digest("docker.io/nginx:1"));
        assert!(is_id(DIGEST));
        assert!(!is_id("sha256:12"));
    }
}
