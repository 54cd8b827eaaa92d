//! Content that is not what it says it is: lines 20 to 23, 25 and 28 of what an image client must survive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_image::store::ExportName;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;

use crate::image::{INDEX, Image, MANIFEST, layer, push_index};
use crate::registry::Answer;
use crate::world::{World, chain};

fn spoilt(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes
}

/// Zeros without an end, and how many chunks of 64 KiB were taken of them.
fn endless() -> (impl Fn() -> Answer + Send + Sync, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let answer = move || {
        let counter = Arc::clone(&counter);
        let zeros = stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(&[0; 65_536]))
        });
        Answer::status(200).stream(None, zeros.boxed())
    };
    (answer, taken)
}

#[tokio::test]
async fn a_good_image_is_pulled() {
    let image = Image::of(&[b"one", b"two", &[7; 100_000]]);
    let world = World::serving(&image).await;
    let stored = world.pull().await.unwrap();
    assert_eq!(stored.digest, image.digest());
    assert_eq!(stored.layers.len(), 3);
}

/// Line 20.
#[tokio::test]
async fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let image = Image::of(&[b"one", b"two"]);
    let world = World::serving(&image).await;
    world.registry.put(&image.layer_path(1), "", spoilt(&image.layers[1]));
    world.refuses(world.pull().await, &["layer 2", "not what its digest says"]);
}

/// Line 20.
#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    push_index(&world.registry, &image.index(), "1");
    world.registry.put(&image.manifest_path(), MANIFEST, Image::of(&[b"two"]).manifest.to_string());
    world.refuses(world.pull().await, &["manifest", "not what its digest says"]);
    // Nor is one whose registry claims another digest than it has.
    let other = Image::of(&[b"three"]).digest().to_string();
    let manifest = image.manifest.to_string();
    world.registry.behave_on("/manifests/1", move |_| {
        Answer::bytes(manifest.clone())
            .header("content-type", MANIFEST)
            .header("docker-content-digest", &other)
    });
    world.refuses(world.pull().await, &["manifest 1", "not what its digest says"]);
}

/// Line 20.
#[tokio::test]
async fn a_config_that_is_not_what_its_digest_says_is_refused() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    world.registry.put(&image.config_path(), "", image.config.to_string().replace("file-0", "file-1"));
    world.refuses(world.pull().await, &["not what its digest says"]);
}

/// Line 20.
#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let mut image = Image::of(&[b"one"]);
    image.config["rootfs"]["diff_ids"][0] = Image::of(&[b"two"]).config["rootfs"]["diff_ids"][0].clone();
    image.seal();
    let world = World::serving(&image).await;
    world.refuses(world.pull().await, &["layer 1", "diffID"]);
}

/// Line 20: a layer without a diffID is none.
#[tokio::test]
async fn a_config_that_names_fewer_layers_is_refused() {
    let mut image = Image::of(&[b"one", b"two"]);
    image.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    image.seal();
    let world = World::serving(&image).await;
    world.refuses(world.pull().await, &["2 layers in its manifest and 1 in its config"]);
}

