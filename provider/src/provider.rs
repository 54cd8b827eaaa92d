//! The provider: its configuration, and the kinds of things it manages.

use tfplugin::{Configure, Kinds, Provider, Schema};

use crate::config::{self, Berth, Environment, ProviderModel};
use crate::data_sources::registry::{Repositories, Tags};
use crate::data_sources::{host::Host, volume::Volume as VolumeData};
use crate::report::Diagnostics;
use crate::resources::{image::Image, instance::Instance, remote::Remote, volume::Volume};

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
        kinds.resource(Remote).resource(Image).resource(Instance).resource(Volume);
        kinds.data_source(Host).data_source(VolumeData);
        kinds.data_source(Tags).data_source(Repositories);
    }
}
