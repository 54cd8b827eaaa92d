//! `RenewEphemeralResource`: makes a thing that is in no state last longer.

use berth_proto::tfplugin6::renew_ephemeral_resource as renew;

use super::{Server, convert::diagnostics, guard::guard};
use crate::{diagnostics::Diagnostics, provider::Provider};

impl<P: Provider> Server<P> {
    pub(super) async fn renew_ephemeral_resource(&self, request: &renew::Request) -> renew::Response {
        let renewed = self.try_renew(request).await;
        renewed.unwrap_or_else(|told| renew::Response {
            diagnostics: diagnostics(told),
            private: request.private.clone(),
            ..renew::Response::default()
        })
    }

    async fn try_renew(&self, request: &renew::Request) -> Result<renew::Response, Diagnostics> {
        let kind = self.ephemeral(&request.type_name)?;
        let mut cx = self.context(request.private.as_deref().unwrap_or_default(), false)?;
        let renew_at = guard(kind.renew(&mut cx)).await?;
        Ok(renew::Response {
            renew_at: renew_at.map(Into::into),
            private: Some(cx.private.write()),
            diagnostics: diagnostics(cx.told),
        })
    }
}
