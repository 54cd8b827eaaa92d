//! The statements of a rule.

use std::time::Duration;

use berth_sys::netlink::nftables::{Addresses, Family, Field, Lookup, Statement};
use serde_json::Value;

use super::{
    Untranslated,
    field::{Looked, Needs, Network, key, looked},
    only, text,
    value::{encoded, kind, merged, network, prefix, range, verdict},
};

/// A rule's statements in a table of this family.
pub(super) fn statements(family: Family, expression: &[Value]) -> Result<Vec<Statement>, Untranslated> {
    let mut rule = Rule { family, network: false, transport: false, statements: Vec::new() };
    for statement in expression {
        rule.add(statement)?;
    }
    Ok(rule.statements)
}

/// A rule as far as it is written.
struct Rule {
    family: Family,
    /// Whether it has asked what is inside of Ethernet, and inside of IP: no rule is of two protocols.
    network: bool,
    transport: bool,
    statements: Vec<Statement>,
}

impl Rule {
    fn add(&mut self, statement: &Value) -> Result<(), Untranslated> {
        let (name, of) = only(statement)?;
        let translated = match name {
            "match" => self.compared(of)?,
            "vmap" => Statement::Decide(self.lookup(of, "data")?),
            "set" => self.remembered(of)?,
            "dnat" => self.redirected(of)?,
            "masquerade" => Statement::Masquerade,
            "counter" => Statement::Count,
            _ => Statement::Verdict(verdict(statement)?),
        };
        self.statements.push(translated);
        Ok(())
    }

    fn compared(&mut self, matched: &Value) -> Result<Statement, Untranslated> {
        let unknown = || Untranslated::part(matched);
        let [left, right] = ["left", "right"].map(|side| matched.get(side).ok_or_else(unknown));
        let (left, right) = (left?, right?);
        let not = match text(matched, "op")? {
            "in" => return self.has_bits(left, right),
            "==" => false,
            "!=" => true,
            _ => return Err(unknown()),
        };
        if let Some(set) = right.as_str().and_then(|right| right.strip_prefix('@')) {
            return Ok(Statement::Has { lookup: self.key(left, set)?, not });
        }
        let left = looked(left)?;
        self.require(left.needs);
        match right.get("set") {
            None => is(left, right, not),
            Some(Value::Array(elements)) => match elements.as_slice() {
                [one] => is(left, one, not),
                elements => among(&left, elements, not),
            },
            Some(_) => Err(unknown()),
        }
    }

    /// One of these bits is set at least.
    fn has_bits(&mut self, left: &Value, bits: &Value) -> Result<Statement, Untranslated> {
        let Looked { field, kind, needs, .. } = looked(left)?;
        self.require(needs);
        let mask = encoded(kind, bits)?;
        Ok(Statement::Is { field, value: vec![0; mask.len()], mask: Some(mask), not: true })
    }

    /// The fields of a key, and the set that they are looked up in.
    fn key(&mut self, fields: &Value, set: &str) -> Result<Lookup, Untranslated> {
        let fields = key(fields)?;
        fields.iter().for_each(|looked| self.require(looked.needs));
        Ok(Lookup { key: fields.iter().map(|looked| looked.field).collect(), set: set.to_owned() })
    }

    fn lookup(&mut self, of: &Value, set: &str) -> Result<Lookup, Untranslated> {
        let set = text(of, set)?.strip_prefix('@').ok_or_else(|| Untranslated::part(of))?;
        self.key(of.get("key").ok_or_else(|| Untranslated::part(of))?, set)
    }

    fn remembered(&mut self, of: &Value) -> Result<Statement, Untranslated> {
        let unknown = || Untranslated::part(of);
        let element = of.get("elem").and_then(|element| element.get("elem")).ok_or_else(unknown)?;
        let seconds = element.get("timeout").and_then(Value::as_u64).ok_or_else(unknown)?;
        let set = text(of, "set")?.strip_prefix('@').ok_or_else(unknown)?;
        let lookup = self.key(element.get("val").ok_or_else(unknown)?, set)?;
        match text(of, "op")? {
            "update" => Ok(Statement::Remember(lookup, Duration::from_secs(seconds))),
            _ => Err(unknown()),
        }
    }

