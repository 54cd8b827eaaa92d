//! `ReadResource`: how a thing is.

use berth_proto::tfplugin6::{self as wire, read_resource::Response};

use super::{
    Server,
    convert::{decode, deferred, diagnostics, encode, identity, may_defer},
    guard::guard,
};
use crate::{diagnostics::Diagnostics, plan::state, provider::Provider, value::Value};

impl<P: Provider> Server<P> {
    pub(super) async fn read_resource(&self, request: wire::read_resource::Request) -> Response {
        match self.try_read(&request).await {
            Ok(response) => response,
            Err(told) => Response {
                new_state: request.current_state,
                private: request.private,
                diagnostics: diagnostics(told),
                ..Response::default()
            },
        }
    }

    async fn try_read(&self, request: &wire::read_resource::Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let before = decode(request.current_state.as_ref(), resource.ty())?;
        let mut cx = self.context(&request.private, may_defer(request.client_capabilities.as_ref()))?;
        let found = guard(resource.read(&mut cx, before.clone())).await;
        if let Some(reason) = cx.deferral.asked {
            return Ok(Response {
                new_state: request.current_state.clone(),
                private: request.private.clone(),
                new_identity: request.current_identity.clone(),
                deferred: Some(deferred(reason)),
                diagnostics: diagnostics(cx.told),
            });
        }
        let found = found?;
        let new_state = match found {
            Some(found) => state(&resource.schema().attributes, &before, found, &mut cx.told),
            None => Value::Null,
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
