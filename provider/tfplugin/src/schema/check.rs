//! A schema's own mistakes: found when the provider starts, and by the tests of its author.

use super::{Attribute, Attributes, Schema, Shape};
use crate::value::{Model, Path};

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// An attribute has no text for the documentation.
    #[error("{of}: attribute {path} has no documentation")]
    NoDocs {
        /// The resource.
        of: &'static str,
        /// The attribute.
        path: Path,
    },
    /// An attribute is told two things that do not go together.
    #[error("{of}: attribute {path} cannot be {what}")]
    Contradiction {
        /// The resource.
        of: &'static str,
        /// The attribute.
        path: Path,
        /// Both things.
        what: &'static str,
    },
    /// A list of a resource that is not there, or has no identity.
    #[error("{of}: it is listed and has no identity")]
    NoIdentity {
        /// The resource.
        of: &'static str,
    },
    /// The model's struct is not of the schema's type.
    #[error("{of}: the model differs from the schema at {path}")]
    Model {
        /// The resource.
        of: &'static str,
        /// Where they differ.
        path: Path,
    },
}

impl Schema {
    /// Checks the schema itself, and that the model is of its type.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check<M: Model>(&self, of: &'static str) -> Result<(), SchemaError> {
        if self.docs.is_empty() {
            return Err(SchemaError::NoDocs { of, path: Path::root() });
        }
        attributes(of, &Path::root(), &self.attributes)?;
        M::accepts(&self.ty()).map_err(|path| SchemaError::Model { of, path })
    }
}

fn attributes(of: &'static str, at: &Path, all: &Attributes) -> Result<(), SchemaError> {
    for (name, attribute) in all {
        let path = at.clone().attribute(*name);
        if attribute.docs.is_empty() {
            return Err(SchemaError::NoDocs { of, path });
        }
        if let Some(what) = contradiction(attribute) {
            return Err(SchemaError::Contradiction { of, path, what });
        }
        if let Shape::Nested(_, nested) = &attribute.shape {
            attributes(of, &path, nested)?;
        }
    }
    Ok(())
}

fn contradiction(attribute: &Attribute) -> Option<&'static str> {
    let wrong = [
        (attribute.required && attribute.is_computed(), "required and computed"),
        (attribute.write_only && attribute.is_computed(), "write-only and computed"),
        (attribute.default.is_some() && !attribute.optional, "given a default and not optional"),
        (
            !attribute.required && !attribute.optional && attribute.computed.is_none(),
            "none of required, optional, computed",
        ),
    ];
    wrong.into_iter().find_map(|(is, what)| is.then_some(what))
}
