//! Remotes that take only what is signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_image::digest::Digest;
use berth_image::registry::{Settings, VerifyKey};
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};

use crate::image::{INDEX, Image, MANIFEST, push_index};
use crate::registry::Answer;
use crate::world::{World, endpoint};

fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn payload(digest: &str) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": "" },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// Puts a signature of this text where cosign would have put it for `signed`.
fn sign(world: &World, signed: &Digest, text: &str, signature: &[u8]) {
    sign_after(world, signed, 0, text, signature);
}

/// As [`sign`], after so many others that are of nobody here.
fn sign_after(world: &World, signed: &Digest, others: usize, text: &str, signature: &[u8]) {
    let config = "{}";
    let layer = |signature: &[u8]| {
        json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": Digest::of(text.as_bytes()).to_string(), "size": text.len(),
            "annotations": { "dev.cosignproject.cosign/signature": STANDARD.encode(signature) },
        })
    };
    let mut layers = vec![layer(b"another's"); others];
    layers.push(layer(signature));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config.as_bytes()).to_string(), "size": config.len(),
        },
        "layers": layers,
    });
    let registry = &world.registry;
    registry.put(&format!("/v2/app/blobs/{}", Digest::of(text.as_bytes())), "", text.to_owned());
    let tag = format!("/v2/app/manifests/sha256-{}.sig", signed.hex());
    registry.put(&tag, MANIFEST, manifest.to_string());
}

