//! What the host lacks for networks, or does against them, each with what to do.

use std::fs;

use berth_sys::netlink::{LinkKind, Netlink};
use serde_json::Value;

use crate::{
    Prefix,
    firewall::{self, DHCP},
    forwarding::Forwarding,
    nft::{Nft, NftError},
};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The program `nft`.
    NftProgram,
    /// The kernel's nf_tables with address translation.
    NfTables,
    /// Bridges.
    Bridge,
    /// Veth pairs.
    Veth,
    /// Links of VLANs.
    Vlan,
    /// Forwarding of IPv4 packets.
    Forwarding,
    /// A firewall of somebody else's that drops what is forwarded, or what the host is asked.
    ForeignFirewall,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Fine,
    /// Networks work, but something may be in their way.
    Warning,
    /// Networks cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub subject: Subject,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub detail: String,
    /// What to do, where something is to be done.
    pub fix: Option<String>,
}

impl Finding {
    fn fine(subject: Subject, detail: impl Into<String>) -> Self {
        Self { subject, severity: Severity::Fine, detail: detail.into(), fix: None }
    }

    fn missing(subject: Subject, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { subject, severity: Severity::Missing, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// Looks at all that networks need. It changes nothing, but that the kernel may load a module.
#[must_use]
pub fn check(prefix: &Prefix) -> Vec<Finding> {
    let mut findings = links();
    findings.push(forwarding());
    match Nft::find() {
        Ok(nft) => {
            findings.push(Finding::fine(Subject::NftProgram, nft.program().display().to_string()));
            findings.push(tables(&nft));
            findings.extend(foreign(&nft, prefix));
        }
        Err(error) => {
            findings.push(Finding::missing(
                Subject::NftProgram,
                error.to_string(),
                "apt-get install nftables",
            ));
        }
    }
    findings
}

fn links() -> Vec<Finding> {
    let kinds = [(Subject::Bridge, LinkKind::Bridge), (Subject::Veth, LinkKind::Veth)];
    let mut netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => {
            let missing = |(subject, _)| {
                Finding::missing(subject, chain(&error), "run on a kernel with netlink sockets")
            };
            return kinds.map(missing).into();
        }
    };
    let look = |(subject, kind): (Subject, LinkKind)| {
        let name = kind.to_string();
        match netlink.supports(kind) {
            Ok(true) => Finding::fine(subject, format!("the kernel makes links of kind {name}")),
            Ok(false) => Finding::missing(
                subject,
                format!("the kernel knows no links of kind {name}"),
                format!("modprobe {name}, or run on a kernel with it"),
            ),
            Err(error) => Finding::missing(subject, chain(&error), "run as root, with CAP_NET_ADMIN"),
        }
    };
    let mut findings: Vec<_> = kinds.map(look).into();
    findings.push(vlans(&mut netlink));
    findings
}

/// Few networks need them.
fn vlans(netlink: &mut Netlink) -> Finding {
    let subject = Subject::Vlan;
    match netlink.supports(LinkKind::Vlan) {
        Ok(true) => Finding::fine(subject, "the kernel makes links of kind vlan"),
        outcome => Finding {
            subject,
            severity: Severity::Warning,
            detail: match outcome {
                Err(error) => chain(&error),
                Ok(_) => "the kernel knows no links of kind vlan: networks cannot have a vlan".to_owned(),
            },
            fix: Some("modprobe 8021q, or run on a kernel with it".to_owned()),
        },
    }
}

fn forwarding() -> Finding {
    let subject = Subject::Forwarding;
    match Forwarding::is_on() {
        Ok(true) => Finding::fine(subject, "the host forwards IPv4 packets"),
        // Opened as for a write, and not written.
        Ok(false) => match fs::OpenOptions::new().write(true).open("/proc/sys/net/ipv4/ip_forward") {
            Ok(_) => Finding::fine(subject, "the agent turns forwarding on while it has a network"),
            Err(error) => Finding::missing(
                subject,
                format!("the host does not forward IPv4 packets, and the agent may not change it: {error}"),
                "sysctl -w net.ipv4.ip_forward=1, outside of this container if it is one",
            ),
        },
        Err(error) => Finding::missing(subject, chain(&error), "mount /proc with its sys directory"),
    }
}

fn tables(nft: &Nft) -> Finding {
    let subject = Subject::NfTables;
    match firewall::probe(nft) {
        Ok(()) => Finding::fine(subject, "the kernel takes the agent's rules"),
        Err(NftError::Refused { message, .. }) if message.contains("not permitted") => {
            Finding::missing(subject, message, "run as root, with CAP_NET_ADMIN")
        }
        Err(error) => Finding::missing(
            subject,
            chain(&error),
            "modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet, or run on a kernel with them",
        ),
    }
}

/// Chains of others that drop what they do not know. An accept in the agent's own table cannot undo that, so each is
/// named with what its owner would do about it.
fn foreign(nft: &Nft, prefix: &Prefix) -> Vec<Finding> {
    let mut findings = match nft.list(&["ruleset"]) {
        Ok(objects) => blocking_chains(&objects.unwrap_or_default(), &prefix.table())
            .into_iter()
            .map(|chain| chain.finding(prefix))
            .collect(),
        Err(error) => vec![Finding {
            subject: Subject::ForeignFirewall,
            severity: Severity::Warning,
            detail: format!("other tables could not be listed: {}", self::chain(&error)),
            fix: None,
        }],
    };
    findings.extend(legacy());
    if findings.is_empty() {
        findings.push(Finding::fine(
            Subject::ForeignFirewall,
            "no other firewall drops what networks send and are sent",
        ));
    }
    findings
}

/// Rules of the old iptables are not seen by nft.
fn legacy() -> Option<Finding> {
    let tables = fs::read_to_string("/proc/net/ip_tables_names").ok()?;
    tables.lines().any(|table| table == "filter").then(|| Finding {
        subject: Subject::ForeignFirewall,
        severity: Severity::Warning,
        detail: "rules of iptables-legacy are in use; whether they drop what is forwarded is not seen here"
            .to_owned(),
        fix: Some(
            "look at `iptables-legacy -S FORWARD`; with a policy of DROP, accept the agent's bridges there"
                .to_owned(),
        ),
    })
}

/// What a chain is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// What crosses a network's border.
    Forward,
    /// What is asked of the host: names, and addresses where the agent gives any.
    Input,
}

/// What the host is asked for on its networks.
const NAMES: u64 = 53;
const ADDRESSES: u64 = 67;

impl Asked {
    fn of(chain: &Value) -> Option<Self> {
        match (text(&chain["family"]), text(&chain["hook"])) {
            ("ip" | "ip6" | "inet", "forward") => Some(Self::Forward),
            ("ip" | "ip6" | "inet", "input") => Some(Self::Input),
            _ => None,
        }
    }

