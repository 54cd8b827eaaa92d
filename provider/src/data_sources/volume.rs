//! `berth_volume`: a volume that is there already.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::ReadTimeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Context, DataSource, Schema};

use super::look;
use crate::attr::{Attr, List, Map, list, map, model, non_empty};
use crate::client::By;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::Diagnostics;
use crate::text::mode;

model! {
    /// A volume.
    pub struct VolumeDataModel {
        /// A key or an address; null is the default host.
        host: Attr<String>,
        /// How it is looked up.
        name: Attr<String>,
        /// How long the read may take.
        timeouts: Attr<ReadTimeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// All of them.
        labels: Map<String>,
        /// As asked for.
        uid: Attr<i64>,
        /// As asked for.
        gid: Attr<i64>,
        /// As asked for.
        mode: Attr<String>,
        /// Bytes, as asked for.
        size: Attr<i64>,
        /// Ids of instances.
        used_by: List<String>,
        /// When it was made.
        created_at: Attr<String>,
        /// The instance that it follows.
        instance_id: Attr<String>,
        /// Where it is mounted there.
        target: Attr<String>,
    }
}

/// `berth_volume`.
pub struct Volume;

impl DataSource for Volume {
    type Model = VolumeDataModel;
    type Client = Berth;

    const NAME: &'static str = "berth_volume";

    fn schema(&self) -> Schema {
        let text = |docs: &str| Attribute::string(docs).computed();
        let number = |docs: &str| Attribute::number(docs).computed();
        Schema::new("A volume that is on a host already.")
            .attribute("host", look::host())
            .attribute("name", Attribute::string("Its name.").required())
            .attribute("timeouts", look::timeouts())
            .attribute("id", text("A UUID made by the agent."))
            .attribute("labels", Attribute::map(Type::String, "Its labels.").computed())
            .attribute("uid", number("Who owns its root, where that was asked for."))
            .attribute("gid", number("The group of its root, where that was asked for."))
            .attribute("mode", text("The permissions of its root, where they were asked for."))
            .attribute("size", number("Bytes that it has room for, where that was asked for."))
            .attribute(
                "used_by",
                Attribute::list(Type::String, "Ids of the instances that have it among their mounts.")
                    .computed(),
            )
            .attribute("created_at", text("When it was made, as in RFC 3339."))
            .attribute(
                "instance_id",
                text("Of a volume that an image declares: the instance that it follows."),
            )
            .attribute("target", text("Of a volume that an image declares: where it is mounted."))
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: VolumeDataModel,
    ) -> Result<VolumeDataModel, Diagnostics> {
        let by = By::Name(config.name.as_str().unwrap_or_default().to_owned());
        let question = async move |it: Arc<Connection>| it.agent.volume(by).await;
        let volume = look::ask(cx, &config.host, &config.timeouts, "Reading the volume", question).await?;
        Ok(from_wire(volume, config))
    }
}

fn from_wire(volume: wire::Volume, config: VolumeDataModel) -> VolumeDataModel {
    let spec = volume.spec.unwrap_or_default();
    VolumeDataModel {
        id: Attr::Known(volume.id),
        labels: map(spec.labels),
        uid: spec.uid.map(i64::from).into(),
        gid: spec.gid.map(i64::from).into(),
        mode: spec.mode.map(mode::format).into(),
        size: spec.size_bytes.and_then(|size| i64::try_from(size).ok()).into(),
        used_by: list(volume.used_by),
        created_at: non_empty(&volume.created_at),
        instance_id: non_empty(&volume.instance_id),
        target: non_empty(&volume.target),
        ..config
    }
}
