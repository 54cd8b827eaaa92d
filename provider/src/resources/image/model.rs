//! `berth_image` as Terraform has it.

use serde::{Deserialize, Serialize};
use tfplugin::timeouts::Timeouts;

use crate::attr::{Attr, List, Map, model};

model! {
    /// A pin on an image: arguments first, then what is computed.
    pub struct ImageModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// What to pull.
        reference: Attr<String>,
        /// Where the image is taken from instead of a registry.
        archive: Attr<String>,
        /// Of the archive, so that a change shows.
        archive_sha256: Attr<String>,
        /// For which platform; the host's where absent.
        platform: Attr<String>,
        /// Whether a destroy leaves the image on the host.
        keep_on_destroy: Attr<bool>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// Digest of the platform's manifest.
        id: Attr<String>,
        /// `host/repository@digest`.
        reference_resolved: Attr<String>,
        /// Bytes of its layers.
        size: Attr<i64>,
        /// Its layers, the lowest first.
        layers: List<LayerModel>,
        /// When it was made, as it says.
        created: Attr<String>,
        /// What it asks for.
        config: Attr<ConfigModel>,
    }
}

model! {
    /// One layer.
    pub struct LayerModel {
        /// Of what the registry holds.
        digest: Attr<String>,
        /// Of its content.
        diff_id: Attr<String>,
        /// Bytes of what the registry holds.
        size: Attr<i64>,
    }
}

model! {
    /// What an image asks for.
    pub struct ConfigModel {
        /// Its entrypoint.
        entrypoint: List<String>,
        /// Its command.
        command: List<String>,
        /// Its environment.
        environment: Map<String>,
        /// Ports it means to listen on.
        exposed_ports: List<String>,
        /// Paths it means to keep.
        volumes: List<String>,
        /// Its user.
        user: Attr<String>,
        /// Its working directory.
        working_dir: Attr<String>,
        /// What stops it.
        stop_signal: Attr<String>,
        /// Its labels.
        labels: Map<String>,
        /// How it says to check it.
        health_check: Attr<HealthCheckModel>,
    }
}

model! {
    /// How an image says to check it.
    pub struct HealthCheckModel {
        /// The command, with Docker's first word.
        test: List<String>,
        /// A duration.
        interval: Attr<String>,
        /// A duration.
        timeout: Attr<String>,
        /// A duration.
        start_period: Attr<String>,
        /// Failures before it counts.
        retries: Attr<i64>,
    }
}

/// What the provider remembers of a pin beside the state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePrivate {
    /// The pin.
    pub pin_id: String,
    /// The reference as the agent has it, to tell a change from another spelling.
    pub pin_reference: String,
    /// What the tag pointed at when it was last looked at.
    pub index_digest: String,
    /// What the reference means by now, where that is another image.
    pub moved: Option<Moved>,
}

/// What a moved tag points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The platform's manifest.
    pub image_digest: String,
    /// `host/repository@digest`.
    pub reference_resolved: String,
}
