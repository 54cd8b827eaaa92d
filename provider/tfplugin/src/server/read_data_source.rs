//! `ReadDataSource`: looks a thing up.

use berth_proto::tfplugin6::{self as wire, read_data_source::Response};

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
    pub(super) async fn read_data_source(&self, request: &wire::read_data_source::Request) -> Response {
        self.try_look_up(request)
            .await
            .unwrap_or_else(|told| Response { diagnostics: diagnostics(told), ..Response::default() })
    }

    async fn try_look_up(&self, request: &wire::read_data_source::Request) -> Result<Response, Diagnostics> {
        let data_source = self.data_source(&request.type_name)?;
        let attributes = &data_source.schema().attributes;
        let config = fill_defaults(attributes, decode(request.config.as_ref(), data_source.ty())?);
        let mut cx = self.context(&[], may_defer(request.client_capabilities.as_ref()))?;
        let found = guard(data_source.read(&mut cx, config.clone())).await;
        if let Some(reason) = cx.deferral.asked {
            return Ok(Response {
                state: encode(&to_be_computed(attributes, config)),
                deferred: Some(deferred(reason)),
                diagnostics: diagnostics(cx.told),
            });
        }
        let found = found?;
        let found = state(attributes, &config, found, &mut cx.told);
        Ok(Response { state: encode(&found), diagnostics: diagnostics(cx.told), deferred: None })
    }
}
