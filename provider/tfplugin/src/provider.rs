//! What a provider's author writes: the provider itself.

use std::{collections::BTreeMap, future::Future};

use crate::{
    cancel::Cancel,
    data_source::DataSource,
    diagnostics::Diagnostics,
    erased::{ErasedDataSource, ErasedResource, Typed},
    resource::Resource,
    schema::Schema,
    value::Model,
};

/// A provider: its own configuration and its kinds of resources.
pub trait Provider: Send + Sync + 'static {
    /// The attributes of its configuration as a struct.
    type Config: Model;
    /// What its resources work with.
    type Client: Send + Sync + 'static;

    /// Its name, with which the names of its resources begin.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;

    /// The attributes of its configuration.
    fn schema(&self) -> Schema;

    /// Looks at a configuration, in which values may be unknown; the validators of the attributes have been asked already.
    fn validate(&self, config: &Self::Config) -> Diagnostics {
        let _ = config;
        Diagnostics::new()
    }

    /// Makes what the resources work with. In a plan, values may be unknown.
    fn configure(
        &self,
        config: Self::Config,
        cx: &mut Configure,
    ) -> impl Future<Output = Result<Self::Client, Diagnostics>> + Send;

    /// Names its resources and data sources.
    fn register(&self, kinds: &mut Kinds<Self::Client>);
}

/// What a configuration has beside its values.
#[derive(Debug)]
pub struct Configure {
    /// Terraform's version, or OpenTofu's.
    pub terraform_version: String,
    /// Tells that the user wants the operations to stop.
    pub cancel: Cancel,
    pub(crate) told: Diagnostics,
}

impl Configure {
    /// Tells the user something that is no failure.
    pub fn warn(&mut self, diagnostic: crate::Diagnostic) {
        self.told.push(diagnostic);
    }
}

/// A provider's resources and data sources.
pub struct Kinds<C> {
    pub(crate) resources: BTreeMap<&'static str, Box<dyn ErasedResource<C>>>,
    pub(crate) data_sources: BTreeMap<&'static str, Box<dyn ErasedDataSource<C>>>,
}

impl<C: Send + Sync + 'static> Kinds<C> {
    pub(crate) fn new() -> Self {
        Self { resources: BTreeMap::new(), data_sources: BTreeMap::new() }
    }

    /// With this resource.
    pub fn resource<R: Resource<Client = C>>(&mut self, resource: R) -> &mut Self {
        self.resources.insert(R::NAME, Box::new(Typed::resource(resource)));
        self
    }

    /// With this data source.
    pub fn data_source<D: DataSource<Client = C>>(&mut self, data_source: D) -> &mut Self {
        self.data_sources.insert(D::NAME, Box::new(Typed::data_source(data_source)));
        self
    }
}

impl<C> std::fmt::Debug for Kinds<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.resources.keys().chain(self.data_sources.keys());
        out.debug_list().entries(names).finish()
    }
}
