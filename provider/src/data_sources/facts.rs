//! What is known of an instance: what was asked for, and how it is.

use std::collections::BTreeMap;

use berth_proto::agent as wire;
use tfplugin::value::Type;
use tfplugin::{Attr, Attribute};

use crate::attr::{List, Map, list, map, non_empty};
use crate::resources::instance::convert::status_word;

tfplugin::model! {
    /// An instance.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Facts {
        /// What it is.
        pub r#type: Attr<String>,
        /// What was asked for.
        pub image: Attr<String>,
        /// Digest of the image it runs.
        pub image_id: Attr<String>,
        /// With the provider's defaults.
        pub labels: Map<String>,
        /// For people.
        pub description: Attr<String>,
        /// Whether it is to run.
        pub running: Attr<bool>,
        /// What it does.
        pub status: Attr<String>,
        /// Why, where it failed.
        pub status_detail: Attr<String>,
        /// As its health check has found.
        pub health: Attr<String>,
        /// Of its last run.
        pub exit_code: Attr<i64>,
        /// Whether its last run ended for want of memory.
        pub oom_killed: Attr<bool>,
        /// How often it was started again.
        pub restarts: Attr<i64>,
        /// On the host.
        pub pid: Attr<i64>,
        /// RFC 3339.
        pub created_at: Attr<String>,
        /// RFC 3339.
        pub started_at: Attr<String>,
        /// Of the default route's interface.
        pub ipv4_address: Attr<String>,
        /// Of the default route's interface.
        pub ipv6_address: Attr<String>,
        /// By interface, in CIDR form.
        pub addresses: Attr<BTreeMap<String, List<String>>>,
        /// By interface.
        pub mac_addresses: Map<String>,
        /// By interface.
        pub leases: Map<Lease>,
        /// As they are published.
        pub ports: Map<Published>,
        /// What runs.
        pub argv: List<String>,
        /// As whom.
        pub user: Attr<String>,
        /// Where.
        pub working_dir: Attr<String>,
        /// What it calls itself.
        pub hostname: Attr<String>,
    }
}

tfplugin::model! {
    /// A published port.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Published {
        /// In the instance.
        pub container_port: Attr<i64>,
        /// On the host.
        pub host_port: Attr<i64>,
        /// Where the host listens.
        pub host_address: Attr<String>,
        /// `tcp` or `udp`.
        pub protocol: Attr<String>,
    }
}

tfplugin::model! {
    /// What a DHCP server has given an interface.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Lease {
        /// In CIDR form.
        pub address: Attr<String>,
        /// Who gave it.
        pub server: Attr<String>,
        /// RFC 3339.
        pub since: Attr<String>,
        /// RFC 3339.
        pub expires: Attr<String>,
        /// How often.
        pub renewals: Attr<i64>,
        /// Resolvers.
        pub dns: List<String>,
        /// Of short names.
        pub domain: Attr<String>,
        /// Why there is none.
        pub trouble: Attr<String>,
    }
}

/// The attributes of [`Facts`].
pub fn attributes() -> Vec<(&'static str, Attribute)> {
    let text = |docs: &str| Attribute::string(docs).computed();
    let number = |docs: &str| Attribute::number(docs).computed();
    let bool = |docs: &str| Attribute::bool(docs).computed();
    let map = |docs: &str| Attribute::map(Type::String, docs).computed();
    let lists = Type::map(Type::list(Type::String));
    vec![
        ("type", text("What it is, such as `container`.")),
        ("image", text("The image that was asked for: an id or a reference.")),
        ("image_id", text("Digest of the image it runs.")),
        ("labels", map("Its labels, with those that a provider's `default_labels` put there.")),
        ("description", text("A line for people.")),
        ("running", bool("Whether it is to run.")),
        (
            "status",
            text(
                "What it does: `running`, `stopped` (as asked), `exited` (by itself), `restarting`, or `failed`.",
            ),
        ),
        ("status_detail", text("Why, where it failed.")),
        (
            "health",
            text(
                "How it is, by its health check: `starting`, `healthy` or `unhealthy`; null where there is none.",
            ),
        ),
        ("exit_code", number("Exit code of its last run, where it ended.")),
        ("oom_killed", bool("Whether its last run ended for want of memory.")),
        ("restarts", number("How often it was started again after it ended.")),
        ("pid", number("Process id of its first process, on the host; null where it does not run.")),
        ("created_at", text("When it was made: RFC 3339.")),
        ("started_at", text("When it was last started: RFC 3339.")),
        ("ipv4_address", text("IPv4 address of its default interface.")),
        ("ipv6_address", text("IPv6 address of its default interface.")),
        ("addresses", Attribute::of(lists, "Addresses of each interface, in CIDR form.").computed()),
        ("mac_addresses", map("MAC address of each interface.")),
        ("leases", leases()),
        ("ports", ports()),
        ("argv", Attribute::list(Type::String, "What it runs: the entrypoint and its arguments.").computed()),
        ("user", text("As whom: the image's user, or the one that was asked for.")),
        ("working_dir", text("Its working directory.")),
        ("hostname", text("Its host name.")),
    ]
}

