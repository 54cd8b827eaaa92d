//! `berth_image`: what a reference means now, without pulling it.

use berth_proto::agent as wire;
use tfplugin::timeouts::ReadTimeouts;
use tfplugin::{Attr, Attribute, Context, DataSource, Schema};

use super::look;
use crate::attr::non_empty;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Path, capital};
use crate::text::reference;

tfplugin::model! {
    /// An image in a registry.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct ImageModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// What to look up.
        pub reference: Attr<String>,
        /// For which platform; the host's where absent.
        pub platform: Attr<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
        /// Digest of the platform's manifest.
        pub id: Attr<String>,
        /// Digest of what the tag points at.
        pub index_digest: Attr<String>,
        /// `host/repository@digest`.
        pub reference_resolved: Attr<String>,
    }
}

/// `berth_image`.
pub struct Image;

impl DataSource for Image {
    type Model = ImageModel;
    type Client = Berth;

    const NAME: &'static str = "berth_image";

    fn schema(&self) -> Schema {
        let text = |docs: &str| Attribute::string(docs).computed();
        Schema::new(
            "What an image's reference means now: a host asks the registry, and pulls nothing. Needs no `berth_image` \
             resource; an instance whose `image` is its `reference_resolved` runs what was found.",
        )
        .attribute("host", look::host())
        .attribute(
            "reference",
            Attribute::string("What to look up: `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`.").required(),
        )
        .attribute(
            "platform",
            Attribute::string("The platform, such as `linux/amd64` or `linux/arm64/v8`. Default: the host's.")
                .optional_computed(),
        )
        .attribute("timeouts", look::timeouts())
        .attribute("id", text("Digest of the image: of the platform's manifest."))
        .attribute("index_digest", text("Digest of what the tag points at: an index of platforms, or the image itself."))
        .attribute("reference_resolved", text("The same image by its digest: `host/repository@digest`."))
    }

    fn validate(&self, config: &ImageModel) -> Diagnostics {
        let wrong = config.reference.as_str().and_then(|text| reference::check(text).err());
        let told = wrong
            .map(|error| report::error(Path::at("reference"), capital(&error.to_string()), error.advice()));
        told.map(Diagnostics::from).unwrap_or_default()
    }

    async fn read(&self, cx: &mut Context<Berth>, config: ImageModel) -> Result<ImageModel, Diagnostics> {
        let request = wire::ResolveImageRequest {
            reference: config.reference.as_str().unwrap_or_default().to_owned(),
            platform: config.platform.as_str().unwrap_or_default().to_owned(),
            ..wire::ResolveImageRequest::default()
        };
        let question = async move |it: std::sync::Arc<crate::client::hosts::Connection>| {
            it.agent.resolve_image(request).await
        };
        let found = look::ask(cx, &config.host, &config.timeouts, "Resolving the image", question).await?;
        Ok(ImageModel {
            platform: if config.platform.is_null() { non_empty(&found.platform) } else { config.platform },
            id: Attr::Known(found.image_digest),
            index_digest: non_empty(&found.index_digest),
            reference_resolved: Attr::Known(found.reference_resolved),
            ..config
        })
    }
}
