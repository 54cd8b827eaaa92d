//! `MoveResourceState`: takes over the state of another kind of resource.

use berth_proto::tfplugin6::{self as wire, move_resource_state::Response};

use super::{
    Server,
    convert::{diagnostics, encode, identity, raw_json},
    guard::guard_now,
};
use crate::{
    diagnostics::{Diagnostic, Diagnostics},
    plan::state,
    provider::Provider,
    resource::MoveSource,
    value::Value,
};

impl<P: Provider> Server<P> {
    pub(super) fn move_resource_state(&self, request: &wire::move_resource_state::Request) -> Response {
        self.try_move(request)
            .unwrap_or_else(|told| Response { diagnostics: diagnostics(told), ..Response::default() })
    }

    fn try_move(&self, request: &wire::move_resource_state::Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.target_type_name)?;
        let source = MoveSource {
            provider: request.source_provider_address.clone(),
            type_name: request.source_type_name.clone(),
            version: request.source_schema_version,
            state: raw_json(request.source_state.as_ref())?,
        };
        let mut told = Diagnostics::new();
        let taken = guard_now(|| resource.move_from(&source, &mut told))?.ok_or_else(|| {
            Diagnostics::from(
                Diagnostic::error("This move is not possible")
                    .detail(format!("{} cannot become {}.", source.type_name, request.target_type_name)),
            )
        })?;
        let taken = state(&resource.schema().attributes, &Value::Null, taken, &mut told);
        Ok(Response {
            target_identity: resource.identity().and_then(|schema| identity(&schema.of(&taken))),
            target_state: encode(&taken),
            diagnostics: diagnostics(told),
            ..Response::default()
        })
    }
}
