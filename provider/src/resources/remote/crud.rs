//! The calls to the agent.

use berth_proto::agent as wire;
use tfplugin::timeouts::Timeouts;
use tfplugin::{Attr, Context, Create, IdentitySchema, Plan, Resource, Schema, Update, Value};
use wire::error_detail::Reason;

use super::convert::{Secrets, from_wire, to_spec};
use super::model::{RemoteModel, RemotePrivate};
use super::{plan, schema};
use crate::attr::Part;
use crate::client::{AgentError, By};
use crate::config::Berth;
use crate::report::{self, Diagnostic, Diagnostics, Kind, Path};
use crate::resources::identity;
use crate::resources::session::{self, Reach};

/// Where [`RemotePrivate`] is kept.
const PRIVATE: &str = "remote";

/// `berth_remote`.
pub struct Remote;

fn kind(argument: &str) -> Kind {
    if matches!(argument, "timeouts" | "verify") { Kind::Object } else { Kind::Plain }
}

impl Resource for Remote {
    type Model = RemoteModel;
    type Client = Berth;

    const NAME: &'static str = "berth_remote";

    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(identity::by_id())
    }

    fn validate(&self, config: &RemoteModel) -> Diagnostics {
        plan::validate(config).into()
    }

    fn modify_plan(&self, plan: &mut Plan<'_, RemoteModel, Berth>) -> Result<(), Diagnostics> {
        let planned = match &plan.prior {
            None => plan::create(&plan.config),
            Some(prior) => {
                plan::update(prior, &plan.config, |one, other| session::same_host(plan.client, one, other))
            }
        };
        planned.replaced_by.into_iter().for_each(|path| plan.replace(path));
        plan.planned = planned.model;
        Ok(())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        state: RemoteModel,
    ) -> Result<Option<RemoteModel>, Diagnostics> {
        let connection = match session::reach_for_read(cx, &state.host).await? {
            Reach::Agent(connection) => connection,
            Reach::KeepState => return Ok(Some(state)),
            Reach::Missing => return Ok(None),
        };
        let id = state.id.as_str().unwrap_or_default().to_owned();
        match session::read_in_time("Reading the remote", connection.remote(id)).await {
            Ok(remote) => {
                session::remember(cx, &connection);
                let private = cx.private.get(PRIVATE).unwrap_or_default();
                Ok(Some(from_wire(&remote, Some(&state), &private)))
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
        new: Create<RemoteModel>,
    ) -> Result<RemoteModel, Diagnostics> {
        let Create { mut planned, config } = new;
        session::refuse(plan::validate(&config))?;
        let connection = session::reach_for_change(cx, &planned.host).await?;
        let secrets = Secrets::of(&config);
        let spec = to_spec(&planned, secrets);
        let create = || connection.agent.create_remote(spec.clone());
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.create);
        match session::insisted(cx, &connection, limit, "Creating the remote", create).await {
            Ok(remote) => {
                session::remember(cx, &connection);
                let private = secrets.private();
                planned.fill(from_wire(&remote, Some(&planned), &private));
                cx.private.set(PRIVATE, private);
                Ok(planned)
            }
            Err(error) => Err(failed(&planned, &error).into()),
        }
    }

    async fn update(
        &self,
        cx: &mut Context<Berth>,
        change: Update<RemoteModel>,
    ) -> Result<RemoteModel, Diagnostics> {
        let Update { prior, mut planned, config } = change;
        session::refuse(plan::validate(&config))?;
        if !plan::needs_agent(&prior, &planned) {
            return Ok(planned);
        }
        let connection = session::reach_for_change(cx, &planned.host).await?;
        session::refuse_another(cx, &connection)?;
        let secrets = Secrets::of(&config);
        let request = wire::UpdateRemoteRequest {
            id: prior.id.as_str().unwrap_or_default().to_owned(),
            spec: Some(to_spec(&planned, secrets)),
            clear_password: secrets.password.is_none(),
            clear_client_key: secrets.client_key.is_none(),
        };
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.update);
        let update = || connection.agent.update_remote(request.clone());
        match session::insisted(cx, &connection, limit, "Updating the remote", update).await {
            Ok(remote) => {
                let private = secrets.private();
                planned.fill(from_wire(&remote, Some(&planned), &private));
                cx.private.set(PRIVATE, private);
                Ok(planned)
            }
            Err(error) => Err(failed(&planned, &error).into()),
        }
    }

    async fn delete(&self, cx: &mut Context<Berth>, state: RemoteModel) -> Result<(), Diagnostics> {
        let connection = session::reach_for_change(cx, &state.host).await?;
        if session::is_another(cx, &connection) {
            return Ok(());
        }
        let limit = session::limit(&state.timeouts, |it: &Timeouts| &it.delete);
        let id = state.id.as_str().unwrap_or_default();
        let delete = || connection.agent.delete_remote(id.to_owned());
        match session::insisted(cx, &connection, limit, "Deleting the remote", delete).await {
            Err(error) if !error.is_not_found() => Err(failed(&state, &error).into()),
            _ => Ok(()),
        }
    }

    async fn import(&self, cx: &mut Context<Berth>, id: &str) -> Result<RemoteModel, Diagnostics> {
        let (host, name) = session::import_id(id);
        adopt(cx, host, By::Name(name.to_owned()), name).await
    }

    async fn import_identity(
        &self,
        cx: &mut Context<Berth>,
        given: Value,
    ) -> Result<RemoteModel, Diagnostics> {
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
) -> Result<RemoteModel, Diagnostics> {
    let connection = session::reach_for_import(cx, &host).await?;
    match session::read_in_time("Reading the remote", connection.agent.remote(by)).await {
        Ok(remote) => {
            session::remember(cx, &connection);
            let private =
                RemotePrivate { has_password: remote.has_password, has_client_key: remote.has_client_key };
            let read = from_wire(&remote, None, &private);
            cx.private.set(PRIVATE, private);
            Ok(RemoteModel { host, ..read })
        }
        Err(error) if error.is_not_found() => {
            Err(session::nothing_to_import("remote", named, &connection, "berth remote ls").into())
        }
        Err(error) => Err(report::from_agent(&error, 0, kind).into()),
    }
}

fn failed(model: &RemoteModel, error: &AgentError) -> Diagnostic {
    let diagnostic = report::from_agent(error, 0, kind);
    if error.reason() != Some(Reason::NameTaken) {
        return diagnostic;
    }
    let name = model.name.as_str().unwrap_or_default();
    let block = session::import_block(Remote::NAME, &model.host, name);
    let detail = format!("{}\n\n{block}", diagnostic.detail);
    Diagnostic::error(diagnostic.summary).detail(detail).at(Path::at("name"))
}
