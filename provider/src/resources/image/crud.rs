//! The calls to the agent.

use berth_proto::agent as wire;
use tfplugin::timeouts::Timeouts;
use tfplugin::{Attr, Context, Create, IdentitySchema, MoveSource, Plan, Resource, Schema, Update, Value};

use super::convert::from_wire;
use super::model::{ImageModel, ImagePrivate, Moved};
use super::{archive, plan, schema};
use crate::attr::Part;
use crate::client::{Agent, AgentError};
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind, Path};
use crate::resources::session::{self, Reach};
use crate::resources::{docker, identity};
use crate::text::reference;

/// Where [`ImagePrivate`] is kept.
const PRIVATE: &str = "image";

/// `berth_image`.
pub struct Image;

fn kind(argument: &str) -> Kind {
    if argument == "timeouts" { Kind::Object } else { Kind::Plain }
}

impl Resource for Image {
    type Model = ImageModel;
    type Client = Berth;

    const NAME: &'static str = "berth_image";

    fn schema(&self) -> Schema {
        schema::schema()
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(identity::of_image())
    }

    fn validate(&self, config: &ImageModel) -> Diagnostics {
        plan::validate(config).into()
    }

    fn move_from(
        &self,
        source: &MoveSource,
        told: &mut Diagnostics,
    ) -> Result<Option<ImageModel>, Diagnostics> {
        Ok(docker::from_image(source, told))
    }

