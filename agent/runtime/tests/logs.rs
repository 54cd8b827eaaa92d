//! Reading a log's files, while they are written and rotated.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::path::Path;

use berth_runtime::logs::{self, Query, Stream};

const FIRST: &str =
    "2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:00.000000002Z stderr F two\n";
const SECOND: &str =
    "2026-01-01T00:00:00.000000003Z stdout P thr\n2026-01-01T00:00:00.000000004Z stdout F ee \u{ff}\n";

fn log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.log"), FIRST).unwrap();
    fs::write(directory.path().join("current.log"), format!("{SECOND}garbage\n")).unwrap();
    directory
}

async fn texts(directory: &Path, query: Query) -> Vec<String> {
    let mut entries = logs::open(directory, query);
    let mut texts = Vec::new();
    while let Some(entry) = entries.recv().await {
        texts.push(String::from_utf8(entry.unwrap().data).unwrap());
    }
    texts
}

#[tokio::test]
async fn all_files_are_read_in_order() {
    let directory = log();
    let all = texts(directory.path(), Query::default()).await;
    assert_eq!(all, ["one", "two", "thr", "ee ÿ"]);
    let mut entries = logs::open(directory.path(), Query::default());
    let first = entries.recv().await.unwrap().unwrap();
    assert_eq!(
        (first.time.as_str(), first.stream, first.partial),
        ("2026-01-01T00:00:00.000000001Z", Stream::Stdout, false)
    );
}

#[tokio::test]
async fn a_tail_and_a_time_narrow_it() {
    let directory = log();
    assert_eq!(texts(directory.path(), Query { tail: Some(2), ..Query::default() }).await, ["thr", "ee ÿ"]);
    let since = Some("2026-01-01T00:00:00.000000002Z".to_owned());
    assert_eq!(texts(directory.path(), Query { since, ..Query::default() }).await, ["two", "thr", "ee ÿ"]);
}

#[tokio::test]
async fn a_follower_sees_what_is_written_later_and_over_a_rotation() {
    let directory = log();
    let current = directory.path().join("current.log");
    let mut entries = logs::open(directory.path(), Query { follow: true, tail: Some(0), since: None });
    let line = |text: &str| format!("2026-01-01T00:00:01.000000000Z stdout F {text}\n");
    let append = |text: &str| {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&current)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    };
    let mut next = async || String::from_utf8(entries.recv().await.unwrap().unwrap().data).unwrap();
    // The follower may not have begun: written until it is seen.
    let seen = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        let mut first = std::pin::pin!(next());
        loop {
            tokio::select! {
                text = &mut first => break text,
                () = tokio::task::yield_now() => append(&line("begin")),
            }
        }
    });
    assert_eq!(seen.await.unwrap(), "begin");
    append(&line("last of the old"));
    fs::rename(&current, directory.path().join("1.log")).unwrap();
    append(&line("first of the new"));
    let mut later = Vec::new();
    while later.last().is_none_or(|text| text != "first of the new") {
        let text = next().await;
        if text != "begin" {
            later.push(text);
        }
    }
    assert_eq!(later, ["last of the old", "first of the new"]);
}
