//! What the engine tells of the things it keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use berth_domain::{
    Digest, EffectiveConfig, Health, ImageConfig, ImageInfo, InstanceId, InstanceSpec, KnownNetwork,
    MacAddress, PinId, Platform, PortSpec, RemoteId, RemoteSpec, Status, Timestamp, VolumeId, VolumeOwner,
    VolumeSpec,
};
use ipnet::IpNet;

use crate::ports::images::Freed;
use crate::ports::network::Leases;
use crate::ports::runtime::InterfaceState;

/// How a thing is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By<Id> {
    /// By its id.
    Id(Id),
    /// By its name.
    Name(String),
}

impl<Id: fmt::Display> fmt::Display for By<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteView {
    /// Its id.
    pub id: RemoteId,
    /// What was asked for.
    pub spec: RemoteSpec,
    /// Whether there is a password.
    pub has_password: bool,
    /// Whether there is a key for its client certificate.
    pub has_client_key: bool,
}

/// What a check of the store found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCheck {
    /// Images looked at.
    pub images: u64,
    /// Bytes of layers read.
    pub bytes: u64,
    /// Images that were not whole.
    pub damaged: Vec<Damaged>,
}

/// An image that was not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its id.
    pub digest: Digest,
    /// What is wrong with it.
    pub parts: Vec<String>,
    /// What became of it.
    pub mended: Mended,
}

/// Whether a damaged image is whole again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// Nobody asked for it.
    NotTried,
    /// It is.
    Done,
    /// It is not, and why.
    Failed(String),
}

/// What a prune removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Images.
    pub images: Vec<Arc<ImageInfo>>,
    /// What goes from the disk with them.
    pub freed: Freed,
}

/// A pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinView {
    /// Its id.
    pub id: PinId,
    /// As it was written.
    pub reference: String,
    /// What it runs on.
    pub platform: Platform,
    /// What the tag pointed at.
    pub index_digest: Digest,
    /// `host/repository@digest`.
    pub reference_resolved: String,
    /// The content outlives the pin's first removal.
    pub keep_on_destroy: bool,
    /// What it pins.
    pub image: ImageView,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageView {
    /// The image.
    pub info: Arc<ImageInfo>,
    /// References that are pinned to it.
    pub references: Vec<String>,
    /// Instances that use it.
    pub used_by: Vec<InstanceId>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// What was asked for.
    pub spec: InstanceSpec,
    /// What is.
    pub status: Status,
    /// More about the status; empty where there is none.
    pub status_detail: String,
    /// How it ended last; `None` while it runs for the first time.
    pub exit_code: Option<i32>,
    /// It was killed because its memory limit was reached.
    pub oom_killed: bool,
    /// The image it runs.
    pub image: Digest,
    /// As it was written when it was resolved.
    pub image_reference: String,
    /// Its address on the way of the default route, or else its first.
    pub ipv4: Option<Ipv4Addr>,
    /// Likewise of version 6.
    pub ipv6: Option<Ipv6Addr>,
    /// Interface name to its addresses.
    pub addresses: BTreeMap<String, Vec<IpNet>>,
    /// Where it runs: interface name to how it is now.
    pub interfaces: BTreeMap<String, InterfaceState>,
    /// Interface name to its hardware address.
    pub mac_addresses: BTreeMap<String, MacAddress>,
    /// On the host, of the workload's first process.
    pub pid: Option<u32>,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// The spec's ports with the host ports chosen.
    pub ports: BTreeMap<String, PortSpec>,
    /// What runs; `None` where the image's content is lost.
    pub effective: Option<EffectiveConfig>,
    /// What the image says.
    pub from_image: Option<ImageConfig>,
    /// Counts everything that was asked for.
    pub generation: u64,
    /// Where it runs and has a health check.
    pub health: Option<Health>,
    /// What was asked for and is in force only in part, a line each.
    pub clamped: Vec<String>,
    /// What runs the instructions of a virtual machine that runs, with the reason.
    pub accelerator: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// What the ledger has.
    pub network: KnownNetwork,
    /// Of a bridge: its name on the host.
    pub bridge: Option<String>,
    /// Instances that are on it.
    pub used_by: Vec<InstanceId>,
    /// What its DHCP server has given; in a list nobody asks.
    pub leases: Leases,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// Its id.
    pub id: VolumeId,
    /// What was asked for.
    pub spec: VolumeSpec,
    /// Instances that have it among their mounts.
    pub used_by: Vec<InstanceId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The instance that it follows, if it does.
    pub owner: Option<VolumeOwner>,
}
