//! `PlanAction`: looks at what an action would do.

use berth_proto::tfplugin6::plan_action as plan;

use super::{
    Server,
    convert::{decode, deferred, diagnostics, may_defer},
    guard::guard,
};
use crate::{diagnostics::Diagnostics, plan::fill_defaults, provider::Provider};

impl<P: Provider> Server<P> {
    pub(super) async fn plan_action(&self, request: &plan::Request) -> plan::Response {
        self.try_plan_action(request)
            .await
            .unwrap_or_else(|told| plan::Response { diagnostics: diagnostics(told), deferred: None })
    }

    async fn try_plan_action(&self, request: &plan::Request) -> Result<plan::Response, Diagnostics> {
        let kind = self.action(&request.action_type)?;
        let config = decode(request.config.as_ref(), kind.ty())?;
        let config = fill_defaults(&kind.schema().attributes, config);
        let mut cx = self.context(&[], may_defer(request.client_capabilities.as_ref()))?;
        let planned = guard(kind.plan(&mut cx, config)).await;
        let asked = cx.deferral.asked.map(deferred);
        if asked.is_none() {
            cx.told.append(planned.err().unwrap_or_default());
        }
        Ok(plan::Response { diagnostics: diagnostics(cx.told), deferred: asked })
    }
}
