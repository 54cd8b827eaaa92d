//! `berth_host`: what a host is.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::ReadTimeouts;
use tfplugin::{Attr, Attribute, Context, DataSource, Schema};

use super::look;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::Diagnostics;

tfplugin::model! {
    /// A host.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct HostModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
        /// The agent's own id.
        pub id: Attr<String>,
        /// The agent's own id.
        pub agent_id: Attr<String>,
        /// What the machine calls itself.
        pub hostname: Attr<String>,
        /// The agent's version.
        pub agent_version: Attr<String>,
        /// The kernel's version.
        pub kernel_version: Attr<String>,
        /// As in OCI.
        pub architecture: Attr<String>,
        /// How many it has.
        pub cpus: Attr<i64>,
        /// Bytes.
        pub memory_bytes: Attr<i64>,
        /// What marks the agent's names on the host.
        pub prefix: Attr<String>,
        /// Where the agent keeps its data.
        pub data_dir: Attr<String>,
        /// `v1` or `v2`.
        pub cgroup_version: Attr<String>,
    }
}

/// `berth_host`.
pub struct Host;

impl DataSource for Host {
    type Model = HostModel;
    type Client = Berth;

    const NAME: &'static str = "berth_host";

    fn schema(&self) -> Schema {
        let text = |docs: &str| Attribute::string(docs).computed();
        let number = |docs: &str| Attribute::number(docs).computed();
        Schema::new("A host, as its agent sees it.")
            .attribute("host", look::host())
            .attribute("timeouts", look::timeouts())
            .attribute("id", text("The agent's own id, a UUID made with its data directory."))
            .attribute("agent_id", text("The same as `id`."))
            .attribute("hostname", text("What the machine calls itself."))
            .attribute("agent_version", text("Version of the agent."))
            .attribute("kernel_version", text("Version of the kernel."))
            .attribute("architecture", text("Architecture as images name it: `amd64`, `arm64`."))
            .attribute("cpus", number("Number of CPUs."))
            .attribute("memory_bytes", number("Bytes of memory."))
            .attribute("prefix", text("Four characters that mark all that the agent names on the host."))
            .attribute("data_dir", text("Directory in which the agent keeps its data."))
            .attribute("cgroup_version", text("Version of the control groups: `v1` or `v2`."))
    }

    async fn read(&self, cx: &mut Context<Berth>, config: HostModel) -> Result<HostModel, Diagnostics> {
        let question = async |it: Arc<Connection>| it.agent.host().await;
        let host = look::ask(cx, &config.host, &config.timeouts, "Reading the host", question).await?;
        Ok(from_wire(host, config))
    }
}

fn from_wire(host: wire::Host, config: HostModel) -> HostModel {
    HostModel {
        id: Attr::Known(host.agent_id.clone()),
        agent_id: Attr::Known(host.agent_id),
        hostname: Attr::Known(host.hostname),
        agent_version: Attr::Known(host.agent_version),
        kernel_version: Attr::Known(host.kernel_version),
        architecture: Attr::Known(host.architecture),
        cpus: Attr::Known(host.cpus.into()),
        memory_bytes: Attr::Known(i64::try_from(host.memory_bytes).unwrap_or(i64::MAX)),
        prefix: Attr::Known(host.prefix),
        data_dir: Attr::Known(host.data_dir),
        cgroup_version: Attr::Known(host.cgroup_version),
        ..config
    }
}
