//! The attributes of `berth_network`, as documented.

use tfplugin::timeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

use super::dhcp;
use crate::resources::access;
use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

/// The schema.
pub fn schema() -> Schema {
    let text = |docs: &str| Attribute::string(docs);
    let docs = "A network of a host that instances are on. One of the type `bridge` is the agent's own: it gives each \
                instance an address, and lets it reach what the host reaches. What is on another network reaches \
                nothing in it but published ports. On one of the type `physical` or `macvlan`, each instance has an \
                address of that network's DHCP server, and IPv6 addresses of its routers, or those that it is given.\n\nThe network `default` is always there: import it to change it; a \
                destroy gives it back the arguments it was made with. Any other is destroyed only when no instance is \
                on it. Import with `[HOSTKEY,]NAME`.";
    let schema = Schema::new(docs)
        .version(VERSION)
        .attribute("host", host_attribute())
        .attribute(
            "name",
            text("Its name, unique on its host: up to 63 lower-case letters, digits and hyphens. In place.").required(),
        )
        .attribute(
            "type",
            text(
                "`bridge` (the default): a network of the agent's own. `physical`: the host's own network, by one of its \
                 bridges or beside one of its interfaces. `macvlan`: interfaces of their own on one of the host's. A \
                 change replaces the network.",
            ),
        )
        .attribute(
            "parent",
            text(
                "Of `physical` and `macvlan`: the host's interface or bridge. A change replaces the network.",
            ),
        )
        .attribute(
            "vlan",
            Attribute::number(
                "Of `physical` and `macvlan`: the VLAN of `parent`, 1 to 4094. The host needs 802.1Q (`modprobe 8021q`); a \
                 bridge as the parent of a `physical` network must filter VLANs, and its instances are untagged ports of \
                 this one. Default: frames without a tag. A change replaces the network.",
            ),
        );
    settings(subnets(schema))
        .attribute("id", text("A UUID made by the agent.").computed().keep())
        .attribute("bridge", text("Of a `bridge`: its name on the host.").computed().keep())
        .attribute(
            "effective_labels",
            Attribute::map(Type::String, "Its `labels` together with the provider's `default_labels`.")
                .computed()
                .keep(),
        )
        .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}

fn subnets(schema: Schema) -> Schema {
    schema
        .attribute(
            "ipv4_subnet",
            Attribute::string(
                "Its IPv4 addresses, such as `\"10.20.30.0/24\"`; the first is the host's. Default: a network of 24 bits \
                 that nothing on the host uses. A change restarts the instances on it.",
            )
            .optional_computed()
            .keep(),
        )
        .attribute(
            "ipv6_subnet",
            Attribute::string(
                "Its IPv6 addresses, such as `\"fd12:3456:789a:1::/64\"`; the first after the network's own is the host's. \
                 `\"none\"`: there is no IPv6; `\"auto\"`: one that is chosen, also for a network that had none. Default: a \
                 network of 64 bits of the host's own that nothing uses, where the host has IPv6; the network `default`, \
                 and one that is there already, stay as they are. A change restarts the instances on it.",
            )
            .optional_computed()
            .keep(),
        )
}

fn settings(schema: Schema) -> Schema {
    schema
        .attribute(
            "nat",
            Attribute::bool("Whether what leaves it has the host's address. Default: `true`. In place."),
        )
        .attribute(
            "isolated",
            Attribute::bool("Whether its instances reach nothing beyond it. Default: `false`. In place."),
        )
        .attribute(
            "mtu",
            Attribute::number("The largest packet in bytes. Default: 1500, or that of `parent`."),
        )
        .attribute(
            "dns_domain",
            Attribute::string(
                "What the names of its instances end in: an instance is found as `NAME`, and as `NAME.DOMAIN`, by all that are on the \
                 network. Default: the network's name and `berth`, as in `web.default.berth`. In place."),
        )
        .attribute("labels", Attribute::map(Type::String, "Labels. In place."))
        .attribute("ingress", access::attribute("What may reach its instances.", "source"))
        .attribute("egress", access::attribute("What its instances may reach.", "destination"))
        .attribute("dhcp", dhcp::attribute())
}
