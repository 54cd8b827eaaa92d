//! `GetMetadata` and `GetProviderSchema`: what the provider has.

use std::collections::{BTreeMap, HashMap};

use berth_proto::tfplugin6::{self as wire, get_metadata as metadata};

use super::Server;
use crate::provider::Provider;

impl<P: Provider> Server<P> {
    pub(super) fn get_metadata(&self) -> wire::get_metadata::Response {
        use metadata::{
            ActionMetadata, DataSourceMetadata, EphemeralMetadata, FunctionMetadata, ListResourceMetadata,
            ResourceMetadata,
        };
        let kinds = &self.kinds;
        wire::get_metadata::Response {
            server_capabilities: Some(capabilities()),
            resources: names(&kinds.resources, |type_name| ResourceMetadata { type_name }),
            data_sources: names(&kinds.data_sources, |type_name| DataSourceMetadata { type_name }),
            functions: names(&kinds.functions, |name| FunctionMetadata { name }),
            ephemeral_resources: names(&kinds.ephemerals, |type_name| EphemeralMetadata { type_name }),
            list_resources: names(&kinds.lists, |type_name| ListResourceMetadata { type_name }),
            actions: names(&kinds.actions, |type_name| ActionMetadata { type_name }),
            ..Default::default()
        }
    }

    pub(super) fn get_provider_schema(&self) -> wire::get_provider_schema::Response {
        let kinds = &self.kinds;
        wire::get_provider_schema::Response {
            provider: Some(self.schema.to_wire()),
            resource_schemas: schemas(&kinds.resources, |kind| kind.schema().to_wire()),
            data_source_schemas: schemas(&kinds.data_sources, |kind| kind.schema().to_wire()),
            functions: self.functions(),
            ephemeral_resource_schemas: schemas(&kinds.ephemerals, |kind| kind.schema().to_wire()),
            list_resource_schemas: schemas(&kinds.lists, |kind| kind.schema().to_wire()),
            action_schemas: schemas(&kinds.actions, |kind| wire::ActionSchema {
                schema: Some(kind.schema().to_wire()),
            }),
            server_capabilities: Some(capabilities()),
            ..Default::default()
        }
    }
}

fn names<K, T>(kinds: &BTreeMap<&'static str, K>, of: impl Fn(String) -> T) -> Vec<T> {
    kinds.keys().map(|name| of((*name).to_owned())).collect()
}

fn schemas<K, T>(kinds: &BTreeMap<&'static str, K>, of: impl Fn(&K) -> T) -> HashMap<String, T> {
    kinds.iter().map(|(name, kind)| ((*name).to_owned(), of(kind))).collect()
}

fn capabilities() -> wire::ServerCapabilities {
    wire::ServerCapabilities {
        plan_destroy: false,
        get_provider_schema_optional: true,
        move_resource_state: true,
        generate_resource_config: true,
    }
}
