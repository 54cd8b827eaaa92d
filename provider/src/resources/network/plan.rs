//! What an apply would do to a network, and what can be said of its arguments: pure.

use super::convert::to_spec;
use super::dhcp;
use super::model::NetworkModel;
use crate::attr::{Attr, settle};
use crate::client::hosts::Setting;
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::access;
use crate::resources::labels::{self, Labels};
use crate::text::{cidr, name};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// The state after the apply, as far as it is known.
    pub model: NetworkModel,
    /// The arguments that make Terraform replace the network.
    pub replaced_by: Vec<Path>,
}

/// Checks what is known.
pub fn validate(model: &NetworkModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let names = [("name", model.name.as_str().map(name::check_label))];
    let domain = [("dns_domain", model.dns_domain.as_str().map(name::check_hostname))];
    for (argument, checked) in names.into_iter().chain(domain) {
        if let Some(Err(error)) = checked {
            let detail = "Use letters, digits and hyphens; a hyphen is neither the first nor the last.";
            found.push(report::error(Path::at(argument), capital(&error.to_string()), detail));
        }
    }
    if let Some(other) = model.r#type.as_str().filter(|it| !matches!(*it, "bridge" | "physical" | "macvlan"))
    {
        let detail = "Use \"bridge\", \"physical\" or \"macvlan\".";
        found.push(report::error(Path::at("type"), format!("\"{other}\" is not a type of network"), detail));
    }
    check_subnets(model, &mut found);
    if let Some(mtu) = model.mtu.known().filter(|mtu| !(1280..=65_535).contains(*mtu)) {
        let detail = "Use 1280 to 65535 bytes.";
        found.push(report::error(Path::at("mtu"), format!("An MTU of {mtu} is of no use"), detail));
    }
    if let Some(vlan) = model.vlan.known().filter(|vlan| !(1..=4094).contains(*vlan)) {
        found.push(report::error(Path::at("vlan"), format!("There is no VLAN {vlan}"), "Use 1 to 4094."));
    }
    check_kind(model, &mut found);
    access::validate("ingress", &model.ingress, &mut found);
    access::validate("egress", &model.egress, &mut found);
    dhcp::validate(model, &mut found);
    for (key, value) in model.labels.known().into_iter().flatten() {
        if value.is_null() {
            let summary = format!("{} of labels is null", capital(&format!("{key:?}")));
            found.push(report::error(Path::at("labels").key(key), summary, "Leave the entry out."));
        }
    }
    found
}

fn check_subnets(model: &NetworkModel, found: &mut Vec<Diagnostic>) {
    let v4 = model.ipv4_subnet.as_str();
    let v6 = model.ipv6_subnet.as_str().filter(|text| !matches!(*text, "none" | "auto"));
    for (argument, text, is_v6, bits) in
        [("ipv4_subnet", v4, false, 8..=30), ("ipv6_subnet", v6, true, 48..=112)]
    {
        match text.map(|text| cidr::parse_of(text, is_v6)) {
            Some(Err(error)) => {
                found.push(report::error(Path::at(argument), capital(&error.to_string()), error.advice()));
            }
            Some(Ok((address, len))) if !bits.contains(&len) => {
                let summary = format!("{address}/{len} cannot be a network of instances");
                let detail = format!("Use a prefix of {} to {} bits.", bits.start(), bits.end());
                found.push(report::error(Path::at(argument), summary, detail));
            }
            _ => {}
        }
    }
}

