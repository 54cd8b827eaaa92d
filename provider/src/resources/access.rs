//! `ingress` and `egress`: what is let into instances and out of them.

use berth_proto::agent as wire;
use tfplugin::Attribute;
use tfplugin::value::Type;

use crate::attr::{Attr, List, Map, Part as _, entries, list, map_or_null, model, non_empty};
use crate::report::{self, Diagnostic, Path, capital};
use crate::text::cidr;

model! {
    /// A rule.
    pub struct AccessRuleModel {
        /// `tcp`, `udp` or `icmp`; null is any.
        protocol: Attr<String>,
        /// Ports and ranges of them; null is all.
        ports: List<String>,
        /// Addresses of the other side.
        cidr: Attr<String>,
        /// The instances on a network.
        network: Attr<String>,
        /// The instances with these labels.
        labels: Map<String>,
    }
}

/// Rules as Terraform has them.
pub type Rules = List<AccessRuleModel>;

/// The argument, as documented; `what` begins the sentence.
pub fn attribute(what: &str, other: &str) -> Attribute {
    let text = |docs: String| Attribute::string(docs);
    Attribute::nested_list(
        format!(
            "{what} Each rule lets something through; with a list, nothing else is, and `[]` lets nothing through. \
             Replies to what was let through always are. Default: nothing is held back. In place."
        ),
        [
            ("protocol", text("`tcp`, `udp` or `icmp`. Default: any.".to_owned())),
            (
                "ports",
                Attribute::list(
                    Type::String,
                    "Ports and ranges such as `\"8000-8010\"`, of the protocol or else of TCP and UDP. Default: all.",
                ),
            ),
            ("cidr", text(format!("Addresses of the {other}, of either family, such as `\"10.0.0.0/8\"`."))),
            ("network", text(format!("A network, by its `id` or name: the {other} is an instance on it."))),
            (
                "labels",
                Attribute::map(
                    Type::String,
                    format!("The {other} is an instance that has all of these labels."),
                ),
            ),
        ],
    )
}

/// Checks what is known of the rules of one argument.
pub fn validate(argument: &str, rules: &Rules, found: &mut Vec<Diagnostic>) {
    for (index, rule) in rules.known().into_iter().flatten().enumerate() {
        let at = || Path::at(argument).index(index);
        let Some(rule) = rule.known() else { continue };
        let protocol = rule.protocol.as_str();
        if let Some(other) = protocol.filter(|text| !matches!(*text, "tcp" | "udp" | "icmp")) {
            let summary = format!("\"{other}\" is not a protocol of rules");
            let detail = "Use \"tcp\", \"udp\" or \"icmp\".";
            found.push(report::error(at().attribute("protocol"), summary, detail));
        }
        let ports: Vec<_> = rule.ports.known().into_iter().flatten().collect();
        if protocol == Some("icmp") && !ports.is_empty() {
            let detail = "Give the protocol \"tcp\" or \"udp\", or leave the ports out.";
            found.push(report::error(at().attribute("ports"), "Only TCP and UDP have ports", detail));
        }
        for (number, port) in ports.into_iter().enumerate() {
            if let Some((summary, detail)) = port.as_str().and_then(|text| range(text).err()) {
                found.push(report::error(at().attribute("ports").index(number), summary, detail));
            }
        }
        if let Some(Err(error)) = rule.cidr.as_str().map(cidr::parse) {
            found.push(report::error(at().attribute("cidr"), capital(&error.to_string()), error.advice()));
        }
        let given = [!rule.cidr.is_null(), !rule.network.is_null(), !rule.labels.is_null()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            let detail = "Write a rule for each: what any of them lets through is let through.";
            found.push(report::error(at(), "A rule has one of cidr, network and labels", detail));
        }
    }
}

/// The first and the last of a range, or what is wrong with it.
fn range(text: &str) -> Result<(u16, u16), (String, String)> {
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| plain && *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(first), Some(last)) => Err((
            format!("The range {first}-{last} ends before it begins"),
            format!("Write \"{last}-{first}\"."),
        )),
        _ => Err((
            format!("\"{text}\" is neither a port nor a range of ports"),
            "Write a port from 1 to 65535, or a range such as \"8000-8010\".".to_owned(),
        )),
    }
}

/// What the agent is asked for.
pub fn to_wire(rules: &Rules) -> Option<wire::AccessRules> {
    let rules = rules.known()?.iter().filter_map(Attr::known);
    Some(wire::AccessRules { rules: rules.map(one_to_wire).collect() })
}

fn one_to_wire(rule: &AccessRuleModel) -> wire::AccessRule {
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    let ports = rule.ports.known().into_iter().flatten().filter_map(Attr::as_str);
    wire::AccessRule {
        protocol: text(&rule.protocol),
        ports: ports.map(str::to_owned).collect(),
        cidr: text(&rule.cidr),
        network: text(&rule.network),
        labels: entries(&rule.labels).map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// The agent's rules, in the words of `prior` where they say the same.
pub fn from_wire(actual: Option<&wire::AccessRules>, prior: Option<&Rules>) -> Rules {
    let Some(actual) = actual else { return Attr::Null };
    let before = |index: usize| prior.and_then(Attr::known)?.get(index)?.known();
    let read = |(index, rule): (usize, &wire::AccessRule)| match before(index) {
        Some(before) if same(&one_to_wire(before), rule) => before.clone(),
        _ => AccessRuleModel {
            protocol: non_empty(&rule.protocol),
            ports: if rule.ports.is_empty() { Attr::Null } else { list(rule.ports.clone()) },
            cidr: non_empty(&rule.cidr),
            network: non_empty(&rule.network),
            labels: map_or_null(rule.labels.clone()),
        },
    };
    list(actual.rules.iter().enumerate().map(read))
}

/// Whether two rules let the same through.
fn same(one: &wire::AccessRule, other: &wire::AccessRule) -> bool {
    let ranges = |rule: &wire::AccessRule| {
        let mut ranges: Vec<_> = rule.ports.iter().map(|text| range(text).ok()).collect();
        ranges.sort_unstable();
        ranges
    };
    ranges(one) == ranges(other)
        && cidr::same(&one.cidr, &other.cidr)
        && (&one.protocol, &one.network, &one.labels) == (&other.protocol, &other.network, &other.labels)
}

/// Whether all of them let the same through: their order is of no account.
fn are_the_same(some: &[Attr<AccessRuleModel>], others: &[Attr<AccessRuleModel>]) -> bool {
    let mut left: Vec<_> = some.iter().filter_map(Attr::known).map(one_to_wire).collect();
    let mut takes = |rule: &Attr<AccessRuleModel>| {
        let rule = one_to_wire(rule.known()?);
        let found = left.iter().position(|it| same(it, &rule))?;
        Some(left.swap_remove(found))
    };
    some.len() == others.len() && others.iter().all(|rule| takes(rule).is_some())
}

/// The rules of the configuration, in the prior words where they say the same.
pub fn settle(prior: &Rules, config: &Rules) -> Rules {
    let (Some(before), Some(now)) = (prior.known(), config.known()) else { return config.clone() };
    if config.has_unknown() {
        return config.clone();
    }
    if are_the_same(before, now) {
        return prior.clone();
    }
    let rules = now.iter().enumerate().map(|(index, rule)| match (before.get(index), rule) {
        (Some(Attr::Known(before)), Attr::Known(rule)) if same(&one_to_wire(before), &one_to_wire(rule)) => {
            Attr::Known(before.clone())
        }
        _ => rule.clone(),
    });
    Attr::Known(rules.collect())
}
