//! The provider: its configuration, and the kinds of things it manages.

use tfplugin::{Configure, Kinds, Provider, Schema};

use crate::config::{self, Berth, Environment, ProviderModel};
use crate::data_sources::host::Host;
use crate::data_sources::instance::{Instance as InstanceData, Instances};
use crate::data_sources::logs::InstanceLogs;
use crate::data_sources::volume::Volume as VolumeData;
use crate::report::Diagnostics;
use crate::resources::{exec::Exec, image::Image, instance::Instance, remote::Remote, volume::Volume};

/// `berth`.
pub struct BerthProvider;

impl Provider for BerthProvider {
    type Config = ProviderModel;
    type Client = Berth;

    const NAME: &'static str = "berth";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn schema(&self) -> Schema {
        config::schema()
    }

    fn validate(&self, config: &ProviderModel) -> Diagnostics {
        config::validate(config).into()
    }

    async fn configure(&self, config: ProviderModel, _: &mut Configure) -> Result<Berth, Diagnostics> {
        Ok(Berth::configure(&config, Environment::of_process()))
    }

    fn register(&self, kinds: &mut Kinds<Berth>) {
        kinds.resource(Remote).resource(Image).resource(Instance).resource(Volume).resource(Exec);
        kinds.data_source(Host).data_source(VolumeData).data_source(InstanceData);
        kinds.data_source(Instances).data_source(InstanceLogs);
    }
}
