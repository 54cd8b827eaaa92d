//! The addresses that are to give, who has which, and what they are told of it (RFC 2131). Pure: it is told the time and what
//! came, and says what to answer.
//!
//! A hardware address is who somebody is: instances cannot ask with another's, as the firewall sees to. An instance is told
//! the address that it has; it is given none.
//!
//! ```text
//! free --DISCOVER--> offered (a minute, and only as long as there is something else for others)
//!   ^                   | REQUEST
//!   |                   v
//! ended <--RELEASE, time-- leased <--REQUEST--+     DECLINE: set aside for ten minutes
//! ```
//!
//! What has ended stays its holder's until others need it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use berth_dhcp::{CLIENT_PORT, Message, Sender, kind, option};
use berth_network::helper::{Dhcp, Lease, Leases};

/// How many leases there are at most, with those that have ended.
const MOST_LEASES: usize = 1024;
/// How many offers wait to be taken.
const MOST_OFFERS: usize = 256;
const OFFER_MS: u64 = 60_000;
/// For how long an address is set aside that somebody says another uses.
const DECLINED_MS: u64 = 600_000;
const HOSTNAME: usize = 63;

type Mac = [u8; 6];

/// What is to be said, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) message: Message,
    pub(super) to: SocketAddrV4,
}

/// Addresses, and who has them.
pub(super) struct Pool {
    config: Dhcp,
    domain: String,
    /// Whether somebody answers for names at the gateway's address.
    names: bool,
    instances: HashMap<Mac, Ipv4Addr>,
    held: HashSet<Ipv4Addr>,
    leases: BTreeMap<Ipv4Addr, Leased>,
    offers: HashMap<Mac, Offer>,
    declined: BTreeMap<Ipv4Addr, u64>,
    exhausted_ms: Option<u64>,
    /// Something of what is to be remembered is another.
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Leased {
    mac: Mac,
    hostname: Option<String>,
    expires_ms: u64,
}

#[derive(Clone, Copy)]
struct Offer {
    address: Ipv4Addr,
    until_ms: u64,
}

impl Pool {
    pub(super) fn new(config: Dhcp, domain: String, names: bool) -> Self {
        let mut pool = Self {
            config: config.clone(),
            domain: String::new(),
            names,
            instances: HashMap::new(),
            held: HashSet::new(),
            leases: BTreeMap::new(),
            offers: HashMap::new(),
            declined: BTreeMap::new(),
            exhausted_ms: None,
            changed: false,
        };
        pool.configure(config, domain, names);
        pool
    }

    /// It gives this from now on. A lease of what it gives no more goes on until its holder asks for more time.
    pub(super) fn configure(&mut self, config: Dhcp, domain: String, names: bool) {
        let instances = config.instances.iter().filter_map(|(mac, addresses)| {
            let mac: berth_sys::netlink::MacAddress = mac.parse().ok()?;
            Some((mac.0, *addresses.first()?))
        });
        self.instances = instances.collect();
        self.held = config.instances.values().flatten().copied().chain([config.gateway]).collect();
        if (config.first, config.last) != (self.config.first, self.config.last) {
            self.tell_exhausted(None);
        }
        self.config = config;
        (self.domain, self.names) = (domain, names);
        let (held, instances, subnet) = (&self.held, &self.instances, self.config.subnet);
        let before = self.leases.len();
        self.leases.retain(|address, lease| {
            subnet.contains(address) && !held.contains(address) && !instances.contains_key(&lease.mac)
        });
        self.changed |= self.leases.len() != before;
    }

    /// Whether what is to be remembered is another since this was asked last.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is to be remembered could not be.
    pub(super) fn is_unwritten(&mut self) {
        self.changed = true;
    }

    fn tell_exhausted(&mut self, since: Option<u64>) {
        self.changed |= self.exhausted_ms != since;
        self.exhausted_ms = since;
    }

