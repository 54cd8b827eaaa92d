//! The calls to the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_proto::agent as wire;
use tfplugin::timeouts::Timeouts;
use tfplugin::{Attr, Context, Create, IdentitySchema, MoveSource, Plan, Resource, Schema, Update, Value};
use wire::error_detail::Reason;

use super::contents::{files, ports};
use super::convert::{Labels, from_wire, to_spec};
use super::model::InstanceModel;
use super::process::convert::secrets as secret_environment;
use super::{plan, process, schema, validate};
use crate::attr::Part;
use crate::client::hosts::Connection;
use crate::client::{Agent, AgentError, Answer, By};
use crate::config::Berth;
use crate::report::{self, Diagnostic, Diagnostics, Kind, Path};
use crate::resources::session::{self, Reach};
use crate::resources::{docker, identity};

/// How long a look at what a failed create left may take.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// `berth_instance`.
pub struct Instance;

/// What each argument is, for paths the agent writes.
fn kind(argument: &str) -> Kind {
    match argument {
        "ports" | "mounts" | "files" | "devices" | "ulimits" | "networks" => Kind::MapOfObjects,
        "environment"
        | "labels"
        | "restart_triggers"
        | "sysctls"
        | "extra_hosts"
        | "secret_environment_wo" => Kind::Map,
        "ingress" | "egress" => Kind::ListOfObjects,
        "entrypoint" | "command" | "supplementary_groups" => Kind::List,
        "restart" | "limits" | "timeouts" | "health_check" | "wait_for" | "boot" | "security" => Kind::Object,
        _ => Kind::Plain,
    }
}

impl Resource for Instance {
    type Model = InstanceModel;
    type Client = Berth;

