//! Wire types of the plugin protocol and of the agent's API; generated, nothing else.
#![allow(clippy::all, missing_docs, rust_2018_idioms)]

/// The agent's API, `berth.agent.v1`.
pub mod agent {
    tonic::include_proto!("berth.agent.v1");
}
