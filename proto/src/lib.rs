//! Wire types of the plugin protocol and of the agent's API; generated, nothing else.
#![allow(clippy::all, missing_docs, rust_2018_idioms)]

/// The agent's API, `berth.agent.v1`.
pub mod agent {
    tonic::include_proto!("berth.agent.v1");
}

/// Terraform's plugin protocol 6, `tfplugin6`.
pub mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// go-plugin's own services, `plugin`.
pub mod plugin {
    tonic::include_proto!("plugin");
}

/// The gRPC health service, `grpc.health.v1`.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
