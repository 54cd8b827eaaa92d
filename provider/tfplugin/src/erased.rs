//! Resources and data sources without their types: values in, values out. The other kinds have theirs beside them.

use futures::future::BoxFuture;
use serde_json::Value as Json;

use crate::{
    context::{Context, Plan},
    data_source::DataSource,
    deferral::{Deferral, Reason},
    diagnostics::Diagnostics,
    identity::IdentitySchema,
    private::Private,
    resource::{Create, MoveSource, Resource, Update},
    schema::{Schema, SchemaError},
    value::{Convert, Path, Type, Value},
};

/// What an operation answers.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, Diagnostics>>;

/// The values that a plan is about.
pub(crate) struct PlanValues {
    pub config: Value,
    pub prior: Value,
    pub planned: Value,
}

/// What a resource made of a plan.
pub(crate) struct Modified {
    pub planned: Value,
    pub replace: Vec<Path>,
    pub told: Diagnostics,
    pub deferred: Option<Reason>,
}

pub(crate) trait ErasedResource<C>: Send + Sync {
    fn schema(&self) -> &Schema;
    fn ty(&self) -> &Type;
    fn check(&self) -> Result<(), SchemaError>;
    fn identity(&self) -> Option<&IdentitySchema>;
    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics>;
    fn modify_plan(
        &self,
        values: PlanValues,
        private: &mut Private,
        client: &C,
        deferral: Deferral,
    ) -> Result<Modified, Diagnostics>;
    fn read<'a>(&'a self, cx: &'a mut Context<C>, state: Value) -> Answer<'a, Option<Value>>;
    fn create<'a>(&'a self, cx: &'a mut Context<C>, planned: Value, config: Value) -> Answer<'a, Value>;
    fn update<'a>(&'a self, cx: &'a mut Context<C>, values: PlanValues) -> Answer<'a, Value>;
    fn delete<'a>(&'a self, cx: &'a mut Context<C>, state: Value) -> Answer<'a, ()>;
    fn import<'a>(&'a self, cx: &'a mut Context<C>, id: &'a str) -> Answer<'a, Value>;
    fn import_identity<'a>(&'a self, cx: &'a mut Context<C>, identity: Value) -> Answer<'a, Value>;
    fn generate(&self, state: Value) -> Result<Value, Diagnostics>;
    fn upgrade(&self, version: i64, state: Json) -> Result<Json, Diagnostics>;
    fn move_from(&self, source: &MoveSource, told: &mut Diagnostics) -> Result<Option<Value>, Diagnostics>;
}

pub(crate) trait ErasedDataSource<C>: Send + Sync {
    fn schema(&self) -> &Schema;
    fn ty(&self) -> &Type;
    fn check(&self) -> Result<(), SchemaError>;
    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics>;
    fn read<'a>(&'a self, cx: &'a mut Context<C>, config: Value) -> Answer<'a, Value>;
}

/// A kind with its schema, which is made once.
pub(crate) struct Typed<T> {
    pub inner: T,
    pub schema: Schema,
    pub ty: Type,
    identity: Option<IdentitySchema>,
}

impl<T> Typed<T> {
    /// A kind without an identity.
    pub fn new(inner: T, schema: Schema) -> Self {
        Self { inner, ty: schema.ty(), schema, identity: None }
    }
}

impl<R: Resource> Typed<R> {
    pub fn resource(inner: R) -> Self {
        let (schema, identity) = (inner.schema(), inner.identity());
        Self { identity, ..Self::new(inner, schema) }
    }
}

impl<R: Resource> ErasedResource<R::Client> for Typed<R> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn ty(&self) -> &Type {
        &self.ty
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.schema.check::<R::Model>(R::NAME)
    }

    fn identity(&self) -> Option<&IdentitySchema> {
        self.identity.as_ref()
    }

    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        Ok(self.inner.validate(&R::Model::from_value(config)?))
    }

    fn modify_plan(
        &self,
        values: PlanValues,
        private: &mut Private,
        client: &R::Client,
        deferral: Deferral,
    ) -> Result<Modified, Diagnostics> {
        let mut plan = Plan {
            config: R::Model::from_value(values.config)?,
            prior: Option::from_value(values.prior)?,
            planned: R::Model::from_value(values.planned)?,
            private,
            client,
            replace: Vec::new(),
            told: Diagnostics::new(),
            deferral,
        };
        self.inner.modify_plan(&mut plan)?;
        Ok(Modified {
            planned: plan.planned.into_value(),
            replace: plan.replace,
            told: plan.told,
            deferred: plan.deferral.asked,
        })
    }

    fn read<'a>(&'a self, cx: &'a mut Context<R::Client>, state: Value) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let state = R::Model::from_value(state)?;
            Ok(self.inner.read(cx, state).await?.map(Convert::into_value))
        })
    }

    fn create<'a>(
        &'a self,
        cx: &'a mut Context<R::Client>,
        planned: Value,
        config: Value,
    ) -> Answer<'a, Value> {
        Box::pin(async move {
            let new =
                Create { planned: R::Model::from_value(planned)?, config: R::Model::from_value(config)? };
            Ok(self.inner.create(cx, new).await?.into_value())
        })
    }

    fn update<'a>(&'a self, cx: &'a mut Context<R::Client>, values: PlanValues) -> Answer<'a, Value> {
        Box::pin(async move {
            let change = Update {
                prior: R::Model::from_value(values.prior)?,
                planned: R::Model::from_value(values.planned)?,
                config: R::Model::from_value(values.config)?,
            };
            Ok(self.inner.update(cx, change).await?.into_value())
        })
    }

    fn delete<'a>(&'a self, cx: &'a mut Context<R::Client>, state: Value) -> Answer<'a, ()> {
        Box::pin(async move { self.inner.delete(cx, R::Model::from_value(state)?).await })
    }

    fn import<'a>(&'a self, cx: &'a mut Context<R::Client>, id: &'a str) -> Answer<'a, Value> {
        Box::pin(async move { Ok(self.inner.import(cx, id).await?.into_value()) })
    }

    fn import_identity<'a>(&'a self, cx: &'a mut Context<R::Client>, identity: Value) -> Answer<'a, Value> {
        Box::pin(async move { Ok(self.inner.import_identity(cx, identity).await?.into_value()) })
    }

    fn generate(&self, state: Value) -> Result<Value, Diagnostics> {
        Ok(self.inner.generate(R::Model::from_value(state)?).into_value())
    }

    fn upgrade(&self, version: i64, state: Json) -> Result<Json, Diagnostics> {
        self.inner.upgrade(version, state)
    }

    fn move_from(&self, source: &MoveSource, told: &mut Diagnostics) -> Result<Option<Value>, Diagnostics> {
        Ok(self.inner.move_from(source, told)?.map(Convert::into_value))
    }
}

impl<D: DataSource> ErasedDataSource<D::Client> for Typed<D> {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn ty(&self) -> &Type {
        &self.ty
    }

    fn check(&self) -> Result<(), SchemaError> {
        self.schema.check::<D::Model>(D::NAME)
    }

    fn validate(&self, config: Value) -> Result<Diagnostics, Diagnostics> {
        Ok(self.inner.validate(&D::Model::from_value(config)?))
    }

    fn read<'a>(&'a self, cx: &'a mut Context<D::Client>, config: Value) -> Answer<'a, Value> {
        Box::pin(async move {
            let config = D::Model::from_value(config)?;
            Ok(self.inner.read(cx, config).await?.into_value())
        })
    }
}
