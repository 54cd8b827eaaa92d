//! `CloseEphemeralResource`: ends a thing that is in no state.

use berth_proto::tfplugin6::close_ephemeral_resource as close;

use super::{Server, convert::diagnostics, guard::guard};
use crate::{diagnostics::Diagnostics, provider::Provider};

impl<P: Provider> Server<P> {
    pub(super) async fn close_ephemeral_resource(&self, request: &close::Request) -> close::Response {
        let closed = self.try_close(request).await;
        close::Response { diagnostics: diagnostics(closed.unwrap_or_else(|told| told)) }
    }

    async fn try_close(&self, request: &close::Request) -> Result<Diagnostics, Diagnostics> {
        let kind = self.ephemeral(&request.type_name)?;
        let mut cx = self.context(request.private.as_deref().unwrap_or_default(), false)?;
        guard(kind.close(&mut cx)).await?;
        Ok(cx.told)
    }
}