    fn modify_plan(&self, plan: &mut Plan<'_, ImageModel, Berth>) -> Result<(), Diagnostics> {
        let planned = match &plan.prior {
            None => plan::create(&plan.config),
            // Not read, as with -refresh=false: there is nothing to change.
            Some(prior) if docker::is_only_moved(&prior.id) => {
                plan.replace(Path::at("id"));
                plan::create(&plan.config)
            }
            Some(prior) => {
                let private = plan.private.get(PRIVATE).unwrap_or_default();
                plan::update(prior, &plan.config, &private, |one, other| {
                    session::same_host(plan.client, one, other)
                })
            }
        };
        planned.replaced_by.into_iter().for_each(|path| plan.replace(path));
        plan.planned = planned.model;
        Ok(())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        state: ImageModel,
    ) -> Result<Option<ImageModel>, Diagnostics> {
        if docker::is_only_moved(&state.id) {
            return Ok(None);
        }
        let connection = match session::reach_for_read(cx, &state.host).await? {
            Reach::Agent(connection) => connection,
            Reach::KeepState => return Ok(Some(state)),
            Reach::Missing => return Ok(None),
        };
        let mut private: ImagePrivate = cx.private.get(PRIVATE).unwrap_or_default();
        let pin = connection.pin(private.pin_id.clone());
        match session::read_in_time("Reading the image", pin).await {
            Ok(pin) => {
                session::remember(cx, &connection);
                let read = from_wire(&pin, Some(&state), &private);
                if read.archive.is_null() {
                    look_at_the_tag(cx, connection.agent.as_ref(), &pin, &mut private).await;
                }
                cx.private.set(PRIVATE, private);
                Ok(Some(read))
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
        new: Create<ImageModel>,
    ) -> Result<ImageModel, Diagnostics> {
        pull(cx, new.planned, String::new(), |it| &it.create).await
    }

    async fn update(
        &self,
        cx: &mut Context<Berth>,
        change: Update<ImageModel>,
    ) -> Result<ImageModel, Diagnostics> {
        if !plan::needs_agent(&change.prior, &change.planned) {
            return Ok(change.planned);
        }
        let private: ImagePrivate = cx.private.get(PRIVATE).unwrap_or_default();
        pull(cx, change.planned, private.pin_id, |it| &it.update).await
    }

    async fn delete(&self, cx: &mut Context<Berth>, state: ImageModel) -> Result<(), Diagnostics> {
        if docker::is_only_moved(&state.id) {
            return Ok(());
        }
        if state.keep_on_destroy == Attr::Known(true) {
            return Ok(());
        }
        let private: ImagePrivate = cx.private.get(PRIVATE).unwrap_or_default();
        let connection = session::reach_for_change(cx, &state.host).await?;
        if session::is_another(cx, &connection) {
            return Ok(());
        }
        let limit = session::limit(&state.timeouts, |it: &Timeouts| &it.delete);
        let delete = || connection.agent.delete_pin(private.pin_id.clone());
        match session::insisted(cx, &connection, limit, "Deleting the image", delete).await {
            Err(error) if !error.is_not_found() => Err(failed(cx, &error)),
            _ => Ok(()),
        }
    }

    async fn import(&self, cx: &mut Context<Berth>, id: &str) -> Result<ImageModel, Diagnostics> {
        let (host, reference) = session::import_id(id);
        adopt(cx, host, reference, String::new()).await
    }

    async fn import_identity(
        &self,
        cx: &mut Context<Berth>,
        given: Value,
    ) -> Result<ImageModel, Diagnostics> {
        let [host, reference, platform] =
            ["host", "reference", "platform"].map(|name| identity::part(&given, name));
        let reference = reference.known_or(String::new());
        adopt(cx, host, &reference, platform.known_or(String::new())).await
    }
}

/// What an import names.
async fn adopt(
    cx: &mut Context<Berth>,
    host: Attr<String>,
    reference: &str,
    platform: String,
) -> Result<ImageModel, Diagnostics> {
    let connection = session::reach_for_import(cx, &host).await?;
    let pin = connection.agent.pin_of(reference.to_owned(), platform);
    match session::read_in_time("Reading the image", pin).await {
        Ok(pin) => {
            session::remember(cx, &connection);
            let private = private_of(&pin);
            let read = from_wire(&pin, None, &private);
            cx.private.set(PRIVATE, private);
            let reference = match read.reference {
                Attr::Null => Attr::Null,
                _ => Attr::from(reference),
            };
            Ok(ImageModel { host, reference, ..read })
        }
        Err(error) if error.is_not_found() => {
            Err(session::nothing_to_import("image", reference, &connection, "berth image ls").into())
        }
        Err(error) => Err(failed(cx, &error)),
    }
}

fn private_of(pin: &wire::Pin) -> ImagePrivate {
    ImagePrivate {
        pin_id: pin.id.clone(),
        pin_reference: pin.reference.clone(),
        index_digest: pin.index_digest.clone(),
        moved: None,
    }
}

/// What the reference means by now, for the plan that follows. That nobody can say is no error.
async fn look_at_the_tag(
    cx: &mut Context<Berth>,
    agent: &dyn Agent,
    pin: &wire::Pin,
    private: &mut ImagePrivate,
) {
    if reference::has_digest(&pin.reference) {
        private.moved = None;
        return;
    }
    let pinned = pin.image.as_ref().map(|image| image.id.clone()).unwrap_or_default();
    // What the last look found, not what is pinned: a tag that moved twice needs no second GET.
    let known = private.moved.as_ref().map_or_else(|| pinned.clone(), |moved| moved.image_digest.clone());
    let request = wire::ResolveImageRequest {
        reference: pin.reference.clone(),
        platform: pin.platform.clone(),
        known_index_digest: private.index_digest.clone(),
        known_image_digest: known,
    };
    match session::read_in_time("Resolving the image", agent.resolve_image(request)).await {
        Ok(resolved) => {
            private.index_digest = resolved.index_digest;
            private.moved = (resolved.image_digest != pinned).then_some(Moved {
                image_digest: resolved.image_digest,
                reference_resolved: resolved.reference_resolved,
            });
        }
        Err(error) => {
            let summary = format!("{} may have moved: nobody could be asked", pin.reference);
            let detail =
                format!("{error}. {}\n\nThe image that is pinned is planned as it is.", error.explain(0));
            if private.moved.take().is_some() {
                // It is what the tag means that this was the index of.
                private.index_digest.clear();
            }
            cx.warn(report::warning(Path::at("reference"), summary, detail));
        }
    }
}

/// Makes a pin, or moves the one with this id.
async fn pull(
    cx: &mut Context<Berth>,
    mut planned: ImageModel,
    pin_id: String,
    which: fn(&Timeouts) -> &Attr<String>,
) -> Result<ImageModel, Diagnostics> {
    session::refuse(plan::validate(&planned))?;
    let connection = session::reach_for_change(cx, &planned.host).await?;
    if !pin_id.is_empty() {
        session::refuse_another(cx, &connection)?;
    }
    let limit = session::limit(&planned.timeouts, which);
    let agent = connection.agent.as_ref();
    let pulled = match planned.archive.as_str() {
        Some(path) => {
            let archive = archive::open(path, planned.archive_sha256.as_str()).await?;
            let import = agent.import_image(import_header(&planned, pin_id), archive);
            session::timed(cx, limit, "Importing the image", import).await
        }
        None => {
            let request = pull_request(&planned, pin_id);
            let pull = || agent.pull_image(request.clone());
            session::insisted(cx, &connection, limit, "Pulling the image", pull).await
        }
    };
    match pulled {
        Ok(pin) => {
            session::remember(cx, &connection);
            let private = private_of(&pin);
            planned.fill(from_wire(&pin, Some(&planned), &private));
            cx.private.set(PRIVATE, private);
            Ok(planned)
        }
        Err(error) => Err(failed(cx, &error)),
    }
}

fn pull_request(planned: &ImageModel, pin_id: String) -> wire::PullImageRequest {
    wire::PullImageRequest {
        reference: planned.reference.as_str().unwrap_or_default().to_owned(),
        platform: planned.platform.as_str().unwrap_or_default().to_owned(),
        image_digest: planned.id.as_str().unwrap_or_default().to_owned(),
        pin_id,
        reuse_pin: false,
        keep_on_destroy: planned.keep_on_destroy == Attr::Known(true),
    }
}

fn import_header(planned: &ImageModel, pin_id: String) -> wire::ImportImageHeader {
    wire::ImportImageHeader {
        reference: planned.reference.as_str().unwrap_or_default().to_owned(),
        platform: planned.platform.as_str().unwrap_or_default().to_owned(),
        pin_id,
        reuse_pin: false,
        keep_on_destroy: planned.keep_on_destroy == Attr::Known(true),
    }
}

fn failed(cx: &Context<Berth>, error: &AgentError) -> Diagnostics {
    report::from_agent(error, cx.client().error_log_lines, kind).into()
}
