//! The list of instances.

use std::sync::Arc;

use tfplugin::value::Type;
use tfplugin::{Attribute, Context, Found, List, Schema};

use crate::attr::{Attr, Map};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::{instances::has_labels, look};
use crate::report::Diagnostics;
use crate::resources::instance::convert::from_wire;
use crate::resources::instance::model::InstanceModel;
use crate::resources::session;

tfplugin::model! {
    /// Which instances.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Search {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Labels that each has.
        pub labels: Map<String>,
    }
}

/// The list of `berth_instance`.
pub struct Instances;

impl List for Instances {
    type Config = Search;
    type Resource = crate::resources::instance::Instance;

    fn schema(&self) -> Schema {
        Schema::new("Lists the instances of a host, for `terraform query`.")
            .attribute("host", look::host())
            .attribute(
                "labels",
                Attribute::map(Type::String, "Only those that have each of these labels. Default: all."),
            )
    }

    async fn list(
        &self,
        cx: &mut Context<Berth>,
        config: Search,
        found: &mut Found<InstanceModel>,
    ) -> Result<(), Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.instances().await;
        let mut all = super::all(cx, &config.host, "Listing the instances", question).await?;
        all.retain(|instance| has_labels(instance, &config.labels));
        let name = |it: &berth_proto::agent::Instance| it.spec.as_ref().map(|spec| spec.name.clone());
        all.sort_by_key(name);
        let defaults = session::default_labels(cx.client());
        for instance in all {
            let state = InstanceModel { host: config.host.clone(), ..from_wire(&instance, None, &defaults) };
            found.push(name(&instance).unwrap_or_default(), state).await;
        }
        Ok(())
    }
}
