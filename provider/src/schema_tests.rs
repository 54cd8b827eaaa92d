//! Each model is its schema's, and each attribute is documented.

use tfplugin::{Action, DataSource, Ephemeral, List, Model, Provider, Resource, Schema, SchemaError};

use crate::actions::{
    image_prune::ImagePrune, image_pull::ImagePull, instance_exec::InstanceExec,
    instance_restart::InstanceRestart,
};
use crate::config::ProviderModel;
use crate::data_sources::network::Network as NetworkLookup;
use crate::data_sources::volume::Volume as VolumeLookup;
use crate::data_sources::{host::Host, image, instance::Instance as InstanceLookup, instances::Instances};
use crate::provider::BerthProvider;
use crate::resources::{
    exec::Exec, image::Image, instance::Instance, network::Network, remote::Remote, volume::Volume,
};
use crate::{ephemeral, lists};

type Checked = Result<(), SchemaError>;

fn check<M: Model>(schema: &Schema, of: &'static str) -> Checked {
    schema.check::<M>(of)
}

fn resource<R: Resource>(it: R) -> Checked {
    assert!(it.identity().is_some(), "{}", R::NAME);
    check::<R::Model>(&it.schema(), R::NAME)
}

fn data_source<D: DataSource>(it: D) -> Checked {
    check::<D::Model>(&it.schema(), D::NAME)
}

fn action<A: Action>(it: A) -> Checked {
    check::<A::Model>(&it.schema(), A::NAME)
}

fn list<L: List>(it: L) -> Checked {
    check::<L::Config>(&it.schema(), L::Resource::NAME)
}

#[test]
fn models_and_schemas_agree() {
    let exec = ephemeral::instance_exec::InstanceExec;
    let checks = [
        check::<ProviderModel>(&BerthProvider.schema(), "berth"),
        resource(Remote),
        resource(Image),
        resource(Instance),
        resource(Volume),
        resource(Network),
        resource(Exec),
        data_source(NetworkLookup),
        list(lists::network::Networks),
        data_source(VolumeLookup),
        data_source(Host),
        data_source(image::Image),
        data_source(InstanceLookup),
        data_source(Instances),
        check::<<ephemeral::instance_exec::InstanceExec as Ephemeral>::Model>(&exec.schema(), "exec"),
        action(InstanceRestart),
        action(InstanceExec),
        action(ImagePull),
        action(ImagePrune),
        list(lists::remote::Remotes),
        list(lists::image::Images),
        list(lists::instance::Instances),
        list(lists::volume::Volumes),
    ];
    for check in checks {
        assert_eq!(check, Ok(()));
    }
}
