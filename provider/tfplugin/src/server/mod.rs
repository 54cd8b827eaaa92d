//! The protocol's service: a file a call, each from the wire to values, to the resource, and back.

mod apply_resource_change;
mod call_function;
mod close_ephemeral_resource;
mod configure_provider;
mod convert;
mod generate_resource_config;
mod get_provider_schema;
mod guard;
mod import_resource_state;
mod invoke_action;
mod list_resource;
mod move_resource_state;
mod open_ephemeral_resource;
mod plan_action;
mod plan_resource_change;
mod read_data_source;
mod read_resource;
mod renew_ephemeral_resource;
mod resource_identity;
mod service;
mod upgrade_resource_state;
mod validate;

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::{
    action::ErasedAction,
    cancel::Cancel,
    context::Context,
    deferral::Deferral,
    diagnostics::{Diagnostic, Diagnostics},
    ephemeral::ErasedEphemeral,
    erased::{ErasedDataSource, ErasedResource},
    list::ErasedList,
    private::Private,
    provider::{Kinds, Provider},
    schema::{Schema, SchemaError},
    value::Type,
};

/// A provider as the protocol's service.
pub(crate) struct Server<P: Provider> {
    provider: P,
    kinds: Arc<Kinds<P::Client>>,
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
        kinds.check()?;
        let (stop, cancel) = Cancel::pair();
        Ok(Self {
            provider,
            kinds: Arc::new(kinds),
            ty: schema.ty(),
            schema,
            client: RwLock::new(None),
            stop,
            cancel,
        })
    }

    fn resource(&self, name: &str) -> Result<&dyn ErasedResource<P::Client>, Diagnostics> {
        let found = self.kinds.resources.get(name);
        found.map(|resource| &**resource).ok_or_else(|| no_such_kind::<P>("resource", name))
    }

    fn data_source(&self, name: &str) -> Result<&dyn ErasedDataSource<P::Client>, Diagnostics> {
        let found = self.kinds.data_sources.get(name);
        found.map(|data_source| &**data_source).ok_or_else(|| no_such_kind::<P>("data source", name))
    }

    fn ephemeral(&self, name: &str) -> Result<&dyn ErasedEphemeral<P::Client>, Diagnostics> {
        let found = self.kinds.ephemerals.get(name);
        found.map(|kind| &**kind).ok_or_else(|| no_such_kind::<P>("ephemeral resource", name))
    }

    fn action(&self, name: &str) -> Result<&dyn ErasedAction<P::Client>, Diagnostics> {
        action::<P>(&self.kinds, name)
    }

    fn list(&self, name: &str) -> Result<&dyn ErasedList<P::Client>, Diagnostics> {
        list::<P>(&self.kinds, name)
    }

    fn client(&self) -> Result<Arc<P::Client>, Diagnostics> {
        self.client_slot().clone().ok_or_else(|| {
            Diagnostic::error("The provider is not configured")
                .detail("Terraform asked for an operation before it configured the provider.")
                .into()
        })
    }

    /// What an operation works with.
    fn context(&self, private: &[u8], may_defer: bool) -> Result<Context<P::Client>, Diagnostics> {
        let private = Private::read(private);
        Ok(Context::new(self.client()?, self.cancel.clone(), private, Deferral::new(may_defer)))
    }

    // The client is replaced whole: a panic while the lock was held has left nothing half done.
    fn client_slot(&self) -> RwLockReadGuard<'_, Option<Arc<P::Client>>> {
        self.client.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn client_slot_mut(&self) -> RwLockWriteGuard<'_, Option<Arc<P::Client>>> {
        self.client.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

// What answers with a stream outlives the call, and looks its kind up again.

fn action<'a, P: Provider>(
    kinds: &'a Kinds<P::Client>,
    name: &str,
) -> Result<&'a dyn ErasedAction<P::Client>, Diagnostics> {
    let found = kinds.actions.get(name);
    found.map(|kind| &**kind).ok_or_else(|| no_such_kind::<P>("action", name))
}

fn list<'a, P: Provider>(
    kinds: &'a Kinds<P::Client>,
    name: &str,
) -> Result<&'a dyn ErasedList<P::Client>, Diagnostics> {
    let found = kinds.lists.get(name);
    found.map(|kind| &**kind).ok_or_else(|| no_such_kind::<P>("list", name))
}

fn no_such_kind<P: Provider>(what: &str, name: &str) -> Diagnostics {
    Diagnostic::error(format!("Unknown {what} {name}"))
        .detail(format!("The provider {} {} has none of that name.", P::NAME, P::VERSION))
        .into()
}
