//! The calls to the agent.

use berth_proto::agent as wire;
use tfplugin::timeouts::Timeouts;
use tfplugin::{Context, Create, IdentitySchema, Plan, Resource, Schema, Update};
use wire::error_detail::Reason;

use super::model::ExecModel;
use super::schema;
use crate::attr::{Attr, List, entries};
use crate::client::{By, Ran};
use crate::config::Berth;
use crate::report::{self, Diagnostic, Diagnostics, Kind, Path};
use crate::resources::identity;
use crate::resources::session::{self, Reach};

/// `berth_exec`.
pub struct Exec;

fn kind(argument: &str) -> Kind {
    match argument {
        "command" | "destroy_command" => Kind::List,
        "triggers" | "environment_wo" => Kind::Map,
        "timeouts" => Kind::Object,
        _ => Kind::Plain,
    }
}

impl Resource for Exec {
    type Model = ExecModel;
    type Client = Berth;

    const NAME: &'static str = "berth_exec";

    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(identity::of_run())
    }

    fn validate(&self, config: &ExecModel) -> Diagnostics {
        let mut found = Vec::new();
        for (argument, list) in [("command", &config.command), ("destroy_command", &config.destroy_command)] {
            if list.known().is_some_and(Vec::is_empty) {
                let detail = "Write the program and its arguments.";
                found.push(report::error(Path::at(argument), format!("The {argument} is empty"), detail));
            }
        }
        found.into()
    }

    fn modify_plan(&self, plan: &mut Plan<'_, ExecModel, Berth>) -> Result<(), Diagnostics> {
        let host = &plan.config.host;
        if let Some(prior) = &plan.prior
            && (host.is_unknown() || !session::same_host(plan.client, prior.host.as_str(), host.as_str()))
        {
            plan.replace(Path::at("host"));
        }
        plan.planned.environment_wo = Attr::Null;
        Ok(())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        state: ExecModel,
    ) -> Result<Option<ExecModel>, Diagnostics> {
        let connection = match session::reach_for_read(cx, &state.host).await? {
            Reach::Agent(connection) => connection,
            Reach::KeepState => return Ok(Some(state)),
            Reach::Missing => return Ok(None),
        };
        let by = By::Id(state.instance.as_str().unwrap_or_default().to_owned());
        match session::read_in_time("Reading the instance", connection.agent.instance(by)).await {
            Ok(_) => {
                session::remember(cx, &connection);
                Ok(Some(state))
            }
            // What was done in it is gone with it.
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
        new: Create<ExecModel>,
    ) -> Result<ExecModel, Diagnostics> {
        let Create { mut planned, config } = new;
        let connection = session::reach_for_change(cx, &planned.host).await?;
        session::remember(cx, &connection);
        let start = start(&planned, &planned.command, &config);
        let limit = session::limit(&planned.timeouts, |it: &Timeouts| &it.create);
        let ran = session::timed(cx, limit, "Running the command", connection.agent.run(start)).await;
        let ran = ran.map_err(|error| report::from_agent(&error, cx.client().error_log_lines, kind))?;
        if ran.code != 0 && planned.fails() {
            return Err(failed("command", &ran).into());
        }
        let recorded =
            |text: &[u8]| planned.records().then(|| String::from_utf8_lossy(text).into_owned()).into();
        (planned.stdout, planned.stderr) = (recorded(&ran.stdout), recorded(&ran.stderr));
        planned.exit_code = Attr::Known(ran.code.into());
        planned.id = Attr::Known(format!("{}/{}", planned.instance.as_str().unwrap_or_default(), ran.moment));
        planned.environment_wo = Attr::Null;
        Ok(planned)
    }

    async fn update(
        &self,
        _: &mut Context<Berth>,
        change: Update<ExecModel>,
    ) -> Result<ExecModel, Diagnostics> {
        // What is left to change is about what comes, not about what was done.
        Ok(ExecModel { environment_wo: Attr::Null, ..change.planned })
    }

    async fn delete(&self, cx: &mut Context<Berth>, state: ExecModel) -> Result<(), Diagnostics> {
        if state.destroy_command.known().is_none() {
            return Ok(());
        }
        let connection = session::reach_for_change(cx, &state.host).await?;
        if session::is_another(cx, &connection) {
            return Ok(());
        }
        let start = start(&state, &state.destroy_command, &state);
        let limit = session::limit(&state.timeouts, |it: &Timeouts| &it.delete);
        match session::timed(cx, limit, "Running the command", connection.agent.run(start)).await {
            Ok(ran) if ran.code != 0 && state.fails() => Err(failed("destroy_command", &ran).into()),
            Ok(_) => Ok(()),
            // An instance that is gone or stopped has nothing to be done in.
            Err(error) if error.is_not_found() || error.reason() == Some(Reason::InUse) => Ok(()),
            Err(error) => Err(report::from_agent(&error, cx.client().error_log_lines, kind).into()),
        }
    }
}

fn start(model: &ExecModel, command: &List<String>, config: &ExecModel) -> wire::ExecStart {
    let words = command.known().into_iter().flatten();
    let variables = entries(&config.environment_wo);
    wire::ExecStart {
        instance_id: model.instance.as_str().unwrap_or_default().to_owned(),
        argv: words
            .filter_map(|word| word.as_str().map(|word| word.to_owned().into_bytes().into()))
            .collect(),
        environment: variables
            .map(|(name, value)| (name.clone(), value.clone().into_bytes().into()))
            .collect(),
        user: model.user.as_str().map(str::to_owned),
        ..wire::ExecStart::default()
    }
}

/// As much of its last words as a person reads.
fn failed(argument: &str, ran: &Ran) -> Diagnostic {
    const SHOWN: usize = 2000;
    let end = |text: &[u8]| {
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(SHOWN)..]).into_owned();
        text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>()
    };
    let (out, err) = (end(&ran.stdout), end(&ran.stderr));
    let said: Vec<String> = [("standard error", err), ("standard output", out)]
        .into_iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(what, text)| format!("It wrote to {what}:\n{}", text.trim_end()))
        .collect();
    let detail = if said.is_empty() { "It wrote nothing.".to_owned() } else { said.join("\n\n") };
    report::error(Path::at(argument), format!("The command ended with code {}", ran.code), detail)
}
