//! What an instance finds in `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// The resolvers of instances on a host that has none they could reach: two public ones of different operators.
pub const FALLBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)), IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1))];

/// The C library asks no more than these.
const MAX_NAMESERVERS: usize = 3;

/// The host's own files.
#[derive(Debug, Clone)]
pub struct HostFiles {
    /// Its `resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Where systemd-resolved lists the servers that it forwards to.
    pub upstream: PathBuf,
}

impl Default for HostFiles {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), upstream: "/run/systemd/resolve/resolv.conf".into() }
    }
}

/// Where an instance's nameservers were taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The host's `resolv.conf`.
    Host,
    /// The servers that the host's own resolver forwards to.
    Upstream,
    /// Those who answer for names on the instance's networks.
    Networks,
    /// [`FALLBACK`], since the host names none that an instance can reach.
    Fallback,
}

/// How an instance resolves names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Where the servers were taken from.
    pub source: Source,
    /// The servers, in the order in which they are asked.
    pub nameservers: Vec<IpAddr>,
    /// The domains that short names are looked up in.
    pub search: Vec<String>,
    /// Options of the C library's resolver.
    pub options: Vec<String>,
}

/// What an instance's own files say of it.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Its host name.
    pub hostname: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// More names, by name.
    pub extra_hosts: &'a BTreeMap<String, IpAddr>,
}

/// The three files' contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/hostname`.
    pub hostname: String,
}

/// A file of the host that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ResolverError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Composes an instance's files.
#[must_use]
pub fn files(resolver: &Resolver, identity: &Identity<'_>) -> Files {
    Files {
        resolv_conf: resolver.to_file(),
        hosts: hosts(identity),
        hostname: format!("{}\n", identity.hostname),
    }
}

impl Resolver {
    /// Reads which servers the host asks. Those on its own loopback are not to be reached from an instance, so that
    /// servers behind them are taken instead; without IPv6 those of IPv6 neither.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub fn of_host(files: &HostFiles, with_ipv6: bool) -> Result<Self, ResolverError> {
        let mut resolver = Self::parse(&read(&files.resolv_conf)?);
        let reachable = |address: &IpAddr| {
            !address.is_loopback() && !address.is_unspecified() && (with_ipv6 || address.is_ipv4())
        };
        resolver.nameservers.retain(reachable);
        if resolver.nameservers.is_empty() {
            let upstream = Self::parse(&read(&files.upstream)?);
            resolver.source = Source::Upstream;
            resolver.nameservers = upstream.nameservers.into_iter().filter(reachable).collect();
            if resolver.search.is_empty() {
                resolver.search = upstream.search;
            }
        }
        if resolver.nameservers.is_empty() {
            resolver.source = Source::Fallback;
            resolver.nameservers = FALLBACK.to_vec();
        }
        resolver.nameservers.truncate(MAX_NAMESERVERS);
        // What the host's own stub resolver wants of its clients does not hold for others.
        resolver.options.retain(|option| !matches!(option.as_str(), "edns0" | "trust-ad"));
        Ok(resolver)
    }

    /// Asks these instead, who know the names of these domains and ask the host's own servers for all others.
    #[must_use]
    pub fn behind(mut self, servers: impl IntoIterator<Item = IpAddr>, domains: Vec<String>) -> Self {
        let servers: Vec<IpAddr> = servers.into_iter().take(MAX_NAMESERVERS).collect();
        if servers.is_empty() {
            return self;
        }
        self.source = Source::Networks;
        self.nameservers = servers;
        self.search.retain(|domain| !domains.contains(domain));
        self.search.splice(0..0, domains);
        self
    }

    /// The servers that a program of the host's own asks, those on its loopback among them.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn from_host(files: &HostFiles) -> Result<Vec<IpAddr>, ResolverError> {
        let mut nameservers = Self::parse(&read(&files.resolv_conf)?).nameservers;
        if nameservers.is_empty() {
            nameservers = FALLBACK.to_vec();
        }
        nameservers.truncate(MAX_NAMESERVERS);
        Ok(nameservers)
    }

    fn parse(text: &str) -> Self {
        let mut resolver =
            Self { source: Source::Host, nameservers: Vec::new(), search: Vec::new(), options: Vec::new() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // An address with a zone means a link of the host.
                Some("nameserver") => {
                    resolver.nameservers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last of either counts.
                Some("search" | "domain") => {
                    resolver.search = words.filter(|word| *word != ".").map(str::to_owned).collect();
                }
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }

    /// The text of `resolv.conf`.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut text = String::new();
        for address in &self.nameservers {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "nameserver {address}");
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                let _ = writeln!(text, "{keyword} {}", words.join(" "));
            }
        }
        text
    }
}

