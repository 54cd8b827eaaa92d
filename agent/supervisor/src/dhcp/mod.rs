//! DHCP clients, one an interface: the machine's sockets, and what a lease is in the instance.

mod machine;
mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_runtime::launch::LaunchError;
use berth_runtime::lease::{DhcpSpec, Lease, LeaseRoute};
use berth_runtime::spec::{InterfaceSpec, LaunchSpec};
use berth_sys::netlink::{MacAddress, Netlink, NetlinkError};
use berth_sys::packet::PacketSocket;

use self::machine::{Action, Machine};
use self::message::{Query, Reply};
use crate::host::inside;
use crate::supervise::now_ms;

/// The leases of an instance, kept in its run directory by its interfaces' names.
const FILE: &str = "leases.json";

/// Trouble is told of at most this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// A client of one interface.
pub struct Client {
    /// The interface's name inside.
    pub name: String,
    spec: DhcpSpec,
    machine: Machine,
    origin: Instant,
    socket: PacketSocket,
    /// The interface is a guest's: who came with the last answer, by hardware address, and what is said is said through the socket.
    guest: Option<Option<[u8; 6]>>,
    /// For what is said from the lease's address; open while an answer may come, so that the kernel refuses none.
    talk: Option<UdpSocket>,
    netlink: Netlink,
    /// What the interface has been given.
    applied: Option<Lease>,
    /// When, by the clock that nobody sets.
    applied_at: Instant,
    trouble: Option<String>,
    /// The trouble that was told of last, and when.
    told: (Option<String>, Instant),
    run_dir: PathBuf,
    resolv_conf: Option<PathBuf>,
}

impl Client {
    /// Of an interface that is in its namespace.
    pub fn open(spec: &LaunchSpec, interface: &InterfaceSpec, namespace: &OwnedFd) -> Option<Self> {
        let dhcp = interface.dhcp.clone()?;
        let mac: MacAddress = interface.mac.parse().ok()?;
        let is_guest = spec.vm.is_some();
        let (netlink, socket) = inside(namespace, || open(&interface.name, is_guest)).ok()?.ok()?;
        let origin = Instant::now();
        let last = stored(&spec.run_dir).remove(&interface.name);
        let last = last.map(|lease| (lease.address, lease.expires_ms.is_none_or(|end| end > now_ms())));
        let second = Duration::from_millis(dhcp.second_ms.unwrap_or(1000).into());
        let hostname = dhcp.hostname.clone();
        let machine = Machine::new(mac.0, hostname, second, seed(mac), last, Duration::ZERO);
        let trouble = machine.trouble().map(str::to_owned);
        let target = Path::new("/etc/resolv.conf");
        let resolv_conf = spec.files.iter().find(|file| file.target == target);
        Some(Self {
            name: interface.name.clone(),
            spec: dhcp,
            machine,
            origin,
            socket,
            guest: is_guest.then_some(None),
            talk: None,
            netlink,
            applied: None,
            applied_at: origin,
            trouble: None,
            told: (trouble, origin),
            run_dir: spec.run_dir.clone(),
            resolv_conf: resolv_conf.map(|file| file.source.clone()),
        })
    }

    /// The lease in force.
    pub fn lease(&self) -> Option<Lease> {
        self.applied.as_ref().map(|lease| lease.told(self.applied_at.elapsed(), now_ms()))
    }

