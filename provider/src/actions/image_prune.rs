//! `berth_image_prune`: has a host let go of the images that nothing uses.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::InvokeTimeouts;
use tfplugin::{Action, Attr, Attribute, Context, Progress, Schema};

use super::image_pull::megabytes;
use super::{on_host, timeouts};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;

tfplugin::model! {
    /// Where, and whether in earnest.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct PruneModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Whether to only say what would go.
        pub dry_run: Attr<bool>,
        /// How long it may take.
        pub timeouts: Attr<InvokeTimeouts>,
    }
}

/// `berth_image_prune`.
pub struct ImagePrune;

impl Action for ImagePrune {
    type Model = PruneModel;
    type Client = Berth;

    const NAME: &'static str = "berth_image_prune";

    fn schema(&self) -> Schema {
        Schema::new(
            "Has a host remove the images that nothing pins or uses now, as `berth image prune` does, without waiting until the \
             agent does so by itself. What a `berth_image` pins or an instance runs always stays.",
        )
        .attribute("host", look::host())
        .attribute(
            "dry_run",
            Attribute::bool("Whether to only say what would be removed. Default: `false`."),
        )
        .attribute("timeouts", timeouts())
    }

    async fn invoke(
        &self,
        cx: &mut Context<Berth>,
        config: PruneModel,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let dry_run = config.dry_run.known().copied().unwrap_or(false);
        progress.tell("looking for images that nothing uses".to_owned()).await;
        let work = async move |it: Arc<Connection>| it.agent.prune_images(dry_run).await;
        let pruned = on_host(cx, &config.host, &config.timeouts, "Pruning the images", work).await?;
        for line in lines(&pruned, dry_run) {
            progress.tell(line).await;
        }
        Ok(())
    }
}

/// A line an image, and one of what that gives.
fn lines(pruned: &wire::PruneImagesResponse, dry_run: bool) -> Vec<String> {
    let (removed, freed) = if dry_run { ("would remove", "would be freed") } else { ("removed", "freed") };
    let mut lines: Vec<_> = pruned
        .images
        .iter()
        .map(|image| {
            let used = if image.used_at.is_empty() {
                String::new()
            } else {
                format!(", last used {}", image.used_at)
            };
            format!("{removed} {} ({}, {}{used})", image.id, image.platform, megabytes(image.size))
        })
        .collect();
    let count = match pruned.images.len() {
        0 => "no image is unused".to_owned(),
        1 => format!("{removed} one image"),
        many => format!("{removed} {many} images"),
    };
    lines.push(format!("{count}; {} {freed} on disk", megabytes(pruned.bytes_freed)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_told_and_the_sum() {
        let image = |id: &str, used_at: &str| wire::PrunedImage {
            id: id.to_owned(),
            platform: "linux/amd64".to_owned(),
            size: 2_500_000,
            used_at: used_at.to_owned(),
        };
        let mut pruned = wire::PruneImagesResponse::default();
        assert_eq!(lines(&pruned, false), ["no image is unused; 0.0 MB freed on disk"]);
        pruned.images = vec![image("sha256:a", "2026-01-02T03:04:05Z")];
        pruned.bytes_freed = 7_000_000;
        assert_eq!(
            lines(&pruned, false),
            [
                "removed sha256:a (linux/amd64, 2.5 MB, last used 2026-01-02T03:04:05Z)",
                "removed one image; 7.0 MB freed on disk"
            ]
        );
        pruned.images.push(image("sha256:b", ""));
        let told = lines(&pruned, true);
        assert_eq!(told.get(1).map(String::as_str), Some("would remove sha256:b (linux/amd64, 2.5 MB)"));
        assert_eq!(
            told.last().map(String::as_str),
            Some("would remove 2 images; 7.0 MB would be freed on disk")
        );
    }
}
