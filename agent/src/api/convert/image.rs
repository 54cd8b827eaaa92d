//! Images and pins.

use berth_domain::{HealthCheckConfig, ImageConfig, Layer};
use berth_engine::report::{PullPhase, PullProgress};
use berth_engine::view::{ImageView, Mended, PinView, Pruned, StoreCheck};
use berth_proto::agent as wire;

/// An image.
pub(in crate::api) fn show(view: ImageView) -> wire::Image {
    let info = &view.info;
    wire::Image {
        id: info.digest.to_string(),
        platform: info.platform.to_string(),
        size: info.size,
        layers: info.layers.iter().map(layer).collect(),
        created: info.created.clone(),
        config: Some(config(&info.config)),
        references: view.references,
        used_by: view.used_by.iter().map(ToString::to_string).collect(),
    }
}

/// A pin with its image.
pub(in crate::api) fn pin(view: PinView) -> wire::Pin {
    wire::Pin {
        id: view.id.to_string(),
        reference: view.reference,
        platform: view.platform.to_string(),
        index_digest: view.index_digest.to_string(),
        reference_resolved: view.reference_resolved,
        keep_on_destroy: view.keep_on_destroy,
        image: Some(show(view.image)),
    }
}

fn layer(layer: &Layer) -> wire::Layer {
    wire::Layer { digest: layer.digest.clone(), diff_id: layer.diff_id.clone(), size: layer.size }
}

/// What an image says of itself.
pub(in crate::api) fn config(config: &ImageConfig) -> wire::ImageConfig {
    wire::ImageConfig {
        entrypoint: config.entrypoint.clone(),
        command: config.command.clone(),
        environment: config.environment.clone().into_iter().collect(),
        exposed_ports: config.exposed_ports.clone(),
        volumes: config.volumes.clone(),
        user: config.user.clone(),
        working_dir: config.working_dir.clone(),
        stop_signal: config.stop_signal.clone(),
        labels: config.labels.clone().into_iter().collect(),
        health_check: config.health_check.as_ref().map(health_check),
    }
}

fn health_check(check: &HealthCheckConfig) -> wire::HealthCheckConfig {
    wire::HealthCheckConfig {
        test: check.test.clone(),
        interval_ns: check.interval_ns,
        timeout_ns: check.timeout_ns,
        start_period_ns: check.start_period_ns,
        retries: check.retries,
    }
}

/// How far a pull is.
pub(in crate::api) fn progress(progress: PullProgress) -> wire::PullProgress {
    use wire::pull_progress::Phase;
    let phase = match progress.phase {
        PullPhase::Resolving => Phase::Resolving,
        PullPhase::Fetching => Phase::Fetching,
        PullPhase::Merging => Phase::Merging,
        PullPhase::Done => Phase::Done,
    };
    wire::PullProgress {
        phase: phase.into(),
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        layers_done: progress.layers_done,
        layers_total: progress.layers_total,
    }
}

/// What a check found.
pub(in crate::api) fn check(report: StoreCheck) -> wire::CheckImagesReport {
    let damaged = report.damaged.into_iter().map(|damaged| wire::DamagedImage {
        id: damaged.digest.to_string(),
        parts: damaged.parts,
        repaired: damaged.mended == Mended::Done,
        repair_error: match damaged.mended {
            Mended::Failed(why) => why,
            Mended::Done | Mended::NotTried => String::new(),
        },
    });
    wire::CheckImagesReport { images: report.images, bytes: report.bytes, damaged: damaged.collect() }
}

/// What a prune removed.
pub(in crate::api) fn pruned(pruned: Pruned) -> wire::PruneImagesResponse {
    let image = |info: &std::sync::Arc<berth_domain::ImageInfo>| wire::PrunedImage {
        id: info.digest.to_string(),
        platform: info.platform.clone(),
        size: info.size,
        used_at: jiff::Timestamp::try_from(info.used).map(|time| time.to_string()).unwrap_or_default(),
    };
    wire::PruneImagesResponse {
        images: pruned.images.iter().map(image).collect(),
        bytes_freed: pruned.freed.bytes,
        objects_freed: pruned.freed.objects,
    }
}