    /// Why there is none, or what is wrong with it.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.clone().or_else(|| self.machine.trouble().map(str::to_owned))
    }

    /// The lease in force, with the routes that are taken from it.
    pub fn given(&self) -> Option<(&Lease, Vec<LeaseRoute>)> {
        self.applied.as_ref().map(|lease| (lease, routes(&self.spec, lease)))
    }

    /// The guest has not taken what the server gave.
    pub fn not_taken(&mut self, error: &LaunchError) {
        self.trouble = Some(error.to_string());
    }

    pub fn due(&self) -> Option<Instant> {
        Some(self.origin + self.machine.due()?)
    }

    /// Does what is due; tells whether the lease, or what is wrong with it, is another.
    pub fn tick(&mut self, namespace: &OwnedFd) -> bool {
        let actions = self.machine.tick(self.origin.elapsed());
        self.act(actions, namespace) | self.is_in_other_trouble()
    }

    /// Whether there is trouble to tell of, or no more. Servers can make trouble faster than anyone wants to hear of it.
    fn is_in_other_trouble(&mut self) -> bool {
        let trouble = self.trouble();
        let other = trouble != self.told.0 && self.told.1.elapsed() >= TELL_AGAIN;
        if other {
            self.told = (trouble, Instant::now());
        }
        other
    }

    /// Takes what has come; tells whether the lease, or what is wrong with it, is another.
    pub fn receive(&mut self, namespace: &OwnedFd) -> bool {
        let mut changed = false;
        let mut buffer = [0; 2048];
        // A few at a time: whoever floods must not keep the supervisor from everything else.
        for _ in 0..16 {
            let Ok((length, from)) = self.socket.receive(&mut buffer) else { break };
            let reply = buffer.get(..length).and_then(message::payload).and_then(Reply::read);
            if let Some(reply) = reply {
                self.guest = self.guest.map(|_| Some(from));
                let actions = self.machine.receive(&reply, self.origin.elapsed());
                changed |= self.act(actions, namespace);
            }
        }
        changed | self.is_in_other_trouble()
    }

    /// Gives the lease back. Its address is remembered, to be asked for again.
    pub fn release(&mut self, namespace: &OwnedFd) {
        if let Some(Action::Unicast(query, server)) = self.machine.release() {
            self.unicast(&query, server, namespace);
            self.remember(|lease| lease.expires_ms = Some(0));
        }
    }

    fn act(&mut self, actions: Vec<Action>, namespace: &OwnedFd) -> bool {
        let mut changed = false;
        for action in actions {
            match action {
                Action::Broadcast(query) => {
                    // What is not sent now is sent again.
                    let _ = self.socket.broadcast(&message::packet(&query.write()));
                }
                Action::Unicast(query, server) => self.unicast(&query, server, namespace),
                Action::Bound(lease) => {
                    self.talk = None;
                    self.trouble = self.apply(lease).err().map(|error| chain(&error));
                    changed = true;
                }
                Action::Lost => {
                    self.talk = None;
                    self.take_away();
                    changed = true;
                }
            }
        }
        changed
    }

    fn unicast(&mut self, query: &Query, server: Ipv4Addr, namespace: &OwnedFd) {
        let Some(own) = query.own else { return };
        if let Some(to) = self.guest {
            // The address is not this host's: what the kernel would do with it is done here.
            let packet = message::packet_from(own, server, &query.write());
            let _ = to.map(|to| self.socket.send(&packet, to));
            return;
        }
        let send = || {
            let socket = UdpSocket::bind(SocketAddrV4::new(own, 68))?;
            socket.send_to(&query.write(), SocketAddrV4::new(server, 67))?;
            Ok::<_, io::Error>(socket)
        };
        // Where the instance has the port itself, the broadcasts of rebinding are what remains.
        self.talk = inside(namespace, send).ok().and_then(Result::ok);
    }

    fn apply(&mut self, mut lease: Lease) -> Result<(), NetlinkError> {
        let before = self.applied.take();
        lease.begin(now_ms());
        self.applied_at = Instant::now();
        let same = |old: &Lease| {
            (old.address, old.prefix_len, &old.routes) == (lease.address, lease.prefix_len, &lease.routes)
        };
        if let Some(old) = before.as_ref().filter(|old| same(old)) {
            lease.renewals = old.renewals.saturating_add(1);
            self.applied = Some(lease);
        } else {
            self.applied = before;
            self.take_away();
            let given = self.give(&lease);
            self.applied = Some(lease);
            given?;
        }
        self.remember(|_| ());
        self.write_resolvers();
        Ok(())
    }

    fn give(&mut self, lease: &Lease) -> Result<(), NetlinkError> {
        if self.guest.is_some() {
            return Ok(());
        }
        let name = self.name.as_str();
        exists_is_well(self.netlink.add_address(name, lease.address.into(), lease.prefix_len))?;
        if let Some(mtu) = lease.mtu
            && self.netlink.link(name)?.is_some_and(|link| mtu < link.mtu)
        {
            self.netlink.set_mtu(name, mtu)?;
        }
        for route in routes(&self.spec, lease) {
            let destination = (route.destination.into(), route.prefix_len);
            exists_is_well(self.netlink.add_route(destination, route.gateway.map(IpAddr::from), name))?;
        }
        Ok(())
    }

    /// Takes the address away, and with it the kernel takes the routes that rest on it.
    fn take_away(&mut self) {
        let Some(lease) = self.applied.take().filter(|_| self.guest.is_none()) else { return };
        for route in routes(&self.spec, &lease).into_iter().rev() {
            let destination = (route.destination.into(), route.prefix_len);
            // The instance may have changed its own routes and addresses.
            let _ = self.netlink.delete_route(destination, route.gateway.map(IpAddr::from), &self.name);
        }
        let _ = self.netlink.delete_address(&self.name, lease.address.into(), lease.prefix_len);
    }

    fn remember(&self, edit: impl FnOnce(&mut Lease)) {
        let Some(mut lease) = self.applied.clone() else { return };
        edit(&mut lease);
        let mut all = stored(&self.run_dir);
        all.insert(self.name.clone(), lease);
        if let Ok(text) = serde_json::to_vec(&all) {
            // Without it the next start begins without a wish.
            let _ = berth_sys::fs::write_atomic(&self.run_dir.join(FILE), &text, 0o600);
        }
    }

    /// Whether the server's resolvers are the instance's, from now on.
    pub fn take_names(&mut self, wanted: bool) {
        if self.spec.dns != wanted {
            self.spec.dns = wanted;
            self.write_resolvers();
        }
    }

    /// In place: the instance has this very file mounted.
    fn write_resolvers(&self) {
        let (Some(path), Some(lease)) = (&self.resolv_conf, &self.applied) else { return };
        if !self.spec.dns || lease.dns.is_empty() {
            return;
        }
        let mut text = String::new();
        if let Some(domain) = &lease.domain {
            text.push_str(&format!("search {domain}\n"));
        }
        lease.dns.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
        if fs::read_to_string(path).is_ok_and(|now| now == text) {
            return;
        }
        // What cannot be written leaves the resolvers of before.
        let _ = fs::write(path, text);
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(name: &str, is_guest: bool) -> io::Result<(Netlink, PacketSocket)> {
    let mut netlink = Netlink::open().map_err(io::Error::other)?;
    let link = netlink.link(name).map_err(io::Error::other)?;
    let link = link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let socket =
        if is_guest { PacketSocket::open_before(link.index)? } else { PacketSocket::open(link.index)? };
    Ok((netlink, socket))
}

fn stored(run_dir: &Path) -> BTreeMap<String, Lease> {
    let text = fs::read(run_dir.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Those of a lease that are taken, each after the one that leads to its gateway.
fn routes(spec: &DhcpSpec, lease: &Lease) -> Vec<LeaseRoute> {
    let taken = lease.routes.iter().filter(|_| spec.default_route);
    let with_way = |route: &LeaseRoute| {
        let next = route.gateway.filter(|next| !on_link(lease, *next));
        let way = next.map(|next| LeaseRoute { destination: next, prefix_len: 32, gateway: None });
        way.into_iter().chain([*route])
    };
    taken.flat_map(with_way).collect()
}

fn on_link(lease: &Lease, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix_len)).unwrap_or(0);
    (lease.address.to_bits() ^ address.to_bits()) & mask == 0
}

fn exists_is_well(outcome: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    outcome.or_else(|error| if error.is_exists() { Ok(()) } else { Err(error) })
}

fn chain(error: &NetlinkError) -> String {
    format!("{error}: {}", error.cause)
}

/// Not guessable from outside; where the kernel has no randomness, different by interface at least.
fn seed(mac: MacAddress) -> u64 {
    let mut bytes = [0; 8];
    let [a, b, c, d, e, g] = mac.0;
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        bytes = [a, b, c, d, e, g, 1, 1];
    }
    u64::from_ne_bytes(bytes)
}