    const NAME: &'static str = "berth_instance";

    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(identity::by_id())
    }

    fn validate(&self, config: &InstanceModel) -> Diagnostics {
        validate::validate(config).into()
    }

    fn move_from(
        &self,
        source: &MoveSource,
        told: &mut Diagnostics,
    ) -> Result<Option<InstanceModel>, Diagnostics> {
        Ok(docker::from_container(source, told))
    }

    fn modify_plan(&self, plan: &mut Plan<'_, InstanceModel, Berth>) -> Result<(), Diagnostics> {
        let planned = match &plan.prior {
            None => plan::create(&plan.config, &plan.client.default_labels),
            // Not read, as with -refresh=false: there is nothing to change.
            Some(prior) if docker::is_only_moved(&prior.id) => {
                plan.replace(Path::at("id"));
                plan::create(&plan.config, &plan.client.default_labels)
            }
            Some(prior) => plan::update(prior, &plan.config, &plan.client.default_labels, |one, other| {
                session::same_host(plan.client, one, other)
            }),
        };
        planned.replaced_by().for_each(|path| plan.replace(path));
        planned.reports.into_iter().for_each(|report| plan.warn(report));
        plan.planned = planned.model;
        Ok(())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        state: InstanceModel,
    ) -> Result<Option<InstanceModel>, Diagnostics> {
        if docker::is_only_moved(&state.id) {
            return Ok(None);
        }
        let connection = match session::reach_for_read(cx, &state.host).await? {
            Reach::Agent(connection) => connection,
            Reach::KeepState => return Ok(Some(state)),
            Reach::Missing => return Ok(None),
        };
        let id = state.id.as_str().unwrap_or_default().to_owned();
        match session::read_in_time("Reading the instance", connection.instance(id)).await {
            Ok(instance) => {
                session::remember(cx, &connection);
                let defaults = session::default_labels(cx.client());
                Ok(Some(from_wire(&instance, Some(&state), &defaults)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                session::read_failed(cx, &state.host, error, kind)?;
                Ok(Some(state))
            }
        }
    }

    async fn create(
        &self,
        cx: &mut Context<Berth>,
        new: Create<InstanceModel>,
    ) -> Result<InstanceModel, Diagnostics> {
        let Create { mut planned, config } = new;
        session::refuse(validate::validate(&config))?;
        let connection = session::reach_for_change(cx, &planned.host).await?;
        session::remember(cx, &connection);
        let defaults = session::default_labels(cx.client());
        let mut spec = to_spec(&planned, &defaults);
        files::fill(&mut spec.files, &planned.files, &config.files, None)?;
        spec.secret_environment =
            config.secret_environment_wo.known().map(|_| secret_environment(&config.secret_environment_wo));
        let begun = Instant::now();
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.create);
        let asked = AtomicBool::new(false);
        let create = || {
            let again = asked.swap(true, Ordering::Relaxed);
            create(&connection, &planned, &spec, &defaults, again.then_some(limit))
        };
        match session::insisted(cx, &connection, limit, "Creating the instance", create).await {
            Ok(instance) => {
                let left = limit.saturating_sub(begun.elapsed());
                let waited = wait(cx, &connection, &planned, &instance, left).await;
                let shown = waited.as_ref().unwrap_or(&instance);
                warn_of_clamped(cx, shown);
                planned.fill(from_wire(shown, Some(&planned), &defaults));
                if let Err(error) = waited {
                    cx.keep(&planned);
                    return Err(failed(cx, &planned, &error).into());
                }
                Ok(planned)
            }
            Err(error) => {
                if let Some(left) = left_behind(&connection, &planned, &defaults, &error).await {
                    cx.keep(&left);
                }
                Err(failed(cx, &planned, &error).into())
            }
        }
    }

    async fn update(
        &self,
        cx: &mut Context<Berth>,
        change: Update<InstanceModel>,
    ) -> Result<InstanceModel, Diagnostics> {
        let Update { prior, mut planned, config } = change;
        session::refuse(validate::validate(&config))?;
        let defaults = session::default_labels(cx.client());
        let mut spec = to_spec(&planned, &defaults);
        let secrets_change = prior.secret_environment_wo_version != planned.secret_environment_wo_version;
        if !planned.has_unknown()
            && !secrets_change
            && to_spec(&prior, &defaults) == spec
            && prior.effective_labels == planned.effective_labels
            && !files::change(&prior.files, &planned.files).0
        {
            return Ok(planned);
        }
        let connection = session::reach_for_change(cx, &planned.host).await?;
        session::refuse_another(cx, &connection)?;
        files::fill(&mut spec.files, &planned.files, &config.files, Some(&prior.files))?;
        let id = prior.id.as_str().unwrap_or_default().to_owned();
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.update);
        // Absent, they stay what they are; their version alone says that they are others.
        spec.secret_environment = secrets_change.then(|| secret_environment(&config.secret_environment_wo));
        let starts = planned.status.is_unknown();
        let begun = Instant::now();
        let update = || connection.agent.update_instance(id.clone(), spec.clone());
        match session::insisted(cx, &connection, limit, "Updating the instance", update).await {
            Ok(instance) => {
                let left = limit.saturating_sub(begun.elapsed());
                let waited = match starts {
                    true => wait(cx, &connection, &planned, &instance, left).await,
                    false => Ok(instance.clone()),
                };
                let shown = waited.as_ref().unwrap_or(&instance);
                warn_of_clamped(cx, shown);
                planned.fill(from_wire(shown, Some(&planned), &defaults));
                if let Err(error) = waited {
                    cx.keep(&planned);
                    return Err(failed(cx, &planned, &error).into());
                }
                Ok(planned)
            }
            Err(error) => Err(failed(cx, &planned, &error).into()),
        }
    }

    async fn delete(&self, cx: &mut Context<Berth>, state: InstanceModel) -> Result<(), Diagnostics> {
        if docker::is_only_moved(&state.id) {
            return Ok(());
        }
        let connection = session::reach_for_change(cx, &state.host).await?;
        if session::is_another(cx, &connection) {
            return Ok(());
        }
        let limit = session::limit(&state.timeouts, |it: &Timeouts| &it.delete);
        let id = state.id.as_str().unwrap_or_default();
        let delete = || connection.agent.delete_instance(id.to_owned());
        match session::insisted(cx, &connection, limit, "Deleting the instance", delete).await {
            Err(error) if !error.is_not_found() => Err(failed(cx, &state, &error).into()),
            _ => Ok(()),
        }
    }

    async fn import(&self, cx: &mut Context<Berth>, id: &str) -> Result<InstanceModel, Diagnostics> {
        let (host, name) = session::import_id(id);
        adopt(cx, host, By::Name(name.to_owned()), name).await
    }

    async fn import_identity(
        &self,
        cx: &mut Context<Berth>,
        given: Value,
    ) -> Result<InstanceModel, Diagnostics> {
        let id = identity::part(&given, "id").known_or(String::new());
        adopt(cx, identity::part(&given, "host"), By::Id(id.clone()), &id).await
    }
}

/// What an import names.
async fn adopt(
    cx: &mut Context<Berth>,
    host: Attr<String>,
    by: By,
    named: &str,
) -> Result<InstanceModel, Diagnostics> {
    let connection = session::reach_for_import(cx, &host).await?;
    match session::read_in_time("Reading the instance", connection.agent.instance(by)).await {
        Ok(instance) => {
            session::remember(cx, &connection);
            let defaults = session::default_labels(cx.client());
            Ok(InstanceModel { host, ..from_wire(&instance, None, &defaults) })
        }
        Err(error) if error.is_not_found() => {
            Err(session::nothing_to_import("instance", named, &connection, "berth instance ls").into())
        }
        Err(error) => Err(report::from_agent(&error, 0, kind).into()),
    }
}

