//! What all models can do with their attributes, each null, unknown, or known.

use std::collections::{BTreeMap, BTreeSet};

pub use tfplugin::Attr;
use tfplugin::timeouts::{ReadTimeouts, Timeouts};

/// An empty text is an absent one: the wire has no other way to say it.
pub fn non_empty(text: &str) -> Attr<String> {
    if text.is_empty() { Attr::Null } else { Attr::from(text) }
}

/// What a model and its parts can do.
pub trait Part {
    /// Takes from `fresh` what is unknown here, and only that.
    fn fill(&mut self, fresh: Self);
    /// Whether anything in it is unknown.
    fn has_unknown(&self) -> bool;
}

macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl Part for $kind {
            fn fill(&mut self, _: Self) {}
            fn has_unknown(&self) -> bool {
                false
            }
        }
    )*};
}
plain!(String, bool, i64, Timeouts, ReadTimeouts);

impl<T: Part> Part for Attr<T> {
    fn fill(&mut self, fresh: Self) {
        match (self, fresh) {
            (Self::Known(value), Self::Known(fresh)) => value.fill(fresh),
            (here @ Self::Unknown, fresh) => *here = fresh,
            _ => {}
        }
    }

    fn has_unknown(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Unknown => true,
            Self::Known(value) => value.has_unknown(),
        }
    }
}

impl<T: Part> Part for Vec<T> {
    fn fill(&mut self, fresh: Self) {
        for (value, fresh) in self.iter_mut().zip(fresh) {
            value.fill(fresh);
        }
    }

    fn has_unknown(&self) -> bool {
        self.iter().any(Part::has_unknown)
    }
}

impl<T: Part> Part for BTreeMap<String, T> {
    fn fill(&mut self, mut fresh: Self) {
        for (key, value) in self {
            if let Some(fresh) = fresh.remove(key) {
                value.fill(fresh);
            }
        }
    }

    fn has_unknown(&self) -> bool {
        self.values().any(Part::has_unknown)
    }
}

/// What is unknown in a set is known only as a whole.
impl<T: Part + Ord> Part for BTreeSet<T> {
    fn fill(&mut self, _: Self) {}

    fn has_unknown(&self) -> bool {
        self.iter().any(Part::has_unknown)
    }
}

/// A set as Terraform has it.
pub type Set<T> = Attr<BTreeSet<Attr<T>>>;

/// A set of known values.
pub fn set<T: Ord>(values: impl IntoIterator<Item = T>) -> Set<T> {
    Attr::Known(values.into_iter().map(Attr::Known).collect())
}

/// A list as Terraform has it.
pub type List<T> = Attr<Vec<Attr<T>>>;
/// A map as Terraform has it.
pub type Map<T> = Attr<BTreeMap<String, Attr<T>>>;

/// A list of known values.
pub fn list<T>(values: impl IntoIterator<Item = T>) -> List<T> {
    Attr::Known(values.into_iter().map(Attr::Known).collect())
}

/// A map of known values.
pub fn map<T>(values: impl IntoIterator<Item = (String, T)>) -> Map<T> {
    Attr::Known(values.into_iter().map(|(key, value)| (key, Attr::Known(value))).collect())
}

/// A map whose entries are absent where they are none: null for no entries at all.
pub fn map_or_null<T>(values: impl IntoIterator<Item = (String, T)>) -> Map<T> {
    match map(values) {
        Attr::Known(values) if values.is_empty() => Attr::Null,
        values => values,
    }
}

/// The known entries of a map.
pub fn entries<T>(map: &Map<T>) -> impl Iterator<Item = (&String, &T)> {
    map.known().into_iter().flatten().filter_map(|(key, value)| value.known().map(|value| (key, value)))
}

/// The prior spelling, where what it means is what `value` means; else the canonical one.
pub fn keep_spelling<M: PartialEq>(
    prior: Option<&Attr<String>>,
    meaning: &M,
    read: impl Fn(&str) -> Option<M>,
    canonical: impl FnOnce() -> String,
) -> Attr<String> {
    match prior.and_then(Attr::as_str).filter(|text| read(text).as_ref() == Some(meaning)) {
        Some(text) => Attr::Known(text.to_owned()),
        None => Attr::Known(canonical()),
    }
}

/// The prior value where it means the same as the new one; Terraform accepts either.
pub fn settle(
    prior: Option<&Attr<String>>,
    config: &Attr<String>,
    same: impl Fn(&str, &str) -> bool,
) -> Attr<String> {
    match (prior, config) {
        (Some(Attr::Known(prior)), Attr::Known(config)) if same(prior, config) => Attr::Known(prior.clone()),
        _ => config.clone(),
    }
}

/// Makes a model: a struct of attributes that can be filled and searched for unknowns.
macro_rules! model {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        tfplugin::model! {
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Default)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $kind,)*
            }
        }

        impl $crate::attr::Part for $name {
            fn fill(&mut self, fresh: Self) {
                $($crate::attr::Part::fill(&mut self.$field, fresh.$field);)*
            }

            fn has_unknown(&self) -> bool {
                false $(|| $crate::attr::Part::has_unknown(&self.$field))*
            }
        }
    };
}
pub(crate) use model;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unknown_is_filled() {
        let mut planned = map([("a".to_owned(), "1".to_owned())]);
        let Attr::Known(inner) = &mut planned else { unreachable!() };
        inner.insert("b".to_owned(), Attr::Unknown);
        inner.insert("c".to_owned(), Attr::Null);
        assert!(planned.has_unknown());
        let fresh = ["a", "b", "c", "d"].map(|key| (key.to_owned(), "fresh".to_owned()));
        planned.fill(map(fresh));
        assert!(!planned.has_unknown());
        let texts: Vec<_> = planned.known().unwrap().values().map(|value| value.as_str()).collect();
        assert_eq!(texts, [Some("1"), Some("fresh"), None]);
    }
}
