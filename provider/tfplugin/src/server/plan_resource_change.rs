//! `PlanResourceChange`: what an apply would do.

use berth_proto::tfplugin6::{self as wire, plan_resource_change::Response};

use super::{
    Server,
    convert::{decode, deferred, diagnostics, encode, identity, may_defer, path},
    guard::guard_now,
};
use crate::{
    deferral::Deferral, diagnostics::Diagnostics, erased::PlanValues, plan::plan, private::Private,
    provider::Provider, value::Value,
};

impl<P: Provider> Server<P> {
    pub(super) fn plan_resource_change(&self, request: &wire::plan_resource_change::Request) -> Response {
        self.try_plan(request)
            .unwrap_or_else(|told| Response { diagnostics: diagnostics(told), ..Response::default() })
    }

    fn try_plan(&self, request: &wire::plan_resource_change::Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let values = PlanValues {
            config: decode(request.config.as_ref(), resource.ty())?,
            prior: decode(request.prior_state.as_ref(), resource.ty())?,
            planned: decode(request.proposed_new_state.as_ref(), resource.ty())?,
        };
        if values.planned.is_null() {
            // Nothing of a removal is to be planned.
            return Ok(Response {
                planned_state: encode(&values.planned),
                planned_private: request.prior_private.clone(),
                planned_identity: request.prior_identity.clone(),
                ..Response::default()
            });
        }
        let client = self.client()?;
        let mut private = Private::read(&request.prior_private);
        let deferral = Deferral::new(may_defer(request.client_capabilities.as_ref()));
        let planned = guard_now(|| plan(resource, values, &mut private, &client, deferral))?;
        Ok(Response {
            planned_state: encode(&planned.planned),
            requires_replace: planned.replace.iter().map(path).collect(),
            planned_private: private.write(),
            diagnostics: diagnostics(planned.told),
            planned_identity: resource
                .identity()
                .map(|schema| schema.of(&planned.planned))
                .filter(Value::is_wholly_known)
                .and_then(|value| identity(&value)),
            deferred: planned.deferred.map(deferred),
            ..Response::default()
        })
    }
}