/// A manifest without a signature that refers to something, and its entry in an index.
fn referrer(world: &World, number: usize) -> Value {
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "number": number }).to_string();
    let digest = Digest::of(manifest.as_bytes()).to_string();
    let size = manifest.len();
    world.registry.put(&format!("/v2/app/manifests/{digest}"), MANIFEST, manifest);
    json!({ "mediaType": MANIFEST, "digest": digest, "size": size,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json" })
}

fn sign_with(world: &World, signed: &Digest, key: &KeyPair) {
    let text = payload(&signed.to_string()).to_string();
    sign(world, signed, &text, &key.sign(text.as_bytes()).unwrap());
}

/// A registry with the image, whose client wants it signed with one of these.
async fn wanting(image: &Image, keys: &[&KeyPair]) -> World {
    let mut world = World::serving(image).await;
    let keys = keys.iter().map(|key| VerifyKey::from_pem(&key.public_key_pem()).unwrap()).collect();
    world.set(Settings { keys, ..Settings::default() });
    world
}

#[tokio::test]
async fn what_is_signed_is_pulled_whatever_the_kind_of_key() {
    let keys = [
        p256(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        KeyPair::from_pem(include_str!("rsa.pem")).unwrap(),
    ];
    let image = Image::of(&[b"one"]);
    for key in &keys {
        let world = wanting(&image, &[&p256(), key]).await;
        sign_with(&world, &image.digest(), key);
        world.pull().await.unwrap();
    }
}

#[tokio::test]
async fn a_good_signature_is_found_among_others_but_not_among_any_number() {
    let (image, key) = (Image::of(&[b"one"]), p256());
    let text = payload(&image.digest().to_string()).to_string();
    let world = wanting(&image, &[&key]).await;
    sign_after(&world, &image.digest(), 64, &text, &key.sign(text.as_bytes()).unwrap());
    world.refuses(world.pull().await, &["too many signatures"]);
    // Nor are they looked for in any number of manifests.
    let tag = format!("/v2/app/manifests/sha256-{}.sig", image.digest().hex());
    let others: Vec<Value> = (0..65).map(|number| referrer(&world, number)).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": others }).to_string();
    world.registry.behave(move |seen| match seen.path.as_str() {
        path if path == tag => Some(Answer::status(404)),
        path if path.contains("/referrers/") => Some(Answer::bytes(index.clone())),
        _ => None,
    });
    let before = world.registry.count("/manifests/sha256:");
    world.refuses(world.pull().await, &["holds none"]);
    assert_eq!(world.registry.count("/manifests/sha256:") - before, 64);
    world.registry.behave(|_| None);
    sign_after(&world, &image.digest(), 63, &text, &key.sign(text.as_bytes()).unwrap());
    world.pull().await.unwrap();
}

#[tokio::test]
async fn what_is_not_signed_is_not_stored() {
    let image = Image::of(&[b"one"]);
    let world = wanting(&image, &[&p256()]).await;
    let named = image.digest().to_string();
    world.refuses(world.pull().await, &[&named, "is not signed"]);
    push_index(&world.registry, &image.index(), "1");
    world.refuses(world.pull().await, &[&named, "is not signed"]);
    assert_eq!(world.registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn what_is_signed_wrongly_is_not_stored_and_the_error_says_why() {
    let (image, key) = (Image::of(&[b"one"]), p256());
    let world = wanting(&image, &[&key]).await;
    let digest = image.digest();
    let check = async |words: &[&str]| {
        world.refuses(world.pull().await, &[&[digest.to_string().as_str()], words].concat());
        assert_eq!(world.registry.count(&image.layer_path(0)), 0);
        assert_eq!(world.registry.count(&image.config_path()), 0);
    };
    sign_with(&world, &digest, &p256());
    check(&["none of the remote's keys"]).await;
    // Another image's signature under this one's tag.
    let other = payload(&Image::of(&[b"two"]).digest().to_string()).to_string();
    sign(&world, &digest, &other, &key.sign(other.as_bytes()).unwrap());
    check(&["another image's"]).await;
    // A good signature of another document.
    let text = payload(&digest.to_string()).to_string();
    sign(&world, &digest, &text, &key.sign(other.as_bytes()).unwrap());
    check(&["none of the remote's keys"]).await;
    let mut kind = payload(&digest.to_string());
    kind["critical"]["type"] = "atomic container signature".into();
    sign(&world, &digest, &kind.to_string(), &key.sign(kind.to_string().as_bytes()).unwrap());
    check(&["is not an image"]).await;
    sign(&world, &digest, "[]", &key.sign(b"[]").unwrap());
    check(&["not a description"]).await;
    world.registry.put(&format!("/v2/app/manifests/sha256-{}.sig", digest.hex()), MANIFEST, "{}");
    check(&["holds none"]).await;
    // What is signed is read up to a limit, and only what says that it is a signature.
    let long = text.clone() + &" ".repeat(64 * 1024);
    sign(&world, &digest, &long, &key.sign(long.as_bytes()).unwrap());
    world.refuses(world.pull().await, &["larger than the 65536 bytes"]);
    let layer = json!({
        "mediaType": "application/vnd.dsse.envelope.v1+json",
        "digest": Digest::of(text.as_bytes()).to_string(), "size": text.len(),
        "annotations": { "dev.cosignproject.cosign/signature": STANDARD.encode(key.sign(text.as_bytes()).unwrap()) },
    });
    world.registry.put(&format!("/v2/app/blobs/{}", Digest::of(text.as_bytes())), "", text.clone());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer] });
    world.registry.put(
        &format!("/v2/app/manifests/sha256-{}.sig", digest.hex()),
        MANIFEST,
        manifest.to_string(),
    );
    check(&["holds none"]).await;
    sign_with(&world, &digest, &key);
    world.pull().await.unwrap();
}

/// cosign signs the index, and not what it names, unless it is told to.
#[tokio::test]
async fn a_signed_index_vouches_for_what_it_names() {
    let (image, key) = (Image::of(&[b"one"]), p256());
    let world = wanting(&image, &[&key]).await;
    let index = image.index();
    push_index(&world.registry, &index, "1");
    sign_with(&world, &Digest::of(index.to_string().as_bytes()), &key);
    let resolved = world.resolve().await.unwrap();
    world.fetch(&resolved).await.unwrap();
    // And for nothing else.
    let other = Image::of(&[b"two"]);
    other.push(&world.registry, "2");
    let mut smuggled = resolved.clone();
    smuggled.manifest = other.digest();
    let error = world.fetch(&smuggled).await.unwrap_err();
    assert!(error.contains("does not name it"), "{error}");
    assert_eq!(world.store.list().unwrap().len(), 1);
}

/// What came from elsewhere before is there, and is no less unsigned.
#[tokio::test]
async fn an_image_that_is_there_is_checked_too() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    let resolved = world.resolve().await.unwrap();
    world.fetch(&resolved).await.unwrap();
    let keys = vec![VerifyKey::from_pem(&p256().public_key_pem()).unwrap()];
    world.set(Settings { keys, ..Settings::default() });
    let error = world.fetch(&resolved).await.unwrap_err();
    assert!(error.contains("is not signed"), "{error}");
}

/// A mirror has no say in it.
#[tokio::test]
async fn signatures_come_from_the_registry_itself() {
    let (image, key) = (Image::of(&[b"one"]), p256());
    let mut world = World::serving(&image).await;
    let mirror = World::serving(&image).await;
    sign_with(&mirror, &image.digest(), &key);
    let keys = vec![VerifyKey::from_pem(&key.public_key_pem()).unwrap()];
    world.set(Settings { keys, mirrors: vec![endpoint(&mirror.registry)], ..Settings::default() });
    world.refuses(world.pull().await, &["is not signed"]);
    sign_with(&world, &image.digest(), &key);
    world.pull().await.unwrap();
}
