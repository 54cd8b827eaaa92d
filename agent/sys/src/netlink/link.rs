//! Links: making, changing, finding and deleting them.

use std::fmt::Display;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgePortState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan, InfoMacVtap,
        InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkInfo,
        LinkMessage, MacVlanMode, MacVtapMode,
    },
};
use nix::errno::Errno;

use super::{
    error::{Cause, NetlinkError, Operation},
    socket::Netlink,
    types::{BridgeSpec, Link, LinkName, MacAddress, MacvlanSpec, Namespace, VethEnd, VethSpec},
};

const RTM_NEWLINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

impl Netlink {
    /// Makes a bridge and sets it up. Multicast snooping is off, so that neighbour discovery and what else rests on
    /// multicast needs no querier.
    ///
    /// # Errors
    /// If it exists ([`NetlinkError::is_exists`]), or the kernel refuses it.
    pub fn create_bridge(&mut self, spec: &BridgeSpec<'_>) -> Result<(), NetlinkError> {
        let operation = Operation::CreateBridge;
        let mut message = LinkMessage::default();
        set_up(&mut message, true);
        message.attributes.push(valid(spec.name, operation)?.attribute());
        message.attributes.extend(spec.mac.map(mac_attribute));
        message.attributes.extend(spec.mtu.map(LinkAttribute::Mtu));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
        ]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewLink(message), flags, operation, spec.name)
    }

    /// Makes a pair of veths in one request: the host's end a port of its bridge and up, the peer already in its
    /// namespace under its name. So there is no moment at which a half of it can be left behind.
    ///
    /// Where `br_netfilter` shows bridged packets to the firewall (as seen in the calling thread's namespace, which
    /// should be the socket's), a port of a bridge is also set to hairpin mode: translated packets take a way on which
    /// an instance would otherwise not reach itself through its own published port.
    ///
    /// # Errors
    /// If either name is taken, the bridge or the namespace is not there, or the kernel refuses.
    pub fn create_veth(&mut self, spec: &VethSpec<'_>) -> Result<(), NetlinkError> {
        let operation = Operation::CreateVeth;
        let object = spec.host.name;
        let mut message = veth_end(&spec.host, spec.mtu, operation)?;
        set_up(&mut message, true);
        if let Some(master) = spec.master {
            message.attributes.push(LinkAttribute::Controller(self.index(master, operation, object)?));
        }
        let mut peer = veth_end(&spec.peer, spec.mtu, operation)?;
        peer.attributes.extend(spec.peer_namespace.map(Namespace::attribute));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewLink(message), flags, operation, object)?;
        if spec.master.is_some() && bridges_are_filtered() {
            self.set_hairpin(object, true).inspect_err(|_| {
                // The first error is the one to report.
                let _ = self.delete_link(object);
            })?;
        }
        Ok(())
    }

    /// Makes a macvlan in one request, already in its namespace under its name, and down. Those on one parent reach each
    /// other; the parent's own host they do not reach, which is how macvlans are.
    ///
    /// # Errors
    /// If the name is taken, the parent or the namespace is not there, or the kernel refuses.
    pub fn create_macvlan(&mut self, spec: &MacvlanSpec<'_>) -> Result<(), NetlinkError> {
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
        self.create_on_top(spec, InfoKind::MacVlan, data)
    }

    /// Makes a macvtap: a macvlan whose other end is a descriptor ([`crate::tap::open_macvtap`]).
    ///
    /// # Errors
    /// As of a macvlan.
    pub fn create_macvtap(&mut self, spec: &MacvlanSpec<'_>) -> Result<(), NetlinkError> {
        let data = InfoData::MacVtap(vec![InfoMacVtap::Mode(MacVtapMode::Bridge)]);
        self.create_on_top(spec, InfoKind::MacVtap, data)
    }

    fn create_on_top(
        &mut self,
        spec: &MacvlanSpec<'_>,
        kind: InfoKind,
        data: InfoData,
    ) -> Result<(), NetlinkError> {
        let operation = Operation::CreateMacvlan;
        let end = VethEnd { name: spec.name, mac: spec.mac };
        let mut message = veth_end(&end, spec.mtu, operation)?;
        message.attributes.push(LinkAttribute::Link(self.index(spec.parent, operation, spec.name)?));
        message.attributes.extend(spec.namespace.map(Namespace::attribute));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewLink(message), flags, operation, spec.name)
    }

    /// Deletes a link; with a veth goes its peer.
    ///
    /// # Errors
    /// If there is no such link ([`NetlinkError::is_missing`]), or the kernel refuses.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let operation = Operation::DeleteLink;
        let mut message = LinkMessage::default();
        message.attributes.push(valid(name, operation)?.attribute());
        self.request(RouteNetlinkMessage::DelLink(message), 0, operation, name)
    }

    /// Sets a link up.
    ///
    /// # Errors
    /// If there is no such link, or the kernel refuses.
    pub fn set_up(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.change(name, |message| set_up(message, true))
    }

    /// Sets a link down. The kernel drops its routes.
    ///
    /// # Errors
    /// If there is no such link, or the kernel refuses.
    pub fn set_down(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.change(name, |message| set_up(message, false))
    }

    /// Gives a link another MTU.
    ///
    /// # Errors
    /// If there is no such link, or it cannot have this MTU.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), NetlinkError> {
        self.change(name, |message| message.attributes.push(LinkAttribute::Mtu(mtu)))
    }

    /// Gives a link another hardware address.
    ///
    /// # Errors
    /// If there is no such link, or the address is a multicast one.
    pub fn set_mac(&mut self, name: &str, mac: MacAddress) -> Result<(), NetlinkError> {
        self.change(name, |message| message.attributes.push(mac_attribute(mac)))
    }

    /// Gives a link another name. It must be down.
    ///
    /// # Errors
    /// If there is no such link, the name is taken, or it is none that a link may have.
    pub fn set_name(&mut self, name: &str, new_name: &str) -> Result<(), NetlinkError> {
        let operation = Operation::ChangeLink;
        let new_name = valid(new_name, operation)?;
        let mut message = LinkMessage::default();
        // By its number: the one name that a message can carry is the new one.
        message.header.index = self.index(name, operation, name)?;
        message.attributes.push(new_name.attribute());
        self.request(RouteNetlinkMessage::SetLink(message), 0, operation, name)
    }

    /// Makes a link a port of a bridge, or of none.
    ///
    /// # Errors
    /// If either is not there, or the kernel refuses.
    pub fn set_master(&mut self, name: &str, master: Option<&str>) -> Result<(), NetlinkError> {
        let index = match master {
            Some(master) => self.index(master, Operation::ChangeLink, name)?,
            None => 0,
        };
        self.change(name, |message| message.attributes.push(LinkAttribute::Controller(index)))
    }

    /// Makes a link a port of a bridge and sets it up, as [`Self::create_veth`] does with the host's end.
    ///
    /// # Errors
    /// If either is not there, or the kernel refuses.
    pub fn join_bridge(&mut self, name: &str, bridge: &str, mtu: Option<u32>) -> Result<(), NetlinkError> {
        if let Some(mtu) = mtu {
            self.set_mtu(name, mtu)?;
        }
        self.set_master(name, Some(bridge))?;
        if bridges_are_filtered() {
            self.set_hairpin(name, true)?;
        }
        self.set_up(name)
    }

    /// Moves a link into another namespace, under another name there. The kernel sets it down and drops its
    /// addresses.
    ///
    /// # Errors
    /// If the link or the namespace is not there, or the name is taken in it.
    pub fn move_link(&mut self, name: &str, to: Namespace<'_>, new_name: &str) -> Result<(), NetlinkError> {
        let operation = Operation::ChangeLink;
        let new_name = valid(new_name, operation)?;
        let mut message = LinkMessage::default();
        message.header.index = self.index(name, operation, name)?;
        message.attributes.extend([to.attribute(), new_name.attribute()]);
        self.request(RouteNetlinkMessage::SetLink(message), 0, operation, name)
    }

    /// Lets a bridge send a frame out of the port that it came in by, which a translated connection of an instance
    /// to itself needs where `br_netfilter` is loaded. Off it is better: broadcasts come back to their sender.
    ///
    /// # Errors
    /// If there is no such link, or it is no bridge's port.
    pub fn set_hairpin(&mut self, port: &str, on: bool) -> Result<(), NetlinkError> {
        self.change_port(port, InfoBridgePort::HairpinMode(on))
    }

    /// Has a bridge pass on at once what comes from a port whose other end was just set up: by itself it finds out a moment
    /// later, and what was sent until then is lost. A bridge that speaks STP decides that itself.
    ///
    /// # Errors
    /// If there is no such link, it is no bridge's port, or its other end is down.
    pub fn set_forwarding(&mut self, port: &str) -> Result<(), NetlinkError> {
        match self.change_port(port, InfoBridgePort::State(BridgePortState::Forwarding)) {
            Err(error) if error.errno() == Some(Errno::EBUSY) => Ok(()),
            done => done,
        }
    }

    fn change_port(&mut self, port: &str, attribute: InfoBridgePort) -> Result<(), NetlinkError> {
        let operation = Operation::ChangeLink;
        let mut message = LinkMessage::default();
        message.header.index = self.index(port, operation, port)?;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![attribute])),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), 0, operation, port)
    }

    /// Finds a link; `None` if there is none of that name.
    ///
    /// # Errors
    /// If the kernel refuses the question.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let Some(valid) = LinkName::new(name) else { return Ok(None) };
        let mut message = LinkMessage::default();
        message.attributes.extend([valid.attribute(), without_statistics()]);
        match self.query(RouteNetlinkMessage::GetLink(message), read_link) {
            Ok(link) => Ok(link),
            Err(Cause::Refused(Errno::ENODEV)) => Ok(None),
            Err(cause) => Err(NetlinkError::new(Operation::FindLink, name, cause)),
        }
    }

    /// Lists all links.
    ///
    /// # Errors
    /// If the kernel refuses, or the tables do not come to rest.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(without_statistics());
        self.list(&RouteNetlinkMessage::GetLink(message), Operation::ListLinks, "links", read_link)
    }

    /// Whether the kernel can make links of a kind, loading its module if need be.
    ///
    /// It is asked for a link with more queues than any link may have: it refuses that only after it has found what
    /// makes such links, so that nothing is made and then to be removed.
    ///
    /// # Errors
    /// If the kernel refuses for a reason that says nothing of the kind: without the right to make links.
    pub fn supports(&mut self, kind: InfoKind) -> Result<bool, NetlinkError> {
        let operation = Operation::FindLink;
        let object = format!("kind {kind}");
        let mut message = LinkMessage::default();
        message.attributes.extend([
            LinkAttribute::IfName("berthprobe".to_owned()),
            LinkAttribute::NumTxQueues(u32::MAX),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ]);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewLink(message), flags, operation, object) {
            Ok(()) => Ok(true),
            Err(error) => match error.errno() {
                Some(Errno::EINVAL) => Ok(true),
                Some(Errno::EOPNOTSUPP) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// The number of a link that must be there for `operation` on `object`.
    pub(super) fn index(
        &mut self,
        name: &str,
        operation: Operation,
        object: impl Display,
    ) -> Result<u32, NetlinkError> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => {
                let object = format!("{object}: link {name}");
                Err(NetlinkError::new(operation, object, Cause::Refused(Errno::ENODEV)))
            }
        }
    }

    fn change(&mut self, name: &str, edit: impl FnOnce(&mut LinkMessage)) -> Result<(), NetlinkError> {
        let operation = Operation::ChangeLink;
        let mut message = LinkMessage::default();
        message.attributes.push(valid(name, operation)?.attribute());
        edit(&mut message);
        self.request(RouteNetlinkMessage::SetLink(message), 0, operation, name)
    }
}

