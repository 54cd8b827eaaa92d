//! VLANs: links of their own on top of another, and ports of a bridge that tells them apart.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{
        AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoData, InfoKind, InfoVlan, LinkAttribute,
        LinkInfo, LinkMessage,
    },
};

use super::{
    error::{NetlinkError, Operation},
    link::{set_up, valid},
    socket::Netlink,
    types::{LinkName, VlanSpec},
};

impl Netlink {
    /// Makes a link of a VLAN and sets it up, for which its parent must be up.
    ///
    /// # Errors
    /// If the name is taken or the parent has a link of this VLAN ([`NetlinkError::is_exists`]), the parent is not there,
    /// or the kernel knows no VLANs.
    pub fn create_vlan(&mut self, spec: &VlanSpec<'_>) -> Result<(), NetlinkError> {
        let operation = Operation::CreateVlan;
        let name = valid(spec.name, operation)?;
        let parent = self.index(spec.parent, operation, spec.name)?;
        let message = RouteNetlinkMessage::NewLink(link(name, parent, spec.id));
        self.request(message, NLM_F_CREATE | NLM_F_EXCL, operation, spec.name)
    }

    /// Puts a port of a bridge on one VLAN alone, without a tag on the port's side: out of `before`, the one that the bridge
    /// puts new ports on, where there is one.
    ///
    /// # Errors
    /// If there is no such port, or the kernel's bridges know no VLANs.
    pub fn set_port_vlan(&mut self, port: &str, id: u16, before: Option<u16>) -> Result<(), NetlinkError> {
        let operation = Operation::ChangePort;
        let index = self.index(port, operation, port)?;
        let own = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        self.request(RouteNetlinkMessage::SetLink(member(index, id, own)), 0, operation, port)?;
        let Some(before) = before.filter(|before| *before != id) else { return Ok(()) };
        let leaves = member(index, before, BridgeVlanInfoFlags::empty());
        self.request(RouteNetlinkMessage::DelLink(leaves), 0, operation, port)
    }
}

fn link(name: LinkName<'_>, parent: u32, id: u16) -> LinkMessage {
    let mut message = LinkMessage::default();
    set_up(&mut message, true);
    message.attributes.extend([name.attribute(), LinkAttribute::Link(parent)]);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
    ]));
    message
}

fn member(port: u32, vid: u16, flags: BridgeVlanInfoFlags) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = port;
    let info = BridgeVlanInfo { flags, vid };
    message.attributes.push(LinkAttribute::AfSpecBridge(vec![AfSpecBridge::VlanInfo(info)]));
    message
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    fn bytes(message: &LinkMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// An attribute as the kernel reads it, with the padding to four bytes.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// `struct ifinfomsg`.
    fn header(family: u8, index: u32, flags: u32) -> Vec<u8> {
        let numbers = [index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat();
        [vec![family, 0, 0, 0], numbers].concat()
    }

    #[test]
    fn a_link_s_message_names_its_parent_and_its_tag() {
        // As include/uapi/linux/if_link.h has them.
        let (ifname, link_of, linkinfo, kind, data, vlan_id) = (3, 5, 18, 1, 2, 1);
        let tag = attribute(data, &attribute(vlan_id, &100_u16.to_ne_bytes()));
        let info = [attribute(kind, b"vlan\0"), tag].concat();
        let expected = [
            header(0, 0, 1),
            attribute(ifname, b"berthabcdv3\0"),
            attribute(link_of, &7_u32.to_ne_bytes()),
            attribute(linkinfo, &info),
        ];
        let built = bytes(&link(LinkName::new("berthabcdv3").unwrap(), 7, 100));
        assert_eq!(without_nested(&built), expected.concat());
    }

    #[test]
    fn a_port_s_message_has_the_tag_and_what_it_is_to_the_port() {
        // As include/uapi/linux/if_bridge.h has them: the primary VLAN, and no tag on the way out.
        let (af_spec, vlan_info, pvid, untagged) = (26, 2, 1_u16 << 1, 1_u16 << 2);
        let of =
            |flags: u16, vid: u16| attribute(vlan_info, &[flags.to_ne_bytes(), vid.to_ne_bytes()].concat());
        let (af_bridge, no_flags) = (7, 0);
        let message =
            |flags, vid| [header(af_bridge, 9, no_flags), attribute(af_spec, &of(flags, vid))].concat();
        let joins = member(9, 100, BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged);
        assert_eq!(without_nested(&bytes(&joins)), message(pvid | untagged, 100));
        let leaves = member(9, 1, BridgeVlanInfoFlags::empty());
        assert_eq!(without_nested(&bytes(&leaves)), message(0, 1));
    }

    /// The kernel takes nested attributes with the flag that says so and without it.
    fn without_nested(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for at in (1..bytes.len()).step_by(2).filter(|at| at % 4 == 3) {
            // The upper byte of a kind, on the little-endian machines that this runs on.
            if cfg!(target_endian = "little") && bytes[at] == 0x80 {
                bytes[at] = 0;
            }
        }
        bytes
    }
}
