//! `ApplyResourceChange`: makes, changes or removes a thing.

use berth_proto::tfplugin6::{self as wire, apply_resource_change::Response};

use super::{
    Server,
    convert::{decode, diagnostics, encode, identity},
    guard::guard,
};
use crate::{
    context::Context,
    diagnostics::Diagnostics,
    erased::{ErasedResource, PlanValues},
    plan::state,
    provider::Provider,
    value::Value,
};

impl<P: Provider> Server<P> {
    pub(super) async fn apply_resource_change(
        &self,
        request: wire::apply_resource_change::Request,
    ) -> Response {
        match self.try_apply(&request).await {
            Ok(response) => response,
            // Nothing was begun: what there was is there.
            Err(told) => Response {
                new_state: request.prior_state,
                private: request.planned_private,
                diagnostics: diagnostics(told),
                ..Response::default()
            },
        }
    }

    async fn try_apply(
        &self,
        request: &wire::apply_resource_change::Request,
    ) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let values = PlanValues {
            config: decode(request.config.as_ref(), resource.ty())?,
            prior: decode(request.prior_state.as_ref(), resource.ty())?,
            planned: decode(request.planned_state.as_ref(), resource.ty())?,
        };
        let (prior, planned) = (values.prior.clone(), values.planned.clone());
        let mut cx = self.context(&request.planned_private, false)?;
        let applied = guard(apply(resource, &mut cx, values)).await;
        let attributes = &resource.schema().attributes;
        let new_state = match applied {
            Ok(made) => state(attributes, &planned, made, &mut cx.told),
            Err(told) => {
                cx.told.append(told);
                match cx.kept.take() {
                    // What a failed operation left unknown is no second failure.
                    Some(kept) => state(attributes, &planned, kept, &mut Diagnostics::new()),
                    None => prior,
                }
            }
        };
        let identity_of = |schema: &crate::IdentitySchema| identity(&schema.of(&new_state));
        Ok(Response {
            new_identity: resource.identity().filter(|_| new_state.is_known()).and_then(identity_of),
            new_state: encode(&new_state),
            private: cx.private.write(),
            diagnostics: diagnostics(cx.told),
            ..Response::default()
        })
    }
}

async fn apply<C>(
    resource: &dyn ErasedResource<C>,
    cx: &mut Context<C>,
    values: PlanValues,
) -> Result<Value, Diagnostics> {
    match (values.prior.is_null(), values.planned.is_null()) {
        (_, true) => resource.delete(cx, values.prior).await.map(|()| Value::Null),
        (true, false) => resource.create(cx, values.planned, values.config).await,
        (false, false) => resource.update(cx, values).await,
    }
}