    fn redirected(&mut self, of: &Value) -> Result<Statement, Untranslated> {
        let unknown = || Untranslated::part(of);
        let [address, port] =
            ["addr", "port"].map(|to| of.get(to).and_then(|to| to.get("map")).ok_or_else(unknown));
        let addresses = match text(of, "family")? {
            "ip" => Addresses::V4,
            "ip6" => Addresses::V6,
            _ => return Err(unknown()),
        };
        let (address, port) = (self.lookup(address?, "data")?, self.lookup(port?, "data")?);
        Ok(Statement::Redirect { addresses, address, port })
    }

    /// Asks for what a packet must be, where this has not been asked yet.
    fn require(&mut self, needs: Needs) {
        if let Some(network) = needs.network
            && !self.network
        {
            self.network = true;
            let (field, value) = match (self.family, needs.of_link) {
                (Family::Inet, _) => (Field::Family, network.family()),
                (Family::Bridge, false) => (Field::Protocol, network.ether_type()),
                (Family::Bridge, true) => (Field::LinkHeader(12, 2), network.ether_type()),
            };
            self.statements.push(Statement::Is { field, mask: None, value, not: false });
        }
        if let Some(transport) = needs.transport
            && !self.transport
        {
            self.transport = true;
            let (field, value) = (Field::Transport, vec![transport]);
            self.statements.push(Statement::Is { field, mask: None, value, not: false });
        }
    }
}

impl Network {
    fn ether_type(self) -> Vec<u8> {
        match self {
            Self::V4 => 0x0800_u16,
            Self::Arp => 0x0806,
            Self::V6 => 0x86dd,
        }
        .to_be_bytes()
        .into()
    }

    fn family(self) -> Vec<u8> {
        match self {
            // `NFPROTO_ARP`, which a table of both IPs never sees.
            Self::Arp => vec![3],
            Self::V4 => vec![Addresses::V4.number()],
            Self::V6 => vec![Addresses::V6.number()],
        }
    }
}

/// The field is one thing: a value, a network or a range.
fn is(looked: Looked, right: &Value, not: bool) -> Result<Statement, Untranslated> {
    let Looked { field, kind, mask, .. } = looked;
    if let Some(net) = right.get("prefix") {
        let net = prefix(net)?;
        let (value, netmask) = network(net);
        let bytes = usize::from(net.prefix_len() / 8);
        return Ok(match field {
            // Whole bytes are looked at alone.
            Field::NetworkHeader(offset, _) if net.prefix_len() % 8 == 0 && bytes > 0 => {
                let field = Field::NetworkHeader(offset, u32::from(net.prefix_len() / 8));
                let value = value.into_iter().take(bytes).collect();
                Statement::Is { field, mask: None, value, not }
            }
            _ => Statement::Is { field, mask: Some(netmask), value, not },
        });
    }
    match range(kind, right)? {
        (first, last) if first == last => Ok(Statement::Is { field, mask, value: first, not }),
        range if !not && mask.is_none() => Ok(Statement::Within { field, range }),
        _ => Err(Untranslated::part(right)),
    }
}

fn among(looked: &Looked, elements: &[Value], not: bool) -> Result<Statement, Untranslated> {
    let ranges = elements.iter().map(|one| range(looked.kind, one)).collect::<Result<Vec<_>, _>>()?;
    if ranges.is_empty() || looked.mask.is_some() {
        return Err(Untranslated::Part(format!("{elements:?}")));
    }
    Ok(Statement::Among { field: looked.field, kind: kind(looked.kind)?, ranges: merged(ranges), not })
}
