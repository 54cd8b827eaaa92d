//! From configuration and prior state to a plan, by Terraform's rules. Pure.
//!
//! ```text
//! proposed (Terraform's merge of configuration and prior state)
//!   -> base:   write-only values out, defaults in, equal spellings as they were
//!   -> marked: computed attributes unknown, where something changed that they depend on
//!   -> the resource's own `modify_plan`; if that changes something, marked and asked once more
//!   -> planned, and the attributes whose change makes a new one
//! ```

mod base;
mod generate;
mod mark;
mod replace;
mod spelling;
mod validate;
mod walk;

pub(crate) use base::fill_defaults;
pub(crate) use generate::{settable, to_be_computed};
pub(crate) use spelling::keep_spelling;
pub(crate) use validate::{validate, write_only_used};

use crate::{
    deferral::{Deferral, Reason},
    diagnostics::Diagnostics,
    erased::{ErasedResource, Modified, PlanValues},
    private::Private,
    schema::Attributes,
    value::{Attr, Known, Path, Value},
};

/// A finished plan.
pub(crate) struct Planned {
    pub planned: Value,
    pub replace: Vec<Path>,
    pub told: Diagnostics,
    pub deferred: Option<Reason>,
}

/// Plans a create or an update: `values.planned` is what Terraform proposes.
pub(crate) fn plan<C>(
    resource: &dyn ErasedResource<C>,
    values: PlanValues,
    private: &mut Private,
    client: &C,
    deferral: Deferral,
) -> Result<Planned, Diagnostics> {
    let attributes = &resource.schema().attributes;
    let PlanValues { config, prior, planned: proposed } = values;
    let modify = |planned: &Value, private: &mut Private| -> Result<Modified, Diagnostics> {
        let values = PlanValues { config: config.clone(), prior: prior.clone(), planned: planned.clone() };
        let mut modified = resource.modify_plan(values, private, client, deferral)?;
        modified.planned = base::without_write_only(attributes, modified.planned);
        Ok(modified)
    };
    let base = base::base(attributes, &config, &prior, proposed);
    let marked = mark::mark(attributes, &config, &prior, base);
    let before = private.clone();
    let mut modified = modify(&marked, private)?;
    if modified.planned != marked {
        // What the resource changed may be what other attributes depend on.
        let again = mark::mark(attributes, &config, &prior, modified.planned.clone());
        let again = keep_touched(again, &marked, modified.planned);
        *private = before;
        modified = modify(&again, private)?;
    }
    let mut replaced = Vec::new();
    if !prior.is_null() {
        replace::find(attributes, &prior, &modified.planned, &Path::root(), &mut replaced);
        replaced.append(&mut modified.replace);
    }
    let Modified { planned, told, deferred, .. } = modified;
    Ok(Planned { planned, replace: replaced, told, deferred })
}

/// Attributes that the resource itself planned stay as it planned them.
fn keep_touched(again: Value, marked: &Value, modified: Value) -> Value {
    let (Attr::Known(Known::Object(mut again)), Attr::Known(Known::Object(modified))) = (again, modified)
    else {
        return Value::Null;
    };
    for (name, value) in modified {
        if *marked.attribute(&name) != value {
            again.insert(name, value);
        }
    }
    Attr::Known(Known::Object(again))
}

/// A state as Terraform may have it: nothing write-only, spelled as before, nothing unknown. Where something was
/// unknown, `told` has an error.
pub(crate) fn state(attributes: &Attributes, before: &Value, state: Value, told: &mut Diagnostics) -> Value {
    let state = keep_spelling(attributes, before, base::without_write_only(attributes, state));
    if let Some(path) = state.find_unknown() {
        told.push(
            crate::Diagnostic::error("Value still unknown")
                .detail("The provider gave this attribute no value. This is a mistake in the provider.")
                .at(path),
        );
    }
    state.without_unknown()
}

#[cfg(test)]
mod tests;
