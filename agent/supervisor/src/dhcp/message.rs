//! DHCP messages (RFC 2131, 2132, 3442) and the packets that carry them. What comes may say anything.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use berth_runtime::lease::{Lease, LeaseRoute};

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 236;
/// Subnet, routers, resolvers, domain, MTU, lease, T1, T2, classless routes.
const WANTED: [u8; 9] = [121, 1, 3, 6, 15, 26, 51, 58, 59];
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
        let mut out = vec![1, 1, 6, 0];
        out.extend(self.xid.to_be_bytes());
        out.extend(self.seconds.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.own.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        out.extend([0; 12]);
        out.extend(self.mac);
        out.resize(HEADER, 0);
        out.extend(MAGIC);
        let mut option = |code: u8, value: &[u8]| {
            if let Ok(length @ 1..) = u8::try_from(value.len()) {
                out.extend([code, length]);
                out.extend(value);
            }
        };
        option(53, &[self.kind]);
        let mut client = vec![1];
        client.extend(self.mac);
        option(61, &client);
        if let Some(address) = self.requested {
            option(50, &address.octets());
        }
        if let Some(server) = self.server {
            option(54, &server.octets());
        }
        if self.kind != RELEASE {
            option(57, &1472u16.to_be_bytes());
            option(55, &WANTED);
            option(12, self.hostname.as_deref().unwrap_or_default().as_bytes());
        }
        out.push(255);
        // Some relays drop what is shorter than a BOOTP message.
        out.resize(out.len().max(300), 0);
        out
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u8,
    pub xid: u32,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Reply {
    /// `None` where it is no server's message.
    pub fn read(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        if header.get(..3)? != [2, 1, 6] || message.get(HEADER..HEADER + 4)? != MAGIC {
            return None;
        }
        let options = options(message.get(HEADER + 4..)?)?;
        let kind = match options.get(&53)?.as_slice() {
            [kind] => *kind,
            _ => return None,
        };
        Some(Self {
            kind,
            xid: u32::from_be_bytes(header.get(4..8)?.try_into().ok()?),
            mac: header.get(28..34)?.try_into().ok()?,
            address: address(header.get(16..20)?)?,
            options,
        })
    }

    /// Who said it.
    pub fn server(&self) -> Option<Ipv4Addr> {
        self.options.get(&54).and_then(|value| address(value)).filter(|server| usable(*server))
    }

    /// What the server says of why.
    pub fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.options.get(&56)?);
        Some(text.chars().filter(|letter| !letter.is_control()).take(200).collect())
    }

    fn number(&self, option: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.options.get(&option)?.as_slice().try_into().ok()?))
    }

    fn addresses(&self, option: u8) -> Vec<Ipv4Addr> {
        let value = self.options.get(&option).map(Vec::as_slice).unwrap_or_default();
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
        let seconds = self.number(51).ok_or("it does not say for how long")?;
        if seconds < SHORTEST {
            return Err(format!("a lease of {seconds} s is too short to be used"));
        }
        let half = seconds / 2;
        let most = u32::try_from(u64::from(seconds) * 7 / 8).unwrap_or(seconds);
        let (renew, rebind) = match (self.number(58).unwrap_or(half), self.number(59).unwrap_or(most)) {
            (renew, rebind) if renew > 0 && renew < rebind && rebind < seconds => (renew, rebind),
            _ => (half, most),
        };
        let domain = self.options.get(&15).and_then(|value| domain(value));
        let mtu = self.options.get(&26).and_then(|value| value.as_slice().try_into().ok());
        Ok(Lease {
            address,
            prefix_len,
            routes: self.routes(address),
            dns: self.addresses(6).into_iter().take(3).collect(),
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
        let mask = match self.options.get(&1) {
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
        if let Some(value) = self.options.get(&121) {
            return classless(value, own);
        }
        let router = self.addresses(3).into_iter().find(|router| *router != own);
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

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

/// Option by option; one that comes in parts is put together (RFC 3396).
fn options(mut rest: &[u8]) -> Option<BTreeMap<u8, Vec<u8>>> {
    let mut options: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    loop {
        match rest {
            [] | [255, ..] => return Some(options),
            [0, more @ ..] => rest = more,
            [code, length, more @ ..] => {
                let length = usize::from(*length);
                options.entry(*code).or_default().extend(more.get(..length)?);
                rest = more.get(length..)?;
            }
            [_] => return None,
        }
    }
}

/// A message from a client without an address to all, as UDP over IPv4.
pub fn packet(message: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(message.len() + more).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![0x45, 0xc0];
    out.extend(length(28));
    out.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let checksum = checksum(&out);
    out[10..12].copy_from_slice(&checksum);
    out.extend([0, 68, 0, 67]);
    out.extend(length(8));
    // No checksum, which UDP over IPv4 may do without: the link has one.
    out.extend([0, 0]);
    out.extend(message);
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
    if udp.get(..4)? != [0, 67, 0, 68] { None } else { udp.get(8..length) }
}
