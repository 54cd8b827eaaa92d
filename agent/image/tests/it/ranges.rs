//! Layers by ranges, in parallel and resumed: line 22, and how much is fetched at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_image::registry::{Downloads, Patience, Settings};
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::image::Image;
use crate::registry::{Answer, Seen};
use crate::world::World;

const PART: u64 = 4 * 1024 * 1024;

/// A layer that is fetched in parts: ten of them, the last one short.
async fn large() -> (World, Image, Bytes) {
    let content: Vec<u8> = (0u32..9_600_000).flat_map(u32::to_le_bytes).collect();
    let image = Image::of(&[&content]);
    let world = World::serving(&image).await;
    let bytes = Bytes::from(image.layers[0].clone());
    (world, image, bytes)
}

/// Every byte was asked for once.
fn cover(seen: &[Seen], size: u64) {
    let mut ranges: Vec<(u64, u64)> = seen.iter().map(|seen| seen.range.unwrap()).collect();
    ranges.sort_unstable();
    let mut next = 0;
    for (first, last) in ranges {
        assert_eq!(first, next);
        assert!(last < first + PART);
        next = last + 1;
    }
    assert_eq!(next, size);
}

#[tokio::test]
async fn a_large_layer_comes_in_parts_side_by_side() {
    let (world, image, bytes) = large().await;
    world.registry.allow_ranges();
    let path = image.layer_path(0);
    let (size, part) = (bytes.len() as u64, path.clone());
    let asked = Arc::new(AtomicU64::new(0));
    world.registry.behave(move |seen| {
        let range = seen.range.filter(|_| seen.path == part)?;
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        // The second waits for the fourth: it would wait for ever if they came one after the other.
        let (asked, bytes) = (Arc::clone(&asked), bytes.clone());
        let chunk = stream::once(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while turn == 1 && asked.load(Ordering::Relaxed) < 4 {
                ticks.tick().await;
            }
            Ok(bytes.slice(range.0 as usize..=range.1 as usize))
        });
        let told = format!("bytes {}-{}/{size}", range.0, range.1);
        let answer = Answer::status(206).stream(Some(range.1 + 1 - range.0), chunk.boxed());
        Some(answer.header("content-range", &told))
    });
    world.pull().await.unwrap();
    cover(&world.registry.seen_on(&path), size);
}

/// Line 22: a registry that has no notion of ranges gives the whole, which is taken as it comes.
#[tokio::test]
async fn a_range_that_is_ignored_is_no_loss() {
    let (world, image, _) = large().await;
    world.pull().await.unwrap();
    assert_eq!(world.registry.count(&image.layer_path(0)), 1);
}

type Wrong = fn(&Bytes, (u64, u64)) -> Answer;

/// Line 22: ranges of a registry that gives others than it is asked for are not used.
#[tokio::test]
async fn a_wrong_range_is_not_taken() {
    let (world, image, bytes) = large().await;
    let path = image.layer_path(0);
    let wrong: [Wrong; 8] = [
        |bytes, (first, last)| Answer::part(bytes, (first + 1, last + 1)),
        |bytes, (first, last)| Answer::part(bytes, (first, last - 1)),
        |bytes, range| Answer::part(&bytes.slice(..bytes.len() - 512), range),
        // As much as was asked for, and not told of what.
        |_, (first, last)| Answer::status(206).with(vec![0; (last - first) as usize + 1]),
        |_, _| Answer::status(416),
        // Told right, and of another length.
        |bytes, (first, last)| {
            let told = format!("bytes {first}-{last}/{}", bytes.len());
            let part = bytes.slice(first as usize..last as usize);
            Answer::status(206).stream(None, stream::iter([Ok(part)]).boxed()).header("content-range", &told)
        },
        |bytes, (first, last)| {
            let told = format!("bytes {first}-{last}/{}", bytes.len());
            let part = bytes.slice(first as usize..bytes.len().min(last as usize + 2));
            Answer::status(206).stream(None, stream::iter([Ok(part)]).boxed()).header("content-range", &told)
        },
        // All of it, though the part before came as a part.
        |bytes, _| Answer::bytes(bytes.clone()),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        // From the first part on, and from the third.
        for good in [0, 2 * PART] {
            let (path, bytes) = (path.clone(), bytes.clone());
            world.registry.behave(move |seen| {
                let range = seen.range.filter(|_| seen.path == path)?;
                Some(if range.0 < good { Answer::part(&bytes, range) } else { wrong(&bytes, range) })
            });
            let stored = world.pull().await.unwrap_or_else(|error| panic!("{number} {good}: {error}"));
            world.store.remove(&stored.digest).unwrap();
            world.store.collect().unwrap();
        }
    }
}

/// Line 22: part of what was asked for as a whole.
#[tokio::test]
async fn a_part_that_was_not_asked_for_is_refused() {
    let image = Image::of(&[&[7; 100_000]]);
    let world = World::serving(&image).await;
    let (path, bytes) = (image.layer_path(0), Bytes::from(image.layers[0].clone()));
    let last = bytes.len() as u64 - 1;
    world.registry.behave_on(&path, move |_| Answer::part(&bytes, (0, last)));
    world.refuses(world.pull().await, &["another part", "than it was asked for"]);
}

