//! Values survive the wire: whatever is sent comes back the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use tfplugin::{
    Attr, Type, Value,
    value::{Known, MsgpackError, Number, from_msgpack, to_msgpack},
};

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>()
            .prop_filter("Terraform has none of these", |value| value.is_finite())
            .prop_map(Number::from),
        "-?[1-9][0-9]{0,40}(\\.[0-9]{1,30})?".prop_filter_map("a number", |text| Number::parse(&text)),
    ]
}

fn maybe(known: impl Strategy<Value = Known> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 1 => Just(Value::Unknown), 6 => known.prop_map(Attr::Known)].boxed()
}

fn value_of(ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::String => maybe(".*".prop_map(Known::String)),
        Type::Bool => maybe(any::<bool>().prop_map(Known::Bool)),
        Type::Number => maybe(number().prop_map(Known::Number)),
        Type::List(element) => maybe(prop::collection::vec(value_of(element), 0..5).prop_map(Known::List)),
        Type::Set(element) => maybe(prop::collection::vec(value_of(element), 0..5).prop_map(Known::set)),
        Type::Map(element) => {
            maybe(prop::collection::btree_map(".*", value_of(element), 0..5).prop_map(Known::Map))
        }
        Type::Object(attributes) => {
            let attributes: Vec<_> = attributes
                .iter()
                .map(|(name, ty)| {
                    value_of(ty).prop_map({
                        let name = name.clone();
                        move |value| (name.clone(), value)
                    })
                })
                .collect();
            maybe(attributes.prop_map(|all| Known::Object(BTreeMap::from_iter(all))))
        }
    }
}

fn ty() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![Just(Type::String), Just(Type::Number), Just(Type::Bool)];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Type::list),
            inner.clone().prop_map(Type::set),
            inner.clone().prop_map(Type::map),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(Type::Object),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_comes_back_the_same((ty, value) in ty().prop_flat_map(|ty| { let value = value_of(&ty); (Just(ty), value) })) {
        prop_assert_eq!(from_msgpack(&to_msgpack(&value), &ty).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_it_panic(ty in ty(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = from_msgpack(&bytes, &ty);
    }
}

#[test]
fn an_unknown_value_with_refinements_is_unknown() {
    // Extension 12 of three bytes: a map that says "not null".
    let refined = [0xc7, 3, 12, 0x81, 0x01, 0xc2];
    assert_eq!(from_msgpack(&refined, &Type::String).unwrap(), Value::Unknown);
    assert_eq!(from_msgpack(&[0xd4, 0, 0], &Type::list(Type::Bool)).unwrap(), Value::Unknown);
    assert!(from_msgpack(&[0xd4, 5, 0], &Type::String).is_err());
}

#[test]
fn a_number_may_come_as_text() {
    let sent = [b"\xa30.1".as_slice(), b"\xa3100"].map(|bytes| from_msgpack(bytes, &Type::Number).unwrap());
    assert_eq!(sent, [Value::number(Number::parse("0.1").unwrap()), Value::number(100_i64)]);
    assert_eq!(to_msgpack(&sent[0]), b"\xa30.1", "and goes back as it came");
}

#[test]
fn an_error_says_where() {
    let ty = Type::object([("ports", Type::map(Type::Number))]);
    let wrong = Attr::Known(Known::Object(BTreeMap::from([(
        "ports".to_owned(),
        Attr::Known(Known::Map(BTreeMap::from([("web".to_owned(), Value::bool(true))]))),
    )])));
    let error = from_msgpack(&to_msgpack(&wrong), &ty).unwrap_err();
    assert_eq!(error.to_string(), "ports[\"web\"]: no msgpack of a number");
    assert!(matches!(from_msgpack(&[0xc0, 0xc0], &ty), Err(MsgpackError::Trailing(1))));
}
