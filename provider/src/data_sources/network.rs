//! `berth_network`: a network that is there already.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::ReadTimeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Context, DataSource, Schema};

use super::look;
use crate::attr::{Attr, List, Map, list, map, model, non_empty};
use crate::client::By;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::Diagnostics;
use crate::resources::network::dhcp::{self, DhcpModel};

model! {
    /// A network.
    pub struct NetworkDataModel {
        /// A key or an address; null is the default host.
        host: Attr<String>,
        /// How it is looked up.
        name: Attr<String>,
        /// How long the read may take.
        timeouts: Attr<ReadTimeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// What it is made of.
        r#type: Attr<String>,
        /// Of the host's.
        parent: Attr<String>,
        /// Of the parent's.
        vlan: Attr<i64>,
        /// Its name on the host.
        bridge: Attr<String>,
        /// Its IPv4 addresses.
        ipv4_subnet: Attr<String>,
        /// Its IPv6 addresses.
        ipv6_subnet: Attr<String>,
        /// Of a bridge.
        nat: Attr<bool>,
        /// Of a bridge.
        isolated: Attr<bool>,
        /// As asked for.
        mtu: Attr<i64>,
        /// As asked for.
        dns_domain: Attr<String>,
        /// All of them.
        labels: Map<String>,
        /// Ids of instances.
        used_by: List<String>,
        /// As asked for.
        dhcp: Attr<DhcpModel>,
        /// By their addresses.
        leases: List<LeaseModel>,
    }
}

model! {
    /// What its DHCP server gave.
    pub struct LeaseModel {
        /// What was given.
        ipv4_address: Attr<String>,
        /// To whom.
        mac: Attr<String>,
        /// What it calls itself.
        hostname: Attr<String>,
        /// RFC 3339.
        expires: Attr<String>,
    }
}

/// `berth_network`.
pub struct Network;

impl DataSource for Network {
    type Model = NetworkDataModel;
    type Client = Berth;

    const NAME: &'static str = "berth_network";

    fn schema(&self) -> Schema {
        let text = |docs: &str| Attribute::string(docs).computed();
        let flag = |docs: &str| Attribute::bool(docs).computed();
        Schema::new("A network that is on a host already, such as `default`.")
            .attribute("host", look::host())
            .attribute("name", Attribute::string("Its name.").required())
            .attribute("timeouts", look::timeouts())
            .attribute("id", text("A UUID made by the agent."))
            .attribute("type", text("`bridge`, `physical` or `macvlan`."))
            .attribute("parent", text("Of `physical` and `macvlan`: the host's interface or bridge."))
            .attribute("vlan", Attribute::number("Of `physical` and `macvlan`: the VLAN of `parent`.").computed())
            .attribute("bridge", text("Of a `bridge`: its name on the host."))
            .attribute("ipv4_subnet", text("Of a `bridge`: its IPv4 addresses; the first is the host's."))
            .attribute("ipv6_subnet", text("Of a `bridge`: its IPv6 addresses, where it has such."))
            .attribute("nat", flag("Of a `bridge`: whether what leaves it has the host's address."))
            .attribute("isolated", flag("Whether its instances reach nothing beyond it."))
            .attribute("mtu", Attribute::number("The largest packet, where that was asked for.").computed())
            .attribute(
                "dns_domain",
                text("What the names of its instances end in, where that was asked for; else they end in its name and `berth`."),
            )
            .attribute("labels", Attribute::map(Type::String, "Its labels.").computed())
            .attribute(
                "used_by",
                Attribute::list(Type::String, "Ids of the instances that are on it.").computed(),
            )
            .attribute("dhcp", server())
            .attribute("leases", leases())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: NetworkDataModel,
    ) -> Result<NetworkDataModel, Diagnostics> {
        let by = By::Name(config.name.as_str().unwrap_or_default().to_owned());
        let question = async move |it: Arc<Connection>| it.agent.network(by).await;
        let network = look::ask(cx, &config.host, &config.timeouts, "Reading the network", question).await?;
        Ok(from_wire(network, config))
    }
}

fn server() -> Attribute {
    let text = |docs: &str| Attribute::string(docs).computed();
    let arguments = [
        (
            "ipv4_range",
            text("What it gives, where that was asked for; else the upper half of `ipv4_subnet`."),
        ),
        ("lease_time", text("For how long, where that was asked for; else an hour.")),
    ];
    Attribute::single("Its DHCP server, where it has one.", arguments).computed()
}

fn leases() -> Attribute {
    let text = |docs: &str| Attribute::string(docs).computed();
    let lease = [
        ("ipv4_address", text("What was given.")),
        ("mac", text("To whom.")),
        ("hostname", text("What its holder calls itself, if it does.")),
        ("expires", text("When it ends, if it is not renewed, as in RFC 3339.")),
    ];
    let docs = "What its DHCP server has given to who is no instance, by address, and is in force.";
    Attribute::nested_list(docs, lease).computed()
}

fn lease(lease: wire::NetworkLease) -> LeaseModel {
    LeaseModel {
        ipv4_address: Attr::Known(lease.ipv4_address),
        mac: Attr::Known(lease.mac),
        hostname: non_empty(&lease.hostname),
        expires: Attr::Known(lease.expires),
    }
}

fn from_wire(network: wire::Network, config: NetworkDataModel) -> NetworkDataModel {
    let spec = network.spec.unwrap_or_default();
    NetworkDataModel {
        id: Attr::Known(network.id),
        r#type: Attr::Known(spec.r#type),
        parent: non_empty(&spec.parent),
        vlan: (spec.vlan != 0).then_some(i64::from(spec.vlan)).into(),
        bridge: non_empty(&network.bridge),
        ipv4_subnet: non_empty(&spec.ipv4_subnet),
        ipv6_subnet: non_empty(&spec.ipv6_subnet),
        nat: spec.nat.into(),
        isolated: Attr::Known(spec.isolated),
        mtu: (spec.mtu != 0).then_some(i64::from(spec.mtu)).into(),
        dns_domain: non_empty(&spec.dns_domain),
        labels: map(spec.labels),
        used_by: list(network.used_by),
        dhcp: dhcp::from_wire(spec.dhcp.as_ref(), &Attr::Null),
        leases: list(network.leases.into_iter().map(lease)),
        ..config
    }
}
