//! VLANs of the host's own network: a link of the agent's on an interface, or ports of a bridge that filters.

use std::fs;
use std::io;
use std::path::PathBuf;

use berth_sys::netlink::{Link, LinkKind, Netlink, NetlinkError, VlanSpec};

/// Why the host has no way to a VLAN.
#[derive(Debug, thiserror::Error)]
pub enum VlanError {
    /// No module, or not built in.
    #[error("the kernel knows no links of kind vlan")]
    Unknown,
    /// Nor do its bridges.
    #[error("the kernel's bridges do not know VLANs")]
    UnknownToBridges,
    /// A bridge that passes on all tags.
    #[error("the bridge {bridge} does not tell VLANs apart")]
    NotFiltering {
        /// Which.
        bridge: String,
    },
    /// A link of somebody else's, or of another network.
    #[error("{parent} has a link of the VLAN {id} already")]
    Taken {
        /// The interface.
        parent: String,
        /// The VLAN.
        id: u16,
    },
    /// The setting of a bridge could not be read.
    #[error("cannot read {}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("the VLAN's link could not be set up")]
    Netlink(#[source] NetlinkError),
}

impl VlanError {
    /// What to do.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Unknown => "modprobe 8021q, or run a kernel with CONFIG_VLAN_8021Q, or leave vlan out".to_owned(),
            Self::UnknownToBridges => {
                "Run a kernel with CONFIG_BRIDGE_VLAN_FILTERING, or name the bridge's own interface as the parent".to_owned()
            }
            Self::NotFiltering { bridge } => {
                format!("ip link set {bridge} type bridge vlan_filtering 1, once its ports are on their VLANs; or leave vlan out")
            }
            Self::Taken { .. } => "Name that link as the parent, without vlan: ip -d link lists it".to_owned(),
            Self::Setting { .. } | Self::Netlink(_) => "berth check says what this host lacks".to_owned(),
        }
    }
}

/// Whether instances are ports of the parent, which then sorts their frames, or have a link on top of it.
#[must_use]
pub fn by_ports(parent: &Link, may_be_ports: bool) -> bool {
    may_be_ports && parent.kind.as_deref() == Some("bridge")
}

/// Whether the host can do it; nothing is changed.
///
/// # Errors
/// Why it cannot.
pub fn check(netlink: &mut Netlink, parent: &Link, by_ports: bool) -> Result<(), VlanError> {
    if !by_ports {
        return match netlink.supports(LinkKind::Vlan).map_err(VlanError::Netlink)? {
            true => Ok(()),
            false => Err(VlanError::Unknown),
        };
    }
    let bridge = parent.name.clone();
    let path = PathBuf::from("/sys/class/net").join(&bridge).join("bridge/vlan_filtering");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == "1" => Ok(()),
        Ok(_) => Err(VlanError::NotFiltering { bridge }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(VlanError::UnknownToBridges),
        Err(source) => Err(VlanError::Setting { path, source }),
    }
}

/// Makes the agent's link of a VLAN; fine where it is there.
///
/// # Errors
/// The kernel refuses, or somebody else has a link of this VLAN.
pub fn ensure(netlink: &mut Netlink, vlan: &VlanSpec<'_>) -> Result<(), VlanError> {
    let there = netlink.link(vlan.name).map_err(VlanError::Netlink)?;
    match there {
        Some(link) if link.kind.as_deref() == Some("vlan") => {
            return if link.up { Ok(()) } else { netlink.set_up(vlan.name).map_err(VlanError::Netlink) };
        }
        _ => {}
    }
    match netlink.create_vlan(vlan) {
        Err(error) if error.is_exists() => {
            Err(VlanError::Taken { parent: vlan.parent.to_owned(), id: vlan.id })
        }
        made => made.map_err(VlanError::Netlink),
    }
}

/// Removes the agent's link of a VLAN, and what is still on top of it; fine where there is none.
///
/// # Errors
/// The kernel refuses.
pub fn remove(netlink: &mut Netlink, name: &str) -> Result<(), VlanError> {
    match netlink.delete_link(name) {
        Err(error) if !error.is_missing() => Err(VlanError::Netlink(error)),
        _ => Ok(()),
    }
}
