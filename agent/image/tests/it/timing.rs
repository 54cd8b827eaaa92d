//! Registries that take their time, and those that have none: line 26.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_image::registry::Patience;
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::image::Image;
use crate::registry::Answer;
use crate::world::{World, hasty};

/// Gives up in milliseconds.
fn impatient() -> Patience {
    Patience {
        answer: Duration::from_millis(300),
        rate_window: Duration::from_millis(150),
        min_rate: 100_000,
        ..hasty()
    }
}

/// A byte every few milliseconds: some hundred bytes a second, which never stops for long.
fn trickle(length: u64) -> Answer {
    let ticks = tokio::time::interval(Duration::from_millis(5));
    let bytes = stream::unfold(ticks, |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(Bytes::from_static(b" ")), ticks))
    });
    Answer::status(200).stream(Some(length), bytes.boxed())
}

#[tokio::test]
async fn a_transfer_that_trickles_is_given_up() {
    let image = Image::of(&[&[7; 100_000]]);
    let world = World::with(impatient()).await;
    image.push(&world.registry, "1");
    let layer = image.layers[0].len() as u64;
    let manifest = image.manifest.to_string().len() as u64;
    for (path, length) in [(image.layer_path(0), layer), ("/v2/app/manifests/1".to_owned(), manifest)] {
        world.registry.behave_on(&path, move |_| trickle(length));
        world.refuses(world.pull().await, &["too slow"]);
    }
}

#[tokio::test]
async fn a_chunk_that_never_comes_is_not_waited_for() {
    let image = Image::of(&[&[7; 100_000]]);
    let world = World::with(impatient()).await;
    image.push(&world.registry, "1");
    let bytes = Bytes::from(image.layers[0].clone());
    world.registry.behave_on(&image.layer_path(0), move |_| {
        let first = stream::iter([Ok(bytes.slice(..50_000))]);
        Answer::status(200).stream(Some(bytes.len() as u64), first.chain(stream::pending()).boxed())
    });
    world.refuses(world.pull().await, &["too slow"]);
}

/// Fast enough at every moment, but it never ends.
#[tokio::test]
async fn documents_and_layers_are_whole_within_their_time() {
    let image = Image::of(&[&[7; 1_000_000]]);
    let size = image.layers[0].len() as u64;
    let slow = || Patience { min_rate: 1, ..impatient() };
    let short = Duration::from_millis(300);
    for (patience, path) in [
        (Patience { document: short, ..slow() }, "/v2/app/manifests/1".to_owned()),
        (Patience { layer: short, ..slow() }, image.layer_path(0)),
    ] {
        let world = World::with(patience).await;
        image.push(&world.registry, "1");
        world.registry.behave_on(&path, move |_| trickle(size));
        world.refuses(world.pull().await, &["too slow"]);
    }
}

/// A host that lets nobody in: the connection is not waited for as long as an answer.
#[tokio::test]
async fn a_connection_that_never_comes_is_given_up() {
    let world = World::with(Patience { connect: Duration::from_millis(200), ..hasty() }).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // Nobody takes them, so that the kernel soon passes over who comes.
    let mut waiting = Vec::new();
    let connect =
        || tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address));
    while let Ok(connected) = connect().await {
        waiting.push(connected.unwrap());
    }
    let to = format!("http://{address}/");
    world.registry.behave_on("/manifests/", move |_| Answer::redirect(&to));
    world.refuses(world.pull().await, &["cannot reach", "127.0.0.1"]);
}

#[tokio::test]
async fn a_registry_that_never_answers_is_named() {
    let world = World::with(impatient()).await;
    // It accepts connections, and that is all.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/", silent.local_addr().unwrap());
    world.registry.behave_on("/manifests/", move |_| Answer::redirect(&to));
    world.refuses(world.pull().await, &["127.0.0.1", "did not answer"]);
}

/// A storm that passes, with and without `Retry-After`.
#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    for (status, header) in [(429, None), (503, None), (500, None), (503, Some("0"))] {
        let asked = AtomicU64::new(0);
        world.registry.behave(move |_| {
            let busy = asked.fetch_add(1, Ordering::Relaxed) % 3 != 2;
            let answer = || Answer::status(status);
            busy.then(|| header.map_or_else(answer, |value| answer().header("retry-after", value)))
        });
        world.pull().await.unwrap();
        world.store.remove(&image.digest()).unwrap();
        world.store.collect().unwrap();
    }
}

#[tokio::test]
async fn the_pause_that_a_registry_asks_for_is_kept() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let asked = AtomicU64::new(0);
    world.registry.behave(move |_| {
        (asked.fetch_add(1, Ordering::Relaxed) == 0).then(|| Answer::status(429).header("retry-after", "1"))
    });
    let begin = Instant::now();
    world.pull().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// A storm without an end: the number of requests is bounded, and the error says what is the matter.
#[tokio::test]
async fn a_storm_that_does_not_pass_is_told() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let path = image.layer_path(0);
    let tries = Patience::default().attempts as usize;
    world.registry.behave_on(&path, |_| Answer::status(503));
    world.refuses(world.pull().await, &["503", "blob"]);
    assert_eq!(world.registry.count(&path), tries);
    world.registry.behave_on("/manifests/", |_| Answer::status(429));
    world.refuses(world.pull().await, &["limiting requests"]);
    // A registry that wants to be left alone for long is asked once.
    let before = world.registry.count("/manifests/");
    world.registry.behave_on("/manifests/", |_| Answer::status(429).header("retry-after", "3600"));
    world.refuses(world.pull().await, &["limiting requests", "3600 s"]);
    assert_eq!(world.registry.count("/manifests/"), before + 1);
}

/// So is a token server.
#[tokio::test]
async fn a_busy_token_server_is_asked_again() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    let realm = world.registry.url("/token");
    let asked = AtomicU64::new(0);
    world.registry.behave(move |seen| match (seen.path.as_str(), &seen.authorization) {
        ("/token", _) if asked.fetch_add(1, Ordering::Relaxed) < 2 => Some(Answer::status(503)),
        ("/token", _) => Some(Answer::json(&serde_json::json!({ "access_token": "t" }))),
        (_, Some(_)) => None,
        (_, None) => {
            Some(Answer::status(401).header("www-authenticate", &format!("Bearer realm=\"{realm}\"")))
        }
    });
    world.pull().await.unwrap();
    assert_eq!(world.registry.count("/token"), 3);
}
