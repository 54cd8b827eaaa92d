//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{
    address::{family, ip},
    error::{Cause, NetlinkError, Operation},
    link::number,
    socket::Netlink,
    types::Route,
};

const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const HEADER: usize = 12;
/// `struct rtnexthop`: a length, two bytes, and the link's number.
const NEXT_HOP_LINK: std::ops::Range<usize> = 4..8;

impl Netlink {
    /// Adds the default route of the gateway's family to the main table.
    ///
    /// # Errors
    /// If there is one already ([`NetlinkError::is_exists`]), the gateway is not reachable, or the kernel refuses.
    pub fn add_default_route(&mut self, gateway: IpAddr, link: &str) -> Result<(), NetlinkError> {
        self.add_route((unspecified(gateway), 0), Some(gateway), link)
    }

    /// Adds a route to the main table: through a gateway, or straight onto the link.
    ///
    /// # Errors
    /// If there is one already ([`NetlinkError::is_exists`]), the gateway is not reachable, or the kernel refuses.
    pub fn add_route(
        &mut self,
        destination: (IpAddr, u8),
        gateway: Option<IpAddr>,
        link: &str,
    ) -> Result<(), NetlinkError> {
        let operation = Operation::AddRoute;
        let object = format!("{}/{} by {link}", destination.0, destination.1);
        let mut message = self.route_message(destination, gateway, link, operation, &object)?;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match gateway {
            None if destination.0.is_ipv4() => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewRoute(message), flags, operation, object)
    }

    /// Deletes a route from the main table.
    ///
    /// # Errors
    /// If there is no such route ([`NetlinkError::is_missing`]), or the kernel refuses.
    pub fn delete_route(
        &mut self,
        destination: (IpAddr, u8),
        gateway: Option<IpAddr>,
        link: &str,
    ) -> Result<(), NetlinkError> {
        let operation = Operation::DeleteRoute;
        let object = format!("{}/{} by {link}", destination.0, destination.1);
        let mut message = self.route_message(destination, gateway, link, operation, &object)?;
        message.header.scope = RouteScope::NoWhere;
        self.request(RouteNetlinkMessage::DelRoute(message), 0, operation, object)
    }

    /// Lists the routes of both families in all tables; one with several next hops is listed with the first.
    ///
    /// # Errors
    /// If the kernel refuses, or the tables do not come to rest.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let message = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        self.list(&message, Operation::ListRoutes, "routes", read_route)
    }

    fn route_message(
        &mut self,
        (destination, prefix_len): (IpAddr, u8),
        gateway: Option<IpAddr>,
        link: &str,
        operation: Operation,
        object: &str,
    ) -> Result<RouteMessage, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = prefix_len;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes.push(RouteAttribute::Oif(self.index(link, operation, object)?));
        if prefix_len > 0 {
            message.attributes.push(RouteAttribute::Destination(RouteAddress::from(destination)));
        }
        message
            .attributes
            .extend(gateway.map(|address| RouteAttribute::Gateway(RouteAddress::from(address))));
        Ok(message)
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn read_route(kind: u16, payload: &[u8]) -> Result<Option<Route>, Cause> {
    if kind != RTM_NEWROUTE {
        return Ok(None);
    }
    let header = RouteHeader::parse(payload).map_err(Cause::Malformed)?;
    let destination = match i32::from(u8::from(header.address_family)) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        // MPLS labels and multicast caches are no routes that an address could clash with.
        _ => return Ok(None),
    };
    let mut route = Route {
        destination,
        prefix_len: header.destination_prefix_length,
        gateway: None,
        link: None,
        table: u32::from(header.table),
        metric: None,
    };
    for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
        let attribute = attribute.map_err(Cause::Malformed)?;
        let value = attribute.value();
        match attribute.kind() {
            RTA_DST => route.destination = ip(value).unwrap_or(destination),
            RTA_GATEWAY => route.gateway = ip(value),
            RTA_OIF => route.link = number(value),
            RTA_PRIORITY => route.metric = number(value),
            RTA_TABLE => route.table = number(value).unwrap_or(route.table),
            RTA_MULTIPATH => route.link = value.get(NEXT_HOP_LINK).and_then(number),
            _ => {}
        }
    }
    Ok(Some(route))
}
