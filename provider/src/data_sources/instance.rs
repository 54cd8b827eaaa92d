//! `berth_instance` and `berth_instances`: instances that are there already, with what changes by itself.

use std::sync::Arc;

use berth_proto::agent as wire;
use tfplugin::timeouts::{self, ReadTimeouts};
use tfplugin::value::Type;
use tfplugin::{Attribute, Context, DataSource, Schema};

use super::host::{DEFAULT_LIMIT, DEFAULT_TIMEOUT};
use crate::attr::{Attr, List, Map, entries, list, map, model, non_empty};
use crate::client::hosts::Patience;
use crate::client::{AgentError, By};
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind};
use crate::resources::instance::convert::status_word;

model! {
    /// An instance.
    pub struct InstanceDataModel {
        /// A key or an address; null is the default host.
        host: Attr<String>,
        /// How it is looked up.
        name: Attr<String>,
        /// How long the read may take.
        timeouts: Attr<ReadTimeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// `container`.
        r#type: Attr<String>,
        /// As it was written when it was resolved.
        image: Attr<String>,
        /// Digest of the image it runs.
        image_id: Attr<String>,
        /// What is.
        status: Attr<String>,
        /// Where it runs and has a check.
        health: Attr<String>,
        /// Of the last run.
        exit_code: Attr<i64>,
        /// Of the last run.
        oom_killed: Attr<bool>,
        /// On the host.
        pid: Attr<i64>,
        /// After it had ended by itself.
        restarts: Attr<i64>,
        /// RFC 3339.
        created_at: Attr<String>,
        /// RFC 3339.
        started_at: Attr<String>,
        /// All of them.
        labels: Map<String>,
        /// Of the default route's interface.
        ipv4_address: Attr<String>,
        /// Of the default route's interface.
        ipv6_address: Attr<String>,
        /// By interface.
        mac_addresses: Map<String>,
    }
}

model! {
    /// One of many.
    pub struct ListedModel {
        /// Its name.
        name: Attr<String>,
        /// A UUID made by the agent.
        id: Attr<String>,
        /// What is.
        status: Attr<String>,
        /// Where it runs and has a check.
        health: Attr<String>,
        /// Digest of the image it runs.
        image_id: Attr<String>,
        /// Of the default route's interface.
        ipv4_address: Attr<String>,
        /// All of them.
        labels: Map<String>,
    }
}

model! {
    /// Instances of a host.
    pub struct InstancesModel {
        /// A key or an address; null is the default host.
        host: Attr<String>,
        /// Those that have all of these.
        labels: Map<String>,
        /// How long the read may take.
        timeouts: Attr<ReadTimeouts>,
        /// By name.
        instances: List<ListedModel>,
    }
}

/// `berth_instance`.
pub struct Instance;

/// `berth_instances`.
pub struct Instances;

fn text(docs: &str) -> Attribute {
    Attribute::string(docs).computed()
}

fn number(docs: &str) -> Attribute {
    Attribute::number(docs).computed()
}

fn host() -> Attribute {
    Attribute::string(
        "The host: a key of the provider's `hosts`, or an address. Default: the provider's `host`.",
    )
}

const STATUS: &str =
    "What it does: `running`, `stopped` (as asked), `exited` (by itself), `restarting`, or `failed`.";
const HEALTH: &str = "`starting`, `healthy` or `unhealthy`, where it runs and has a health check.";

impl DataSource for Instance {
    type Model = InstanceDataModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instance";

    fn schema(&self) -> Schema {
        Schema::new("An instance that is on a host already, with what changes by itself.")
            .attribute("host", host())
            .attribute("name", Attribute::string("Its name.").required())
            .attribute("timeouts", timeouts::read_attribute(DEFAULT_TIMEOUT))
            .attribute("id", text("A UUID made by the agent."))
            .attribute("type", text("What it is."))
            .attribute("image", text("Its image's reference, as it was written when it was resolved."))
            .attribute("image_id", text("Digest of the image it runs."))
            .attribute("status", text(STATUS))
            .attribute("health", text(HEALTH))
            .attribute("exit_code", number("Exit code of its last run, where it ended."))
            .attribute(
                "oom_killed",
                Attribute::bool("Whether the kernel ended its last run for want of memory.").computed(),
            )
            .attribute("pid", number("Number of its first process on the host, where it runs."))
            .attribute("restarts", number("How often it was started again after it had ended by itself."))
            .attribute("created_at", text("When it was made, as in RFC 3339."))
            .attribute("started_at", text("When it was started last, as in RFC 3339."))
            .attribute("labels", Attribute::map(Type::String, "Its labels.").computed())
            .attribute("ipv4_address", text("IPv4 address of its default interface."))
            .attribute("ipv6_address", text("IPv6 address of its default interface, where it has one."))
            .attribute(
                "mac_addresses",
                Attribute::map(Type::String, "MAC address of each interface.").computed(),
            )
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: InstanceDataModel,
    ) -> Result<InstanceDataModel, Diagnostics> {
        let berth = Arc::clone(cx.client());
        let set = config.timeouts.known().map(|timeouts| &timeouts.read).and_then(Attr::as_str);
        let after = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
        let by = By::Name(config.name.as_str().unwrap_or_default().to_owned());
        let read = async {
            let connection = berth.hosts.connect(config.host.as_str(), Patience::OneAttempt).await;
            let connection = connection.map_err(|error| report::from_host(&error))?;
            connection.agent.instance(by).await.map_err(|error| failed(&error))
        };
        let late = |_| failed(&AgentError::TimedOut { call: "Reading the instance", after });
        let instance = tokio::time::timeout(after, read).await.map_err(late)??;
        Ok(one(instance, config))
    }
}