    /// Takes up what was given before, beside what it has given itself.
    pub(super) fn remember(&mut self, leases: Leases) {
        for lease in leases.leases.into_iter().take(MOST_LEASES) {
            let Ok(mac) = lease.mac.parse::<berth_sys::netlink::MacAddress>() else { continue };
            let usable = self.config.subnet.contains(&lease.address) && !self.held.contains(&lease.address);
            let known =
                self.leases.values().any(|other| other.mac == mac.0) || self.instances.contains_key(&mac.0);
            if usable && !known {
                let hostname = lease.hostname.and_then(|name| hostname(name.as_bytes()));
                let leased = Leased { mac: mac.0, hostname, expires_ms: lease.expires_ms };
                self.leases.entry(lease.address).or_insert(leased);
            }
        }
    }

    /// All that is to be remembered.
    pub(super) fn leases(&self) -> Leases {
        let lease = |(address, lease): (&Ipv4Addr, &Leased)| Lease {
            address: *address,
            mac: berth_sys::netlink::MacAddress(lease.mac).to_string(),
            hostname: lease.hostname.clone(),
            expires_ms: lease.expires_ms,
        };
        Leases { leases: self.leases.iter().map(lease).collect(), exhausted_ms: self.exhausted_ms }
    }

    /// The answer to what came from an address.
    pub(super) fn answer(&mut self, now_ms: u64, from: Ipv4Addr, asked: &Message) -> Option<Reply> {
        let multicast = asked.mac[0] & 1 != 0;
        let relayed = !asked.relay.is_unspecified();
        if asked.sender != Sender::Client || relayed || multicast || asked.mac == [0; 6] {
            return None;
        }
        match asked.kind {
            kind::DISCOVER => self.offer(now_ms, asked),
            kind::REQUEST => self.request(now_ms, asked),
            kind::INFORM => self.inform(from, asked),
            kind::RELEASE if self.is_server(asked) => {
                self.release(now_ms, asked.mac, asked.own);
                None
            }
            kind::DECLINE if self.is_server(asked) => {
                self.decline(now_ms, asked.mac, asked.address(option::REQUESTED_ADDRESS)?);
                None
            }
            _ => None,
        }
    }

    fn is_server(&self, asked: &Message) -> bool {
        asked.address(option::SERVER) == Some(self.config.gateway)
    }

    fn offer(&mut self, now_ms: u64, asked: &Message) -> Option<Reply> {
        if let Some(own) = self.instances.get(&asked.mac) {
            return Some(self.give(kind::OFFER, asked, *own));
        }
        let Some(address) = self.choose(now_ms, asked.mac, asked.address(option::REQUESTED_ADDRESS)) else {
            self.tell_exhausted(self.exhausted_ms.or(Some(now_ms)));
            return None;
        };
        self.tell_exhausted(None);
        if self.offers.len() >= MOST_OFFERS {
            let oldest = self.offers.iter().min_by_key(|(_, offer)| offer.until_ms).map(|(mac, _)| *mac);
            oldest.and_then(|mac| self.offers.remove(&mac));
        }
        self.offers.insert(asked.mac, Offer { address, until_ms: now_ms.saturating_add(OFFER_MS) });
        Some(self.give(kind::OFFER, asked, address))
    }

