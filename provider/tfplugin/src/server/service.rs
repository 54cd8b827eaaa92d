//! The protocol's service itself: hands each call to its file. What this provider has no use for is unimplemented.

use std::pin::Pin;

use berth_proto::tfplugin6::{self as wire, provider_server};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Server;
use crate::provider::Provider;

pub(super) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers a call that this provider has no use for.
macro_rules! unused {
    ($($name:ident: $request:ty => $response:ty;)*) => {$(
        fn $name<'life0, 'async_trait>(
            &'life0 self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented(concat!(stringify!($name), " is not of use to this provider"))) })
        }
    )*};
}

impl<P: Provider> Server<P> {
    fn stop_provider(&self) -> wire::stop_provider::Response {
        tracing::info!("asked to stop");
        self.stop.send_replace(true);
        wire::stop_provider::Response::default()
    }
}

#[async_trait]
impl<P: Provider> provider_server::Provider for Server<P> {
    async fn get_metadata(
        &self,
        _: Request<wire::get_metadata::Request>,
    ) -> Result<Response<wire::get_metadata::Response>, Status> {
        Ok(Response::new(self.get_metadata()))
    }

    async fn get_provider_schema(
        &self,
        _: Request<wire::get_provider_schema::Request>,
    ) -> Result<Response<wire::get_provider_schema::Response>, Status> {
        Ok(Response::new(self.get_provider_schema()))
    }

