//! `ConfigureProvider`: makes the client.

use std::sync::Arc;

use berth_proto::tfplugin6 as wire;

use super::{
    Server,
    convert::{decode, diagnostics},
    guard::guard,
};
use crate::{
    diagnostics::Diagnostics,
    plan::fill_defaults,
    provider::{Configure, Provider},
    value::Convert as _,
};

impl<P: Provider> Server<P> {
    pub(super) async fn configure_provider(
        &self,
        request: wire::configure_provider::Request,
    ) -> wire::configure_provider::Response {
        let mut cx = Configure {
            terraform_version: request.terraform_version,
            cancel: self.cancel.clone(),
            told: Diagnostics::new(),
        };
        let configured = guard(async {
            let config = fill_defaults(&self.schema.attributes, decode(request.config.as_ref(), &self.ty)?);
            self.provider.configure(P::Config::from_value(config)?, &mut cx).await
        })
        .await;
        match configured {
            Ok(client) => *self.client_slot_mut() = Some(Arc::new(client)),
            Err(told) => cx.told.append(told),
        }
        wire::configure_provider::Response { diagnostics: diagnostics(cx.told) }
    }
}
