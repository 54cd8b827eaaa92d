//! The provider as Terraform runs it, against a fake agent that speaks the real gRPC over a real socket.
// Helpers of tests are tests, too: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connections;
mod fake;
mod hosts;
mod image;
mod instance;
mod instance_errors;
mod interrupt;
mod network;
mod reading;
mod remote;
mod run;
mod state;
mod volume;
