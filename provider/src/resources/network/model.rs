//! `berth_network` as Terraform has it.

use tfplugin::timeouts::Timeouts;

use super::dhcp::DhcpModel;
use crate::attr::{Attr, Map, model};
use crate::resources::access::Rules;

model! {
    /// A network: arguments first, then what is computed.
    pub struct NetworkModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// Unique on its host.
        name: Attr<String>,
        /// `bridge`, `physical` or `macvlan`; null is `bridge`.
        r#type: Attr<String>,
        /// Of the host's.
        parent: Attr<String>,
        /// Of the parent's.
        vlan: Attr<i64>,
        /// Chosen where it is not given.
        ipv4_subnet: Attr<String>,
        /// Likewise; `none` is none.
        ipv6_subnet: Attr<String>,
        /// Null is true.
        nat: Attr<bool>,
        /// Null is false.
        isolated: Attr<bool>,
        /// Null is the agent's choice.
        mtu: Attr<i64>,
        /// What names on it end in.
        dns_domain: Attr<String>,
        /// The user's own.
        labels: Map<String>,
        /// What is let in.
        ingress: Rules,
        /// What is let out.
        egress: Rules,
        /// Addresses for who is no instance.
        dhcp: Attr<DhcpModel>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// Its name on the host.
        bridge: Attr<String>,
        /// With the provider's defaults.
        effective_labels: Map<String>,
    }
}

impl NetworkModel {
    /// Whether it is known to be a bridge, or known not to be one.
    pub fn is_bridge(&self) -> Option<bool> {
        match &self.r#type {
            Attr::Null => Some(true),
            Attr::Known(kind) => Some(kind == "bridge"),
            Attr::Unknown => None,
        }
    }
}
