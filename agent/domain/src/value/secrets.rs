//! Variables that reach the process and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Findings;
use crate::value::environment;

/// Secret variables by name. They are never shown; the ledger, which nobody else can read, holds them.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Checks them, noting mistakes under `secret_environment_wo`. No mistake tells a value.
    pub fn check(
        variables: &BTreeMap<String, String>,
        plain: &environment::Environment,
        findings: &mut Findings,
    ) -> Self {
        for (name, value) in variables {
            let field = "secret_environment_wo";
            findings.keep(&[field], environment::variable(name, Some(value)));
            if plain.contains_key(name) {
                let summary = "The variable is in environment, too";
                let advice = "Leave it out of one of them";
                findings.add(crate::invalid::Invalid::new(&[field, name], summary, advice));
            }
        }
        Self(variables.clone())
    }

    /// For the process.
    pub fn reveal(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_not_given_twice() {
        let secrets = BTreeMap::from([("KEY".to_owned(), "hunter2".to_owned())]);
        let mut findings = Findings::default();
        let plain = BTreeMap::from([("KEY".to_owned(), None)]);
        let checked = Secrets::check(&secrets, &plain, &mut findings);
        assert_eq!(format!("{checked:?}"), "{\"KEY\"}");
        let found = findings.into_error().unwrap().to_string();
        assert!(found.starts_with("secret_environment_wo.KEY: ") && !found.contains("hunter2"), "{found}");
    }
}
