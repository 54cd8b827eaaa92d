//! A real `berthd` in directories of its own, and `berth` against it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archives;
mod contracts;
mod daemon;
mod faults;
mod hostile;
mod images;
mod instances;
mod killed;
mod model;
mod networks;
mod proxies;
mod remotes;
mod tls;
mod usage;
mod volumes;
mod world;
