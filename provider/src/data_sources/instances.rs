//! `berth_instances`: the instances of a host, by their labels.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::ReadTimeouts;
use tfplugin::value::Type;
use tfplugin::{Attr, Attribute, Context, DataSource, Schema};

use super::facts::{self, Facts};
use super::look;
use crate::attr::{List, Map, entries, list};
use crate::both::Both;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::Diagnostics;

tfplugin::model! {
    /// Which instances, and what they are.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct InstancesModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Labels that each has.
        pub labels: Map<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
        /// By name.
        pub instances: List<Both<Named, Facts>>,
    }
}

tfplugin::model! {
    /// An instance's names.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Named {
        /// Unique on its host.
        pub name: Attr<String>,
        /// A UUID.
        pub id: Attr<String>,
    }
}

/// `berth_instances`.
pub struct Instances;

impl DataSource for Instances {
    type Model = InstancesModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instances";

    fn schema(&self) -> Schema {
        let name = ("name", Attribute::string("Its name.").computed());
        let id = ("id", Attribute::string("Its id, a UUID.").computed());
        let each = [name, id].into_iter().chain(facts::attributes());
        Schema::new("The instances of a host, managed or not, in the order of their names.")
            .attribute("host", look::host())
            .attribute(
                "labels",
                Attribute::map(Type::String, "Only those that have each of these labels. Default: all."),
            )
            .attribute("timeouts", look::timeouts())
            .attribute("instances", Attribute::nested_list("The instances.", each).computed())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: InstancesModel,
    ) -> Result<InstancesModel, Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.instances().await;
        let call = "Listing the instances";
        let mut found = look::ask(cx, &config.host, &config.timeouts, call, question).await?;
        found.retain(|instance| has_labels(instance, &config.labels));
        found.sort_by(|one, other| name(one).cmp(name(other)));
        let each = found.into_iter().map(|instance| {
            let named = Named { name: name(&instance).into(), id: Attr::Known(instance.id.clone()) };
            Both(named, Facts::from(instance))
        });
        Ok(InstancesModel { instances: list(each), ..config })
    }
}

fn name(instance: &wire::Instance) -> &str {
    instance.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default()
}

/// Whether it has each of these labels.
pub fn has_labels(instance: &wire::Instance, wanted: &Map<String>) -> bool {
    let labels = instance.spec.as_ref().map(|spec| &spec.labels);
    entries(wanted).all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
}
