//! Pulls from a registry of the tests' own, which misbehaves when it is told to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod content;
mod image;
mod lists;
mod logins;
mod mirrors;
mod network;
mod ranges;
mod registry;
mod signatures;
mod timing;
mod world;