/// Lines 20 and 22: told right, and other bytes. The whole is what is verified.
#[tokio::test]
async fn a_part_that_is_spoilt_spoils_the_layer() {
    let (world, image, bytes) = large().await;
    let path = image.layer_path(0);
    world.registry.behave_on(&path, move |seen| {
        let (first, last) = seen.range.unwrap();
        let mut spoilt = bytes.to_vec();
        spoilt[3 * PART as usize] ^= 1;
        Answer::part(&Bytes::from(spoilt), (first, last))
    });
    world.refuses(world.pull().await, &["layer 1", "not what its digest says"]);
}

/// Line 22: what came is not fetched again.
#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let image = Image::of(&[&[7; 3_000_000]]);
    let world = World::serving(&image).await;
    world.registry.allow_ranges();
    let path = image.layer_path(0);
    let bytes = Bytes::from(image.layers[0].clone());
    let part = path.clone();
    world.registry.behave(move |seen| {
        let whole = seen.path == part && seen.range.is_none();
        whole.then(|| Answer::cut_short(bytes.slice(..1_000_000), bytes.len() as u64))
    });
    world.pull().await.unwrap();
    let seen = world.registry.seen_on(&path);
    assert_eq!(seen.len(), 2);
    let (first, last) = seen[1].range.unwrap();
    assert!((1..=1_000_000).contains(&first), "{first}");
    assert_eq!(last + 1, image.layers[0].len() as u64);
}

/// Line 22: breaking off is no end as long as there is progress.
#[tokio::test]
async fn a_transfer_that_breaks_often_comes_to_its_end() {
    let image = Image::of(&[&[7; 9_000_000]]);
    let world = World::serving(&image).await;
    let (path, bytes) = (image.layer_path(0), Bytes::from(image.layers[0].clone()));
    let (size, part) = (bytes.len() as u64, path.clone());
    world.registry.behave(move |seen| {
        let (first, last) = seen.range.unwrap_or((0, size - 1));
        let cut = bytes.slice(first as usize..(first as usize + 1_500_000).min(bytes.len()));
        let told = format!("bytes {first}-{last}/{size}");
        let answer = |status| Answer::cut_short_with(status, cut, last + 1 - first);
        (seen.path == part).then(|| match seen.range {
            None => answer(200),
            Some(_) => answer(206).header("content-range", &told),
        })
    });
    world.pull().await.unwrap();
    assert!(world.registry.count(&path) > Patience::default().attempts as usize);
}

#[tokio::test]
async fn a_pull_that_failed_goes_on_with_the_layers_it_lacks() {
    let image = Image::of(&[b"one", b"two"]);
    let world = World::serving(&image).await;
    let (here, there) = (image.layer_path(0), image.layer_path(1));
    let layers = world.path().join("layers");
    world.registry.behave_on(&there, move |_| {
        // It fails when the other is whole.
        let layers = layers.clone();
        let late = stream::once(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            while std::fs::read_dir(&layers).unwrap().next().is_none() {
                ticks.tick().await;
            }
            Ok(Bytes::from_static(b"not this"))
        });
        Answer::status(200).stream(None, late.boxed())
    });
    assert!(world.pull().await.is_err());
    world.registry.behave(|_| None);
    world.pull().await.unwrap();
    assert_eq!((world.registry.count(&here), world.registry.count(&there)), (1, 2));
}

/// Two pulls that want one layer fetch it once.
#[tokio::test]
async fn two_pulls_share_a_fetch() {
    let shared: &[u8] = &[7; 2_000_000];
    let (one, two) = (Image::of(&[shared, b"one"]), Image::of(&[shared, b"two"]));
    let world = World::serving(&one).await;
    two.push(&world.registry, "2");
    let (first, second) = (world.resolve_tag("1").await.unwrap(), world.resolve_tag("2").await.unwrap());
    let (first, second) = tokio::join!(world.fetch(&first), world.fetch(&second));
    assert_eq!((first.unwrap().digest, second.unwrap().digest), (one.digest(), two.digest()));
    assert_eq!(world.registry.count(&one.layer_path(0)), 1);
    // Nor is an image fetched twice that is asked for twice at once.
    for image in [&one, &two] {
        world.store.remove(&image.digest()).unwrap();
    }
    world.store.collect().unwrap();
    let resolved = world.resolve().await.unwrap();
    let (first, second) = tokio::join!(world.fetch(&resolved), world.fetch(&resolved));
    first.and(second).unwrap();
    assert_eq!(world.registry.count(&one.layer_path(0)), 2);
}

/// Counted for as long as its body is there.
struct Busy(Arc<AtomicU64>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn no_more_is_fetched_at_once_than_is_allowed() {
    let contents: Vec<Vec<u8>> = (0..6).map(|byte| vec![byte; 200_000]).collect();
    let image = Image::of(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut world = World::serving(&image).await;
    let downloads = Downloads::new(NonZeroU32::new(2).unwrap(), None);
    world.set(Settings { downloads, ..Settings::default() });
    let layers: Vec<(String, Bytes)> =
        (0..6).map(|index| (image.layer_path(index), image.layers[index].clone().into())).collect();
    let (busy, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let peak = Arc::clone(&most);
    world.registry.behave(move |seen| {
        let (_, bytes) = layers.iter().find(|(path, _)| *path == seen.path)?;
        peak.fetch_max(busy.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (turn, bytes) = (Busy(Arc::clone(&busy)), bytes.clone());
        let chunk = stream::once(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(30));
            ticks.tick().await;
            ticks.tick().await;
            drop(turn);
            Ok(bytes)
        });
        Some(Answer::status(200).stream(None, chunk.boxed()))
    });
    world.pull().await.unwrap();
    assert_eq!(most.load(Ordering::Relaxed), 2);
}
