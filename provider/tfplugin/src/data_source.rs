//! What a provider's author writes: data sources.

use std::future::Future;

use crate::{context::Context, diagnostics::Diagnostics, schema::Schema, value::Model};

/// A kind of thing to look up.
pub trait DataSource: Send + Sync + 'static {
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

    /// Looks it up. What the configuration sets has to come back the same.
    fn read(
        &self,
        cx: &mut Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;
}
