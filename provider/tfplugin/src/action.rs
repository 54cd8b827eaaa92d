//! What a provider's author writes: actions (Terraform 1.14), which do something and change no state.

use std::future::{Future, ready};

use tokio::sync::mpsc;

use crate::{
    context::Context,
    diagnostics::Diagnostics,
    erased::{Answer, Typed},
    schema::{Schema, SchemaError},
    value::{Convert, Model, Type, Value},
};

/// Something to be done when a user or a resource's change asks for it.
pub trait Action: Send + Sync + 'static {
    /// Its attributes as a struct. None of them is computed.
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

    /// Looks at what would be done, in which values may be unknown.
    fn plan(
        &self,
        cx: &mut Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = (cx, config);
        ready(Ok(()))
    }

    /// Does it.
    fn invoke(
        &self,
        cx: &mut Context<Self::Client>,
        config: Self::Model,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send;
}

/// Tells the user how far an action has come.
#[derive(Clone, Debug)]
pub struct Progress(pub(crate) mpsc::Sender<String>);

impl Progress {
    /// Tells it, in a line.
    pub async fn tell(&self, line: impl Into<String>) {
        // Nobody listens any more: the action is about to be dropped.
        let _ = self.0.send(line.into()).await;
    }
}

/// An action without its types.
pub(crate) trait ErasedAction<C>: Send + Sync {
    fn schema(&self) -> &Schema;
    fn ty(&self) -> &Type;
    fn check(&self) -> Result<(), SchemaError>;
    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics>;
    fn plan<'a>(&'a self, cx: &'a mut Context<C>, config: Value) -> Answer<'a, ()>;
    fn invoke<'a>(&'a self, cx: &'a mut Context<C>, config: Value, progress: &'a Progress) -> Answer<'a, ()>;
}

impl<A: Action> ErasedAction<A::Client> for Typed<A> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn ty(&self) -> &Type {
        &self.ty
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.schema.check::<A::Model>(A::NAME)
    }

    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        Ok(self.inner.validate(&A::Model::from_value(config)?))
    }

    fn plan<'a>(&'a self, cx: &'a mut Context<A::Client>, config: Value) -> Answer<'a, ()> {
        Box::pin(async move { self.inner.plan(cx, A::Model::from_value(config)?).await })
    }

    fn invoke<'a>(
        &'a self,
        cx: &'a mut Context<A::Client>,
        config: Value,
        progress: &'a Progress,
    ) -> Answer<'a, ()> {
        Box::pin(async move { self.inner.invoke(cx, A::Model::from_value(config)?, progress).await })
    }
}
