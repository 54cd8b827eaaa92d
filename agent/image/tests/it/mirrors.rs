//! Mirrors: tried first for what a digest names, and trusted with nothing.

use berth_image::registry::{Patience, Settings};
use bytes::Bytes;
use serde_json::json;

use crate::image::{Image, push_index};
use crate::registry::{Answer, Registry};
use crate::world::{World, endpoint};

/// A registry that has the image under a tag, and a mirror of it.
async fn mirrored(image: &Image) -> (World, Registry) {
    let mut world = World::serving(image).await;
    push_index(&world.registry, &image.index(), "1");
    let mirror = Registry::start().await;
    image.push(&mirror, "1");
    world.log_in_with(Settings { mirrors: vec![endpoint(&mirror)], ..Settings::default() });
    (world, mirror)
}

#[tokio::test]
async fn a_mirror_serves_digests_and_the_registry_tags() {
    let image = Image::of(&[b"one", b"two"]);
    let (world, mirror) = mirrored(&image).await;
    // What the mirror has under the tag is not asked for.
    Image::of(&[b"other"]).push(&mirror, "1");
    assert_eq!(world.pull().await.unwrap().digest, image.digest());
    assert_eq!(mirror.count("/manifests/1"), 0);
    assert_eq!(mirror.count("/blobs/"), 3);
    assert_eq!(world.registry.count("/manifests/1"), 1);
    assert_eq!(world.registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn what_a_mirror_lacks_refuses_or_spoils_comes_from_the_registry() {
    let image = Image::of(&[&[7; 100_000]]);
    let (world, mirror) = mirrored(&image).await;
    let size = image.layers[0].len();
    let answers: [fn(usize) -> Answer; 6] = [
        |_| Answer::status(404),
        |_| Answer::status(403),
        |_| Answer::status(500),
        |size| Answer::bytes(vec![1; size]),
        |_| Answer::bytes("short"),
        |_| Answer::redirect("http://169.254.169.254/"),
    ];
    for answer in answers {
        mirror.behave(move |_| Some(answer(size)));
        let stored = world.pull().await.unwrap();
        world.store.remove(&stored.digest).unwrap();
        world.store.collect().unwrap();
    }
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_gone_on_from() {
    let image = Image::of(&[&[7; 300_000]]);
    let (world, mirror) = mirrored(&image).await;
    world.registry.allow_ranges();
    let (path, bytes) = (image.layer_path(0), Bytes::from(image.layers[0].clone()));
    let part = path.clone();
    mirror.behave(move |seen| {
        (seen.path == part).then(|| Answer::cut_short(bytes.slice(..100_000), bytes.len() as u64))
    });
    world.pull().await.unwrap();
    let seen = world.registry.seen_on(&path);
    assert!(seen.len() == 1 && seen[0].range.is_some_and(|(first, _)| first > 0), "{seen:?}");
}

/// Nor is it told them when it asks, or sends to where it would hear of them.
#[tokio::test]
async fn a_mirror_gets_no_credentials() {
    let image = Image::of(&[b"one"]);
    let (world, mirror) = mirrored(&image).await;
    let realm = mirror.url("/token");
    for challenge in ["Basic realm=\"x\"".to_owned(), format!("Bearer realm=\"{realm}\"")] {
        mirror.behave(move |seen| {
            Some(if seen.path == "/token" {
                Answer::json(&json!({ "token": "t" }))
            } else {
                Answer::status(401).header("www-authenticate", &challenge)
            })
        });
        let stored = world.pull().await.unwrap();
        world.store.remove(&stored.digest).unwrap();
        world.store.collect().unwrap();
    }
    let basic = |seen: &crate::registry::Seen| {
        seen.authorization.as_ref().is_some_and(|header| header.starts_with("Basic"))
    };
    assert!(mirror.count("/token") > 0);
    assert!(!mirror.seen().iter().any(basic), "{:?}", mirror.seen());
}

/// One that is down costs a pull one attempt to connect, not one for each layer.
#[tokio::test]
async fn a_mirror_that_is_down_is_left_alone_for_a_while() {
    let image = Image::of(&[b"one", b"two"]);
    let (world, mirror) = mirrored(&image).await;
    drop(mirror);
    assert_eq!(world.pull().await.unwrap().digest, image.digest());
}

/// One that is there and hangs up is down as well.
#[tokio::test]
async fn a_mirror_that_hangs_up_is_asked_once() {
    let image = Image::of(&[b"one", b"two"]);
    let (world, mirror) = mirrored(&image).await;
    mirror.behave(|_| Some(Answer::hang_up()));
    assert_eq!(world.pull().await.unwrap().digest, image.digest());
    let attempts = Patience::default().attempts as usize;
    assert_eq!(mirror.seen().len(), attempts, "{:?}", mirror.seen());
}
