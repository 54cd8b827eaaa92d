//! `ImportResourceState`: finds a thing that Terraform does not know yet.

use berth_proto::tfplugin6::{
    self as wire,
    import_resource_state::{ImportedResource, Response},
};

use super::{
    Server,
    convert::{decode, deferred, diagnostics, encode, identity, may_defer},
    guard::guard,
};
use crate::{
    diagnostics::{Diagnostic, Diagnostics},
    plan::state,
    provider::Provider,
    schema::Attributes,
    value::{Attr, Known, Value},
};

impl<P: Provider> Server<P> {
    pub(super) async fn import_resource_state(
        &self,
        request: &wire::import_resource_state::Request,
    ) -> Response {
        self.try_import(request)
            .await
            .unwrap_or_else(|told| Response { diagnostics: diagnostics(told), ..Response::default() })
    }

    async fn try_import(
        &self,
        request: &wire::import_resource_state::Request,
    ) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let mut cx = self.context(&[], may_defer(request.client_capabilities.as_ref()))?;
        let given = request.identity.as_ref().and_then(|identity| identity.identity_data.as_ref());
        let found = match (resource.identity(), given) {
            (Some(schema), Some(given)) if request.id.is_empty() => {
                let given = decode(Some(given), &schema.ty())?;
                guard(resource.import_identity(&mut cx, given)).await
            }
            _ if request.id.is_empty() => return Err(Diagnostic::error("An import needs an id").into()),
            _ => guard(resource.import(&mut cx, &request.id)).await,
        };
        if let Some(reason) = cx.deferral.asked {
            return Ok(Response {
                imported_resources: vec![ImportedResource {
                    type_name: request.type_name.clone(),
                    state: encode(&unknown(&resource.schema().attributes)),
                    ..ImportedResource::default()
                }],
                deferred: Some(deferred(reason)),
                diagnostics: diagnostics(cx.told),
            });
        }
        let found = found?;
        // The read that follows fills in what is not known yet.
        let found = state(&resource.schema().attributes, &Value::Null, found, &mut Diagnostics::new());
        let imported = ImportedResource {
            type_name: request.type_name.clone(),
            identity: resource.identity().and_then(|schema| identity(&schema.of(&found))),
            state: encode(&found),
            private: cx.private.write(),
        };
        Ok(Response {
            imported_resources: vec![imported],
            diagnostics: diagnostics(cx.told),
            ..Response::default()
        })
    }
}

/// One of which nothing is known but that it is there.
fn unknown(attributes: &Attributes) -> Value {
    let attribute = |name: &&'static str| ((*name).to_owned(), Value::Unknown);
    Attr::Known(Known::Object(attributes.keys().map(attribute).collect()))
}
