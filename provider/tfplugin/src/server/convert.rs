//! Between the wire's types and this crate's.

use berth_proto::tfplugin6::{self as wire, attribute_path::step::Selector};
use serde_json::Value as Json;

use crate::{
    deferral::Reason,
    diagnostics::{Diagnostic, Diagnostics, Severity},
    value::{Path, Step, Type, Value, from_json, from_msgpack, to_msgpack},
};

/// Reads a value; one that is absent is null.
pub(super) fn decode(value: Option<&wire::DynamicValue>, ty: &Type) -> Result<Value, Diagnostics> {
    let Some(value) = value else { return Ok(Value::Null) };
    if !value.msgpack.is_empty() {
        return from_msgpack(&value.msgpack, ty).map_err(|error| unreadable(&error));
    }
    if value.json.is_empty() {
        return Ok(Value::Null);
    }
    let json = serde_json::from_slice(&value.json).map_err(|error| unreadable(&error))?;
    from_json(json, ty).map_err(|error| unreadable(&error))
}

pub(super) fn encode(value: &Value) -> Option<wire::DynamicValue> {
    Some(wire::DynamicValue { msgpack: to_msgpack(value).into(), json: bytes::Bytes::new() })
}

/// Reads a state as Terraform keeps it.
pub(super) fn raw_json(raw: Option<&wire::RawState>) -> Result<Json, Diagnostics> {
    let raw = raw.filter(|raw| !raw.json.is_empty()).ok_or_else(|| {
        Diagnostics::from(
            Diagnostic::error("A state of a form that is too old")
                .detail("It was written by a Terraform before 0.12. Remove the resource from the state and import it again."),
        )
    })?;
    serde_json::from_slice(&raw.json).map_err(|error| unreadable(&error))
}

pub(super) fn state_from_json(json: Json, ty: &Type) -> Result<Value, Diagnostics> {
    from_json(json, ty).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> Diagnostics {
    Diagnostic::error("Unreadable value")
        .detail(format!("What Terraform sent is not of the schema's type: {error}."))
        .into()
}

pub(super) fn diagnostics(all: Diagnostics) -> Vec<wire::Diagnostic> {
    all.into_iter().map(diagnostic).collect()
}

fn diagnostic(diagnostic: Diagnostic) -> wire::Diagnostic {
    use wire::diagnostic::Severity as WireSeverity;
    let severity = match diagnostic.severity {
        Severity::Error => WireSeverity::Error,
        Severity::Warning => WireSeverity::Warning,
    };
    wire::Diagnostic {
        severity: severity.into(),
        attribute: (!diagnostic.path.is_root()).then(|| root(&diagnostic.path)),
        summary: diagnostic.summary,
        detail: diagnostic.detail,
    }
}

/// The argument that a diagnostic is shown on. Terraform finds the line of an attribute of a block, and shows only the block's
/// head for a path that goes on inside the attribute's expression; what is inside is for the text to name.
fn root(diagnostic: &Path) -> wire::AttributePath {
    let mut shown = path(diagnostic);
    shown.steps.truncate(1);
    shown
}

pub(super) fn path(path: &Path) -> wire::AttributePath {
    let step = |step: &Step| wire::attribute_path::Step {
        selector: Some(match step {
            Step::Attribute(name) => Selector::AttributeName(name.clone()),
            Step::Key(key) => Selector::ElementKeyString(key.clone()),
            Step::Index(index) => Selector::ElementKeyInt(*index),
        }),
    };
    wire::AttributePath { steps: path.steps().iter().map(step).collect() }
}

/// Whether this Terraform can put an operation off.
pub(super) fn may_defer(capabilities: Option<&wire::ClientCapabilities>) -> bool {
    capabilities.is_some_and(|capabilities| capabilities.deferral_allowed)
}

pub(super) fn deferred(reason: Reason) -> wire::Deferred {
    use wire::deferred::Reason as WireReason;
    let reason = match reason {
        Reason::ConfigUnknown => WireReason::ResourceConfigUnknown,
        Reason::ProviderConfigUnknown => WireReason::ProviderConfigUnknown,
        Reason::AbsentPrerequisite => WireReason::AbsentPrereq,
    };
    wire::Deferred { reason: reason.into() }
}

pub(super) fn identity(identity: &Value) -> Option<wire::ResourceIdentityData> {
    Some(wire::ResourceIdentityData { identity_data: encode(identity) })
}