/// Asks for an instance. `again`, and for how long at the most: it was asked for before, and what has its name by now is
/// waited for if it is the same.
async fn create(
    connection: &Connection,
    planned: &InstanceModel,
    spec: &wire::InstanceSpec,
    defaults: &Labels,
    again: Option<Duration>,
) -> Answer<wire::Instance> {
    let (refused, limit) = match (connection.agent.create_instance(spec.clone()).await, again) {
        (Err(error), Some(limit)) if error.reason() == Some(Reason::NameTaken) => (error, limit),
        (answer, _) => return answer,
    };
    let Some(id) = refused.existing_id() else { return Err(refused) };
    let found = connection.agent.instance(By::Id(id.to_owned())).await?;
    if !is_as_planned(planned, &from_wire(&found, Some(planned), defaults), defaults) {
        return Err(refused);
    }
    if !planned.is_wanted() {
        return Ok(found);
    }
    connection.agent.wait_instance(process::wait::started(id, limit)).await
}

/// Whether what was found is what was asked for, as far as an agent tells.
fn is_as_planned(planned: &InstanceModel, found: &InstanceModel, defaults: &Labels) -> bool {
    let mut filled = planned.clone();
    filled.fill(found.clone());
    to_spec(&filled, defaults) == to_spec(found, defaults)
}

/// Waits for what is asked for, if it is to run at all.
async fn wait(
    cx: &Context<Berth>,
    connection: &Arc<Connection>,
    model: &InstanceModel,
    instance: &wire::Instance,
    left: Duration,
) -> Answer<wire::Instance> {
    let Some(asked) = model.wait_for.known().filter(|_| model.is_wanted()) else {
        return Ok(instance.clone());
    };
    let request = process::wait::request(asked, &instance.id, left);
    let wait = || connection.agent.wait_instance(request.clone());
    session::insisted(cx, connection, left, "Waiting for the instance", wait).await
}

/// What is in force only in part.
fn warn_of_clamped(cx: &mut Context<Berth>, instance: &wire::Instance) {
    if !instance.clamped.is_empty() {
        let detail = "The agent lacks the privilege (CAP_SYS_RESOURCE) to give more than it has itself.";
        let summary = format!("Limits are lower than asked for: {}", instance.clamped.join("; "));
        cx.warn(report::warning(Path::at("ulimits"), summary, detail));
    }
}

/// What a create that failed has left on the host, if it can be told to be ours.
async fn left_behind(
    connection: &Arc<Connection>,
    planned: &InstanceModel,
    defaults: &Labels,
    error: &AgentError,
) -> Option<InstanceModel> {
    let by = match (error.reason(), error.existing_id()) {
        (Some(Reason::NameTaken), _) => return None,
        (Some(_), Some(id)) => By::Id(id.to_owned()),
        _ if error.is_open_ended() => By::Name(planned.name.as_str()?.to_owned()),
        _ => return None,
    };
    let by_id = matches!(by, By::Id(_));
    let look = tokio::time::timeout(LOOK_BACK, look_up(connection.agent.as_ref(), by));
    let found = from_wire(&look.await.ok()??, Some(planned), defaults);
    (by_id || is_as_planned(planned, &found, defaults)).then_some(found)
}

async fn look_up(agent: &dyn Agent, by: By) -> Option<wire::Instance> {
    agent.instance(by).await.ok()
}

fn failed(cx: &Context<Berth>, model: &InstanceModel, error: &AgentError) -> Diagnostic {
    let mut diagnostic = report::from_agent(error, cx.client().error_log_lines, kind);
    if let [first, name, rest @ ..] = error.attribute()
        && first == "ports"
        && let Some(entry) = ports::entry_of(&model.ports, name)
    {
        let path = Path::at("ports").key(&entry);
        diagnostic = diagnostic.at(rest.first().map_or(path.clone(), |argument| path.attribute(argument)));
    }
    if error.reason() != Some(Reason::NameTaken) {
        return diagnostic;
    }
    let name = model.name.as_str().unwrap_or_default();
    let block = session::import_block(Instance::NAME, &model.host, name);
    let detail = format!("{}\n\n{block}", diagnostic.detail);
    Diagnostic::error(diagnostic.summary).detail(detail).at(Path::at("name"))
}
