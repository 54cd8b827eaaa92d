//! PAX records and the numbers of tar headers.

use std::collections::BTreeMap;

/// Why PAX records were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// Not `LENGTH KEY=VALUE\n`.
    #[error("a record is not LENGTH KEY=VALUE and a newline")]
    Record,
    /// A value that its key does not allow.
    #[error("the value of {0} is not valid")]
    Value(&'static str),
}

/// What one PAX header says, as far as images use it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub path: Option<Vec<u8>>,
    pub linkpath: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: bool,
}

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

impl Records {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, PaxError> {
        let mut found = BTreeMap::new();
        while !body.is_empty() {
            let (key, value, rest) = record(body)?;
            // Of two records with one key the later counts; an empty value takes the key back.
            found.insert(key, value);
            body = rest;
        }
        let mut records = Self::default();
        for (key, value) in found {
            records.take(key, value)?;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), PaxError> {
        if key.starts_with(b"GNU.sparse.") {
            self.sparse = true;
        } else if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
            if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > usize::from(u16::MAX)
            {
                return Err(PaxError::Value("SCHILY.xattr"));
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
        } else if !value.is_empty() {
            match key {
                b"path" => self.path = Some(name(value, "path")?),
                b"linkpath" => self.linkpath = Some(name(value, "linkpath")?),
                b"size" => self.size = Some(decimal(value).ok_or(PaxError::Value("size"))?),
                b"uid" => self.uid = Some(id(value, "uid")?),
                b"gid" => self.gid = Some(id(value, "gid")?),
                b"mtime" => self.mtime = Some(time(value).ok_or(PaxError::Value("mtime"))?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether these records would change an entry.
    pub(super) fn changes_entries(&self) -> bool {
        *self != Self::default()
    }
}

/// A key, its value, and what follows the record.
type Taken<'b> = (&'b [u8], &'b [u8], &'b [u8]);

/// `LENGTH KEY=VALUE\n`, where the length counts all of it.
fn record(body: &[u8]) -> Result<Taken<'_>, PaxError> {
    let space = body.iter().take(20).position(|byte| *byte == b' ').ok_or(PaxError::Record)?;
    let length = decimal(&body[..space]).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length > space + 1 && *length <= body.len());
    let (whole, rest) = body.split_at(length.ok_or(PaxError::Record)?);
    let record = whole[space + 1..].strip_suffix(b"\n").ok_or(PaxError::Record)?;
    let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let (key, value) = record.split_at(equals.ok_or(PaxError::Record)?);
    Ok((key, &value[1..], rest))
}

fn name(value: &[u8], key: &'static str) -> Result<Vec<u8>, PaxError> {
    if value.contains(&0) { Err(PaxError::Value(key)) } else { Ok(value.to_vec()) }
}

fn id(value: &[u8], key: &'static str) -> Result<i64, PaxError> {
    decimal(value).and_then(|id| i64::try_from(id).ok()).ok_or(PaxError::Value(key))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Seconds and nanoseconds, the latter never negative.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanos = 0;
    for position in 0..9 {
        let digit = fraction.get(position).map_or(Some(0), |digit| char::from(*digit).to_digit(10))?;
        nanos = nanos * 10 + digit;
    }
    if fraction.iter().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

/// A number of a tar header: octal text, or base 256 where the first bit is set. Empty is 0.
pub(super) fn header_number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut number: i128 = if negative { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            // The marker bit itself is no part of the number.
            let byte = if index > 0 || negative { *byte } else { *byte & 0x7f };
            number = number.checked_mul(256)?.checked_add(i128::from(byte))?;
            if number > i128::from(i64::MAX) || number < i128::from(i64::MIN) {
                return None;
            }
        }
        return i64::try_from(number).ok();
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    field[start..end].iter().try_fold(0i64, |number, digit| {
        let digit = char::from(*digit).to_digit(8)?;
        number.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<Records, PaxError> {
        Records::parse(body.as_bytes())
    }

    #[test]
    fn records_are_read_and_the_later_wins() {
        let records = parse("10 path=a\n11 path=bb\n19 mtime=-1.25\n12345\n").map(drop);
        assert_eq!(records, Err(PaxError::Record));
        let records = parse("10 path=a\n11 path=bb\n15 mtime=-1.25\n9 size=7\n12 uid=0070\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"bb"[..]));
        assert_eq!(records.mtime, Some((-2, 750_000_000)));
        assert_eq!((records.size, records.uid), (Some(7), Some(70)));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            "x",
            "5",
            "5 a=b",
            "999 a=b\n",
            "3 \n",
            "6 =ab\n",
            "6 abc\n",
            "0 a=b\n",
            "-6 a=b\n",
            "6  a=b\n\n",
        ] {
            assert_eq!(parse(bad), Err(PaxError::Record), "{bad:?}");
        }
        for bad in [
            "11 size=-1\n",
            "10 size=x\n",
            "12 mtime=1x\n",
            "13 mtime=1.x\n",
            "23 mtime=1.0000000001x\n",
            "12 path=a\0b\n",
        ] {
            assert!(matches!(parse(bad), Err(PaxError::Value(_))), "{bad:?}");
        }
        assert_eq!(parse("29 size=99999999999999999999\n"), Err(PaxError::Value("size")));
        assert!(parse("22 GNU.sparse.major=1\n").unwrap().sparse);
        let attribute = |name: &str, value: &[u8]| {
            let record = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
            let digits = if record.len() < 98 { 2 } else { (record.len() + 3).to_string().len() };
            let length = (record.len() + digits).to_string();
            Records::parse(&[length.as_bytes(), &record].concat()).map(|records| records.xattrs.len())
        };
        let longest = "n".repeat(255);
        assert_eq!(attribute(&longest, &[0; 0xffff]), Ok(1));
        for (name, value) in [("", 1), ("a\0b", 1), (&*"n".repeat(256), 1), ("a", 0x1_0000)] {
            assert_eq!(attribute(name, &vec![b'x'; value]), Err(PaxError::Value("SCHILY.xattr")), "{name:?}");
        }
    }

    #[test]
    fn numbers_in_octal_and_base_256() {
        assert_eq!(header_number(b"0000644\0"), Some(0o644));
        assert_eq!(header_number(b"   17 \0\0"), Some(0o17));
        assert_eq!(header_number(b"\0\0\0\0"), Some(0));
        assert_eq!(header_number(b"0000648\0"), None);
        assert_eq!(header_number(b"-1\0"), None);
        assert_eq!(header_number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(header_number(&[0xff; 12]), Some(-1));
        assert_eq!(
            header_number(&[0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
        // Cut to what fits it would be 1.
        assert_eq!(header_number(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }

    proptest! {
        #[test]
        fn no_records_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Records::parse(&body);
            let _ = header_number(&body);
        }

        #[test]
        fn nearly_right_records_do_not_panic(body in "([0-9]{1,3} [a-z]{1,8}=[0-9.-]{0,10}\n?){0,6}") {
            let _ = Records::parse(body.as_bytes());
        }
    }
}
