//! The names of what an agent owns on its host.

use std::fmt;

/// The few characters that mark an agent's things: what carries another's prefix is never touched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no agent prefix: four characters of a-z and 2-7 are expected")]
pub struct InvalidPrefix(pub String);

impl Prefix {
    /// Takes the four base32 characters that the agent derived from its data directory.
    ///
    /// # Errors
    /// If it is anything else: all are of one length, so that none is the beginning of another.
    pub fn new(text: &str) -> Result<Self, InvalidPrefix> {
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte));
        if text.len() == 4 && plain { Ok(Self(text.to_owned())) } else { Err(InvalidPrefix(text.to_owned())) }
    }

    /// The prefix alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the agent's bridge `number`.
    #[must_use]
    pub fn bridge(&self, number: u32) -> String {
        format!("berth{}{number}", self.0)
    }

    /// The name of the link of the agent's network `number` to its VLAN.
    #[must_use]
    pub fn vlan(&self, number: u32) -> String {
        format!("berth{}v{number}", self.0)
    }

    /// Whether a link of this name is a bridge of this agent.
    #[must_use]
    pub fn owns_bridge(&self, name: &str) -> bool {
        let number = name.strip_prefix("berth").and_then(|rest| rest.strip_prefix(self.as_str()));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    }

    /// The name of the agent's nftables tables, in the families `inet` and `bridge`.
    #[must_use]
    pub fn table(&self) -> String {
        format!("berth{}", self.0)
    }

    /// A number that is the same for each start of this agent and differs between agents.
    pub(crate) fn hash(&self) -> u64 {
        hash(self.0.as_bytes())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a with a final mix: stable over versions of Rust, which the standard library's hasher is not.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_bridges_are_own() {
        let prefix = Prefix::new("ab2c").unwrap();
        assert_eq!(prefix.bridge(0), "berthab2c0");
        assert!(prefix.owns_bridge("berthab2c0") && prefix.owns_bridge("berthab2c12"));
        assert_eq!(prefix.vlan(3), "berthab2cv3");
        for foreign in ["berthab2cv3", "berthab2d0", "berthab2c", "berthab2cx", "berth", "br0", "xberthab2c0"]
        {
            assert!(!prefix.owns_bridge(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_prefix_is_four_base32_characters() {
        for wrong in ["", "abc", "abcde", "ABCD", "ab-c", "ab1c", "ab/c"] {
            assert_eq!(Prefix::new(wrong), Err(InvalidPrefix(wrong.to_owned())));
        }
    }
}
