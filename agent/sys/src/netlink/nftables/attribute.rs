//! Attributes of netlink, one within another, as nftables has them.

use super::Verdict;

pub(super) const LIST_ELEMENT: u16 = 1;
const NESTED: u16 = 1 << 15;

#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(NESTED | kind, &inner.0)
    }

    /// These, and then others.
    pub(super) fn and(mut self, others: &Self) -> Self {
        self.0.extend(&others.0);
        self
    }

    pub(super) fn expression(self, name: &str, data: Self) -> Self {
        let expression = Self::default().text(1, name).nest(2, &data);
        self.nest(LIST_ELEMENT, &expression)
    }
}

/// A comment as nft keeps it beside a rule.
pub(super) fn user_data(comment: &str) -> Vec<u8> {
    let bytes = comment.as_bytes();
    let bytes = bytes.get(..bytes.len().min(127)).unwrap_or_default();
    let length = u8::try_from(bytes.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], bytes, &[0]].concat()
}

pub(super) fn of_verdict(verdict: &Verdict) -> Attributes {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5_i32, None),
    };
    let attributes = Attributes::default().bytes(1, &code.to_be_bytes());
    match chain {
        Some(chain) => attributes.text(2, chain),
        None => attributes,
    }
}

/// The attributes of a message or of another, as far as they can be read.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NESTED, value))
    })
}

/// The first attribute of a kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(it, _)| *it == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_say_their_length_without_it() {
        let attributes = Attributes::default().text(3, "c").number(1, 7);
        let length = |length: u16| length.to_ne_bytes();
        let kind = |kind: u16| kind.to_ne_bytes();
        let expected = [&length(6)[..], &kind(3), b"c\0\0\0", &length(8), &kind(1), &[0, 0, 0, 7]].concat();
        assert_eq!(attributes.0, expected);
        assert_eq!(find(&attributes.0, 1), Some(&[0, 0, 0, 7][..]));
        assert_eq!(read(&attributes.0).count(), 2);
        for cut in 0..attributes.0.len() {
            assert!(read(&attributes.0[..cut]).count() < 2, "{cut}");
        }
    }
}
