//! Values in msgpack, as Terraform sends them.

use std::{collections::BTreeMap, convert::Infallible};

use rmp::{
    Marker, decode,
    encode::{self, ByteBuf, ValueWriteError},
};

use super::{Attr, Known, Number, Path, Step, Type, Value, number::Wire};

/// Bytes that are no value of the type.
#[derive(Debug, thiserror::Error)]
pub enum MsgpackError {
    /// They end too early, or are no msgpack.
    #[error("{path}: no msgpack of a {wanted}")]
    Malformed {
        /// Where in the value.
        path: Path,
        /// What was expected there.
        wanted: Type,
    },
    /// Something else follows the value.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// Reads a value of the type.
///
/// # Errors
/// Where the bytes are no such value.
pub fn from_msgpack(mut bytes: &[u8], ty: &Type) -> Result<Value, MsgpackError> {
    let value = read(&mut bytes, ty).map_err(|bad| MsgpackError::Malformed {
        path: bad.path,
        wanted: bad.wanted.unwrap_or_else(|| ty.clone()),
    })?;
    if bytes.is_empty() { Ok(value) } else { Err(MsgpackError::Trailing(bytes.len())) }
}

/// Where reading failed.
#[derive(Default)]
struct Bad {
    path: Path,
    wanted: Option<Type>,
}

impl Bad {
    fn under(self, step: Step, ty: &Type) -> Self {
        Self { path: self.path.under(step), wanted: self.wanted.or_else(|| Some(ty.clone())) }
    }
}

/// What went wrong does not matter: the place and the expected type say more.
fn or_bad<T, E>(result: Result<T, E>) -> Result<T, Bad> {
    result.map_err(|_| Bad::default())
}

fn read(from: &mut &[u8], ty: &Type) -> Result<Value, Bad> {
    match from.first().map(|byte| Marker::from_u8(*byte)).ok_or_else(Bad::default)? {
        Marker::Null => {
            or_bad(decode::read_nil(from))?;
            Ok(Value::Null)
        }
        Marker::FixExt1
        | Marker::FixExt2
        | Marker::FixExt4
        | Marker::FixExt8
        | Marker::FixExt16
        | Marker::Ext8
        | Marker::Ext16
        | Marker::Ext32 => {
            let meta = or_bad(decode::read_ext_meta(from))?;
            take(from, meta.size)?;
            // Type 0 is unknown, and type 12 unknown with refinements, which say nothing that matters here.
            if matches!(meta.typeid, 0 | 12) { Ok(Value::Unknown) } else { Err(Bad::default()) }
        }
        marker => read_known(from, marker, ty).map(Attr::Known),
    }
}

fn read_known(from: &mut &[u8], marker: Marker, ty: &Type) -> Result<Known, Bad> {
    match ty {
        Type::String => read_text(from).map(Known::String),
        Type::Bool => or_bad(decode::read_bool(from)).map(Known::Bool),
        Type::Number => read_number(from, marker).map(Known::Number),
        Type::List(element) => read_elements(from, element).map(Known::List),
        Type::Set(element) => read_elements(from, element).map(Known::set),
        Type::Map(element) => {
            let mut elements = BTreeMap::new();
            for _ in 0..or_bad(decode::read_map_len(from))? {
                let key = read_text(from)?;
                let value = read(from, element).map_err(|bad| bad.under(Step::Key(key.clone()), element))?;
                elements.insert(key, value);
            }
            Ok(Known::Map(elements))
        }
        Type::Object(attributes) => read_object(from, attributes).map(Known::Object),
    }
}

fn read_object(from: &mut &[u8], types: &BTreeMap<String, Type>) -> Result<BTreeMap<String, Value>, Bad> {
    let mut attributes: BTreeMap<String, Value> =
        types.keys().map(|name| (name.clone(), Value::Null)).collect();
    for _ in 0..or_bad(decode::read_map_len(from))? {
        let name = read_text(from)?;
        let Some(ty) = types.get(&name) else { return Err(Bad { path: Path::at(name), wanted: None }) };
        let value = read(from, ty).map_err(|bad| bad.under(Step::Attribute(name.clone()), ty))?;
        attributes.insert(name, value);
    }
    Ok(attributes)
}

fn read_elements(from: &mut &[u8], ty: &Type) -> Result<Vec<Value>, Bad> {
    let count = or_bad(decode::read_array_len(from))? as usize;
    // An element has a byte at least: a wrong count reserves no more than there could be.
    let mut elements = Vec::with_capacity(count.min(from.len()));
    for at in 0..count {
        elements.push(read(from, ty).map_err(|bad| bad.under(Step::index(at), ty))?);
    }
    Ok(elements)
}

fn read_number(from: &mut &[u8], marker: Marker) -> Result<Number, Bad> {
    match marker {
        Marker::F32 => Ok(Number::from(f64::from(or_bad(decode::read_f32(from))?))),
        Marker::F64 => Ok(Number::from(or_bad(decode::read_f64(from))?)),
        Marker::U64 => Ok(Number::from(or_bad(decode::read_u64(from))?)),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            Number::parse(&read_text(from)?).ok_or_else(Bad::default)
        }
        _ => Ok(Number::from(or_bad(decode::read_int::<i64, _>(from))?)),
    }
}

