//! The list of pinned images.

use std::sync::Arc;

use tfplugin::{Context, Found, List, Schema};

use crate::attr::Attr;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;
use crate::resources::image::convert::from_wire;
use crate::resources::image::model::{ImageModel, ImagePrivate};

tfplugin::model! {
    /// Which images.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Search {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
    }
}

/// The list of `berth_image`.
pub struct Images;

impl List for Images {
    type Config = Search;
    type Resource = crate::resources::image::Image;

    fn schema(&self) -> Schema {
        Schema::new("Lists the images that are pinned on a host, for `terraform query`.")
            .attribute("host", look::host())
    }

    async fn list(
        &self,
        cx: &mut Context<Berth>,
        config: Search,
        found: &mut Found<ImageModel>,
    ) -> Result<(), Diagnostics> {
        let question = async move |it: Arc<Connection>| it.agent.pins().await;
        let mut all = super::all(cx, &config.host, "Listing the images", question).await?;
        all.sort_by(|one, other| (&one.reference, &one.platform).cmp(&(&other.reference, &other.platform)));
        for pin in all {
            let read = from_wire(&pin, None, &ImagePrivate::default());
            let state = ImageModel { host: config.host.clone(), ..read };
            found.push(pin.reference, state).await;
        }
        Ok(())
    }
}