    fn request(&mut self, now_ms: u64, asked: &Message) -> Option<Reply> {
        let server = asked.address(option::SERVER);
        if server.is_some_and(|server| server != self.config.gateway) {
            // It takes another's offer.
            self.offers.remove(&asked.mac);
            return None;
        }
        let requested = asked.address(option::REQUESTED_ADDRESS);
        let wanted = match (requested, asked.own) {
            (Some(requested), own) if own.is_unspecified() => requested,
            (None, own) if !own.is_unspecified() => own,
            _ => return None,
        };
        if let Some(own) = self.instances.get(&asked.mac).copied() {
            return Some(if own == wanted { self.give(kind::ACK, asked, own) } else { self.refuse(asked) });
        }
        if !self.may_have(now_ms, asked.mac, wanted) {
            return Some(self.refuse(asked));
        }
        self.offers.remove(&asked.mac);
        self.leases.retain(|address, lease| lease.mac != asked.mac || *address == wanted);
        if self.leases.len() >= MOST_LEASES && !self.leases.contains_key(&wanted) {
            let Some(ended) = self.longest_ended(now_ms, |_| true) else { return Some(self.refuse(asked)) };
            self.leases.remove(&ended);
        }
        let expires_ms = now_ms.saturating_add(u64::from(self.config.lease_seconds) * 1000);
        let hostname = hostname(asked.option(option::HOSTNAME));
        self.leases.insert(wanted, Leased { mac: asked.mac, hostname, expires_ms });
        self.changed = true;
        Some(self.give(kind::ACK, asked, wanted))
    }

    /// Who has an address of its own is told the rest. What it says of itself is to be where it says it from.
    fn inform(&self, from: Ipv4Addr, asked: &Message) -> Option<Reply> {
        if asked.own != from || !self.config.subnet.contains(&from) {
            return None;
        }
        let mut reply = self.give(kind::ACK, asked, Ipv4Addr::UNSPECIFIED);
        for time in [option::LEASE_TIME, option::RENEW_TIME, option::REBIND_TIME] {
            reply.message.options.remove(&time);
        }
        reply.to = SocketAddrV4::new(from, CLIENT_PORT);
        Some(reply)
    }

    fn release(&mut self, now_ms: u64, mac: Mac, address: Ipv4Addr) {
        if let Some(lease) = self.leases.get_mut(&address).filter(|lease| lease.mac == mac) {
            lease.expires_ms = lease.expires_ms.min(now_ms);
            self.changed = true;
            self.tell_exhausted(None);
        }
    }

    /// Somebody uses it who was not given it.
    fn decline(&mut self, now_ms: u64, mac: Mac, address: Ipv4Addr) {
        let offered = self.offers.get(&mac).is_some_and(|offer| offer.address == address);
        let leased = self.leases.get(&address).is_some_and(|lease| lease.mac == mac);
        if offered || leased {
            self.offers.remove(&mac);
            if leased {
                self.leases.remove(&address);
                self.changed = true;
            }
            self.declined.retain(|_, until| *until > now_ms);
            if self.declined.len() < MOST_LEASES {
                self.declined.insert(address, now_ms.saturating_add(DECLINED_MS));
            }
        }
    }

    /// What it had, was offered or asks for, where that can be; else one that nobody has had, or what ended longest ago, or
    /// was offered longest ago, or was set aside longest ago.
    fn choose(&self, now_ms: u64, mac: Mac, requested: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let had = self.leases.iter().find(|(_, lease)| lease.mac == mac).map(|(address, _)| *address);
        let offered = self.offers.get(&mac).map(|offer| offer.address);
        let offers: HashMap<Ipv4Addr, u64> = self
            .offers
            .iter()
            .filter(|(other, offer)| **other != mac && offer.until_ms > now_ms)
            .map(|(_, offer)| (offer.address, offer.until_ms))
            .collect();
        let set_aside = |address: &Ipv4Addr| self.declined.get(address).is_some_and(|until| *until > now_ms);
        let fits = |address: &Ipv4Addr| self.may_have(now_ms, mac, *address) && !set_aside(address);
        let free = |address: &Ipv4Addr| fits(address) && !offers.contains_key(address);
        if let Some(known) = [had, offered, requested].into_iter().flatten().find(free) {
            return Some(known);
        }
        let never = |address: &Ipv4Addr| !self.leases.contains_key(address) && free(address);
        self.all(mac)
            .find(never)
            .or_else(|| self.longest_ended(now_ms, free))
            .or_else(|| {
                offers.iter().filter(|(it, _)| fits(it)).min_by_key(|(_, until)| **until).map(|(it, _)| *it)
            })
            .or_else(|| {
                let aside = self.declined.iter().filter(|(it, _)| self.may_have(now_ms, mac, **it));
                aside.min_by_key(|(_, until)| **until).map(|(it, _)| *it)
            })
    }

