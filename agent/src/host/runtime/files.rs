//! The files of `/etc` that the agent gives an instance.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use berth_domain::NetworkKind;
use berth_engine::ports::runtime::Contents;
use berth_network::resolver::{self, HostFiles, Identity, Resolver};
use berth_runtime::spec::FileBind;

use crate::host::Place;
use crate::host::network::{Served, Server};

const HOSTS: &str = "etc/hosts";

/// What they say.
pub(super) struct Files {
    hostname: String,
    addresses: Vec<IpAddr>,
    extra_hosts: BTreeMap<String, IpAddr>,
    /// Who answers for names on its networks.
    servers: Vec<Server>,
}

/// Where they are seen inside.
pub(super) fn binds(data: &Path) -> Vec<FileBind> {
    let bind = |name: &str| FileBind {
        source: data.join("files").join(name),
        target: Path::new("/etc").join(name),
        read_only: false,
    };
    ["resolv.conf", "hosts", "hostname"].map(bind).into()
}

impl Files {
    pub(super) fn of(hostname: &str, contents: &Contents, place: &Place, served: &Served) -> Self {
        // What it is known by comes first: the address on the way of the default route.
        let mut interfaces: Vec<_> = contents.interfaces.iter().collect();
        interfaces.sort_by_key(|attachment| !attachment.default_route);
        let v4 = interfaces.iter().filter_map(|it| it.ipv4).map(|net| net.addr().into());
        let v6 = interfaces.iter().filter_map(|it| it.ipv6).map(|net| net.addr().into());
        let addresses = v4.chain(v6).collect();
        let bridges = interfaces.iter().filter(|it| it.network.spec.kind == NetworkKind::Bridge);
        let servers = bridges.filter_map(|it| served.on(&place.prefix.bridge(it.network.number)));
        let servers = servers.collect();
        let extra_hosts = contents.extra_hosts.clone();
        Self { hostname: hostname.to_owned(), addresses, extra_hosts, servers }
    }

    /// Writes them; they belong to the instance's root, whose id on the host is `root`.
    pub(super) fn write(&self, binds: &[FileBind], root: u32) -> io::Result<()> {
        let resolver = Resolver::of_host(&HostFiles::default(), false).map_err(io::Error::other)?;
        // The first address of each: it has one of IPv4.
        let asked = self.servers.iter().filter_map(|server| server.addresses.first().copied());
        let domains = self.servers.iter().map(|server| server.domain.clone()).collect();
        let resolver = resolver.behind(asked, domains);
        let files = resolver::files(&resolver, &self.identity());
        for (bind, text) in binds.iter().zip([files.resolv_conf, files.hosts, files.hostname]) {
            if let Some(directory) = bind.source.parent() {
                std::fs::create_dir_all(directory)?;
            }
            if bind.target.ends_with(HOSTS) {
                berth_sys::fs::write_atomic(&given(&bind.source), text.as_bytes(), 0o600)
                    .map_err(io::Error::other)?;
            }
            berth_sys::fs::write_atomic(&bind.source, text.as_bytes(), 0o644).map_err(io::Error::other)?;
            chown(&bind.source, Some(root), Some(root))?;
        }
        Ok(())
    }

    fn identity(&self) -> Identity<'_> {
        Identity { hostname: &self.hostname, addresses: &self.addresses, extra_hosts: &self.extra_hosts }
    }

    /// What a running instance knows of hosts is this from now on. The file is written in place, as the instance has this very
    /// file mounted; and only where there is something new, as the instance may have added something of its own.
    pub(super) fn rewrite_hosts(&self, binds: &[FileBind]) -> io::Result<()> {
        let Some(bind) = binds.iter().find(|bind| bind.target.ends_with(HOSTS)) else { return Ok(()) };
        let (text, given) = (resolver::hosts(&self.identity()), given(&bind.source));
        match std::fs::read_to_string(&given) {
            Ok(before) if before == text => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::write(&bind.source, &text)?;
        berth_sys::fs::write_atomic(&given, text.as_bytes(), 0o600).map_err(io::Error::other)
    }
}

/// Where it is kept what the agent gave, whatever the instance made of it.
fn given(path: &Path) -> PathBuf {
    path.with_extension("given")
}
