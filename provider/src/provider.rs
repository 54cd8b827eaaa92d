//! The provider: its configuration, and the kinds of things it manages.

use tfplugin::{Configure, Kinds, Provider, Schema};

use crate::actions::{
    image_prune::ImagePrune, image_pull::ImagePull, instance_exec::InstanceExec,
    instance_restart::InstanceRestart,
};
use crate::config::{self, Berth, Environment, ProviderModel};
use crate::data_sources::logs::InstanceLogs;
use crate::data_sources::registry::{Repositories, Tags};
use crate::data_sources::{self, host::Host, network::Network as NetworkData, volume::Volume as VolumeData};
use crate::functions::{
    parse_env_file::ParseEnvFile, parse_reference::ParseReference, parse_size::ParseSize,
};
use crate::report::Diagnostics;
use crate::resources::{
    exec::Exec, image::Image, instance::Instance, network::Network, remote::Remote, volume::Volume,
};
use crate::{ephemeral, lists};

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
        kinds.resource(Network).data_source(NetworkData).list(lists::network::Networks);
        kinds.data_source(Host).data_source(VolumeData).data_source(data_sources::image::Image);
        kinds.data_source(data_sources::instance::Instance).data_source(data_sources::instances::Instances);
        kinds.function(ParseReference).function(ParseSize).function(ParseEnvFile);
        kinds.ephemeral(ephemeral::instance_exec::InstanceExec);
        kinds.action(InstanceRestart).action(InstanceExec).action(ImagePull).action(ImagePrune);
        kinds.list(lists::remote::Remotes).list(lists::image::Images).list(lists::instance::Instances);
        kinds.list(lists::volume::Volumes);
        kinds.data_source(InstanceLogs).data_source(Tags).data_source(Repositories);
    }
}