    /// The matches by which a rule would let the agent's networks through.
    fn sides(self) -> &'static [&'static str] {
        match self {
            Self::Forward => &["iifname", "oifname"],
            Self::Input => &["iifname"],
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct BlockingChain {
    asked: Asked,
    family: String,
    table: String,
    name: String,
    how: &'static str,
    /// The ports of the host that it holds shut, where those are what it is asked about.
    shut: Vec<u64>,
    /// A chain that its owner leaves to users, and that is looked at first.
    for_users: Option<&'static str>,
}

impl BlockingChain {
    fn finding(self, prefix: &Prefix) -> Finding {
        let Self { asked, family, table, name, how, shut, for_users } = self;
        let bridges = format!("{}*", prefix.table());
        let fix = if table == "firewalld" {
            format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={} && firewall-cmd --reload",
                prefix.bridge(0)
            )
        } else {
            let chain = for_users.unwrap_or(&name);
            let what: Vec<&str> = match asked {
                Asked::Forward => vec![""],
                Asked::Input => shut.iter().map(|port| opening(*port)).collect(),
            };
            let insert = |side: &&str, what: &str| {
                format!("nft insert rule {family} {table} {chain} {side} \"{bridges}\" {what}accept")
            };
            let inserts =
                asked.sides().iter().flat_map(|side| what.iter().map(move |what| insert(side, what)));
            inserts.collect::<Vec<_>>().join("; ")
        };
        let whom = match (asked, shut.as_slice()) {
            (Asked::Forward, _) => "the agent's networks too",
            (Asked::Input, [NAMES]) => "what instances ask the host for names too",
            (Asked::Input, [ADDRESSES]) => "what is asked of the agent's DHCP servers too",
            (Asked::Input, _) => {
                "what instances ask the host for names, and its DHCP servers for addresses, too"
            }
        };
        Finding {
            subject: Subject::ForeignFirewall,
            severity: Severity::Warning,
            detail: format!("the chain {name} of the table {family} {table} {how}, {whom}"),
            fix: Some(fix),
        }
    }
}

/// What a rule says that lets in what is asked at a port.
fn opening(port: u64) -> &'static str {
    if port == ADDRESSES { "udp dport 67 " } else { "meta l4proto { tcp, udp } th dport 53 " }
}

/// Those of others than agents, but for what has been told of this agent's bridges, whose names begin with `own`.
fn blocking_chains(objects: &[Value], own: &str) -> Vec<BlockingChain> {
    let serves = |rule: &Value| text(&rule["table"]) == own && text(&rule["comment"]).starts_with(DHCP);
    let gives = objects.iter().filter_map(|object| object.get("rule")).any(serves);
    let asked_for = if gives { &[NAMES, ADDRESSES][..] } else { &[NAMES] };
    let chains: Vec<&Value> = objects.iter().filter_map(|object| object.get("chain")).collect();
    let blocking = chains.iter().filter_map(|chain| {
        let asked = Asked::of(chain)?;
        let (family, table, name) = (&chain["family"], &chain["table"], &chain["name"]);
        let of_table = |rule: &&Value| (&rule["family"], &rule["table"]) == (family, table);
        let rules = || objects.iter().filter_map(|object| object.get("rule")).filter(of_table);
        let how = if chain["policy"] == "drop" {
            "drops what it does not know"
        } else if rules().any(|rule| rule["chain"] == *name && refuses_all(rule)) {
            "ends with a refusal of all it does not know"
        } else {
            return None;
        };
        let knows = |side: &&str| rules().any(|rule| matches_link(rule, side, own));
        let is_shut = |port: &u64| {
            let opens = |rule: &Value| matches_link(rule, "iifname", own) && lets_in(rule, *port);
            asked == Asked::Input && !rules().any(opens)
        };
        let shut: Vec<u64> = asked_for.iter().copied().filter(is_shut).collect();
        let known = match asked {
            Asked::Forward => asked.sides().iter().all(knows),
            Asked::Input => shut.is_empty(),
        };
        if text(table).starts_with("berth") || known {
            return None;
        }
        let left_to_users = |other: &&&Value| {
            (&other["family"], &other["table"]) == (family, table) && other["name"] == "DOCKER-USER"
        };
        let docker = chains.iter().find(left_to_users).filter(|_| asked == Asked::Forward);
        Some(BlockingChain {
            asked,
            family: text(family).to_owned(),
            table: text(table).to_owned(),
            name: text(name).to_owned(),
            how,
            shut,
            for_users: docker.map(|_| "DOCKER-USER"),
        })
    });
    blocking.collect()
}

/// Whether a rule is about links whose names begin so.
fn matches_link(rule: &Value, side: &str, own: &str) -> bool {
    fn mentions(value: &Value, own: &str) -> bool {
        match value {
            Value::String(name) => name.starts_with(own),
            Value::Array(values) => values.iter().any(|value| mentions(value, own)),
            Value::Object(fields) => fields.values().any(|value| mentions(value, own)),
            _ => false,
        }
    }
    let matches = rule["expr"].as_array().into_iter().flatten().map(|statement| &statement["match"]);
    matches.filter(|it| it["left"]["meta"]["key"] == side).any(|it| mentions(&it["right"], own))
}

/// Whether a rule is about a port of the host's, as far as it names any.
fn lets_in(rule: &Value, port: u64) -> bool {
    fn names(value: &Value, port: u64) -> bool {
        if let Some([first, last]) = value["range"].as_array().map(Vec::as_slice) {
            return first.as_u64() <= Some(port) && Some(port) <= last.as_u64();
        }
        let set = value["set"].as_array().into_iter().flatten();
        value.as_u64() == Some(port) || set.into_iter().any(|one| names(one, port))
    }
    let matches = rule["expr"].as_array().into_iter().flatten().map(|statement| &statement["match"]);
    let mut ports = matches.filter(|it| it["left"]["payload"]["field"] == "dport").map(|it| &it["right"]);
    ports.all(|right| names(right, port))
}

/// A rule without a condition that drops or rejects.
fn refuses_all(rule: &Value) -> bool {
    let statements = || rule["expr"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let harmless = |name: &str| matches!(name, "counter" | "log" | "drop" | "reject");
    statements().flat_map(|statement| statement.keys()).all(|name| harmless(name))
        && statements().any(|statement| statement.contains_key("drop") || statement.contains_key("reject"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An error and its causes in one line, for a table of findings.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