    async fn validate_provider_config(
        &self,
        request: Request<wire::validate_provider_config::Request>,
    ) -> Result<Response<wire::validate_provider_config::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.validate_provider_config(&request)))
    }

    async fn validate_resource_config(
        &self,
        request: Request<wire::validate_resource_config::Request>,
    ) -> Result<Response<wire::validate_resource_config::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.validate_resource_config(&request)))
    }

    async fn validate_data_resource_config(
        &self,
        request: Request<wire::validate_data_resource_config::Request>,
    ) -> Result<Response<wire::validate_data_resource_config::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.validate_data_resource_config(&request)))
    }

    async fn upgrade_resource_state(
        &self,
        request: Request<wire::upgrade_resource_state::Request>,
    ) -> Result<Response<wire::upgrade_resource_state::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.upgrade_resource_state(&request)))
    }

    async fn get_resource_identity_schemas(
        &self,
        _: Request<wire::get_resource_identity_schemas::Request>,
    ) -> Result<Response<wire::get_resource_identity_schemas::Response>, Status> {
        Ok(Response::new(self.get_resource_identity_schemas()))
    }

    async fn upgrade_resource_identity(
        &self,
        request: Request<wire::upgrade_resource_identity::Request>,
    ) -> Result<Response<wire::upgrade_resource_identity::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.upgrade_resource_identity(&request)))
    }

    async fn configure_provider(
        &self,
        request: Request<wire::configure_provider::Request>,
    ) -> Result<Response<wire::configure_provider::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.configure_provider(request).await))
    }

    async fn read_resource(
        &self,
        request: Request<wire::read_resource::Request>,
    ) -> Result<Response<wire::read_resource::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.read_resource(request).await))
    }

    async fn plan_resource_change(
        &self,
        request: Request<wire::plan_resource_change::Request>,
    ) -> Result<Response<wire::plan_resource_change::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.plan_resource_change(&request)))
    }

    async fn apply_resource_change(
        &self,
        request: Request<wire::apply_resource_change::Request>,
    ) -> Result<Response<wire::apply_resource_change::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.apply_resource_change(request).await))
    }

    async fn import_resource_state(
        &self,
        request: Request<wire::import_resource_state::Request>,
    ) -> Result<Response<wire::import_resource_state::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.import_resource_state(&request).await))
    }

    async fn move_resource_state(
        &self,
        request: Request<wire::move_resource_state::Request>,
    ) -> Result<Response<wire::move_resource_state::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.move_resource_state(&request)))
    }

    async fn read_data_source(
        &self,
        request: Request<wire::read_data_source::Request>,
    ) -> Result<Response<wire::read_data_source::Response>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.read_data_source(&request).await))
    }

    async fn get_functions(
        &self,
        _: Request<wire::get_functions::Request>,
    ) -> Result<Response<wire::get_functions::Response>, Status> {
        Ok(Response::new(wire::get_functions::Response {
            functions: self.functions(),
            ..wire::get_functions::Response::default()
        }))
    }

    async fn call_function(
        &self,
        request: Request<wire::call_function::Request>,
    ) -> Result<Response<wire::call_function::Response>, Status> {
        Ok(Response::new(self.call_function(&request.into_inner())))
    }

    async fn generate_resource_config(
        &self,
        request: Request<wire::generate_resource_config::Request>,
    ) -> Result<Response<wire::generate_resource_config::Response>, Status> {
        Ok(Response::new(self.generate_resource_config(&request.into_inner())))
    }

    async fn validate_ephemeral_resource_config(
        &self,
        request: Request<wire::validate_ephemeral_resource_config::Request>,
    ) -> Result<Response<wire::validate_ephemeral_resource_config::Response>, Status> {
        Ok(Response::new(self.validate_ephemeral_resource_config(&request.into_inner())))
    }

    async fn open_ephemeral_resource(
        &self,
        request: Request<wire::open_ephemeral_resource::Request>,
    ) -> Result<Response<wire::open_ephemeral_resource::Response>, Status> {
        Ok(Response::new(self.open_ephemeral_resource(&request.into_inner()).await))
    }

    async fn renew_ephemeral_resource(
        &self,
        request: Request<wire::renew_ephemeral_resource::Request>,
    ) -> Result<Response<wire::renew_ephemeral_resource::Response>, Status> {
        Ok(Response::new(self.renew_ephemeral_resource(&request.into_inner()).await))
    }

    async fn close_ephemeral_resource(
        &self,
        request: Request<wire::close_ephemeral_resource::Request>,
    ) -> Result<Response<wire::close_ephemeral_resource::Response>, Status> {
        Ok(Response::new(self.close_ephemeral_resource(&request.into_inner()).await))
    }

    async fn validate_list_resource_config(
        &self,
        request: Request<wire::validate_list_resource_config::Request>,
    ) -> Result<Response<wire::validate_list_resource_config::Response>, Status> {
        Ok(Response::new(self.validate_list_resource_config(&request.into_inner())))
    }

    async fn list_resource(
        &self,
        request: Request<wire::list_resource::Request>,
    ) -> Result<Response<Self::ListResourceStream>, Status> {
        Ok(Response::new(self.list_resource(&request.into_inner())))
    }

    async fn validate_action_config(
        &self,
        request: Request<wire::validate_action_config::Request>,
    ) -> Result<Response<wire::validate_action_config::Response>, Status> {
        Ok(Response::new(self.validate_action_config(&request.into_inner())))
    }

    async fn plan_action(
        &self,
        request: Request<wire::plan_action::Request>,
    ) -> Result<Response<wire::plan_action::Response>, Status> {
        Ok(Response::new(self.plan_action(&request.into_inner()).await))
    }

    async fn invoke_action(
        &self,
        request: Request<wire::invoke_action::Request>,
    ) -> Result<Response<Self::InvokeActionStream>, Status> {
        Ok(Response::new(self.invoke_action(&request.into_inner())))
    }

    async fn stop_provider(
        &self,
        _: Request<wire::stop_provider::Request>,
    ) -> Result<Response<wire::stop_provider::Response>, Status> {
        Ok(Response::new(self.stop_provider()))
    }

    type ListResourceStream = Events<wire::list_resource::Event>;
    type ReadStateBytesStream = Events<wire::read_state_bytes::Response>;
    type InvokeActionStream = Events<wire::invoke_action::Event>;

    unused! {
        validate_state_store_config: wire::validate_state_store::Request => wire::validate_state_store::Response;
        configure_state_store: wire::configure_state_store::Request => wire::configure_state_store::Response;
        read_state_bytes: wire::read_state_bytes::Request => Self::ReadStateBytesStream;
        write_state_bytes: Streaming<wire::write_state_bytes::RequestChunk> => wire::write_state_bytes::Response;
        lock_state: wire::lock_state::Request => wire::lock_state::Response;
        unlock_state: wire::unlock_state::Request => wire::unlock_state::Response;
        get_states: wire::get_states::Request => wire::get_states::Response;
        delete_state: wire::delete_state::Request => wire::delete_state::Response;
    }
}
