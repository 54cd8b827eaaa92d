//! From the wire to the model.

use berth_proto::agent as wire;

use super::model::{ConfigModel, HealthCheckModel, ImageModel, ImagePrivate, LayerModel};
use crate::attr::{Attr, list, map, non_empty};
use crate::text::duration;

/// A pin as the agent has it, in the words of `prior` where they say the same.
pub fn from_wire(pin: &wire::Pin, prior: Option<&ImageModel>, private: &ImagePrivate) -> ImageModel {
    let empty = wire::Image::default();
    let image = pin.image.as_ref().unwrap_or(&empty);
    let unmoved = private.pin_reference.is_empty() || private.pin_reference == pin.reference;
    let reference = match prior.map(|prior| &prior.reference) {
        Some(known) if unmoved => known.clone(),
        // An image of an archive that was given no name is called by its id.
        _ if pin.reference.starts_with("sha256:") => Attr::Null,
        _ => Attr::Known(pin.reference.clone()),
    };
    let platform = if pin.platform.is_empty() { &image.platform } else { &pin.platform };
    ImageModel {
        host: prior.map(|prior| prior.host.clone()).unwrap_or_default(),
        reference,
        archive: prior.map(|prior| prior.archive.clone()).unwrap_or_default(),
        archive_sha256: prior.map(|prior| prior.archive_sha256.clone()).unwrap_or_default(),
        platform: match prior.map(|prior| &prior.platform) {
            Some(Attr::Known(before)) if before.eq_ignore_ascii_case(platform) => Attr::Known(before.clone()),
            _ => non_empty(platform),
        },
        keep_on_destroy: match prior.map(|prior| &prior.keep_on_destroy) {
            Some(Attr::Known(_)) => Attr::Known(pin.keep_on_destroy),
            _ if pin.keep_on_destroy => Attr::Known(true),
            _ => Attr::Null,
        },
        timeouts: prior.map(|prior| prior.timeouts.clone()).unwrap_or_default(),
        id: non_empty(&image.id),
        reference_resolved: non_empty(&pin.reference_resolved),
        size: Attr::Known(number(image.size)),
        layers: list(image.layers.iter().map(layer)),
        created: non_empty(&image.created),
        config: Attr::Known(config(image.config.as_ref())),
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn layer(layer: &wire::Layer) -> LayerModel {
    LayerModel {
        digest: non_empty(&layer.digest),
        diff_id: non_empty(&layer.diff_id),
        size: Attr::Known(number(layer.size)),
    }
}

fn config(config: Option<&wire::ImageConfig>) -> ConfigModel {
    let config = config.cloned().unwrap_or_default();
    ConfigModel {
        entrypoint: list(config.entrypoint),
        command: list(config.command),
        environment: map(config.environment),
        exposed_ports: list(config.exposed_ports),
        volumes: list(config.volumes),
        user: non_empty(&config.user),
        working_dir: non_empty(&config.working_dir),
        stop_signal: non_empty(&config.stop_signal),
        labels: map(config.labels),
        health_check: config.health_check.map(health_check).into(),
    }
}

fn health_check(check: wire::HealthCheckConfig) -> HealthCheckModel {
    let time = |ns: u64| Attr::from(Some(ns).filter(|ns| *ns > 0).map(|ns| duration::format(ns / 1_000_000)));
    HealthCheckModel {
        test: list(check.test),
        interval: time(check.interval_ns),
        timeout: time(check.timeout_ns),
        start_period: time(check.start_period_ns),
        retries: Some(i64::from(check.retries)).filter(|retries| *retries > 0).into(),
    }
}
