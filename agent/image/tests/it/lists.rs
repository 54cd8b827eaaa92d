//! Lists of a registry: page by page, on the registry, and bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use berth_image::digest::Digest;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;

use crate::image::INDEX;
use crate::registry::{Answer, Registry};
use crate::world::{World, chain};

/// Pages of two names, each with a link to the next.
fn pages(registry: &Registry, path: &'static str, key: &'static str, names: &'static [&'static str]) {
    registry.behave_on(path, move |seen| {
        let last = seen.query.split('&').find_map(|pair| pair.strip_prefix("last="));
        let begin = last.map_or(0, |last| names.iter().position(|name| *name == last).unwrap() + 1);
        let page = &names[begin..names.len().min(begin + 2)];
        let answer = Answer::json(&json!({ key: page }));
        match page.last().filter(|_| begin + 2 < names.len()) {
            Some(last) => answer.header("link", &format!("<{path}?n=2&last={last}>; rel=\"next\"")),
            None => answer,
        }
    });
}

#[tokio::test]
async fn tags_and_repositories_come_page_by_page() {
    let world = World::new().await;
    pages(&world.registry, "/v2/org/app/tags/list", "tags", &["1", "2", "3", "latest", "x"]);
    assert_eq!(world.client.tags("org/app").await.unwrap(), ["1", "2", "3", "latest", "x"]);
    assert_eq!(world.registry.count("/tags/list"), 3);
    pages(&world.registry, "/v2/_catalog", "repositories", &["a", "b/c", "d"]);
    assert_eq!(world.client.repositories().await.unwrap(), ["a", "b/c", "d"]);
    world.registry.behave(|_| Some(Answer::json(&json!({ "tags": null }))));
    assert!(world.client.tags("org/app").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_no_name_is_not_shown() {
    let world = World::new().await;
    let names = json!(["1", "", "a b", "\u{1b}[2J", "../../x", "ok"]);
    world.registry.behave(move |_| Some(Answer::json(&json!({ "tags": names, "repositories": names }))));
    assert_eq!(world.client.tags("app").await.unwrap(), ["1", "ok"]);
    assert_eq!(world.client.repositories().await.unwrap(), ["1", "ok"]);
}

#[tokio::test]
async fn a_next_page_elsewhere_is_refused() {
    let mut world = World::new().await;
    world.log_in();
    let elsewhere = Registry::start().await;
    let target = elsewhere.url("/v2/app/tags/list");
    for link in [
        target,
        "http://169.254.169.254/v2/app/tags/list".to_owned(),
        "/v2/other/tags/list".to_owned(),
        "file:///v2/app/tags/list".to_owned(),
        "http://".to_owned(),
        // Itself, for ever.
        "/v2/app/tags/list?n=1000".to_owned(),
    ] {
        let header = format!("<{link}>; rel=\"next\"");
        world.registry.behave(move |_| Some(Answer::json(&json!({ "tags": ["1"] })).header("link", &header)));
        let error = chain(&world.client.tags("app").await.unwrap_err());
        assert!(error.contains("refused"), "{link}: {error}");
    }
    assert!(elsewhere.seen().is_empty());
    assert_eq!(world.registry.count("/v2/other"), 0);
}

/// hostile.md, line 28: what should be a repository leads to no other question.
#[tokio::test]
async fn a_name_is_one_part_of_a_url() {
    let world = World::new().await;
    for name in ["../../secret", "a/../../secret", "a?secret", "a#secret"] {
        world.client.tags(name).await.unwrap_err();
    }
    for seen in world.registry.seen() {
        assert!(seen.path.starts_with("/v2/") && seen.path.ends_with("/tags/list"), "{seen:?}");
        assert_eq!(seen.query, "n=1000");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_off() {
    let world = World::new().await;
    let page = AtomicU64::new(0);
    let tags: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    world.registry.behave(move |_| {
        let next = format!("<?last={}>; rel=\"next\"", page.fetch_add(1, Ordering::Relaxed));
        Some(Answer::json(&json!({ "tags": tags })).header("link", &next))
    });
    let error = world.client.tags("app").await.unwrap_err().to_string();
    assert!(error.contains("100000"), "{error}");
    assert!(world.registry.count("/tags/list") < 30);
    // Nor is a page without an end read.
    world.registry.behave(|_| {
        let spaces = stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 50_000])));
        Some(Answer::status(200).stream(None, spaces.boxed()))
    });
    let error = world.client.tags("app").await.unwrap_err().to_string();
    assert!(error.contains("larger than the 4194304 bytes"), "{error}");
}

/// Pages that hold nothing, and go on all the same.
#[tokio::test]
async fn empty_pages_without_an_end_are_cut_off() {
    let world = World::new().await;
    let page = AtomicU64::new(0);
    world.registry.behave(move |_| {
        let next = format!("<?last={}>; rel=\"next\"", page.fetch_add(1, Ordering::Relaxed));
        Some(Answer::json(&json!({ "tags": [] })).header("link", &next))
    });
    let error = world.client.tags("app").await.unwrap_err().to_string();
    assert!(error.contains("100000"), "{error}");
    assert_eq!(world.registry.count("/tags/list"), 10_000);
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_not_told() {
    let world = World::new().await;
    assert!(world.client.tags("app").await.unwrap_err().to_string().contains("no repository app"));
    let error = world.client.repositories().await.unwrap_err().to_string();
    assert!(error.contains("gives no list"), "{error}");
    world.registry.behave(|_| Some(Answer::bytes("<html>")));
    assert!(world.client.tags("app").await.unwrap_err().to_string().contains("not a valid list"));
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_found_by_either_way() {
    let world = World::new().await;
    let digest = Digest::of(b"image");
    let entry = |kind: &str| json!({ "digest": Digest::of(kind.as_bytes()).to_string(), "size": 3, "artifactType": kind });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry("a"), entry("b")] });
    assert!(world.client.referrers("app", &digest, None).await.unwrap().is_empty());
    // By the tag, for registries that have no such list.
    let tag = format!("/v2/app/manifests/sha256-{}", digest.hex());
    world.registry.put(&tag, INDEX, index.to_string());
    assert_eq!(world.client.referrers("app", &digest, None).await.unwrap().len(), 2);
    let path = format!("/v2/app/referrers/{digest}");
    world.registry.put(&path, INDEX, index.to_string());
    let found = world.client.referrers("app", &digest, Some("b")).await.unwrap();
    assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [Digest::of(b"b")]);
    assert!(world.registry.seen_on(&path).iter().any(|seen| seen.query == "artifactType=b"));
}
