//! What a provider's author writes: ephemeral resources (Terraform 1.10), which are in no plan and no state.

use std::{
    future::{Future, ready},
    time::SystemTime,
};

use crate::{
    context::Context,
    diagnostics::Diagnostics,
    erased::{Answer, Typed},
    schema::{Schema, SchemaError},
    value::{Convert, Model, Type, Value},
};

/// A kind of thing that lasts as long as Terraform uses it, and is opened anew in each plan and each apply.
///
/// What its operations share is in the context's private state, which no user sees.
pub trait Ephemeral: Send + Sync + 'static {
    /// Its attributes as a struct.
    type Model: Model + Clone;
    /// What [`Provider::configure`](crate::Provider::configure) makes.
    type Client: Send + Sync + 'static;

    /// Its name in the configuration, the provider's name and `_` first.
    const NAME: &'static str;

    /// Its attributes.
    fn schema(&self) -> Schema;

    /// Looks at a configuration, in which values may be unknown; the validators of the attributes have been asked already.
    fn validate(&self, config: &Self::Model) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Opens it. What the configuration sets has to come back the same.
    fn open(
        &self,
        cx: &mut Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Opened<Self::Model>, Diagnostics>> + Send;

    /// Makes it last longer, and says when to do so again; asked for only where [`Opened::renew_at`] says so.
    fn renew(
        &self,
        cx: &mut Context<Self::Client>,
    ) -> impl Future<Output = Result<Option<SystemTime>, Diagnostics>> + Send {
        let _ = cx;
        ready(Ok(None))
    }

    /// Ends it.
    fn close(&self, cx: &mut Context<Self::Client>) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = cx;
        ready(Ok(()))
    }
}

/// An ephemeral resource that was opened.
#[derive(Clone, Debug)]
pub struct Opened<M> {
    /// What it is.
    pub result: M,
    /// When it has to be renewed, where it has to be.
    pub renew_at: Option<SystemTime>,
}

impl<M> From<M> for Opened<M> {
    fn from(result: M) -> Self {
        Self { result, renew_at: None }
    }
}

/// An ephemeral resource without its types.
pub(crate) trait ErasedEphemeral<C>: Send + Sync {
    fn schema(&self) -> &Schema;
    fn ty(&self) -> &Type;
    fn check(&self) -> Result<(), SchemaError>;
    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics>;
    fn open<'a>(&'a self, cx: &'a mut Context<C>, config: Value) -> Answer<'a, Opened<Value>>;
    fn renew<'a>(&'a self, cx: &'a mut Context<C>) -> Answer<'a, Option<SystemTime>>;
    fn close<'a>(&'a self, cx: &'a mut Context<C>) -> Answer<'a, ()>;
}

impl<E: Ephemeral> ErasedEphemeral<E::Client> for Typed<E> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn ty(&self) -> &Type {
        &self.ty
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.schema.check::<E::Model>(E::NAME)
    }

    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        Ok(self.inner.validate(&E::Model::from_value(config)?))
    }

    fn open<'a>(&'a self, cx: &'a mut Context<E::Client>, config: Value) -> Answer<'a, Opened<Value>> {
        Box::pin(async move {
            let opened = self.inner.open(cx, E::Model::from_value(config)?).await?;
            Ok(Opened { result: opened.result.into_value(), renew_at: opened.renew_at })
        })
    }

    fn renew<'a>(&'a self, cx: &'a mut Context<E::Client>) -> Answer<'a, Option<SystemTime>> {
        Box::pin(self.inner.renew(cx))
    }

    fn close<'a>(&'a self, cx: &'a mut Context<E::Client>) -> Answer<'a, ()> {
        Box::pin(self.inner.close(cx))
    }
}
