//! `UpgradeResourceState`: reads a state as Terraform keeps it, of this version or an older one.

use std::cmp::Ordering;

use berth_proto::tfplugin6::{self as wire, upgrade_resource_state::Response};

use super::{
    Server,
    convert::{diagnostics, encode, raw_json, state_from_json},
    guard::guard_now,
};
use crate::{
    diagnostics::{Diagnostic, Diagnostics},
    provider::Provider,
};

impl<P: Provider> Server<P> {
    pub(super) fn upgrade_resource_state(&self, request: &wire::upgrade_resource_state::Request) -> Response {
        self.try_upgrade(request)
            .unwrap_or_else(|told| Response { diagnostics: diagnostics(told), ..Response::default() })
    }

    fn try_upgrade(&self, request: &wire::upgrade_resource_state::Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let current = resource.schema().version;
        let found = raw_json(request.raw_state.as_ref())?;
        let state = match request.version.cmp(&current) {
            Ordering::Equal => found,
            Ordering::Less => guard_now(|| resource.upgrade(request.version, found))?,
            Ordering::Greater => return Err(too_new::<P>(&request.type_name, request.version, current)),
        };
        let state = state_from_json(state, resource.ty())?;
        Ok(Response { upgraded_state: encode(&state), ..Response::default() })
    }
}

fn too_new<P: Provider>(name: &str, version: i64, current: i64) -> Diagnostics {
    Diagnostic::error(format!("The state of {name} is newer than the provider"))
        .detail(format!(
            "It has version {version}, and the provider {} {} knows versions up to {current}. Use the provider that wrote it, or a later one.",
            P::NAME,
            P::VERSION
        ))
        .into()
}
