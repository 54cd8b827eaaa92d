//! The protocol's service: a file a call, each from the wire to values, to the resource, and back.

mod apply_resource_change;
mod configure_provider;
mod convert;
mod get_provider_schema;
mod guard;
mod import_resource_state;
mod move_resource_state;
mod plan_resource_change;
mod read_data_source;
mod read_resource;
mod resource_identity;
mod service;
mod upgrade_resource_state;
mod validate;

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::{
    cancel::Cancel,
    context::Context,
    diagnostics::{Diagnostic, Diagnostics},
    erased::{ErasedDataSource, ErasedResource},
    private::Private,
    provider::{Kinds, Provider},
    schema::{Schema, SchemaError},
    value::Type,
};

/// A provider as the protocol's service.
pub(crate) struct Server<P: Provider> {
    provider: P,
    kinds: Kinds<P::Client>,
    schema: Schema,
    ty: Type,
    /// Made when Terraform configures the provider.
    client: RwLock<Option<Arc<P::Client>>>,
    stop: watch::Sender<bool>,
    cancel: Cancel,
}

impl<P: Provider> Server<P> {
    /// Makes it, once its schemas are right.
    pub fn new(provider: P) -> Result<Self, SchemaError> {
        let mut kinds = Kinds::new();
        provider.register(&mut kinds);
        let schema = provider.schema();
        schema.check::<P::Config>(P::NAME)?;
        kinds.resources.values().try_for_each(|resource| resource.check())?;
        kinds.data_sources.values().try_for_each(|data_source| data_source.check())?;
        let (stop, cancel) = Cancel::pair();
        Ok(Self { provider, kinds, ty: schema.ty(), schema, client: RwLock::new(None), stop, cancel })
    }

    fn resource(&self, name: &str) -> Result<&dyn ErasedResource<P::Client>, Diagnostics> {
        let found = self.kinds.resources.get(name);
        found.map(|resource| &**resource).ok_or_else(|| no_such_kind::<P>("resource", name))
    }

    fn data_source(&self, name: &str) -> Result<&dyn ErasedDataSource<P::Client>, Diagnostics> {
        let found = self.kinds.data_sources.get(name);
        found.map(|data_source| &**data_source).ok_or_else(|| no_such_kind::<P>("data source", name))
    }

    fn client(&self) -> Result<Arc<P::Client>, Diagnostics> {
        self.client_slot().clone().ok_or_else(|| {
            Diagnostic::error("The provider is not configured")
                .detail("Terraform asked for an operation before it configured the provider.")
                .into()
        })
    }

    /// What an operation works with.
    fn context(&self, private: &[u8]) -> Result<Context<P::Client>, Diagnostics> {
        Ok(Context::new(self.client()?, self.cancel.clone(), Private::read(private)))
    }

    // The client is replaced whole: a panic while the lock was held has left nothing half done.
    fn client_slot(&self) -> RwLockReadGuard<'_, Option<Arc<P::Client>>> {
        self.client.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn client_slot_mut(&self) -> RwLockWriteGuard<'_, Option<Arc<P::Client>>> {
        self.client.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn no_such_kind<P: Provider>(what: &str, name: &str) -> Diagnostics {
    Diagnostic::error(format!("Unknown {what} {name}"))
        .detail(format!("The provider {} {} has none of that name.", P::NAME, P::VERSION))
        .into()
}
