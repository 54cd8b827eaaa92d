//! The list of volumes.

use std::sync::Arc;

use tfplugin::value::Type;
use tfplugin::{Attribute, Context, Found, List, Schema};

use crate::attr::{Attr, Map, entries};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;
use crate::resources::session;
use crate::resources::volume::convert::from_wire;
use crate::resources::volume::model::VolumeModel;

tfplugin::model! {
    /// Which volumes.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Search {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Labels that each has.
        pub labels: Map<String>,
    }
}

/// The list of `berth_volume`.
pub struct Volumes;

impl List for Volumes {
    type Config = Search;
    type Resource = crate::resources::volume::Volume;

    fn schema(&self) -> Schema {
        Schema::new("Lists the volumes of a host, for `terraform query`.")
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
        found: &mut Found<VolumeModel>,
    ) -> Result<(), Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.volumes().await;
        let mut all = super::all(cx, &config.host, "Listing the volumes", question).await?;
        let name = |it: &berth_proto::agent::Volume| it.spec.as_ref().map(|spec| spec.name.clone());
        all.sort_by_key(name);
        let defaults = session::default_labels(cx.client());
        for volume in all {
            let labels = volume.spec.as_ref().map(|spec| &spec.labels);
            let has = |(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value));
            if entries(&config.labels).all(has) {
                let state = VolumeModel { host: config.host.clone(), ..from_wire(&volume, None, &defaults) };
                found.push(name(&volume).unwrap_or_default(), state).await;
            }
        }
        Ok(())
    }
}