/// Whether bridged IPv4 packets pass the firewall as routed ones do.
fn bridges_are_filtered() -> bool {
    std::fs::read("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|value| value.starts_with(b"1"))
}

pub(super) fn valid(name: &str, operation: Operation) -> Result<LinkName<'_>, NetlinkError> {
    LinkName::new(name).ok_or_else(|| NetlinkError::new(operation, format!("{name:?}"), Cause::BadName))
}

fn veth_end(end: &VethEnd<'_>, mtu: Option<u32>, operation: Operation) -> Result<LinkMessage, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes.push(valid(end.name, operation)?.attribute());
    message.attributes.extend(end.mac.map(mac_attribute));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    Ok(message)
}

pub(super) fn set_up(message: &mut LinkMessage, up: bool) {
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
}

fn mac_attribute(mac: MacAddress) -> LinkAttribute {
    LinkAttribute::Address(mac.0.to_vec())
}

fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn read_link(kind: u16, payload: &[u8]) -> Result<Option<Link>, Cause> {
    if kind != RTM_NEWLINK {
        return Ok(None);
    }
    let header = LinkHeader::parse(payload).map_err(Cause::Malformed)?;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        kind: None,
        mac: None,
        mtu: 0,
        master: None,
        up: header.flags.contains(LinkFlags::Up),
    };
    for attribute in NlasIterator::new(payload.get(16..).unwrap_or_default()) {
        let attribute = attribute.map_err(Cause::Malformed)?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            IFLA_MTU => link.mtu = number(value).unwrap_or_default(),
            IFLA_MASTER => link.master = number(value),
            IFLA_LINKINFO => {
                for info in NlasIterator::new(value) {
                    let info = info.map_err(Cause::Malformed)?;
                    if info.kind() == IFLA_INFO_KIND {
                        link.kind = Some(text(info.value()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Some(link))
}

/// A number in the host's byte order.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// A text that ends at its first NUL.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}
