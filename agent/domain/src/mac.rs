//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
use crate::invalid::Invalid;
use crate::name::shown;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address an instance gets: locally administered, unicast, the same for the same id.
    #[must_use]
    pub fn of_instance(id: InstanceId) -> Self {
        Self::of_interface(id, 0)
    }

    /// Likewise, of one of its interfaces.
    #[must_use]
    pub fn of_interface(id: InstanceId, slot: u8) -> Self {
        let bytes = id.as_bytes();
        Self([0x02, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4].wrapping_add(slot)])
    }
}

impl FromStr for MacAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts: Vec<u8> = text
            .split(':')
            .map_while(|p| (p.len() == 2).then(|| u8::from_str_radix(p, 16).ok()).flatten())
            .collect();
        match <[u8; 6]>::try_from(parts) {
            Ok(bytes) if text.len() == 17 => Ok(Self(bytes)),
            _ => Err(Invalid::new(
                &[],
                format!("\"{}\" is not a hardware address", shown(text)),
                "Write six pairs of hexadecimal digits joined by colons",
            )),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_local_unicast_and_survives_its_text() {
        let mac = MacAddress::of_instance(InstanceId::random());
        assert_eq!(mac.0[0] & 0b11, 0b10);
        assert_eq!(mac.to_string().parse::<MacAddress>().unwrap(), mac);
        assert!("02:00:00:00:00".parse::<MacAddress>().is_err());
        assert!("02:00:00:00:00:0g".parse::<MacAddress>().is_err());
    }
}
