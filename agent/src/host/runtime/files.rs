//! The files of `/etc` that the agent gives an instance.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::Path;

use berth_domain::NetworkKind;
use berth_engine::ports::runtime::StartRequest;
use berth_network::resolver::{self, HostFiles, Identity, Resolver};
use berth_runtime::spec::FileBind;

use crate::host::Place;
use crate::host::network::{Served, Server};

/// What they say.
pub(super) struct Files {
    hostname: String,
    addresses: Vec<IpAddr>,
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
    pub(super) fn of(request: &StartRequest, place: &Place, served: &Served) -> Self {
        // What it is known by comes first: the address on the way of the default route.
        let mut interfaces: Vec<_> = request.contents.interfaces.iter().collect();
        interfaces.sort_by_key(|attachment| !attachment.default_route);
        let v4 = interfaces.iter().filter_map(|it| it.ipv4).map(|net| net.addr().into());
        let v6 = interfaces.iter().filter_map(|it| it.ipv6).map(|net| net.addr().into());
        let addresses = v4.chain(v6).collect();
        let bridges = interfaces.iter().filter(|it| it.network.spec.kind == NetworkKind::Bridge);
        let servers = bridges.filter_map(|it| served.on(&place.prefix.bridge(it.network.number)));
        let servers = servers.collect();
        Self { hostname: request.config.hostname.to_string(), addresses, servers }
    }

    /// Writes them; they belong to the instance's root, whose id on the host is `root`.
    pub(super) fn write(&self, binds: &[FileBind], root: u32) -> io::Result<()> {
        let resolver = Resolver::of_host(&HostFiles::default(), false).map_err(io::Error::other)?;
        // The first address of each: it has one of IPv4.
        let asked = self.servers.iter().filter_map(|server| server.addresses.first().copied());
        let domains = self.servers.iter().map(|server| server.domain.clone()).collect();
        let resolver = resolver.behind(asked, domains);
        let extra_hosts = BTreeMap::new();
        let identity =
            Identity { hostname: &self.hostname, addresses: &self.addresses, extra_hosts: &extra_hosts };
        let files = resolver::files(&resolver, &identity);
        for (bind, text) in binds.iter().zip([files.resolv_conf, files.hosts, files.hostname]) {
            if let Some(directory) = bind.source.parent() {
                std::fs::create_dir_all(directory)?;
            }
            berth_sys::fs::write_atomic(&bind.source, text.as_bytes(), 0o644).map_err(io::Error::other)?;
            chown(&bind.source, Some(root), Some(root))?;
        }
        Ok(())
    }
}