/// Lines 20 and 21: what is fetched again for an export is what was pulled, or the export fails.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_export_fetches_again_is_checked() {
    let image = Image::of(&[&[7; 100_000]]);
    let world = World::serving(&image).await;
    world.pull().await.unwrap();
    let export = async || {
        let (store, client, digest) = (world.store.clone(), world.client.clone(), image.digest());
        let runtime = tokio::runtime::Handle::current();
        let exporting = move || {
            store.export_original(&digest, (&client, "app"), &ExportName::default(), &runtime, io::sink())
        };
        tokio::task::spawn_blocking(exporting).await.unwrap().map_err(|error| chain(&error))
    };
    export().await.unwrap();
    let whole = image.layers[0].clone();
    let longer = [&whole[..], b"more"].concat();
    for (bytes, word) in [
        (spoilt(&whole), "not what its digest says"),
        (whole[..50_000].to_vec(), "has not the size"),
        (longer, "has not the size"),
    ] {
        world.registry.behave_on(&image.layer_path(0), move |_| {
            let bytes = Bytes::from(bytes.clone());
            Answer::status(200).stream(None, stream::iter([Ok(bytes)]).boxed())
        });
        let error = export().await.unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

/// Line 21: whether the registry announces the length or not.
#[tokio::test]
async fn a_layer_of_another_size_is_refused() {
    for change in [-1, 1, 1000] {
        let mut image = Image::of(&[b"one"]);
        let size = i64::try_from(image.layers[0].len()).unwrap() + change;
        image.manifest["layers"][0]["size"] = size.into();
        let world = World::serving(&image).await;
        world.refuses(world.pull().await, &["size", &size.to_string()]);
        let bytes = Bytes::from(image.layers[0].clone());
        world.registry.behave_on(&image.layer_path(0), move |_| {
            Answer::status(200).stream(None, stream::iter([Ok(bytes.clone())]).boxed())
        });
        world.refuses(world.pull().await, &["size", &size.to_string()]);
    }
}

/// Line 21: so is a config, though it is what its digest says.
#[tokio::test]
async fn a_config_of_another_size_is_refused() {
    for change in [-1, 1] {
        let mut image = Image::of(&[b"one"]);
        let config = Bytes::from(image.config.to_string());
        let size = i64::try_from(config.len()).unwrap() + change;
        image.manifest["config"]["size"] = size.into();
        let world = World::serving(&image).await;
        world.refuses(world.pull().await, &["has not the size", &size.to_string()]);
        world.registry.behave_on(&image.config_path(), move |_| {
            Answer::status(200).stream(None, stream::iter([Ok(config.clone())]).boxed())
        });
        let word = if change < 0 { "larger than" } else { "has not the size" };
        world.refuses(world.pull().await, &[word, &size.to_string()]);
    }
}

/// Line 21.
#[tokio::test]
async fn sizes_that_are_none_are_refused() {
    for size in [json!(-1), json!(1.5), json!("1"), json!(1e30), json!(null)] {
        let mut image = Image::of(&[b"one"]);
        image.manifest["layers"][0]["size"] = size;
        let world = World::serving(&image).await;
        world.refuses(world.pull().await, &["not a valid manifest"]);
        assert_eq!(world.registry.count("/blobs/"), 0);
    }
}

/// Line 21: two of them are more than fits into a number.
#[tokio::test]
async fn sizes_beyond_all_bounds_are_refused() {
    let mut image = Image::of(&[b"one", b"two"]);
    image.manifest["layers"][0]["size"] = u64::MAX.into();
    image.manifest["layers"][1]["size"] = u64::MAX.into();
    let world = World::serving(&image).await;
    world.refuses(world.pull().await, &["size"]);
}

/// Line 21.
#[tokio::test]
async fn bodies_without_an_end_are_cut_off() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let manifest = "/v2/app/manifests/1".to_owned();
    for (path, word, chunks) in [
        (image.layer_path(0), "size", 1000),
        (image.config_path(), "larger than", 100),
        (manifest, "larger than", 1000),
    ] {
        let (answer, taken) = endless();
        world.registry.behave_on(&path, move |_| answer());
        world.refuses(world.pull().await, &[word]);
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < chunks, "{taken} chunks of {path}");
    }
}

/// Line 21: of a layer that is refused only so much is still read, however long it says it is.
#[tokio::test]
async fn a_refused_layer_is_not_read_to_its_end() {
    let mut image = Image::of(&[b"one"]);
    image.manifest["layers"][0]["size"] = (1u64 << 40).into();
    let world = World::serving(&image).await;
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    world.registry.behave_on(&image.layer_path(0), move |_| {
        let counter = Arc::clone(&counter);
        let noise = stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_static(&[b'x'; 65_536]))
        });
        Answer::status(200).stream(None, noise.boxed())
    });
    world.refuses(world.pull().await, &["layer 1", "checksum is wrong"]);
    assert!(taken.load(Ordering::Relaxed) < 2000);
}

/// Line 22: once is made good, for ever is told.
#[tokio::test]
async fn a_layer_that_is_cut_short_is_fetched_again() {
    let image = Image::of(&[&[7; 300_000]]);
    let world = World::serving(&image).await;
    let path = image.layer_path(0);
    let bytes = Bytes::from(image.layers[0].clone());
    let cut = move || Answer::cut_short(bytes.slice(..100_000), bytes.len() as u64);
    let always = cut.clone();
    world.registry.behave_on(&path, move |_| always());
    world.refuses(world.pull().await, &["broke off"]);
    let attempts = world.registry.count(&path);
    assert!((2..10).contains(&attempts), "{attempts}");

    let first = AtomicU64::new(0);
    let part = path.clone();
    world
        .registry
        .behave(move |seen| (seen.path == part && first.fetch_add(1, Ordering::Relaxed) == 0).then(&cut));
    world.pull().await.unwrap();
    assert_eq!(world.registry.count(&path), attempts + 2);
}

/// Line 22: a connection that goes before the answer is another matter than a registry that is not there.
#[tokio::test]
async fn a_registry_that_hangs_up_is_asked_again() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let asked = AtomicU64::new(0);
    world.registry.behave(move |_| (asked.fetch_add(1, Ordering::Relaxed) % 3 != 2).then(Answer::hang_up));
    world.pull().await.unwrap();
}

