//! `GenerateResourceConfig`: the configuration that a user would write for a state.

use berth_proto::tfplugin6::generate_resource_config::{Request, Response};

use super::{
    Server,
    convert::{decode, diagnostics, encode},
    guard::guard_now,
};
use crate::{diagnostics::Diagnostics, plan::settable, provider::Provider, value::Value};

impl<P: Provider> Server<P> {
    pub(super) fn generate_resource_config(&self, request: &Request) -> Response {
        match self.try_generate(request) {
            Ok(config) => Response { config: encode(&config), ..Response::default() },
            Err(told) => Response { diagnostics: diagnostics(told), ..Response::default() },
        }
    }

    fn try_generate(&self, request: &Request) -> Result<Value, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let state = decode(request.state.as_ref(), resource.ty())?;
        let generated = guard_now(|| resource.generate(state))?;
        Ok(settable(&resource.schema().attributes, generated))
    }
}
