//! The agent of one Linux host.
fn main() {}
