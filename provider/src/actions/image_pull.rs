//! `berth_image_pull`: has a host pull an image, and tells how far it is.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::InvokeTimeouts;
use tfplugin::{Action, Attr, Attribute, Context, Progress, Schema};
use tokio::sync::mpsc;
use wire::pull_progress::Phase;

use super::{on_host, timeouts};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::{self, Diagnostics, Path, capital};
use crate::text::reference;

tfplugin::model! {
    /// What to pull.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct PullModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// What to pull.
        pub reference: Attr<String>,
        /// For which platform; the host's where absent.
        pub platform: Attr<String>,
        /// How long it may take.
        pub timeouts: Attr<InvokeTimeouts>,
    }
}

/// `berth_image_pull`.
pub struct ImagePull;

impl Action for ImagePull {
    type Model = PullModel;
    type Client = Berth;

    const NAME: &'static str = "berth_image_pull";

    fn schema(&self) -> Schema {
        Schema::new(
            "Has a host pull what a reference means now, as `berth image pull` does: the image is pinned under its reference \
             and platform, and a pin that is there moves to it. For images that should be on a host before an apply needs them.",
        )
        .attribute("host", look::host())
        .attribute(
            "reference",
            Attribute::string("What to pull: `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`.").required(),
        )
        .attribute(
            "platform",
            Attribute::string("The platform, such as `linux/amd64` or `linux/arm64/v8`. Default: the host's."),
        )
        .attribute("timeouts", timeouts())
    }

    fn validate(&self, config: &PullModel) -> Diagnostics {
        let wrong = config.reference.as_str().and_then(|text| reference::check(text).err());
        let told = wrong
            .map(|error| report::error(Path::at("reference"), capital(&error.to_string()), error.advice()));
        told.map(Diagnostics::from).unwrap_or_default()
    }

    async fn invoke(
        &self,
        cx: &mut Context<Berth>,
        config: PullModel,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let request = wire::PullImageRequest {
            reference: config.reference.as_str().unwrap_or_default().to_owned(),
            platform: config.platform.as_str().unwrap_or_default().to_owned(),
            reuse_pin: true,
            ..wire::PullImageRequest::default()
        };
        let work = async move |it: Arc<Connection>| {
            let (told, mut heard) = mpsc::channel(16);
            let tell = async {
                let mut last = None;
                while let Some(event) = heard.recv().await {
                    if let Some(line) = line(&event, &mut last) {
                        progress.tell(line).await;
                    }
                }
            };
            tokio::join!(it.agent.watch_pull(request, told), tell).0
        };
        let pin = on_host(cx, &config.host, &config.timeouts, "Pulling the image", work).await?;
        let id = pin.image.map(|image| image.id).unwrap_or_default();
        progress.tell(format!("{} is {id}", pin.reference)).await;
        Ok(())
    }
}

/// What is told of an event, if it is more than was told last: a new phase, or another tenth of the bytes.
fn line(event: &wire::PullProgress, last: &mut Option<(Phase, u64)>) -> Option<String> {
    let phase = event.phase();
    let tenth = event.bytes_done.saturating_mul(10).checked_div(event.bytes_total).unwrap_or(0);
    if last.replace((phase, tenth)) == Some((phase, tenth)) {
        return None;
    }
    match phase {
        Phase::Resolving => Some("asking the registry".to_owned()),
        Phase::Fetching => Some(format!(
            "fetched {} of {}, {} of {} layers",
            megabytes(event.bytes_done),
            megabytes(event.bytes_total),
            event.layers_done,
            event.layers_total
        )),
        Phase::Merging => Some("merging the layers".to_owned()),
        Phase::Done | Phase::Unspecified => None,
    }
}

/// In millions of bytes, as registries count.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_every_event_is_told() {
        let mut last = None;
        let mut told = |phase: Phase, bytes_done| {
            let event = wire::PullProgress {
                phase: phase.into(),
                bytes_done,
                bytes_total: 20_000_000,
                layers_done: 1,
                layers_total: 3,
            };
            line(&event, &mut last)
        };
        assert!(told(Phase::Resolving, 0).is_some());
        assert_eq!(told(Phase::Resolving, 0), None);
        assert!(told(Phase::Fetching, 0).is_some());
        assert_eq!(told(Phase::Fetching, 100), None);
        assert_eq!(
            told(Phase::Fetching, 2_500_000).as_deref(),
            Some("fetched 2.5 MB of 20.0 MB, 1 of 3 layers")
        );
        assert!(told(Phase::Merging, 20_000_000).is_some());
        assert_eq!(told(Phase::Done, 20_000_000), None);
    }
}
