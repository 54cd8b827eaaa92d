//! `berth_instance_restart`.

use std::sync::Arc;

use tfplugin::timeouts::InvokeTimeouts;
use tfplugin::{Action, Attr, Attribute, Context, Progress, Schema};
use tokio::sync::mpsc;

use super::{on_host, timeouts};
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::data_sources::look;
use crate::report::Diagnostics;

tfplugin::model! {
    /// Which instance, and how.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct RestartModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Its id.
        pub instance: Attr<String>,
        /// Whether to kill it at once.
        pub force: Attr<bool>,
        /// How long it may take.
        pub timeouts: Attr<InvokeTimeouts>,
    }
}

/// `berth_instance_restart`.
pub struct InstanceRestart;

impl Action for InstanceRestart {
    type Model = RestartModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instance_restart";

    fn schema(&self) -> Schema {
        Schema::new(
            "Restarts an instance: it is stopped and started with the same root file system and addresses. One that is not \
             wanted running is not started.",
        )
        .attribute("host", look::host())
        .attribute("instance", Attribute::string("The instance's `id`.").required())
        .attribute(
            "force",
            Attribute::bool("Whether to kill it at once, and not to wait for its stop signal. Default: `false`."),
        )
        .attribute("timeouts", timeouts())
    }

    async fn invoke(
        &self,
        cx: &mut Context<Berth>,
        config: RestartModel,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let id = config.instance.as_str().unwrap_or_default().to_owned();
        let force = config.force.known().copied().unwrap_or(false);
        let work = async move |it: Arc<Connection>| {
            let (told, mut lines) = mpsc::channel(16);
            let restart = it.agent.restart_instance(id, force, told);
            let tell = async {
                while let Some(line) = lines.recv().await {
                    progress.tell(line).await;
                }
            };
            tokio::join!(restart, tell).0
        };
        on_host(cx, &config.host, &config.timeouts, "Restarting the instance", work).await
    }
}
