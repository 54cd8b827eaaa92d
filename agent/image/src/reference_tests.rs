use proptest::prelude::*;

use super::*;

/// `hub` is Docker Hub, `local` a registry on a port, `org` one with a path in its address.
struct Known;

impl Remotes for Known {
    fn by_name(&self, name: &str) -> Option<RemoteAddress> {
        let (host, path) = match name {
            "hub" => ("docker.io", ""),
            "local" => ("127.0.0.1:5000", ""),
            "org" => ("ghcr.io", "some/org"),
            _ => return None,
        };
        Some(RemoteAddress { name: name.to_owned(), host: host.to_owned(), path: path.to_owned() })
    }

    fn by_host(&self, host: &str) -> Option<RemoteAddress> {
        (host == "127.0.0.1:5000").then(|| self.by_name("local")).flatten()
    }
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> Result<Reference, ReferenceError> {
    Reference::parse(text, &Known)
}

#[test]
fn what_the_interface_says_is_a_reference() {
    let with_digest = format!("ghcr.io/a/b:1@{DIGEST}");
    let only_digest = format!("hub:nginx@{DIGEST}");
    for (text, host, repository, tag, remote) in [
        ("docker.io/nginx", "docker.io", "library/nginx", Some("latest"), None),
        ("docker.io/bitnami/nginx:1", "docker.io", "bitnami/nginx", Some("1"), None),
        ("localhost/web", "localhost", "web", Some("latest"), None),
        ("localhost:5000/web:v1", "localhost:5000", "web", Some("v1"), None),
        ("registry:5000/a/b", "registry:5000", "a/b", Some("latest"), None),
        ("127.0.0.1:5000/web", "127.0.0.1:5000", "web", Some("latest"), Some("local")),
        ("[::1]/web", "[::1]", "web", Some("latest"), None),
        ("[::1]:5000/web:2", "[::1]:5000", "web", Some("2"), None),
        ("hub:postgres:16", "docker.io", "library/postgres", Some("16"), Some("hub")),
        ("hub:postgres", "docker.io", "library/postgres", Some("latest"), Some("hub")),
        ("hub:a.b/c", "docker.io", "a.b/c", Some("latest"), Some("hub")),
        ("local:web", "127.0.0.1:5000", "web", Some("latest"), Some("local")),
        ("org:web:1", "ghcr.io", "some/org/web", Some("1"), Some("org")),
        (&with_digest, "ghcr.io", "a/b", Some("1"), None),
        (&only_digest, "docker.io", "library/nginx", None, Some("hub")),
    ] {
        let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.host, host, "{text}");
        assert_eq!(parsed.repository, repository, "{text}");
        assert_eq!(parsed.tag.as_deref(), tag, "{text}");
        assert_eq!(parsed.remote.as_deref(), remote, "{text}");
        assert_eq!(parsed.to_string(), text);
    }
}

#[test]
fn a_name_without_a_registry_shows_what_to_write() {
    for (text, suggestion) in [
        ("nginx", "docker.io/nginx"),
        ("postgres:16", "docker.io/postgres:16"),
        ("library/nginx", "docker.io/library/nginx"),
        ("nope:a/b:1", "docker.io/nope:a/b:1"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(&format!("{suggestion:?}")), "{text}: {error}");
    }
    assert!(
        matches!(parse("postgres:16"), Err(ReferenceError::UnknownRemote { remote, .. }) if remote == "postgres")
    );
    let digest = format!("nginx@{DIGEST}");
    assert!(matches!(parse(&digest), Err(ReferenceError::NoRegistry { .. })));
    // What can be no remote's name is not said to be an unknown one.
    for text in ["my remote:app", ":app", &format!("{}:app", "a".repeat(65))] {
        assert!(matches!(parse(text), Err(ReferenceError::NoRegistry { .. })), "{text}");
    }
}

#[test]
fn each_malformed_part_is_named() {
    use ReferenceError as E;
    let part = |text: &str| match parse(text).unwrap_err() {
        E::Host { part, .. } => ("host", part),
        E::Repository { part, .. } => ("repository", part),
        E::Tag { part, .. } => ("tag", part),
        E::Digest { .. } => ("digest", String::new()),
        other => panic!("{text}: {other}"),
    };
    let long = format!("docker.io/{}", "a".repeat(256));
    for (text, kind, which) in [
        ("docker.io/Nginx", "repository", "Nginx"),
        ("docker.io/", "repository", ""),
        ("docker.io/a//b", "repository", "a//b"),
        ("docker.io/a/../b", "repository", "a/../b"),
        ("docker.io/a.-b", "repository", "a.-b"),
        ("docker.io/a___b", "repository", "a___b"),
        ("docker.io/-a", "repository", "-a"),
        ("docker.io/nginx:", "tag", ""),
        ("docker.io/nginx:-x", "tag", "-x"),
        ("docker.io/nginx:a b", "tag", "a b"),
        ("docker.io/nginx@sha256:12", "digest", ""),
        ("docker.io/nginx@md5:12", "digest", ""),
        ("docker.io/nginx@sha256:../../x", "digest", ""),
        ("a..b/nginx", "host", "a..b"),
        ("host:99999/nginx", "host", "host:99999"),
        ("[::zz]/nginx", "host", "[::zz]"),
        (&long, "repository", &"a".repeat(256)),
    ] {
        assert_eq!(part(text), (kind, which.to_owned()), "{text}");
    }
    assert_eq!(parse("").unwrap_err(), E::Empty);
    assert_eq!(parse(&"a".repeat(2000)).unwrap_err(), E::TooLong(2000));
}

#[test]
fn an_id_is_no_reference() {
    assert_eq!(ImageName::parse(DIGEST, &Known).unwrap(), ImageName::Id(DIGEST.parse().unwrap()));
    assert!(matches!(ImageName::parse("sha256:12", &Known), Err(ReferenceError::Digest { .. })));
    assert!(matches!(ImageName::parse("hub:nginx", &Known), Ok(ImageName::Reference(_))));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = ImageName::parse(&text, &Known);
    }

    #[test]
    fn no_text_of_the_grammars_own_letters_panics(text in "[a-z0-9:/@.\\[\\]_-]{0,80}") {
        if let Ok(parsed) = parse(&text) {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_printed_reads_the_same(
        host in "([a-z]{1,8}\\.[a-z]{2,5}|localhost|[a-z]{1,8}:[1-9][0-9]{1,3}|\\[::1\\]:5000)",
        repository in "[a-z0-9]{1,6}([._-][a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,2}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}"),
        digest in proptest::option::of(any::<[u8; 32]>()),
    ) {
        let mut text = format!("{host}/{repository}");
        if let Some(tag) = tag { text.push(':'); text.push_str(&tag); }
        if let Some(digest) = digest { text.push_str(&format!("@{}", Digest::from_bytes(digest))); }
        let parsed = parse(&text).unwrap();
        prop_assert_eq!(parsed.to_string(), text.clone());
        prop_assert_eq!(parse(&parsed.to_string()).unwrap(), parsed.clone());
        let canonical = parse(&parsed.canonical()).unwrap();
        prop_assert_eq!(canonical.repository, parsed.repository);
        prop_assert_eq!(canonical.digest, parsed.digest);
    }
}
