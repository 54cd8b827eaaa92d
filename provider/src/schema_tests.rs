//! Each model is its schema's, and each attribute is documented.

use tfplugin::{DataSource, Provider, Resource};

use crate::config::ProviderModel;
use crate::data_sources::host::{Host, HostModel};
use crate::data_sources::volume as volume_data;
use crate::provider::BerthProvider;
use crate::resources::{image, instance, remote, volume};

#[test]
fn models_and_schemas_agree() {
    let checks = [
        BerthProvider.schema().check::<ProviderModel>("berth"),
        remote::Remote.schema().check::<remote::model::RemoteModel>("berth_remote"),
        image::Image.schema().check::<image::model::ImageModel>("berth_image"),
        instance::Instance.schema().check::<instance::model::InstanceModel>("berth_instance"),
        volume::Volume.schema().check::<volume::model::VolumeModel>("berth_volume"),
        volume_data::Volume.schema().check::<volume_data::VolumeDataModel>("berth_volume"),
        Host.schema().check::<HostModel>("berth_host"),
    ];
    for check in checks {
        assert_eq!(check, Ok(()));
    }
}
