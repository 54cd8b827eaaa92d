//! What a provider's author writes: the provider itself.

use std::{collections::BTreeMap, future::Future};

use crate::{
    action::{Action, ErasedAction},
    cancel::Cancel,
    data_source::DataSource,
    diagnostics::Diagnostics,
    ephemeral::{Ephemeral, ErasedEphemeral},
    erased::{ErasedDataSource, ErasedResource, Typed},
    function::{ErasedFunction, Function, TypedFunction},
    list::{ErasedList, List},
    resource::Resource,
    schema::{Schema, SchemaError},
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

    /// Names its resources, data sources, functions and so on.
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

/// All that a provider has.
pub struct Kinds<C> {
    pub(crate) resources: BTreeMap<&'static str, Box<dyn ErasedResource<C>>>,
    pub(crate) data_sources: BTreeMap<&'static str, Box<dyn ErasedDataSource<C>>>,
    pub(crate) ephemerals: BTreeMap<&'static str, Box<dyn ErasedEphemeral<C>>>,
    pub(crate) actions: BTreeMap<&'static str, Box<dyn ErasedAction<C>>>,
    pub(crate) lists: BTreeMap<&'static str, Box<dyn ErasedList<C>>>,
    pub(crate) functions: BTreeMap<&'static str, Box<dyn ErasedFunction>>,
}

impl<C: Send + Sync + 'static> Kinds<C> {
    pub(crate) fn new() -> Self {
        Self {
            resources: BTreeMap::new(),
            data_sources: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            actions: BTreeMap::new(),
            lists: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }

    /// With this resource.
    pub fn resource<R: Resource<Client = C>>(&mut self, resource: R) -> &mut Self {
        self.resources.insert(R::NAME, Box::new(Typed::resource(resource)));
        self
    }

    /// With this data source.
    pub fn data_source<D: DataSource<Client = C>>(&mut self, data_source: D) -> &mut Self {
        let schema = data_source.schema();
        self.data_sources.insert(D::NAME, Box::new(Typed::new(data_source, schema)));
        self
    }

    /// With this ephemeral resource.
    pub fn ephemeral<E: Ephemeral<Client = C>>(&mut self, ephemeral: E) -> &mut Self {
        let schema = ephemeral.schema();
        self.ephemerals.insert(E::NAME, Box::new(Typed::new(ephemeral, schema)));
        self
    }

    /// With this action.
    pub fn action<A: Action<Client = C>>(&mut self, action: A) -> &mut Self {
        let schema = action.schema();
        self.actions.insert(A::NAME, Box::new(Typed::new(action, schema)));
        self
    }

    /// With this list of a resource that is there, too.
    pub fn list<L>(&mut self, list: L) -> &mut Self
    where
        L: List,
        L::Resource: Resource<Client = C>,
    {
        let schema = list.schema();
        self.lists.insert(L::Resource::NAME, Box::new(Typed::new(list, schema)));
        self
    }

    /// With this function.
    pub fn function<F: Function>(&mut self, function: F) -> &mut Self {
        self.functions.insert(F::NAME, Box::new(TypedFunction::new(function)));
        self
    }

    /// Whether each is right in itself, and with the others.
    pub(crate) fn check(&self) -> Result<(), SchemaError> {
        self.resources.values().try_for_each(|kind| kind.check())?;
        self.data_sources.values().try_for_each(|kind| kind.check())?;
        self.ephemerals.values().try_for_each(|kind| kind.check())?;
        self.actions.values().try_for_each(|kind| kind.check())?;
        self.functions.values().try_for_each(|kind| kind.check())?;
        self.lists.iter().try_for_each(|(name, kind)| {
            kind.check()?;
            match self.resources.get(name).and_then(|resource| resource.identity()) {
                Some(_) => Ok(()),
                None => Err(SchemaError::NoIdentity { of: name }),
            }
        })
    }
}

impl<C> std::fmt::Debug for Kinds<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.resources.keys().chain(self.data_sources.keys()).chain(self.ephemerals.keys());
        let names = kinds.chain(self.actions.keys()).chain(self.functions.keys());
        out.debug_list().entries(names).finish()
    }
}