    /// All addresses of the range, from one on that is the same for the same hardware address. There are as many as can be
    /// in use at most, and one more.
    fn all(&self, mac: Mac) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = (u32::from(self.config.first), u32::from(self.config.last));
        let count = u64::from(last.saturating_sub(first)) + 1;
        let hash = mac.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let in_use = self.leases.len() + self.offers.len() + self.declined.len() + self.held.len();
        let steps = count.min(in_use as u64 + 1);
        (0..steps).filter_map(move |step| {
            let place = u32::try_from((hash % count + step) % count).ok()?;
            Some(Ipv4Addr::from(first.checked_add(place)?))
        })
    }

    fn longest_ended(&self, now_ms: u64, fine: impl Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let ended = self.leases.iter().filter(|(address, lease)| lease.expires_ms <= now_ms && fine(address));
        ended.min_by_key(|(_, lease)| lease.expires_ms).map(|(address, _)| *address)
    }

    /// It is to give, and nobody else has it.
    fn may_have(&self, now_ms: u64, mac: Mac, address: Ipv4Addr) -> bool {
        let to_give =
            (self.config.first..=self.config.last).contains(&address) && !self.held.contains(&address);
        let others = |lease: &Leased| lease.mac != mac && lease.expires_ms > now_ms;
        to_give && !self.leases.get(&address).is_some_and(others)
    }

    fn reply(&self, kind: u8, asked: &Message) -> Message {
        let answer = Message {
            sender: Sender::Server,
            kind,
            xid: asked.xid,
            broadcast: asked.broadcast,
            mac: asked.mac,
            ..Message::default()
        };
        // A client may know its answer by what it called itself.
        answer
            .with(option::SERVER, self.config.gateway.octets())
            .with(option::CLIENT, asked.option(option::CLIENT))
    }

    fn give(&self, kind: u8, asked: &Message, address: Ipv4Addr) -> Reply {
        let (gateway, seconds) = (self.config.gateway.octets(), self.config.lease_seconds);
        let rebind = u32::try_from(u64::from(seconds) * 7 / 8).unwrap_or(seconds);
        let mut message = self
            .reply(kind, asked)
            .with(option::SUBNET_MASK, self.config.subnet.netmask().octets())
            .with(option::BROADCAST, self.config.subnet.broadcast().octets())
            .with(option::ROUTER, gateway)
            .with(option::DOMAIN, self.domain.as_str())
            .with(option::LEASE_TIME, seconds.to_be_bytes())
            .with(option::RENEW_TIME, (seconds / 2).to_be_bytes())
            .with(option::REBIND_TIME, rebind.to_be_bytes());
        if self.names {
            message = message.with(option::DNS, gateway);
        }
        if let Some(mtu) = self.config.mtu.and_then(|mtu| u16::try_from(mtu).ok()) {
            message = message.with(option::MTU, mtu.to_be_bytes());
        }
        message.given = address;
        if kind == kind::ACK {
            message.own = asked.own;
        }
        // Who has no address yet could not be reached by it: it hears what all hear.
        let to = if asked.own == address { address } else { Ipv4Addr::BROADCAST };
        Reply { message, to: SocketAddrV4::new(to, CLIENT_PORT) }
    }

    fn refuse(&self, asked: &Message) -> Reply {
        let message = self.reply(kind::NAK, asked).with(option::TEXT, "the address is not to be had");
        Reply { message, to: SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT) }
    }
}

/// A name, and nothing else.
fn hostname(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (plain && (1..=HOSTNAME).contains(&text.len())).then(|| text.to_owned())
}
