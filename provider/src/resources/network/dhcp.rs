//! `dhcp`: addresses for who is on a network and is no instance.

use std::net::{IpAddr, Ipv4Addr};

use berth_proto::agent as wire;
use tfplugin::Attribute;

use super::model::NetworkModel;
use crate::attr::{Attr, model, non_empty};
use crate::report::{self, Diagnostic, Path, capital};
use crate::text::{cidr, duration};

/// The shortest and the longest lease, in milliseconds.
const LEASE_TIME: std::ops::RangeInclusive<u64> = 60_000..=365 * 24 * 3_600_000;

model! {
    /// A server.
    pub struct DhcpModel {
        /// From the first address to the last; null is the upper half of the subnet.
        ipv4_range: Attr<String>,
        /// A duration; null is an hour.
        lease_time: Attr<String>,
    }
}

/// The argument, as documented.
pub fn attribute() -> Attribute {
    Attribute::single(
        "Of a `bridge`: a DHCP server for what is on it and is no instance, such as the interface of a virtual machine of \
         another tool's; `{}` is enough. It gives an address with the network's router, name server and domain, while an \
         instance is on the network. Instances have addresses of their own, which nobody else is given. Its leases are in the \
         data source `berth_network`. Default: there is none. In place.",
        [
            (
                "ipv4_range",
                Attribute::string(
                    "What it gives: the first and the last address, such as `\"10.20.30.100-10.20.30.199\"`. Instances that \
                     ask for no address of their own have none of these, as long as there are others. Default: the upper half \
                     of `ipv4_subnet`.",
                ),
            ),
            ("lease_time", Attribute::string("For how long, a minute at least. Default: `1h`.")),
        ],
    )
}

/// Checks what is known.
pub fn validate(model: &NetworkModel, found: &mut Vec<Diagnostic>) {
    let Some(dhcp) = model.dhcp.known() else { return };
    let path = |argument: &str| Path::at("dhcp").attribute(argument);
    match dhcp.lease_time.as_str().map(duration::parse) {
        Some(Err(error)) => {
            found.push(report::error(path("lease_time"), capital(&error.to_string()), error.advice()));
        }
        Some(Ok(ms)) if !LEASE_TIME.contains(&ms) || ms % 1000 != 0 => {
            let detail = "Use whole seconds, from a minute (\"1m\") to a year (\"8760h\").";
            found.push(report::error(path("lease_time"), "The time of a lease is out of range", detail));
        }
        _ => {}
    }
    let checked = dhcp.ipv4_range.as_str().map(|text| {
        let (first, last) = range(text)?;
        match model.ipv4_subnet.as_str().map(|text| cidr::parse_of(text, false)) {
            Some(Ok((IpAddr::V4(network), bits))) => inside(first, last, network, bits),
            _ => Ok(()),
        }
    });
    if let Some(Err((summary, detail))) = checked {
        found.push(report::error(path("ipv4_range"), summary, detail));
    }
}

type Mistake = (String, String);

/// The first and the last of a range.
fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), Mistake> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse::<Ipv4Addr>().ok()?)));
    match ends {
        Some((first, last)) if first <= last => Ok((first, last)),
        Some((first, last)) => Err((
            format!("The range {first}-{last} ends before it begins"),
            format!("Write \"{last}-{first}\"."),
        )),
        None => Err((
            format!("\"{text}\" is not a range of IPv4 addresses"),
            "Write the first and the last, such as \"10.20.30.100-10.20.30.199\".".to_owned(),
        )),
    }
}

/// The addresses are of the network, and none is its own, the host's or that of all.
fn inside(first: Ipv4Addr, last: Ipv4Addr, network: Ipv4Addr, bits: u8) -> Result<(), Mistake> {
    let hosts = u32::MAX.checked_shr(u32::from(bits)).unwrap_or_default();
    let (network, all) = (u32::from(network), u32::from(network) | hosts);
    let shown = format!("{}/{bits}", Ipv4Addr::from(network));
    let (first, last) = (u32::from(first), u32::from(last));
    if let Some(outside) = [first, last].into_iter().find(|it| *it <= network || *it >= all) {
        let outside = Ipv4Addr::from(outside);
        return Err((
            format!("{outside} is no address of the network, {shown}"),
            "Use a part of the network.".to_owned(),
        ));
    }
    if first == network + 1 {
        let gateway = Ipv4Addr::from(first);
        return Err((
            format!("The range holds {gateway}, which is the host's own address on the network"),
            "Begin the range after it.".to_owned(),
        ));
    }
    Ok(())
}

/// What the agent is asked for.
pub fn to_wire(model: &Attr<DhcpModel>) -> Option<wire::NetworkDhcp> {
    let model = model.known()?;
    let range = model.ipv4_range.as_str().and_then(|text| range(text).ok());
    let time = model.lease_time.as_str().and_then(|text| duration::parse(text).ok());
    Some(wire::NetworkDhcp {
        ipv4_range: range.map(|(first, last)| format!("{first}-{last}")).unwrap_or_default(),
        lease_time_ms: time.unwrap_or_default(),
    })
}

/// What the agent has, in the words of `prior` where they say the same.
pub fn from_wire(actual: Option<&wire::NetworkDhcp>, prior: &Attr<DhcpModel>) -> Attr<DhcpModel> {
    let Some(actual) = actual else { return Attr::Null };
    if to_wire(prior).as_ref() == Some(actual) {
        return prior.clone();
    }
    let time = Some(actual.lease_time_ms).filter(|ms| *ms != 0).map(duration::format);
    Attr::Known(DhcpModel { ipv4_range: non_empty(&actual.ipv4_range), lease_time: Attr::from(time) })
}

/// The configuration, in the prior words where they say the same.
pub fn settle(prior: &Attr<DhcpModel>, config: &Attr<DhcpModel>) -> Attr<DhcpModel> {
    let known = config.known().is_some_and(|dhcp| !crate::attr::Part::has_unknown(dhcp));
    let same = known && prior.known().is_some() && to_wire(prior) == to_wire(config);
    if same { prior.clone() } else { config.clone() }
}
