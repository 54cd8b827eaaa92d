//! What is asked of a server, what it says (RFC 2132, 3442), and the packets that carry both. What comes may say anything.

use std::net::Ipv4Addr;

use berth_dhcp::{CLIENT_PORT, Message, SERVER_PORT, Sender, address, option};
use berth_runtime::lease::{Lease, LeaseRoute};

pub use berth_dhcp::kind::{ACK, DISCOVER, NAK, OFFER, RELEASE, REQUEST};

/// What is asked for of a server.
const WANTED: [u8; 9] = [
    option::ROUTES,
    option::SUBNET_MASK,
    option::ROUTER,
    option::DNS,
    option::DOMAIN,
    option::MTU,
    option::LEASE_TIME,
    option::RENEW_TIME,
    option::REBIND_TIME,
];
/// A lease that is shorter would be nothing but asking.
const SHORTEST: u32 = 10;
const MOST_ROUTES: usize = 64;

/// What a server is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub kind: u8,
    pub xid: u32,
    pub seconds: u16,
    pub mac: [u8; 6],
    /// The address that is in use.
    pub own: Option<Ipv4Addr>,
    pub requested: Option<Ipv4Addr>,
    pub server: Option<Ipv4Addr>,
    pub hostname: Option<String>,
}

impl Query {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let mut client = vec![1];
        client.extend(self.mac);
        let octets = |address: Option<Ipv4Addr>| address.map(|it| it.octets().to_vec()).unwrap_or_default();
        let own = self.own.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let (kind, xid, seconds, mac) = (self.kind, self.xid, self.seconds, self.mac);
        let message = Message { kind, xid, seconds, mac, own, ..Message::default() }
            .with(option::CLIENT, client)
            .with(option::REQUESTED_ADDRESS, octets(self.requested))
            .with(option::SERVER, octets(self.server));
        if self.kind == RELEASE {
            return message.write();
        }
        let name = self.hostname.as_deref().filter(|name| name.len() < 256).unwrap_or_default();
        message
            .with(option::LARGEST_MESSAGE, 1472u16.to_be_bytes())
            .with(option::WANTED, WANTED)
            .with(option::HOSTNAME, name)
            .write()
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u8,
    pub xid: u32,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    message: Message,
}

impl Reply {
    /// `None` where it is no server's message.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let message = Message::read(bytes).filter(|message| message.sender == Sender::Server)?;
        Some(Self { kind: message.kind, xid: message.xid, mac: message.mac, address: message.given, message })
    }

    /// Who said it.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.message.address(option::SERVER).filter(|server| usable(*server))
    }

    /// What the server says of why.
    pub fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.message.options.get(&option::TEXT)?);
        Some(text.chars().filter(|letter| !letter.is_control()).take(200).collect())
    }

    fn addresses(&self, option: u8) -> Vec<Ipv4Addr> {
        let value = self.message.option(option);
        value.chunks_exact(4).filter_map(address).filter(|one| usable(*one)).collect()
    }

    /// The lease that it offers or gives; else what is wrong with it.
    pub fn lease(&self) -> Result<Lease, String> {
        let address = self.address;
        let server = self.server().ok_or("it does not say who the server is")?;
        if !usable(address) {
            return Err(format!("{address} is no address for a host"));
        }
        let prefix_len = self.prefix_len(address)?;
        let seconds = self.message.number(option::LEASE_TIME).ok_or("it does not say for how long")?;
        if seconds < SHORTEST {
            return Err(format!("a lease of {seconds} s is too short to be used"));
        }
        let half = seconds / 2;
        let most = u32::try_from(u64::from(seconds) * 7 / 8).unwrap_or(seconds);
        let told = |option, default| self.message.number(option).unwrap_or(default);
        let (renew, rebind) = match (told(option::RENEW_TIME, half), told(option::REBIND_TIME, most)) {
            (renew, rebind) if renew > 0 && renew < rebind && rebind < seconds => (renew, rebind),
            _ => (half, most),
        };
        let domain = domain(self.message.option(option::DOMAIN));
        let mtu = self.message.option(option::MTU).try_into().ok();
        Ok(Lease {
            address,
            prefix_len,
            routes: self.routes(address),
            dns: self.addresses(option::DNS).into_iter().take(3).collect(),
            domain,
            mtu: mtu.map(u16::from_be_bytes).map(u32::from).filter(|mtu| *mtu >= 576),
            server,
            seconds: (seconds != u32::MAX).then_some(seconds),
            renew_seconds: renew,
            rebind_seconds: rebind,
            since_ms: 0,
            expires_ms: None,
            renewals: 0,
        })
    }

    fn prefix_len(&self, own: Ipv4Addr) -> Result<u8, String> {
        let mask = match self.message.options.get(&option::SUBNET_MASK) {
            Some(value) => address(value).ok_or("its network mask is cut short")?.to_bits(),
            // As before there were masks.
            None => match own.octets()[0] {
                0..=127 => 0xff00_0000,
                128..=191 => 0xffff_0000,
                _ => 0xffff_ff00,
            },
        };
        let ones = mask.leading_ones();
        if ones == 0 || ones + mask.trailing_zeros() != 32 {
            return Err(format!("{} is no network mask", Ipv4Addr::from_bits(mask)));
        }
        let host = own.to_bits() & !mask;
        if ones < 31 && (host == 0 || host == !mask) {
            return Err(format!("{own} is the network's own or its broadcast address"));
        }
        u8::try_from(ones).map_err(|error| error.to_string())
    }

    /// Classless routes, or else the first router.
    fn routes(&self, own: Ipv4Addr) -> Vec<LeaseRoute> {
        if let Some(value) = self.message.options.get(&option::ROUTES) {
            return classless(value, own);
        }
        let router = self.addresses(option::ROUTER).into_iter().find(|router| *router != own);
        let default = |gateway| LeaseRoute {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix_len: 0,
            gateway: Some(gateway),
        };
        router.map(default).into_iter().collect()
    }
}

