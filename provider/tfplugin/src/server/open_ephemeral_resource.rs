//! `OpenEphemeralResource`: begins a thing that is in no state.

use berth_proto::tfplugin6::open_ephemeral_resource as open;

use super::{
    Server,
    convert::{decode, deferred, diagnostics, encode, may_defer},
    guard::guard,
};
use crate::{
    diagnostics::Diagnostics,
    plan::{fill_defaults, state, to_be_computed},
    provider::Provider,
};

impl<P: Provider> Server<P> {
    pub(super) async fn open_ephemeral_resource(&self, request: &open::Request) -> open::Response {
        let opened = self.try_open(request).await;
        opened.unwrap_or_else(|told| open::Response {
            diagnostics: diagnostics(told),
            ..open::Response::default()
        })
    }

    async fn try_open(&self, request: &open::Request) -> Result<open::Response, Diagnostics> {
        let kind = self.ephemeral(&request.type_name)?;
        let attributes = &kind.schema().attributes;
        let config = fill_defaults(attributes, decode(request.config.as_ref(), kind.ty())?);
        let mut cx = self.context(&[], may_defer(request.client_capabilities.as_ref()))?;
        let opened = guard(kind.open(&mut cx, config.clone())).await;
        if let Some(reason) = cx.deferral.asked {
            return Ok(open::Response {
                result: encode(&to_be_computed(attributes, config)),
                deferred: Some(deferred(reason)),
                diagnostics: diagnostics(cx.told),
                ..open::Response::default()
            });
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(told) => {
                cx.told.append(told);
                return Err(cx.told);
            }
        };
        let result = state(attributes, &config, opened.result, &mut cx.told);
        Ok(open::Response {
            result: encode(&result),
            renew_at: opened.renew_at.map(Into::into),
            private: Some(cx.private.write()),
            diagnostics: diagnostics(cx.told),
            deferred: None,
        })
    }
}
