//! `GetMetadata` and `GetProviderSchema`: what the provider has.

use berth_proto::tfplugin6 as wire;

use super::Server;
use crate::provider::Provider;

impl<P: Provider> Server<P> {
    pub(super) fn get_metadata(&self) -> wire::get_metadata::Response {
        use wire::get_metadata::{DataSourceMetadata, ResourceMetadata};
        let resource = |name: &&str| ResourceMetadata { type_name: (*name).to_owned() };
        let data_source = |name: &&str| DataSourceMetadata { type_name: (*name).to_owned() };
        wire::get_metadata::Response {
            server_capabilities: Some(capabilities()),
            resources: self.kinds.resources.keys().map(resource).collect(),
            data_sources: self.kinds.data_sources.keys().map(data_source).collect(),
            ..Default::default()
        }
    }

    pub(super) fn get_provider_schema(&self) -> wire::get_provider_schema::Response {
        let resources = self.kinds.resources.iter();
        let data_sources = self.kinds.data_sources.iter();
        wire::get_provider_schema::Response {
            provider: Some(self.schema.to_wire()),
            resource_schemas: resources
                .map(|(name, kind)| ((*name).to_owned(), kind.schema().to_wire()))
                .collect(),
            data_source_schemas: data_sources
                .map(|(name, kind)| ((*name).to_owned(), kind.schema().to_wire()))
                .collect(),
            server_capabilities: Some(capabilities()),
            ..Default::default()
        }
    }
}

fn capabilities() -> wire::ServerCapabilities {
    wire::ServerCapabilities {
        plan_destroy: false,
        get_provider_schema_optional: true,
        move_resource_state: true,
        generate_resource_config: false,
    }
}
