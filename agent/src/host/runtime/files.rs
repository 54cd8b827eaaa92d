//! The files of `/etc` that the agent gives an instance.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use berth_domain::NetworkKind;
use berth_engine::ports::runtime::{Attachment, Contents};
use berth_network::resolver::{self, HostFiles, Identity, Resolver};
use berth_runtime::spec::FileBind;

use crate::host::Place;
use crate::host::network::Served;

const HOSTS: &str = "etc/hosts";
const RESOLV_CONF: &str = "etc/resolv.conf";

/// What they say.
pub(super) struct Files {
    hostname: String,
    addresses: Vec<IpAddr>,
    extra_hosts: BTreeMap<String, IpAddr>,
    names: Names,
}

/// Who is asked for names.
#[derive(Default)]
struct Names {
    servers: Vec<IpAddr>,
    /// Where short names are looked up.
    domains: Vec<String>,
    /// A DHCP server says it, once there is a lease.
    leased: bool,
    /// Nobody answers now on a network where somebody should.
    wanting: bool,
}

impl Names {
    /// The way of the default route comes first.
    fn of(interfaces: &[&Attachment], place: &Place, served: &Served) -> Self {
        let mut names = Self::default();
        let given = interfaces.iter().any(|it| !it.dns.is_empty());
        for attachment in interfaces {
            let network = &attachment.network;
            if !attachment.dns.is_empty() {
                names.servers.extend(&attachment.dns);
            } else if network.spec.kind != NetworkKind::Bridge {
                names.leased |= attachment.default_route && attachment.ipv4.is_none() && !given;
            } else if let Some(server) = served.on(&place.prefix.bridge(network.number)) {
                // The first address of each: it has one of IPv4.
                names.servers.extend(server.addresses.first());
                names.domains.push(server.domain);
            } else {
                names.wanting = true;
            }
        }
        names
    }
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
        let names = Names::of(&interfaces, place, served);
        let extra_hosts = contents.extra_hosts.clone();
        Self { hostname: hostname.to_owned(), addresses, extra_hosts, names }
    }

    /// Writes them, as each start does anew; they belong to the instance's root, whose id on the host is `root`.
    pub(super) fn write(&self, binds: &[FileBind], root: u32) -> io::Result<()> {
        let files = resolver::files(&self.resolver()?, &self.identity());
        for (bind, text) in binds.iter().zip([files.resolv_conf, files.hosts, files.hostname]) {
            if let Some(directory) = bind.source.parent() {
                std::fs::create_dir_all(directory)?;
            }
            if bind.target.ends_with(HOSTS) || bind.target.ends_with(RESOLV_CONF) {
                keep(&bind.source, &text)?;
            }
            berth_sys::fs::write_whole(&bind.source, text.as_bytes(), 0o644).map_err(io::Error::other)?;
            chown(&bind.source, Some(root), Some(root))?;
        }
        Ok(())
    }

    fn identity(&self) -> Identity<'_> {
        Identity { hostname: &self.hostname, addresses: &self.addresses, extra_hosts: &self.extra_hosts }
    }

    fn resolver(&self) -> io::Result<Resolver> {
        let host = Resolver::of_host(&HostFiles::default(), false).map_err(io::Error::other)?;
        Ok(host.behind(self.names.servers.iter().copied(), self.names.domains.clone()))
    }

    /// What a running instance knows of hosts, and whom it asks, is this from now on.
    pub(super) fn rewrite(&self, binds: &[FileBind]) -> io::Result<()> {
        rewrite(binds, HOSTS, &resolver::hosts(&self.identity()))?;
        if self.names.leased {
            // The supervisor writes what its lease says; what was given before is not there any more.
            let bind = binds.iter().find(|bind| bind.target.ends_with(RESOLV_CONF));
            return bind.map_or(Ok(()), |bind| keep(&bind.source, ""));
        }
        // Where nobody can be asked just now, whoever was asked before stays.
        if self.names.wanting { Ok(()) } else { rewrite(binds, RESOLV_CONF, &self.resolver()?.to_file()) }
    }
}

/// The file is written in place, as the instance has this very file mounted; and only where there is something new, as the
/// instance may have added something of its own.
fn rewrite(binds: &[FileBind], target: &str, text: &str) -> io::Result<()> {
    let Some(bind) = binds.iter().find(|bind| bind.target.ends_with(target)) else { return Ok(()) };
    match std::fs::read_to_string(given(&bind.source)) {
        Ok(before) if before == text => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write(&bind.source, text)?;
    keep(&bind.source, text)
}

fn keep(path: &Path, text: &str) -> io::Result<()> {
    berth_sys::fs::write_whole(&given(path), text.as_bytes(), 0o600).map_err(io::Error::other)
}

/// Where it is kept what the agent gave, whatever the instance made of it.
fn given(path: &Path) -> PathBuf {
    path.with_extension("given")
}