fn leases() -> Attribute {
    let text = |docs: &str| Attribute::string(docs).computed();
    Attribute::nested_map(
        "What DHCP servers have given its interfaces on networks of the types `physical` and `macvlan`.",
        [
            ("address", text("The address in CIDR form; null where it has none.")),
            ("server", text("Who gave it.")),
            ("since", text("When it was given or renewed last: RFC 3339.")),
            ("expires", text("When it ends: RFC 3339; null is never.")),
            ("renewals", Attribute::number("How often it was renewed.").computed()),
            ("dns", Attribute::list(Type::String, "Resolvers that came with it.").computed()),
            ("domain", text("The domain that came with it.")),
            ("trouble", text("Why there is none, or what was wrong with the server's last answer.")),
        ],
    )
    .computed()
}

fn ports() -> Attribute {
    let text = |docs: &str| Attribute::string(docs).computed();
    let number = |docs: &str| Attribute::number(docs).computed();
    Attribute::nested_map(
        "Its published ports, with the ports of the host that were chosen.",
        [
            ("container_port", number("Port in the instance.")),
            ("host_port", number("Port on the host.")),
            ("host_address", text("Address of the host that listens.")),
            ("protocol", text("`tcp` or `udp`.")),
        ],
    )
    .computed()
}

impl From<wire::Instance> for Facts {
    fn from(instance: wire::Instance) -> Self {
        let status = status_word(instance.status()).to_owned();
        let spec = instance.spec.unwrap_or_default();
        let effective = instance.effective.unwrap_or_default();
        let addresses = instance.addresses.into_iter().map(|(name, all)| (name, list(all.values)));
        Self {
            r#type: non_empty(&spec.r#type),
            image: non_empty(&spec.image),
            image_id: non_empty(&instance.image_id),
            labels: map(spec.labels),
            description: spec.description.into(),
            running: Attr::Known(spec.running),
            status: Attr::Known(status),
            status_detail: non_empty(&instance.status_detail),
            health: instance.health.as_ref().and_then(health_word).map(str::to_owned).into(),
            exit_code: instance.exit_code.map(i64::from).into(),
            oom_killed: Attr::Known(instance.oom_killed),
            restarts: Attr::Known(instance.restarts.into()),
            pid: Some(instance.pid).filter(|pid| *pid > 0).map(i64::from).into(),
            created_at: non_empty(&instance.created_at),
            started_at: non_empty(&instance.started_at),
            ipv4_address: non_empty(&instance.ipv4_address),
            ipv6_address: non_empty(&instance.ipv6_address),
            addresses: Attr::Known(addresses.collect()),
            mac_addresses: map(instance.mac_addresses),
            leases: map(instance.leases.into_iter().map(|(name, it)| (name, lease(it)))),
            ports: map(instance.ports.into_iter().map(|(name, port)| (name, published(port)))),
            argv: list(effective.argv),
            user: non_empty(&effective.user),
            working_dir: non_empty(&effective.working_dir),
            hostname: non_empty(&effective.hostname),
        }
    }
}

fn health_word(health: &wire::Health) -> Option<&'static str> {
    use wire::health::State;
    match health.state() {
        State::Unspecified => None,
        State::Starting => Some("starting"),
        State::Healthy => Some("healthy"),
        State::Unhealthy => Some("unhealthy"),
    }
}

fn lease(lease: wire::Lease) -> Lease {
    let given = !lease.address.is_empty();
    Lease {
        address: non_empty(&lease.address),
        server: non_empty(&lease.server),
        since: non_empty(&lease.since),
        expires: non_empty(&lease.expires),
        renewals: given.then_some(i64::from(lease.renewals)).into(),
        dns: list(lease.dns),
        domain: non_empty(&lease.domain),
        trouble: non_empty(&lease.trouble),
    }
}

fn published(port: wire::Port) -> Published {
    Published {
        container_port: Attr::Known(port.container_port.into()),
        host_port: Some(port.host_port).filter(|port| *port > 0).map(i64::from).into(),
        host_address: non_empty(&port.host_address),
        protocol: non_empty(&port.protocol),
    }
}
