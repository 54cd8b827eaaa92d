//! Images made from layers, as OCI layouts, and their way into a store of the test's own.

use std::error::Error;
use std::io::{Seek, Write};

use berth_image::archive::Selection;
use berth_image::import::limits::Limits;
use berth_image::platform::Platform;
use berth_image::store::{Store, StoredImage};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::tar::Layer;

/// A store with one image in it.
pub struct Imported {
    pub dir: TempDir,
    pub store: Store,
    pub image: StoredImage,
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of an OCI layout: each layer as it is stored, and the tar stream it inflates to.
pub fn layout(layers: &[(Vec<u8>, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut put = |bytes: Vec<u8>, media_type: &str| {
        let digest = sha256(&bytes);
        let descriptor =
            json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() });
        files.push((format!("blobs/sha256/{digest}"), bytes));
        descriptor
    };
    let diff_ids: Vec<String> = layers.iter().map(|(_, tar)| format!("sha256:{}", sha256(tar))).collect();
    let described: Vec<_> =
        layers.iter().map(|(blob, _)| put(blob.clone(), "application/vnd.oci.image.layer.v1.tar")).collect();
    let config = json!({
        "architecture": Platform::host().architecture,
        "os": "linux",
        "config": { "Cmd": ["/bin/true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described });
    let mut manifest = put(manifest.to_string().into_bytes(), media_type);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    files.push(("index.json".to_owned(), index.to_string().into_bytes()));
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files
}

/// Imports an image of these tar streams.
pub fn import(layers: &[Vec<u8>]) -> Result<Imported, String> {
    import_with(layers.iter().map(|tar| (tar.clone(), tar.clone())).collect(), Limits::default())
}

/// Imports an image of these blobs and what they inflate to.
pub fn import_with(layers: Vec<(Vec<u8>, Vec<u8>)>, limits: Limits) -> Result<Imported, String> {
    let files = layout(&layers).into_iter();
    import_archive(files.fold(Layer::new(), |archive, (name, bytes)| archive.file(name, bytes)), limits)
}

/// Imports what is in an archive.
pub fn import_archive(archive: Layer, limits: Limits) -> Result<Imported, String> {
    import_file(&archive.finish(), limits)
}

/// Imports an archive of these bytes.
pub fn import_file(bytes: &[u8], limits: Limits) -> Result<Imported, String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), limits).unwrap();
    let selection = Selection { name: None, platform: Platform::host() };
    match store.import(file, "the test's image", &selection, &|_| {}) {
        Ok(image) => Ok(Imported { dir, store, image }),
        Err(error) => {
            nothing_is_left(&store);
            Err(chain(&error))
        }
    }
}

/// An image that was refused has left no image, and nothing that a collection does not take.
fn nothing_is_left(store: &Store) {
    assert_eq!(store.list().unwrap().len(), 0, "a refused image is there");
    store.collect().unwrap();
    let objects = std::fs::read_dir(store.objects_dir()).unwrap();
    let left: usize = objects.map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap().count()).sum();
    assert_eq!(left, 0, "objects are left");
}

/// The whole chain of reasons of an image that must be refused.
pub fn refused(layers: &[Vec<u8>]) -> String {
    match import(layers) {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error,
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
