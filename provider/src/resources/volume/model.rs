//! `berth_volume` as Terraform has it.

use tfplugin::timeouts::Timeouts;

use crate::attr::{Attr, Map, model};

model! {
    /// A volume: arguments first, then what is computed.
    pub struct VolumeModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// Unique on its host.
        name: Attr<String>,
        /// The user's own.
        labels: Map<String>,
        /// Of its root.
        uid: Attr<i64>,
        /// Of its root.
        gid: Attr<i64>,
        /// Of its root, octal.
        mode: Attr<String>,
        /// What it has room for; null is what the host has.
        size: Attr<String>,
        /// A destroy leaves it on the host.
        keep_on_destroy: Attr<bool>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// With the provider's defaults.
        effective_labels: Map<String>,
    }
}

impl VolumeModel {
    /// Whether a destroy leaves it on the host.
    pub fn is_kept(&self) -> bool {
        self.keep_on_destroy.known().copied().unwrap_or(false)
    }
}
