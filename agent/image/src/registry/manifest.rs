//! Manifests and indices, OCI's and Docker's: the same shapes under other media types.

use serde::Deserialize;

use super::error::RegistryError;
use super::{MAX_MANIFEST, ManifestBytes};
use crate::digest::Digest;
use crate::platform::Platform;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// The most manifests an index may have.
const MAX_INDEX_ENTRIES: usize = 4096;

/// What a manifest says of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub digest: Digest,
    pub size: u64,
}

/// One platform's manifest in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub digest: Digest,
    pub platform: Option<Platform>,
}

/// A platform's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageManifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// What a reference led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Index(Vec<IndexEntry>),
    Manifest(ImageManifest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Document {
    /// Reads what the registry gave; `what` names it in errors.
    pub(crate) fn parse(found: &ManifestBytes, what: &str) -> Result<Self, RegistryError> {
        debug_assert!(found.bytes.len() as u64 <= MAX_MANIFEST);
        let invalid = |source| RegistryError::InvalidManifest { what: what.to_owned(), source };
        // As a value first: serde_json refuses one that is nested deeper than 128, but skips any depth of what is not asked for.
        let value: serde_json::Value = serde_json::from_slice(&found.bytes).map_err(invalid)?;
        let raw: RawDocument = serde_json::from_value(value).map_err(invalid)?;
        let ambiguous = |why| Err(RegistryError::AmbiguousManifest { what: what.to_owned(), why });
        let unsupported = |media_type: &str| RegistryError::UnsupportedMediaType {
            what: what.to_owned(),
            media_type: media_type.chars().take(200).collect(),
        };
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return ambiguous("it has both manifests and layers");
        }
        if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
            return Err(unsupported("application/vnd.docker.distribution.manifest.v1+json"));
        }
        let header = found.media_type.as_deref().filter(|value| is_specific(value));
        if let (Some(header), Some(field)) = (header, raw.media_type.as_deref())
            && header != field
        {
            return ambiguous("its mediaType differs from the Content-Type it was sent with");
        }
        let media_type = raw.media_type.as_deref().or(header);
        match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) => match media_type {
                None | Some(OCI_INDEX | DOCKER_LIST) => index(manifests, what).map(Self::Index),
                Some(OCI_MANIFEST | DOCKER_MANIFEST) => {
                    ambiguous("it is an index with a manifest's media type")
                }
                Some(other) => Err(unsupported(other)),
            },
            (None, Some(config), Some(layers)) => match media_type {
                None | Some(OCI_MANIFEST | DOCKER_MANIFEST) => {
                    manifest(config, layers, what).map(Self::Manifest)
                }
                Some(OCI_INDEX | DOCKER_LIST) => ambiguous("it is a manifest with an index's media type"),
                Some(other) => Err(unsupported(other)),
            },
            _ => Err(unsupported(media_type.unwrap_or("unknown"))),
        }
    }
}

/// Writes the manifest of an image whose layers are plain tar streams, always the same for the same parts.
pub(crate) fn write_manifest(config: &Digest, config_size: u64, layers: &[(Digest, u64)]) -> Vec<u8> {
    let layer = |(digest, size): &(Digest, u64)| serde_json::json!({ "mediaType": LAYERS[0], "digest": digest.to_string(), "size": size });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": CONFIGS[0], "digest": config.to_string(), "size": config_size },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

/// Whether a Content-Type says anything: some registries send manifests as plain JSON or text.
fn is_specific(content_type: &str) -> bool {
    !matches!(content_type, "" | "application/json" | "text/plain" | "application/octet-stream")
}

fn index(manifests: Vec<RawDescriptor>, what: &str) -> Result<Vec<IndexEntry>, RegistryError> {
    if manifests.len() > MAX_INDEX_ENTRIES {
        let what = format!("number of manifests in {what}");
        return Err(RegistryError::TooLarge { what, limit: MAX_INDEX_ENTRIES as u64 });
    }
    let mut entries = Vec::with_capacity(manifests.len());
    for raw in manifests {
        // Attestations and artifacts beside the images are no platform's.
        if !raw.media_type.is_empty() && raw.media_type != OCI_MANIFEST && raw.media_type != DOCKER_MANIFEST {
            continue;
        }
        let digest = digest(&raw.digest, what)?;
        let platform = raw.platform.map(|raw| Platform {
            os: raw.os,
            architecture: raw.architecture,
            variant: raw.variant.filter(|variant| !variant.is_empty()),
        });
        entries.push(IndexEntry { digest, platform });
    }
    Ok(entries)
}

fn manifest(
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
    what: &str,
) -> Result<ImageManifest, RegistryError> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(unsupported_part("the config", config.media_type, what));
    }
    let config = Descriptor { digest: digest(&config.digest, what)?, size: config.size };
    let layers = layers.into_iter().map(|layer| {
        if !LAYERS.contains(&layer.media_type.as_str()) {
            return Err(unsupported_part("a layer", layer.media_type, what));
        }
        Ok(Descriptor { digest: digest(&layer.digest, what)?, size: layer.size })
    });
    Ok(ImageManifest { config, layers: layers.collect::<Result<_, _>>()? })
}

