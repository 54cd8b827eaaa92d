//! Schemas as the protocol has them.

use berth_proto::tfplugin6 as wire;

use super::{Attribute, Attributes, Nesting, Schema, Shape};
use crate::{
    function::{Parameter, Signature},
    identity::IdentitySchema,
    value::Type,
};

impl Schema {
    pub(crate) fn to_wire(&self) -> wire::Schema {
        wire::Schema {
            version: self.version,
            block: Some(wire::schema::Block {
                version: self.version,
                attributes: attributes(&self.attributes),
                description: self.docs.clone(),
                description_kind: wire::StringKind::Markdown.into(),
                deprecated: self.deprecated.is_some(),
                deprecation_message: self.deprecated.clone().unwrap_or_default(),
                ..Default::default()
            }),
        }
    }
}

impl IdentitySchema {
    pub(crate) fn to_wire(&self) -> wire::ResourceIdentitySchema {
        use wire::resource_identity_schema::IdentityAttribute;
        let attribute =
            |(name, attribute): (&&'static str, &crate::identity::IdentityAttribute)| IdentityAttribute {
                name: (*name).to_owned(),
                r#type: type_bytes(&attribute.ty),
                required_for_import: attribute.required,
                optional_for_import: !attribute.required,
                description: attribute.docs.clone(),
            };
        wire::ResourceIdentitySchema {
            version: self.version,
            identity_attributes: self.attributes.iter().map(attribute).collect(),
        }
    }
}

fn attributes(all: &Attributes) -> Vec<wire::schema::Attribute> {
    all.iter().map(|(name, attribute)| to_wire(name, attribute)).collect()
}

fn to_wire(name: &str, attribute: &Attribute) -> wire::schema::Attribute {
    use wire::schema::object::NestingMode;
    let (ty, nested_type) = match &attribute.shape {
        Shape::Plain(ty) => (type_bytes(ty), None),
        Shape::Nested(nesting, nested) => {
            let nesting = match nesting {
                Nesting::Single => NestingMode::Single,
                Nesting::List => NestingMode::List,
                Nesting::Set => NestingMode::Set,
                Nesting::Map => NestingMode::Map,
            };
            let object = wire::schema::Object {
                attributes: attributes(nested),
                nesting: nesting.into(),
                ..Default::default()
            };
            (bytes::Bytes::new(), Some(object))
        }
    };
    wire::schema::Attribute {
        name: name.to_owned(),
        r#type: ty,
        nested_type,
        description: attribute.docs.clone(),
        description_kind: wire::StringKind::Markdown.into(),
        required: attribute.required,
        optional: attribute.optional,
        computed: attribute.is_computed(),
        sensitive: attribute.sensitive,
        write_only: attribute.write_only,
        deprecated: attribute.deprecated.is_some(),
        deprecation_message: attribute.deprecated.clone().unwrap_or_default(),
    }
}

fn type_bytes(ty: &Type) -> bytes::Bytes {
    ty.to_json().to_string().into()
}

impl Signature {
    pub(crate) fn to_wire(&self) -> wire::Function {
        let parameter = |parameter: &Parameter| wire::function::Parameter {
            name: parameter.name.to_owned(),
            r#type: type_bytes(&parameter.ty),
            allow_null_value: parameter.null,
            allow_unknown_values: parameter.unknown,
            description: parameter.docs.clone(),
            description_kind: wire::StringKind::Markdown.into(),
        };
        wire::Function {
            parameters: self.parameters.iter().map(parameter).collect(),
            variadic_parameter: self.rest.as_ref().map(parameter),
            r#return: Some(wire::function::Return { r#type: type_bytes(&self.returns) }),
            summary: self.summary.clone(),
            description: self.docs.clone(),
            description_kind: wire::StringKind::Markdown.into(),
            deprecation_message: String::new(),
        }
    }
}
