//! The Terraform provider for Berth.