fn read_text(from: &mut &[u8]) -> Result<String, Bad> {
    let length = or_bad(decode::read_str_len(from))?;
    let bytes = take(from, length)?;
    or_bad(std::str::from_utf8(bytes)).map(str::to_owned)
}

fn take<'a>(from: &mut &'a [u8], count: u32) -> Result<&'a [u8], Bad> {
    let (taken, rest) = from.split_at_checked(count as usize).ok_or_else(Bad::default)?;
    *from = rest;
    Ok(taken)
}

/// Writes a value.
pub fn to_msgpack(value: &Value) -> Vec<u8> {
    let mut out = ByteBuf::new();
    match write(&mut out, value) {
        Ok(()) => out.into_vec(),
        Err(ValueWriteError::InvalidMarkerWrite(never) | ValueWriteError::InvalidDataWrite(never)) => {
            match never {}
        }
    }
}

type Written = Result<(), ValueWriteError<Infallible>>;

fn write(out: &mut ByteBuf, value: &Value) -> Written {
    let known = match value {
        Attr::Known(known) => known,
        Attr::Null => return encode::write_nil(out).map_err(ValueWriteError::InvalidMarkerWrite),
        Attr::Unknown => {
            encode::write_ext_meta(out, 1, 0)?;
            out.as_mut_vec().push(0);
            return Ok(());
        }
    };
    match known {
        Known::Bool(value) => encode::write_bool(out, *value).map_err(ValueWriteError::InvalidMarkerWrite),
        Known::Number(number) => write_number(out, number),
        Known::String(text) => encode::write_str(out, text),
        Known::List(elements) | Known::Set(elements) => {
            encode::write_array_len(out, length(elements.len()))?;
            elements.iter().try_for_each(|element| write(out, element))
        }
        Known::Map(elements) | Known::Object(elements) => {
            encode::write_map_len(out, length(elements.len()))?;
            elements.iter().try_for_each(|(key, element)| {
                encode::write_str(out, key)?;
                write(out, element)
            })
        }
    }
}

fn write_number(out: &mut ByteBuf, number: &Number) -> Written {
    match number.wire() {
        Wire::Int(value) => encode::write_sint(out, value).map(|_| ()),
        Wire::Uint(value) => encode::write_uint(out, value).map(|_| ()),
        Wire::Float(value) => encode::write_f64(out, value),
        Wire::Text(text) => encode::write_str(out, text),
    }
}

/// A message holds 256 MiB at most, so that no count exceeds 32 bits.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
