//! Ids, validated specs, states and the pure planner.
//!
//! Everything here is a value or a pure function. What a user asks for arrives as a *draft* (plain text and
//! numbers), and becomes a spec by validation, which reports every mistake at once and names the argument of
//! each. A spec that exists is right.

pub mod access;
pub mod change;
pub mod device;
pub mod effective;
pub mod file;
pub mod ids;
pub mod image;
pub mod instance;
pub mod interface;
pub mod invalid;
pub mod mac;
pub mod machine;
pub mod mount;
pub mod name;
pub mod network;
pub mod plan;
pub mod remote;
pub mod state;
pub mod value;
pub mod volume;

pub use access::{AccessProtocol, AccessRule, AccessRuleDraft, Peer, PortRange};
pub use change::{Argument, Effect, change_effect, changes};
pub use device::{DeviceDraft, DeviceSpec};
pub use effective::EffectiveConfig;
pub use file::{FileContent, FileDraft, FilePlace, FileSpec};
pub use ids::{AgentId, Digest, InstanceId, NetworkId, PinId, RemoteId, VolumeId};
pub use image::{HealthCheckConfig, ImageConfig, ImageInfo, Layer, Platform};
pub use instance::{
    ImageSource, InstanceDraft, InstanceKind, InstanceSpec, LimitsDraft, PortDraft, RestartDraft,
};
pub use interface::{InterfaceDraft, InterfaceSpec};
pub use invalid::{Invalid, Invalids};
pub use mac::MacAddress;
pub use mount::{Mount, MountDraft, MountSpec};
pub use name::{Hostname, Name, RemoteName, VolumeName};
pub use network::{AddressRange, Dhcp, DhcpDraft, KnownNetwork, NetworkDraft, NetworkKind, NetworkSpec};
pub use plan::{Desired, Observed, Step, Wanted, plan};
pub use remote::{Password, PasswordChange, RemoteDraft, RemoteSecretChanges, RemoteSecrets, RemoteSpec};
pub use state::{ExitRecord, Status, Timestamp, UidRange, Workload};
pub use value::boot::Boot;
pub use value::health::{Health, HealthCheck, HealthDraft, HealthSpec, HealthState, Probe};
pub use value::limits::Limits;
pub use value::port::{PortSpec, Protocol};
pub use value::restart::{RestartMode, RestartPolicy};
pub use value::secrets::Secrets;
pub use value::security::{KernelSettings, Security, SecurityDraft, Ulimit};
pub use value::signal::StopSignal;
pub use value::user::UserSpec;
pub use volume::{VolumeDraft, VolumeOwner, VolumeSpec};
