//! What a provider's author writes: lists of what there is (`terraform query`, Terraform 1.14).

use std::{future::Future, marker::PhantomData};

use tokio::sync::mpsc;

use crate::{
    context::Context,
    diagnostics::{Diagnostic, Diagnostics},
    erased::{Answer, Typed},
    resource::Resource,
    schema::{Schema, SchemaError},
    value::{Convert, Model, Type, Value},
};

/// Lists the things of one kind of resource that there are, managed or not. Their identities are made of their states.
pub trait List: Send + Sync + 'static {
    /// The attributes of its configuration as a struct.
    type Config: Model + Clone;
    /// The kind of resource. It must have an identity.
    type Resource: Resource;

    /// The attributes of its configuration.
    fn schema(&self) -> Schema;

    /// Looks at a configuration, in which values may be unknown; the validators of the attributes have been asked already.
    fn validate(&self, config: &Self::Config) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Lists them.
    fn list(
        &self,
        cx: &mut Context<<Self::Resource as Resource>::Client>,
        config: Self::Config,
        found: &mut Found<<Self::Resource as Resource>::Model>,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send;
}

/// What goes from a list to the server.
pub(crate) enum Listed {
    /// One thing: what a user calls it, and its state.
    Thing(String, Value),
    /// Something to be told.
    Told(Diagnostics),
}

/// Where a list puts what it finds.
#[derive(Debug)]
pub struct Found<M> {
    out: mpsc::Sender<Listed>,
    left: u64,
    whole: bool,
    of: PhantomData<fn(M)>,
}

impl<M: Model> Found<M> {
    /// Whether the user wants whole states; else what the identity is made of is enough.
    pub fn wants_whole(&self) -> bool {
        self.whole
    }

    /// Whether the user wants no more.
    pub fn is_full(&self) -> bool {
        self.left == 0 || self.out.is_closed()
    }

    /// Adds one, unless there are as many as the user wants. `name` is what a user calls it.
    pub async fn push(&mut self, name: impl Into<String>, state: M) {
        if self.is_full() {
            return;
        }
        self.left -= 1;
        // Nobody listens any more: the list is about to be dropped.
        let _ = self.out.send(Listed::Thing(name.into(), state.into_value())).await;
    }

    /// Tells the user something and goes on: such as that one of many could not be asked.
    pub async fn tell(&mut self, diagnostic: Diagnostic) {
        let _ = self.out.send(Listed::Told(diagnostic.into())).await;
    }
}

/// What a list is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub whole: bool,
    pub limit: u64,
}

/// A list without its types.
pub(crate) trait ErasedList<C>: Send + Sync {
    fn schema(&self) -> &Schema;
    fn ty(&self) -> &Type;
    fn check(&self) -> Result<(), SchemaError>;
    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics>;
    fn list<'a>(
        &'a self,
        cx: &'a mut Context<C>,
        config: Value,
        query: Query,
        out: mpsc::Sender<Listed>,
    ) -> Answer<'a, ()>;
}

impl<L: List> ErasedList<<L::Resource as Resource>::Client> for Typed<L> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn ty(&self) -> &Type {
        &self.ty
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.schema.check::<L::Config>(L::Resource::NAME)
    }

    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        Ok(self.inner.validate(&L::Config::from_value(config)?))
    }

    fn list<'a>(
        &'a self,
        cx: &'a mut Context<<L::Resource as Resource>::Client>,
        config: Value,
        query: Query,
        out: mpsc::Sender<Listed>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut found = Found { out, left: query.limit, whole: query.whole, of: PhantomData };
            self.inner.list(cx, L::Config::from_value(config)?, &mut found).await
        })
    }
}