/// Line 23.
#[tokio::test]
async fn a_manifest_that_is_also_an_index_is_refused() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let mut both = image.manifest.clone();
    both["manifests"] = image.index()["manifests"].clone();
    for (media_type, document) in
        [(MANIFEST, both.clone()), (INDEX, both), (INDEX, image.manifest.clone()), (MANIFEST, image.index())]
    {
        world.registry.put("/v2/app/manifests/1", media_type, document.to_string());
        world.refuses(world.pull().await, &["ambiguous"]);
    }
    // Behind an index it is looked at in the same way.
    let mut nested = image.index();
    let inner = image.index().to_string();
    let digest = berth_image::digest::Digest::of(inner.as_bytes());
    nested["manifests"][0]["digest"] = digest.to_string().into();
    nested["manifests"][0]["size"] = inner.len().into();
    push_index(&world.registry, &nested, "1");
    world.registry.put(&format!("/v2/app/manifests/{digest}"), INDEX, inner);
    world.refuses(world.pull().await, &["index"]);
    assert_eq!(world.registry.count("/blobs/"), 0);
}

/// Line 25: whether the registry says how long it is or not.
#[tokio::test]
async fn a_manifest_of_a_hundred_megabytes_is_not_read() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    for announced in [Some(100_000_000), None] {
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        world.registry.behave_on("/manifests/", move |_| {
            let counter = Arc::clone(&counter);
            let spaces = stream::repeat_with(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(Bytes::from_static(&[b' '; 50_000]))
            });
            Answer::status(200).stream(announced, spaces.take(2000).boxed())
        });
        world.refuses(world.pull().await, &["larger than the 4194304 bytes"]);
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < 500, "{taken} chunks");
    }
}

/// Line 25: of a config, whose size the manifest tells, nothing is read.
#[tokio::test]
async fn a_config_of_nine_megabytes_is_not_read() {
    let mut image = Image::of(&[b"one"]);
    image.manifest["config"]["size"] = (9 << 20).into();
    let world = World::serving(&image).await;
    world.refuses(world.pull().await, &["larger than the 8388608 bytes"]);
    assert_eq!(world.registry.count(&image.config_path()), 0);
}

/// Line 25.
#[tokio::test]
async fn documents_that_are_nested_too_deep_are_refused() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let deep = |text: &str| {
        let nest = format!(r#"{{"deep":{}{},"#, "[".repeat(10_000), "]".repeat(10_000));
        text.replacen('{', &nest, 1)
    };
    world.registry.put("/v2/app/manifests/1", MANIFEST, deep(&image.manifest.to_string()));
    world.refuses(world.pull().await, &["not a valid manifest"]);
    let config = deep(&image.config.to_string());
    let mut manifest = image.manifest.clone();
    let digest = berth_image::digest::Digest::of(config.as_bytes());
    manifest["config"]["digest"] = digest.to_string().into();
    manifest["config"]["size"] = config.len().into();
    world.registry.put("/v2/app/manifests/1", MANIFEST, manifest.to_string());
    world.registry.put(&format!("/v2/app/blobs/{digest}"), "", config);
    world.refuses(world.pull().await, &["config"]);
}

/// Line 28: in the manifest, in the index, in the config.
#[tokio::test]
async fn a_path_in_a_digest_is_refused() {
    for digest in ["sha256:../../../../etc/passwd", "../../etc/passwd", "sha256:/etc/passwd", "sha256:"] {
        let good = Image::of(&[b"one"]);
        let world = World::serving(&good).await;
        for part in ["layer", "config", "diff_id", "index"] {
            let mut image = good.clone();
            let mut index = image.index();
            match part {
                "layer" => image.manifest["layers"][0]["digest"] = digest.into(),
                "config" => image.manifest["config"]["digest"] = digest.into(),
                "diff_id" => {
                    image.config["rootfs"]["diff_ids"][0] = digest.into();
                    image.seal();
                }
                _ => index["manifests"][0]["digest"] = digest.into(),
            }
            image.push(&world.registry, "1");
            if part == "index" {
                push_index(&world.registry, &index, "1");
            }
            world.refuses(world.pull().await, &["digest"]);
        }
        assert!(world.registry.seen().iter().all(|seen| !seen.path.contains("passwd")));
    }
}

/// A layer that says it is one and is not.
#[tokio::test]
async fn a_layer_that_is_no_tar_stream_is_refused() {
    let mut image = Image::of(&[b"one"]);
    image.layers[0] = layer("x", b"y")[..700].to_vec();
    let world = World::serving(&Image::new(image.layers)).await;
    world.refuses(world.pull().await, &["layer 1"]);
}
