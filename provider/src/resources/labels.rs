//! A resource's labels, and those that the provider puts on everything.

use std::collections::BTreeMap;

use crate::attr::{Attr, Map, entries, map, map_or_null};
use crate::client::hosts::Setting;

/// Labels that the provider puts on everything.
pub type Labels = BTreeMap<String, String>;

/// The user's labels over the provider's.
pub fn effective(own: &Map<String>, defaults: &Labels) -> Labels {
    let mut labels = defaults.clone();
    labels.extend(entries(own).map(|(key, value)| (key.clone(), value.clone())));
    labels
}

/// The same in a plan, as far as it is known.
pub fn planned(own: &Map<String>, defaults: &Setting<Labels>) -> Map<String> {
    use crate::attr::Part as _;
    match defaults {
        Setting::Known(defaults) if !own.has_unknown() => map(effective(own, defaults)),
        _ => Attr::Unknown,
    }
}

/// The user's own among those that the agent has: without those that only the provider's defaults put there.
/// `own` and `before` are the prior state's labels and effective labels.
pub fn read<'a>(
    actual: impl IntoIterator<Item = (&'a String, &'a String)>,
    own: Option<&Map<String>>,
    before: Option<&Map<String>>,
    defaults: &Labels,
) -> Map<String> {
    let has = |attr: Option<&Map<String>>, key: &str| {
        attr.and_then(Attr::known).is_some_and(|map| map.contains_key(key))
    };
    let by_default = |key: &String, value: &String| {
        !has(own, key) && (has(before, key) || defaults.get(key) == Some(value))
    };
    let kept = actual.into_iter().filter(|(key, value)| !by_default(key, value));
    match map_or_null(kept.map(|(key, value)| (key.clone(), value.clone()))) {
        Attr::Null if own.is_some_and(|own| own.known().is_some()) => Attr::Known(BTreeMap::new()),
        labels => labels,
    }
}
