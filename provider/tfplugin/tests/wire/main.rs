//! The small provider of `examples/` as a plugin client sees it: the handshake, mutual TLS, and the services.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cases;
mod more;
mod plugin;
