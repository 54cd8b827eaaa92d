//! The calls to the agent.

use berth_proto::agent as wire;
use tfplugin::timeouts::Timeouts;
use tfplugin::{Attr, Context, Create, IdentitySchema, Plan, Resource, Schema, Update, Value};
use wire::error_detail::Reason;

use super::convert::{from_wire, to_spec};
use super::model::NetworkModel;
use super::{dhcp, plan, schema};
use crate::attr::Part;
use crate::client::{AgentError, By};
use crate::config::Berth;
use crate::report::{self, Diagnostic, Diagnostics, Kind, Path};
use crate::resources::identity;
use crate::resources::session::{self, Reach};

/// `berth_network`.
pub struct Network;

fn kind(argument: &str) -> Kind {
    match argument {
        "labels" => Kind::Map,
        "ingress" | "egress" => Kind::ListOfObjects,
        "dhcp" | "timeouts" => Kind::Object,
        _ => Kind::Plain,
    }
}

impl Resource for Network {
    type Model = NetworkModel;
    type Client = Berth;

    const NAME: &'static str = "berth_network";

    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(identity::by_id())
    }

    fn validate(&self, config: &NetworkModel) -> Diagnostics {
        plan::validate(config).into()
    }

    fn modify_plan(&self, plan: &mut Plan<'_, NetworkModel, Berth>) -> Result<(), Diagnostics> {
        let defaults = &plan.client.default_labels;
        let planned = match &plan.prior {
            None => plan::create(&plan.config, defaults),
            Some(prior) => plan::update(prior, &plan.config, defaults, |one, other| {
                session::same_host(plan.client, one, other)
            }),
        };
        // By now the subnet is known that was chosen before.
        let mut found = Vec::new();
        dhcp::validate(&planned.model, &mut found);
        session::refuse(found)?;
        planned.replaced_by.into_iter().for_each(|path| plan.replace(path));
        plan.planned = planned.model;
        Ok(())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        state: NetworkModel,
    ) -> Result<Option<NetworkModel>, Diagnostics> {
        let connection = match session::reach_for_read(cx, &state.host).await? {
            Reach::Agent(connection) => connection,
            Reach::KeepState => return Ok(Some(state)),
            Reach::Missing => return Ok(None),
        };
        let id = state.id.as_str().unwrap_or_default().to_owned();
        match session::read_in_time("Reading the network", connection.network(id)).await {
            Ok(network) => {
                session::remember(cx, &connection);
                let defaults = session::default_labels(cx.client());
                Ok(Some(from_wire(&network, Some(&state), &defaults)))
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
        new: Create<NetworkModel>,
    ) -> Result<NetworkModel, Diagnostics> {
        let mut planned = new.planned;
        session::refuse(plan::validate(&planned))?;
        let connection = session::reach_for_change(cx, &planned.host).await?;
        let defaults = session::default_labels(cx.client());
        let spec = to_spec(&planned, &defaults);
        let create = || connection.agent.create_network(spec.clone());
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.create);
        match session::insisted(cx, &connection, limit, "Creating the network", create).await {
            Ok(network) => {
                session::remember(cx, &connection);
                planned.fill(from_wire(&network, Some(&planned), &defaults));
                Ok(planned)
            }
            Err(error) => Err(failed(&planned, &error).into()),
        }
    }

    async fn update(
        &self,
        cx: &mut Context<Berth>,
        change: Update<NetworkModel>,
    ) -> Result<NetworkModel, Diagnostics> {
        let Update { prior, mut planned, .. } = change;
        session::refuse(plan::validate(&planned))?;
        if !planned.has_unknown() && !plan::needs_agent(&prior, &planned) {
            return Ok(planned);
        }
        let connection = session::reach_for_change(cx, &planned.host).await?;
        session::refuse_another(cx, &connection)?;
        let defaults = session::default_labels(cx.client());
        let request = wire::UpdateNetworkRequest {
            id: prior.id.as_str().unwrap_or_default().to_owned(),
            spec: Some(to_spec(&planned, &defaults)),
        };
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.update);
        let update = || connection.agent.update_network(request.clone());
        match session::insisted(cx, &connection, limit, "Updating the network", update).await {
            Ok(network) => {
                planned.fill(from_wire(&network, Some(&planned), &defaults));
                Ok(planned)
            }
            Err(error) => Err(failed(&planned, &error).into()),
        }
    }

    async fn delete(&self, cx: &mut Context<Berth>, state: NetworkModel) -> Result<(), Diagnostics> {
        let connection = session::reach_for_change(cx, &state.host).await?;
        if session::is_another(cx, &connection) {
            return Ok(());
        }
        let limit = session::limit(&state.timeouts, |it: &Timeouts| &it.delete);
        let id = state.id.as_str().unwrap_or_default();
        let delete = || connection.agent.delete_network(id.to_owned());
        match session::insisted(cx, &connection, limit, "Deleting the network", delete).await {
            Err(error) if !error.is_not_found() => Err(failed(&state, &error).into()),
            _ => Ok(()),
        }
    }

    async fn import(&self, cx: &mut Context<Berth>, id: &str) -> Result<NetworkModel, Diagnostics> {
        let (host, name) = session::import_id(id);
        adopt(cx, host, By::Name(name.to_owned()), name).await
    }

    async fn import_identity(
        &self,
        cx: &mut Context<Berth>,
        given: Value,
    ) -> Result<NetworkModel, Diagnostics> {
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
) -> Result<NetworkModel, Diagnostics> {
    let connection = session::reach_for_import(cx, &host).await?;
    match session::read_in_time("Reading the network", connection.agent.network(by)).await {
        Ok(network) => {
            session::remember(cx, &connection);
            let defaults = session::default_labels(cx.client());
            Ok(NetworkModel { host, ..from_wire(&network, None, &defaults) })
        }
        Err(error) if error.is_not_found() => {
            Err(session::nothing_to_import("network", named, &connection, "berth network ls").into())
        }
        Err(error) => Err(report::from_agent(&error, 0, kind).into()),
    }
}

fn failed(model: &NetworkModel, error: &AgentError) -> Diagnostic {
    let diagnostic = report::from_agent(error, 0, kind);
    if error.reason() != Some(Reason::NameTaken) {
        return diagnostic;
    }
    let name = model.name.as_str().unwrap_or_default();
    let block = session::import_block(Network::NAME, &model.host, name);
    let detail = format!("{}\n\n{block}", diagnostic.detail);
    Diagnostic::error(diagnostic.summary).detail(detail).at(Path::at("name"))
}