impl DataSource for Instances {
    type Model = InstancesModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instances";

    fn schema(&self) -> Schema {
        let listed = Attribute::nested_list(
            "The instances, by name.",
            [
                ("name", text("Its name.")),
                ("id", text("A UUID made by the agent.")),
                ("status", text(STATUS)),
                ("health", text(HEALTH)),
                ("image_id", text("Digest of the image it runs.")),
                ("ipv4_address", text("IPv4 address of its default interface.")),
                ("labels", Attribute::map(Type::String, "Its labels.").computed()),
            ],
        );
        Schema::new("The instances of a host.")
            .attribute("host", host())
            .attribute("labels", Attribute::map(Type::String, "Only those that have all of these labels."))
            .attribute("timeouts", timeouts::read_attribute(DEFAULT_TIMEOUT))
            .attribute("instances", listed.computed())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: InstancesModel,
    ) -> Result<InstancesModel, Diagnostics> {
        let berth = Arc::clone(cx.client());
        let set = config.timeouts.known().map(|timeouts| &timeouts.read).and_then(Attr::as_str);
        let after = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
        let read = async {
            let connection = berth.hosts.connect(config.host.as_str(), Patience::OneAttempt).await;
            let connection = connection.map_err(|error| report::from_host(&error))?;
            connection.agent.instances().await.map_err(|error| failed(&error))
        };
        let late = |_| failed(&AgentError::TimedOut { call: "Reading the instances", after });
        let all = tokio::time::timeout(after, read).await.map_err(late)??;
        let has_all = |instance: &wire::Instance| {
            let labels = instance.spec.as_ref().map(|spec| &spec.labels);
            entries(&config.labels).all(|(key, value)| labels.is_some_and(|it| it.get(key) == Some(value)))
        };
        let instances = list(all.into_iter().filter(has_all).map(listed));
        Ok(InstancesModel { instances, ..config })
    }
}

fn failed(error: &AgentError) -> crate::report::Diagnostic {
    report::from_agent(error, 0, |_| Kind::Plain)
}

fn health(instance: &wire::Instance) -> Attr<String> {
    use wire::health::State;
    let word = match instance.health.as_ref().map(wire::Health::state) {
        None | Some(State::Unspecified) => return Attr::Null,
        Some(State::Starting) => "starting",
        Some(State::Healthy) => "healthy",
        Some(State::Unhealthy) => "unhealthy",
    };
    Attr::Known(word.to_owned())
}

fn one(instance: wire::Instance, config: InstanceDataModel) -> InstanceDataModel {
    let health = health(&instance);
    let status = status_word(instance.status()).to_owned();
    let spec = instance.spec.unwrap_or_default();
    InstanceDataModel {
        id: Attr::Known(instance.id),
        r#type: Attr::Known(spec.r#type),
        image: non_empty(&instance.image_reference),
        image_id: non_empty(&instance.image_id),
        status: Attr::Known(status),
        health,
        exit_code: instance.exit_code.map(i64::from).into(),
        oom_killed: Attr::Known(instance.oom_killed),
        pid: if instance.pid == 0 { Attr::Null } else { Attr::Known(instance.pid.into()) },
        restarts: Attr::Known(instance.restarts.into()),
        created_at: non_empty(&instance.created_at),
        started_at: non_empty(&instance.started_at),
        labels: map(spec.labels),
        ipv4_address: non_empty(&instance.ipv4_address),
        ipv6_address: non_empty(&instance.ipv6_address),
        mac_addresses: map(instance.mac_addresses),
        ..config
    }
}

fn listed(instance: wire::Instance) -> ListedModel {
    let health = health(&instance);
    let status = status_word(instance.status()).to_owned();
    let spec = instance.spec.unwrap_or_default();
    ListedModel {
        name: Attr::Known(spec.name),
        id: Attr::Known(instance.id),
        status: Attr::Known(status),
        health,
        image_id: non_empty(&instance.image_id),
        ipv4_address: non_empty(&instance.ipv4_address),
        labels: map(spec.labels),
    }
}
