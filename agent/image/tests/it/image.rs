//! Images made in memory, to be spoilt before they are put into a registry.

use berth_image::digest::Digest;
use berth_image::platform::Platform;
use serde_json::{Value, json};

use crate::registry::Registry;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image's documents and layers.
#[derive(Clone)]
pub struct Image {
    pub config: Value,
    pub manifest: Value,
    pub layers: Vec<Vec<u8>>,
}

/// A tar stream of one file.
pub fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

impl Image {
    /// One file a layer, told apart by its content.
    pub fn of(contents: &[&[u8]]) -> Self {
        let layers = contents.iter().enumerate();
        Self::new(layers.map(|(index, content)| layer(&format!("file-{index}"), content)).collect())
    }

    pub fn new(layers: Vec<Vec<u8>>) -> Self {
        let host = Platform::host();
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": host.architecture, "os": host.os,
            "config": { "Cmd": ["/file-0"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let layers_of: Vec<Value> = layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        let mut image = Self { config, manifest: Value::Null, layers };
        image.manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers_of });
        image.seal();
        image
    }

    /// Has the manifest name the config as it is now.
    pub fn seal(&mut self) {
        self.manifest["config"] = descriptor(CONFIG, self.config.to_string().as_bytes());
    }

    pub fn digest(&self) -> Digest {
        Digest::of(self.manifest.to_string().as_bytes())
    }

    /// The path of a layer's blob in the repository `app`.
    pub fn layer_path(&self, index: usize) -> String {
        format!("/v2/app/blobs/{}", Digest::of(&self.layers[index]))
    }

    pub fn config_path(&self) -> String {
        format!("/v2/app/blobs/{}", Digest::of(self.config.to_string().as_bytes()))
    }

    pub fn manifest_path(&self) -> String {
        format!("/v2/app/manifests/{}", self.digest())
    }

    /// Puts it into the repository `app` under a tag.
    pub fn push(&self, registry: &Registry, tag: &str) {
        for (index, layer) in self.layers.iter().enumerate() {
            registry.put(&self.layer_path(index), "application/octet-stream", layer.clone());
        }
        registry.put(&self.config_path(), "application/octet-stream", self.config.to_string());
        let manifest = self.manifest.to_string();
        registry.put(&self.manifest_path(), MANIFEST, manifest.clone());
        registry.put(&format!("/v2/app/manifests/{tag}"), MANIFEST, manifest);
    }

    /// An index of this image alone, as JSON.
    pub fn index(&self) -> Value {
        let mut entry = descriptor(MANIFEST, self.manifest.to_string().as_bytes());
        entry["platform"] = json!({ "os": self.config["os"], "architecture": self.config["architecture"] });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] })
    }
}

/// Puts an index under a tag of `app`.
pub fn push_index(registry: &Registry, index: &Value, tag: &str) {
    let text = index.to_string();
    registry.put(&format!("/v2/app/manifests/{}", Digest::of(text.as_bytes())), INDEX, text.clone());
    registry.put(&format!("/v2/app/manifests/{tag}"), INDEX, text);
}