fn unsupported_part(part: &str, media_type: String, what: &str) -> RegistryError {
    let media_type = media_type.chars().take(200).collect();
    RegistryError::UnsupportedMediaType { what: format!("{part} of {what}"), media_type }
}

fn digest(text: &str, what: &str) -> Result<Digest, RegistryError> {
    text.parse().map_err(|source| RegistryError::BadDigest { what: what.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(media_type: Option<&str>, json: &str) -> Result<Document, RegistryError> {
        let bytes = json.replace("DIGEST", DIGEST).into_bytes();
        let found =
            ManifestBytes { digest: Digest::of(&bytes), media_type: media_type.map(str::to_owned), bytes };
        Document::parse(&found, "the manifest")
    }

    fn image(layer_type: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",
            "config":{{"mediaType":"{}","digest":"DIGEST","size":2}},
            "layers":[{{"mediaType":"{layer_type}","digest":"DIGEST","size":3}}]}}"#,
            CONFIGS[0]
        )
    }

    #[test]
    fn manifests_and_indices_are_told_apart() {
        assert!(
            matches!(parse(Some(OCI_MANIFEST), &image(LAYERS[1])), Ok(Document::Manifest(m)) if m.layers.len() == 1)
        );
        let index = r#"{"schemaVersion":2,"manifests":[
            {"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","size":1,
             "platform":{"os":"linux","architecture":"arm","variant":"v7"}},
            {"mediaType":"application/vnd.other","digest":"DIGEST","size":1}]}"#;
        let Ok(Document::Index(entries)) = parse(None, index) else { panic!("not an index") };
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn what_is_both_or_contradicts_itself_is_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[],
            "config":{"mediaType":"x","digest":"DIGEST","size":1}}"#;
        for (header, json) in [
            (None, both.to_owned()),
            (Some(OCI_INDEX), both.to_owned()),
            (Some(OCI_INDEX), image(LAYERS[0])),
            (None, image(LAYERS[0]).replace(OCI_MANIFEST, OCI_INDEX)),
            (Some(DOCKER_MANIFEST), image(LAYERS[0])),
            (Some(OCI_MANIFEST), r#"{"schemaVersion":2,"manifests":[]}"#.to_owned()),
        ] {
            let error = parse(header, &json).unwrap_err();
            assert!(matches!(error, RegistryError::AmbiguousManifest { .. }), "{json}: {error}");
        }
    }

    #[test]
    fn unknown_kinds_and_foreign_layers_are_named() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let error = parse(None, &image(foreign)).unwrap_err();
        assert!(error.to_string().contains(foreign), "{error}");
        let schema1 = r#"{"schemaVersion":1,"fsLayers":[]}"#;
        let error = parse(None, schema1).unwrap_err();
        assert!(error.to_string().contains("distribution.manifest.v1"), "{error}");
        let chart = "application/vnd.cncf.helm.config.v1+json";
        let error = parse(None, &image(LAYERS[0]).replace(CONFIGS[0], chart)).unwrap_err();
        assert!(error.to_string().contains(chart), "{error}");
        assert!(matches!(parse(None, "{}"), Err(RegistryError::UnsupportedMediaType { .. })));
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        for document in [image(LAYERS[0]).replace(OCI_MANIFEST, "other/type"), index.to_owned()] {
            let error = parse(Some("other/type"), &document).unwrap_err();
            assert!(error.to_string().contains("\"other/type\""), "{error}");
        }
    }

    #[test]
    fn an_index_has_an_end() {
        let index = |entries: usize| {
            let entry = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"DIGEST","size":1}}"#);
            parse(None, &format!(r#"{{"manifests":[{}]}}"#, vec![entry; entries].join(",")))
        };
        assert!(matches!(index(MAX_INDEX_ENTRIES), Ok(Document::Index(found)) if found.len() == 4096));
        let error = index(MAX_INDEX_ENTRIES + 1).unwrap_err();
        assert!(error.to_string().contains("larger than the 4096"), "{error}");
    }

    #[test]
    fn digests_with_paths_negative_sizes_and_deep_nesting_are_refused() {
        let traversal = image(LAYERS[0]).replace("DIGEST", "sha256:../../../etc/passwd");
        assert!(matches!(parse(None, &traversal), Err(RegistryError::BadDigest { .. })));
        let negative = image(LAYERS[0]).replace("\"size\":3", "\"size\":-3");
        assert!(matches!(parse(None, &negative), Err(RegistryError::InvalidManifest { .. })));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(parse(None, &deep), Err(RegistryError::InvalidManifest { .. })));
    }
}
