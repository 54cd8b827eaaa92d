//! Values in JSON: states as Terraform keeps them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Attr, Known, Number, Path, Step, Type, Value};

/// JSON that is no value of the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: no {wanted}")]
pub struct JsonError {
    /// Where in the value.
    pub path: Path,
    /// What was expected there.
    pub wanted: Type,
}

/// Reads a value of the type. What the type's objects lack is dropped, and what the JSON lacks is null, so that a
/// state from before an attribute came or went is read. Numbers, bools and text stand for each other as in Terraform.
///
/// # Errors
/// Where the JSON is no such value.
pub fn from_json(json: Json, ty: &Type) -> Result<Value, JsonError> {
    let wrong = || JsonError { path: Path::root(), wanted: ty.clone() };
    let known = match (ty, json) {
        (_, Json::Null) => return Ok(Value::Null),
        (Type::String, Json::String(text)) => Known::String(text),
        (Type::String, Json::Number(number)) => Known::String(number.to_string()),
        (Type::String, Json::Bool(value)) => Known::String(value.to_string()),
        (Type::Number, Json::Number(number)) => {
            Known::Number(Number::parse(&number.to_string()).ok_or_else(wrong)?)
        }
        (Type::Number, Json::String(text)) => Known::Number(Number::parse(&text).ok_or_else(wrong)?),
        (Type::Bool, Json::Bool(value)) => Known::Bool(value),
        (Type::Bool, Json::String(text)) => Known::Bool(text.parse().map_err(|_| wrong())?),
        (Type::List(element), Json::Array(elements)) => Known::List(read_elements(elements, element)?),
        (Type::Set(element), Json::Array(elements)) => Known::set(read_elements(elements, element)?),
        (Type::Map(element), Json::Object(elements)) => {
            let read = |(key, json): (String, Json)| match from_json(json, element) {
                Ok(value) => Ok((key, value)),
                Err(error) => Err(error.under(Step::Key(key))),
            };
            Known::Map(elements.into_iter().map(read).collect::<Result<_, _>>()?)
        }
        (Type::Object(types), Json::Object(found)) => Known::Object(read_object(found, types)?),
        _ => return Err(wrong()),
    };
    Ok(Attr::Known(known))
}

fn read_object(
    mut found: serde_json::Map<String, Json>,
    types: &BTreeMap<String, Type>,
) -> Result<BTreeMap<String, Value>, JsonError> {
    let read = |(name, ty): (&String, &Type)| {
        let json = found.remove(name).unwrap_or_default();
        let value = from_json(json, ty).map_err(|error| error.under(Step::Attribute(name.clone())))?;
        Ok((name.clone(), value))
    };
    types.iter().map(read).collect()
}

fn read_elements(elements: Vec<Json>, ty: &Type) -> Result<Vec<Value>, JsonError> {
    let read = |(at, json)| from_json(json, ty).map_err(|error| error.under(Step::index(at)));
    elements.into_iter().enumerate().map(read).collect()
}

impl JsonError {
    fn under(mut self, step: Step) -> Self {
        self.path = self.path.under(step);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_from_another_time_is_read() {
        let ty = Type::object([
            ("name", Type::String),
            ("count", Type::Number),
            ("tags", Type::set(Type::String)),
        ]);
        let value =
            from_json(json!({ "name": "a", "gone": 1, "count": "0.1", "tags": ["b", "a", "b"] }), &ty)
                .unwrap();
        assert_eq!(value.attribute("name"), &Value::string("a"));
        assert_eq!(value.attribute("count"), &Value::number(Number::parse("0.1").unwrap()));
        assert_eq!(
            value.attribute("tags"),
            &Attr::Known(Known::set([Value::string("a"), Value::string("b")]))
        );
        assert_eq!(from_json(json!({}), &ty).unwrap().attribute("name"), &Value::Null);
    }

    #[test]
    fn an_error_says_where() {
        let ty = Type::object([("ports", Type::map(Type::list(Type::Number)))]);
        let error = from_json(json!({ "ports": { "web": [1, true] } }), &ty).unwrap_err();
        assert_eq!(error.to_string(), "ports[\"web\"][1]: no number");
    }
}