fn read(path: &Path) -> Result<String, ResolverError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ResolverError { path: path.to_owned(), source }),
    }
}

/// What `/etc/hosts` says.
#[must_use]
pub fn hosts(identity: &Identity<'_>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    let own = identity.addresses.iter().map(|address| (identity.hostname, address));
    let extra = identity.extra_hosts.iter().map(|(name, address)| (name.as_str(), address));
    for (name, address) in own.chain(extra) {
        let _ = writeln!(text, "{address}\t{name}");
    }
    // Without an address the own name must lead somewhere all the same.
    if identity.addresses.is_empty() {
        let _ = writeln!(text, "127.0.1.1\t{}", identity.hostname);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host(tempfile::TempDir);

    impl Host {
        fn new(resolv_conf: Option<&str>, upstream: Option<&str>) -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            let files = host.files();
            for (path, text) in [(files.resolv_conf, resolv_conf), (files.upstream, upstream)] {
                if let Some(text) = text {
                    fs::write(path, text).unwrap();
                }
            }
            host
        }

        fn files(&self) -> HostFiles {
            HostFiles { resolv_conf: self.0.path().join("a"), upstream: self.0.path().join("b") }
        }

        fn resolver(&self) -> Resolver {
            Resolver::of_host(&self.files(), false).unwrap()
        }
    }

    #[test]
    fn the_hosts_own_servers_are_used() {
        let text = "# made by hand\nnameserver 10.0.0.53\nnameserver ::1\nnameserver 2001:db8::53\n\
                    nameserver fe80::1%eth0\nnameserver 10.0.1.53\nsearch a.example b.example\noptions ndots:2\n";
        let resolver = Host::new(Some(text), None).resolver();
        assert_eq!(resolver.source, Source::Host);
        let expected =
            "nameserver 10.0.0.53\nnameserver 10.0.1.53\nsearch a.example b.example\noptions ndots:2\n";
        assert_eq!(resolver.to_file(), expected);
    }

    #[test]
    fn behind_a_stub_the_servers_it_asks_are_used() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        let resolver = Host::new(Some(stub), Some("nameserver 192.0.2.1\nsearch corp.example\n")).resolver();
        assert_eq!(resolver.source, Source::Upstream);
        assert_eq!(resolver.to_file(), "nameserver 192.0.2.1\nsearch corp.example\n");
    }

    #[test]
    fn who_answers_on_networks_stands_for_the_host_s_own() {
        let text = "nameserver 192.0.2.1\nsearch corp.example\noptions ndots:2\n";
        let resolver = Host::new(Some(text), None).resolver();
        assert_eq!(resolver.clone().behind([], vec!["a.berth".to_owned()]), resolver);
        let behind = resolver.behind(["10.1.2.1".parse().unwrap()], vec!["default.berth".to_owned()]);
        let expected = "nameserver 10.1.2.1\nsearch default.berth corp.example\noptions ndots:2\n";
        assert_eq!(behind.to_file(), expected);
    }

    #[test]
    fn a_host_with_none_to_reach_gets_the_fallback() {
        for text in [Some("nameserver 127.0.0.1\n"), Some(""), Some("nameserver nonsense\n"), None] {
            let resolver = Host::new(text, None).resolver();
            assert_eq!(resolver.source, Source::Fallback);
            assert_eq!(resolver.nameservers, FALLBACK);
        }
    }

    #[test]
    fn no_more_servers_than_are_asked() {
        let text = (1..9).map(|n| format!("nameserver 10.0.0.{n}\n")).collect::<String>();
        assert_eq!(Host::new(Some(&text), None).resolver().nameservers.len(), 3);
    }

    #[test]
    fn an_instance_finds_itself_and_its_extra_hosts() {
        let address = IpAddr::from([10, 1, 2, 3]);
        let extra = BTreeMap::from([("db".to_owned(), IpAddr::from([10, 1, 2, 4]))]);
        let resolver = Host::new(None, None).resolver();
        let identity = Identity { hostname: "web", addresses: &[address], extra_hosts: &extra };
        let files = files(&resolver, &identity);
        assert_eq!(files.hostname, "web\n");
        assert!(files.hosts.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(files.hosts.ends_with("\n10.1.2.3\tweb\n10.1.2.4\tdb\n"), "{}", files.hosts);
        let alone = Identity { addresses: &[], ..identity };
        assert!(hosts(&alone).contains("127.0.1.1\tweb\n"));
    }
}