/// What goes only with one kind of network.
fn check_kind(model: &NetworkModel, found: &mut Vec<Diagnostic>) {
    let kind = model.r#type.as_str().unwrap_or("bridge");
    match model.is_bridge() {
        Some(true) => {
            for (argument, is_null) in [("parent", model.parent.is_null()), ("vlan", model.vlan.is_null())] {
                if !is_null {
                    let detail = "Leave it out, or use the type \"physical\" or \"macvlan\".";
                    let summary = format!("A network of the type \"bridge\" has no {argument}");
                    found.push(report::error(Path::at(argument), summary, detail));
                }
            }
        }
        Some(false) => {
            if model.parent.is_null() {
                let detail = "Name an interface or a bridge of the host.";
                let summary = format!("A network of the type \"{kind}\" needs a parent");
                found.push(report::error(Path::at("parent"), summary, detail));
            }
            let only_of_bridges = [
                ("ipv4_subnet", model.ipv4_subnet.known().is_some()),
                ("ipv6_subnet", model.ipv6_subnet.as_str().is_some_and(|text| text != "none")),
                ("nat", model.nat == Attr::Known(true)),
                ("isolated", model.isolated == Attr::Known(true)),
                ("dns_domain", model.dns_domain.known().is_some()),
                ("ingress", model.ingress.known().is_some()),
                ("egress", model.egress.known().is_some()),
                ("dhcp", model.dhcp.known().is_some()),
            ];
            for (argument, _) in only_of_bridges.into_iter().filter(|(_, given)| *given) {
                let summary = format!("A network of the type \"{kind}\" has no {argument}");
                let detail = "Leave it out, or use the type \"bridge\".";
                found.push(report::error(Path::at(argument), summary, detail));
            }
        }
        None => {}
    }
}

/// Plans a create.
pub fn create(config: &NetworkModel, defaults: &Setting<Labels>) -> Planned {
    let mut model = config.clone();
    model.id = Attr::Unknown;
    model.bridge = Attr::Unknown;
    if model.is_bridge() != Some(false) {
        // What is null is chosen.
        for subnet in [&mut model.ipv4_subnet, &mut model.ipv6_subnet] {
            if subnet.is_null() {
                *subnet = Attr::Unknown;
            }
        }
    }
    model.effective_labels = labels::planned(&config.labels, defaults);
    Planned { model, replaced_by: Vec::new() }
}

/// Plans an update.
pub fn update(
    prior: &NetworkModel,
    config: &NetworkModel,
    defaults: &Setting<Labels>,
    same_host: impl Fn(Option<&str>, Option<&str>) -> bool,
) -> Planned {
    let subnet = |prior: &Attr<String>, config: &Attr<String>| match config {
        Attr::Null => prior.clone(),
        config => settle(Some(prior), config, cidr::same),
    };
    let model = NetworkModel {
        id: prior.id.clone(),
        bridge: prior.bridge.clone(),
        ipv4_subnet: subnet(&prior.ipv4_subnet, &config.ipv4_subnet),
        // What was written so is read as what was chosen once it is written no more.
        ipv6_subnet: match (prior.ipv6_subnet.as_str(), &config.ipv6_subnet) {
            (Some("auto"), Attr::Null) => Attr::Unknown,
            (_, config) => subnet(&prior.ipv6_subnet, config),
        },
        ingress: access::settle(&prior.ingress, &config.ingress),
        egress: access::settle(&prior.egress, &config.egress),
        dhcp: dhcp::settle(&prior.dhcp, &config.dhcp),
        effective_labels: labels::planned(&config.labels, defaults),
        ..config.clone()
    };
    let kind = |model: &NetworkModel| model.r#type.as_str().unwrap_or("bridge").to_owned();
    let replaced = [
        ("host", model.host.is_unknown() || !same_host(prior.host.as_str(), model.host.as_str())),
        ("type", model.r#type.is_unknown() || kind(prior) != kind(&model)),
        ("parent", prior.parent != model.parent),
        ("vlan", prior.vlan != model.vlan),
    ];
    let replaced = replaced.into_iter().filter(|(_, replaces)| *replaces);
    Planned { model, replaced_by: replaced.map(|(argument, _)| Path::at(argument)).collect() }
}

/// Whether the agent has to do anything.
pub fn needs_agent(prior: &NetworkModel, planned: &NetworkModel) -> bool {
    let none = Labels::new();
    to_spec(prior, &none) != to_spec(planned, &none) || prior.effective_labels != planned.effective_labels
}
