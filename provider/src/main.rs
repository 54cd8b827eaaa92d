//! The Terraform provider for Berth.
fn main() {}
