//! The list of remotes.

use std::sync::Arc;

use tfplugin::{Context, Found, List, Schema};

use crate::attr::Attr;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;
use crate::resources::remote::convert::from_wire;
use crate::resources::remote::model::{RemoteModel, RemotePrivate};

tfplugin::model! {
    /// Which remotes.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Search {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
    }
}

/// The list of `berth_remote`.
pub struct Remotes;

impl List for Remotes {
    type Config = Search;
    type Resource = crate::resources::remote::Remote;

    fn schema(&self) -> Schema {
        Schema::new("Lists the registries that a host knows by name, for `terraform query`.")
            .attribute("host", look::host())
    }

    async fn list(
        &self,
        cx: &mut Context<Berth>,
        config: Search,
        found: &mut Found<RemoteModel>,
    ) -> Result<(), Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.remotes().await;
        let mut all = super::all(cx, &config.host, "Listing the remotes", question).await?;
        let name = |it: &berth_proto::agent::Remote| it.spec.as_ref().map(|spec| spec.name.clone());
        all.sort_by_key(name);
        for remote in all {
            let private =
                RemotePrivate { has_password: remote.has_password, has_client_key: remote.has_client_key };
            let state = RemoteModel { host: config.host.clone(), ..from_wire(&remote, None, &private) };
            found.push(name(&remote).unwrap_or_default(), state).await;
        }
        Ok(())
    }
}
