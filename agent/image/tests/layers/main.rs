//! Layers as images have them and as nobody should make them: from a tar stream to the mounted tree.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archives;
mod hostile;
mod limits;
mod merge;
mod support;
mod umoci;