fn classless(mut value: &[u8], own: Ipv4Addr) -> Vec<LeaseRoute> {
    let mut routes = Vec::new();
    while let [prefix_len @ 0..=32, rest @ ..] = value {
        let significant = usize::from(prefix_len.div_ceil(8));
        let (Some(given), Some(gateway)) =
            (rest.get(..significant), rest.get(significant..significant + 4).and_then(address))
        else {
            break;
        };
        value = rest.get(significant + 4..).unwrap_or_default();
        let mut octets = [0; 4];
        octets.iter_mut().zip(given).for_each(|(octet, byte)| *octet = *byte);
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix_len)).unwrap_or(0);
        let destination = Ipv4Addr::from_bits(u32::from_be_bytes(octets) & mask);
        let gateway = (!gateway.is_unspecified()).then_some(gateway);
        let sane = gateway.is_none_or(|gateway| usable(gateway) && gateway != own)
            && !destination.is_multicast()
            && !destination.is_loopback();
        if sane && routes.len() < MOST_ROUTES {
            routes.push(LeaseRoute { destination, prefix_len: *prefix_len, gateway });
        }
    }
    routes
}

/// A name, and nothing that could be more than one line of a file.
fn domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (plain && !text.is_empty() && text.len() < 254).then(|| text.to_owned())
}

/// Whether a host can have it and others can reach it.
fn usable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// A message from a client without an address to all, as UDP over IPv4.
pub fn packet(message: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(message.len() + more).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![0x45, 0xc0];
    out.extend(length(28));
    out.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let checksum = checksum(&out);
    out[10..12].copy_from_slice(&checksum);
    out.extend(CLIENT_PORT.to_be_bytes());
    out.extend(SERVER_PORT.to_be_bytes());
    out.extend(length(8));
    // No checksum, which UDP over IPv4 may do without: the link has one.
    out.extend([0, 0]);
    out.extend(message);
    out
}

/// As [`packet`], from the address in use to one server's.
pub fn packet_from(own: Ipv4Addr, server: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let mut out = packet(message);
    out[10..12].fill(0);
    out[12..16].copy_from_slice(&own.octets());
    out[16..20].copy_from_slice(&server.octets());
    let checksum = checksum(&out[..20]);
    out[10..12].copy_from_slice(&checksum);
    out
}

fn checksum(header: &[u8]) -> [u8; 2] {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!(folded as u16)).to_be_bytes()
}

/// The message in a packet to a client. Its checksum is not looked at: on a virtual link it is often not computed.
pub fn payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    if first >> 4 != 4 || header < 20 || packet.get(9) != Some(&17) {
        return None;
    }
    let udp = packet.get(header..total)?;
    let length = usize::from(u16::from_be_bytes(udp.get(4..6)?.try_into().ok()?));
    let port = |from: usize| Some(u16::from_be_bytes(udp.get(from..from + 2)?.try_into().ok()?));
    if (port(0)?, port(2)?) != (SERVER_PORT, CLIENT_PORT) { None } else { udp.get(8..length) }
}
