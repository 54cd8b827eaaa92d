//! `GetResourceIdentitySchemas` and `UpgradeResourceIdentity`.

use berth_proto::tfplugin6 as wire;

use super::{
    Server,
    convert::{diagnostics, identity, raw_json, state_from_json},
};
use crate::{
    diagnostics::{Diagnostic, Diagnostics},
    provider::Provider,
};

impl<P: Provider> Server<P> {
    pub(super) fn get_resource_identity_schemas(&self) -> wire::get_resource_identity_schemas::Response {
        let schemas = self.kinds.resources.iter().filter_map(|(name, resource)| {
            let schema = resource.identity()?;
            Some(((*name).to_owned(), schema.to_wire()))
        });
        wire::get_resource_identity_schemas::Response {
            identity_schemas: schemas.collect(),
            ..Default::default()
        }
    }

    pub(super) fn upgrade_resource_identity(
        &self,
        request: &wire::upgrade_resource_identity::Request,
    ) -> wire::upgrade_resource_identity::Response {
        let read = || -> Result<_, Diagnostics> {
            let schema = self.resource(&request.type_name)?.identity();
            let schema = schema.ok_or_else(|| Diagnostics::from(no_identity(&request.type_name)))?;
            state_from_json(raw_json(request.raw_identity.as_ref())?, &schema.ty())
        };
        match read() {
            Ok(value) => wire::upgrade_resource_identity::Response {
                upgraded_identity: identity(&value),
                ..Default::default()
            },
            Err(told) => wire::upgrade_resource_identity::Response {
                diagnostics: diagnostics(told),
                ..Default::default()
            },
        }
    }
}

fn no_identity(name: &str) -> Diagnostic {
    Diagnostic::error(format!("{name} has no identity"))
}
