//! What a provider's author writes: resources.

use std::future::{Future, ready};

use serde_json::Value as Json;

use crate::{
    context::{Context, Plan},
    diagnostics::{Diagnostic, Diagnostics},
    identity::IdentitySchema,
    schema::Schema,
    value::{Model, Value},
};

/// A kind of managed thing.
///
/// Its methods may be written as `async fn`. A panic in one is an error for the user, and not the provider's end.
pub trait Resource: Send + Sync + 'static {
    /// Its attributes as a struct: the same for configuration, plan and state.
    type Model: Model + Clone;
    /// What [`Provider::configure`](crate::Provider::configure) makes.
    type Client: Send + Sync + 'static;

    /// Its name in the configuration, the provider's name and `_` first.
    const NAME: &'static str;

    /// Its attributes.
    fn schema(&self) -> Schema;

    /// What names one of it beside its state, where there is such a thing. Each of its attributes is also the state's.
    fn identity(&self) -> Option<IdentitySchema> {
        None
    }

    /// Looks at a configuration, in which values may be unknown; the validators of the attributes have been asked already.
    fn validate(&self, config: &Self::Model) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Changes the plan of a create or an update.
    ///
    /// # Errors
    /// What stands against the plan.
    fn modify_plan(&self, plan: &mut Plan<'_, Self::Model, Self::Client>) -> Result<(), Diagnostics> {
        let _ = plan;
        Ok(())
    }

    /// Finds out how it is: `None` if it is no more.
    ///
    /// Where the new state spells a value in another way than the old, the old spelling stays.
    fn read(
        &self,
        cx: &mut Context<Self::Client>,
        state: Self::Model,
    ) -> impl Future<Output = Result<Option<Self::Model>, Diagnostics>> + Send;

    /// Makes it as planned. What was planned as known has to come back the same; unknown values have to be filled in.
    fn create(
        &self,
        cx: &mut Context<Self::Client>,
        new: Create<Self::Model>,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;

    /// Changes it as planned.
    fn update(
        &self,
        cx: &mut Context<Self::Client>,
        change: Update<Self::Model>,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;

    /// Removes it. That it is no more already is no error.
    fn delete(
        &self,
        cx: &mut Context<Self::Client>,
        state: Self::Model,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send;

    /// Finds the one that the user names. Terraform reads it right after, so that a state with its id may be enough.
    fn import(
        &self,
        cx: &mut Context<Self::Client>,
        id: &str,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send {
        let _ = (cx, id);
        ready(Err(Diagnostic::error(format!("{} cannot be imported", Self::NAME)).into()))
    }

    /// Finds the one that has this identity, an object of [`Self::identity`].
    fn import_identity(
        &self,
        cx: &mut Context<Self::Client>,
        identity: Value,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send {
        let _ = (cx, identity);
        ready(Err(Diagnostic::error(format!("{} cannot be imported by its identity", Self::NAME)).into()))
    }

    /// Makes of a state the configuration that a user would write for it, for `terraform plan -generate-config-out`. What a
    /// configuration cannot set, and what is a default, is taken out after it.
    fn generate(&self, state: Self::Model) -> Self::Model {
        state
    }

    /// Brings a state of an older version to the schema's. Attributes that it lacks are null after it, and unknown ones are dropped.
    ///
    /// # Errors
    /// Where it is of no version that is known.
    fn upgrade(&self, version: i64, state: Json) -> Result<Json, Diagnostics> {
        let _ = state;
        Err(Diagnostic::error(format!("No upgrade of {} from version {version}", Self::NAME)).into())
    }

    /// Takes over the state of another kind of resource (`moved`); `None` if it is none that can become this. What the user
    /// should know of it is pushed to `told`.
    ///
    /// # Errors
    /// Where it could become this but for something.
    fn move_from(
        &self,
        source: &MoveSource,
        told: &mut Diagnostics,
    ) -> Result<Option<Self::Model>, Diagnostics> {
        let _ = (source, told);
        Ok(None)
    }
}

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Create<M> {
    /// The plan: known as planned, and unknown where it is to be filled in.
    pub planned: M,
    /// The configuration, with the values of write-only attributes.
    pub config: M,
}

/// What is to be changed.
#[derive(Clone, Debug)]
pub struct Update<M> {
    /// What there is.
    pub prior: M,
    /// The plan: known as planned, and unknown where it is to be filled in.
    pub planned: M,
    /// The configuration, with the values of write-only attributes.
    pub config: M,
}

/// A state of another kind of resource.
#[derive(Clone, Debug)]
pub struct MoveSource {
    /// The other provider's address, as `registry.terraform.io/hashicorp/null`.
    pub provider: String,
    /// The other kind.
    pub type_name: String,
    /// The version of the other kind's schema.
    pub version: i64,
    /// The state.
    pub state: Json,
}
