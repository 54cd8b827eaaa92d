//! What a provider keeps beside a resource's state, and no user sees.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

/// A resource's private state: values by key, carried from each plan, apply and read to the next.
///
/// In a plan that is not applied what was set is gone. An import starts with none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Private(BTreeMap<String, Json>);

impl Private {
    /// The value of the key, where there is one of that type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.0.get(key).and_then(|value| T::deserialize(value).ok())
    }

    /// Sets the key's value. What is no JSON (a map with keys that are no text) removes it.
    pub fn set<T: Serialize>(&mut self, key: impl Into<String>, value: T) {
        let key = key.into();
        match serde_json::to_value(value) {
            Ok(value) => self.0.insert(key, value),
            Err(_) => self.0.remove(&key),
        };
    }

    /// Removes the key.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Reads what Terraform kept. Bytes that are none of a provider of this kind are as nothing.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).map(Self).unwrap_or_default()
    }

    pub(crate) fn write(&self) -> bytes::Bytes {
        if self.0.is_empty() {
            bytes::Bytes::new()
        } else {
            serde_json::to_vec(&self.0).unwrap_or_default().into()
        }
    }
}
