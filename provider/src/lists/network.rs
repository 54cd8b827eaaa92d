//! The list of networks.

use std::sync::Arc;

use tfplugin::value::Type;
use tfplugin::{Attribute, Context, Found, List, Schema};

use crate::attr::{Attr, Map, entries};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;
use crate::resources::network::convert::from_wire;
use crate::resources::network::model::NetworkModel;
use crate::resources::session;

tfplugin::model! {
    /// Which networks.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Search {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Labels that each has.
        pub labels: Map<String>,
    }
}

/// The list of `berth_network`.
pub struct Networks;

impl List for Networks {
    type Config = Search;
    type Resource = crate::resources::network::Network;

    fn schema(&self) -> Schema {
        Schema::new("Lists the networks of a host, for `terraform query`.")
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
        found: &mut Found<NetworkModel>,
    ) -> Result<(), Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.networks().await;
        let mut all = super::all(cx, &config.host, "Listing the networks", question).await?;
        let name = |it: &berth_proto::agent::Network| it.spec.as_ref().map(|spec| spec.name.clone());
        all.sort_by_key(name);
        let defaults = session::default_labels(cx.client());
        for network in all {
            let labels = network.spec.as_ref().map(|spec| &spec.labels);
            let has = |(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value));
            if entries(&config.labels).all(has) {
                let state =
                    NetworkModel { host: config.host.clone(), ..from_wire(&network, None, &defaults) };
                found.push(name(&network).unwrap_or_default(), state).await;
            }
        }
        Ok(())
    }
}
