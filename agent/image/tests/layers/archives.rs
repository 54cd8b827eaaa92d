//! Archives that are not what they say, or too much of it.

use berth_image::import::limits::Limits;
use serde_json::{Value, json};

use crate::support::{Layer, gzip, import_archive, import_file, layout, zstd};

const INDEX: &str = "index.json";

/// An image of one file, after `change` had its files.
fn refused(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> String {
    let tar = Layer::new().file("f", "content").finish();
    let mut files = layout(&[(tar.clone(), tar)]);
    change(&mut files);
    let archive = files.into_iter().fold(Layer::new(), |archive, (name, bytes)| archive.file(name, bytes));
    import_archive(archive, Limits::default()).err().unwrap()
}

/// One of the files.
fn part<'f>(files: &'f mut [(String, Vec<u8>)], name: &str) -> &'f mut Vec<u8> {
    &mut files.iter_mut().find(|(found, _)| found == name).unwrap().1
}

/// The path of the blob that the index calls the manifest.
fn manifest(files: &mut [(String, Vec<u8>)]) -> String {
    let index: Value = serde_json::from_slice(part(files, INDEX)).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())
}

/// The path of the blob that the manifest calls the config.
fn config(files: &mut [(String, Vec<u8>)]) -> String {
    let manifest = manifest(files);
    let manifest: Value = serde_json::from_slice(part(files, &manifest)).unwrap();
    let digest = manifest["config"]["digest"].as_str().unwrap();
    format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())
}

/// Spaces are JSON, however many there are.
fn swell(bytes: &mut Vec<u8>) {
    bytes.resize(4 * 1024 * 1024 + 1, b' ');
}

#[test]
fn parts_are_only_read_up_to_a_limit() {
    let error = refused(|files| swell(part(files, INDEX)));
    assert!(error.contains("\"index.json\"") && error.contains("max_index of 4194304"), "{error}");

    let error = refused(|files| {
        let manifest = manifest(files);
        swell(part(files, &manifest));
    });
    assert!(error.contains("max_manifest of 4194304"), "{error}");

    let error = refused(|files| {
        let config = config(files);
        part(files, &config).resize(8 * 1024 * 1024 + 1, b' ');
    });
    assert!(error.contains("max_config of 8388608"), "{error}");

    let archive = Layer::new().file("manifest.json", vec![b' '; 4 * 1024 * 1024 + 1]);
    let error = import_archive(archive, Limits::default()).err().unwrap();
    assert!(error.contains("\"manifest.json\"") && error.contains("max_index of 4194304"), "{error}");

    let named = json!([{ "Config": "config.json", "RepoTags": null, "Layers": [] }]);
    let archive = Layer::new().file("config.json", vec![b' '; 8 * 1024 * 1024 + 1]);
    let archive = archive.file("manifest.json", named.to_string());
    let error = import_archive(archive, Limits::default()).err().unwrap();
    assert!(error.contains("\"config.json\"") && error.contains("max_config of 8388608"), "{error}");
}

/// As it comes, and as what it inflates to.
#[test]
fn an_archive_is_only_read_up_to_a_limit() {
    let archive = Layer::new().file("zeros", vec![0; 2 << 20]).finish();
    for bytes in [&archive, &gzip(&archive), &zstd(&archive)] {
        let limits = Limits { max_archive_bytes: 1 << 20, ..Limits::default() };
        let error = import_file(bytes, limits).err().unwrap();
        assert!(error.contains("max_archive_bytes of 1048576"), "{error}");
    }
}

#[test]
fn a_blob_is_what_its_name_says() {
    let error = refused(|files| {
        let manifest = manifest(files);
        part(files, &manifest).push(b' ');
    });
    assert!(error.contains("is not what its digest says"), "{error}");
}

#[test]
fn links_of_an_archive_end() {
    let archive = Layer::new().symlink(INDEX, "a").symlink("a", "b").symlink("b", "a");
    let error = import_archive(archive, Limits::default()).err().unwrap();
    assert!(error.contains("holds neither an OCI layout"), "{error}");

    let archive = Layer::new().symlink(INDEX, "../../../etc/passwd");
    let error = import_archive(archive, Limits::default()).err().unwrap();
    assert!(error.contains("holds neither an OCI layout"), "{error}");
}

#[test]
fn a_part_that_is_named_and_not_there() {
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "size": 2,
    }] });
    let archive = Layer::new().file(INDEX, index.to_string());
    let error = import_archive(archive, Limits::default()).err().unwrap();
    assert!(error.contains("has no \"blobs/sha256/0000") && error.contains("though it names it"), "{error}");
}
