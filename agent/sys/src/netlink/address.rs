//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressScope},
};

use super::{
    error::{Cause, NetlinkError, Operation},
    socket::Netlink,
    types::Address,
};

const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const HEADER: usize = 8;

impl Netlink {
    /// Gives a link an address. IPv6 addresses are usable at once: they come from a ledger, so no neighbour is
    /// asked whether it has them too.
    ///
    /// # Errors
    /// If the link has it already ([`NetlinkError::is_exists`]), is not there, or the kernel refuses.
    pub fn add_address(&mut self, link: &str, address: IpAddr, prefix_len: u8) -> Result<(), NetlinkError> {
        let operation = Operation::AddAddress;
        let object = format!("{address}/{prefix_len} of {link}");
        let mut message = self.address_message(link, address, prefix_len, operation, &object)?;
        match address {
            IpAddr::V4(v4) => message.attributes.extend(broadcast(v4, prefix_len)),
            IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
        }
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewAddress(message), flags, operation, object)
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// If the link has no such address ([`NetlinkError::is_missing`]), is not there, or the kernel refuses.
    pub fn delete_address(
        &mut self,
        link: &str,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), NetlinkError> {
        let operation = Operation::DeleteAddress;
        let object = format!("{address}/{prefix_len} of {link}");
        let message = self.address_message(link, address, prefix_len, operation, &object)?;
        self.request(RouteNetlinkMessage::DelAddress(message), 0, operation, object)
    }

    /// Lists all addresses of all links.
    ///
    /// # Errors
    /// If the kernel refuses, or the tables do not come to rest.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.list(&message, Operation::ListAddresses, "addresses", read_address)
    }

    fn address_message(
        &mut self,
        link: &str,
        address: IpAddr,
        prefix_len: u8,
        operation: Operation,
        object: &str,
    ) -> Result<AddressMessage, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = self.index(link, operation, object)?;
        message.header.prefix_len = prefix_len;
        message.header.family = family(address);
        let loopback = address.is_loopback();
        message.header.scope = if loopback { AddressScope::Host } else { AddressScope::Universe };
        message.attributes.extend([AddressAttribute::Local(address), AddressAttribute::Address(address)]);
        Ok(message)
    }
}

/// The last address of a network, which the kernel does not derive by itself. Networks of one or two addresses
/// have none.
fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<AddressAttribute> {
    let host_bits = (prefix_len < 31).then(|| u32::MAX.checked_shr(u32::from(prefix_len)))??;
    Some(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host_bits)))
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// An address of either family, as its length says.
pub(super) fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(|bytes| Ipv6Addr::from(bytes).into()))
}

fn read_address(kind: u16, payload: &[u8]) -> Result<Option<Address>, Cause> {
    if kind != RTM_NEWADDR {
        return Ok(None);
    }
    let header = AddressHeader::parse(payload).map_err(Cause::Malformed)?;
    let (mut own, mut peer) = (None, None);
    for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(Cause::Malformed)?;
        match attribute.kind() {
            IFA_LOCAL => own = ip(attribute.value()),
            IFA_ADDRESS => peer = ip(attribute.value()),
            _ => {}
        }
    }
    // On a point-to-point link the second is the peer's; IPv6 has often only the second.
    let address = own.or(peer);
    Ok(address.map(|address| Address { link: header.index, address, prefix_len: header.prefix_len }))
}
