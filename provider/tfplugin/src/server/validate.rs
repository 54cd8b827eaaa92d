//! `ValidateProviderConfig` and its like for each kind: configurations, in which values may be unknown.

use berth_proto::tfplugin6 as wire;

use super::{
    Server,
    convert::{decode, diagnostics},
    guard::guard_now,
};
use crate::{
    diagnostics::Diagnostics,
    plan::{validate, write_only_used},
    provider::Provider,
    schema::Attributes,
    value::{Convert as _, Value},
};

impl<P: Provider> Server<P> {
    pub(super) fn validate_provider_config(
        &self,
        request: &wire::validate_provider_config::Request,
    ) -> wire::validate_provider_config::Response {
        let own = |config| Ok(self.provider.validate(&P::Config::from_value(config)?));
        let told = decode(request.config.as_ref(), &self.ty)
            .and_then(|config| all_of(&self.schema.attributes, config, own));
        wire::validate_provider_config::Response { diagnostics: told_of(told) }
    }

    pub(super) fn validate_resource_config(
        &self,
        request: &wire::validate_resource_config::Request,
    ) -> wire::validate_resource_config::Response {
        let knows_write_only = request
            .client_capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.write_only_attributes_allowed);
        let told = self.resource(&request.type_name).and_then(|resource| {
            let attributes = &resource.schema().attributes;
            let config = decode(request.config.as_ref(), resource.ty())?;
            if !knows_write_only {
                write_only_used(attributes, &config).into_result()?;
            }
            all_of(attributes, config, |config| resource.validate(config))
        });
        wire::validate_resource_config::Response { diagnostics: told_of(told) }
    }

    pub(super) fn validate_data_resource_config(
        &self,
        request: &wire::validate_data_resource_config::Request,
    ) -> wire::validate_data_resource_config::Response {
        let told = self.data_source(&request.type_name).and_then(|data_source| {
            let config = decode(request.config.as_ref(), data_source.ty())?;
            all_of(&data_source.schema().attributes, config, |config| data_source.validate(config))
        });
        wire::validate_data_resource_config::Response { diagnostics: told_of(told) }
    }

    pub(super) fn validate_ephemeral_resource_config(
        &self,
        request: &wire::validate_ephemeral_resource_config::Request,
    ) -> wire::validate_ephemeral_resource_config::Response {
        let told = self.ephemeral(&request.type_name).and_then(|kind| {
            let config = decode(request.config.as_ref(), kind.ty())?;
            all_of(&kind.schema().attributes, config, |config| kind.validate(config))
        });
        wire::validate_ephemeral_resource_config::Response { diagnostics: told_of(told) }
    }

    pub(super) fn validate_list_resource_config(
        &self,
        request: &wire::validate_list_resource_config::Request,
    ) -> wire::validate_list_resource_config::Response {
        let told = self.list(&request.type_name).and_then(|kind| {
            let config = decode(request.config.as_ref(), kind.ty())?;
            all_of(&kind.schema().attributes, config, |config| kind.validate(config))
        });
        wire::validate_list_resource_config::Response { diagnostics: told_of(told) }
    }

    pub(super) fn validate_action_config(
        &self,
        request: &wire::validate_action_config::Request,
    ) -> wire::validate_action_config::Response {
        let told = self.action(&request.type_name).and_then(|kind| {
            let config = decode(request.config.as_ref(), kind.ty())?;
            all_of(&kind.schema().attributes, config, |config| kind.validate(config))
        });
        wire::validate_action_config::Response { diagnostics: told_of(told) }
    }
}

/// As [`all`], of a provider that may make mistakes.
fn all_of(
    attributes: &Attributes,
    config: Value,
    own: impl FnOnce(Value) -> Result<Diagnostics, Diagnostics>,
) -> Result<Diagnostics, Diagnostics> {
    guard_now(|| all(attributes, config, own))
}

/// What the attributes' validators find, and the kind's own: all of it at once.
fn all(
    attributes: &Attributes,
    config: Value,
    own: impl FnOnce(Value) -> Result<Diagnostics, Diagnostics>,
) -> Result<Diagnostics, Diagnostics> {
    let mut told = validate(attributes, &config);
    told.append(own(config).unwrap_or_else(|more| more));
    Ok(told)
}

fn told_of(told: Result<Diagnostics, Diagnostics>) -> Vec<wire::Diagnostic> {
    diagnostics(told.unwrap_or_else(|told| told))
}
