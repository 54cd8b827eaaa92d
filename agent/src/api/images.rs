//! Images and the pins that keep them.

use berth_engine::engine::{PinTarget, PullQuery, ResolveQuery};
use berth_engine::ports::images::Known;
use berth_engine::{Progress, Reporter};
use berth_proto::agent as wire;
use berth_proto::agent::image_service_server::ImageService;
use berth_proto::agent::pull_image_event::Event;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{by, digest, id, image, platform};
use super::status;
use super::stream::{Answers, follow};
use super::{Api, archives};

#[tonic::async_trait]
impl ImageService for Api {
    async fn resolve_image(
        &self,
        request: Request<wire::ResolveImageRequest>,
    ) -> Result<Response<wire::ResolvedImage>, Status> {
        let request = request.into_inner();
        let known = match (digest(&request.known_index_digest)?, digest(&request.known_image_digest)?) {
            (Some(index_digest), Some(image_digest)) => {
                Some(Known { platform: None, index_digest, image_digest })
            }
            _ => None,
        };
        let platform = platform(&request.platform)?;
        let query = ResolveQuery { reference: request.reference, platform, known };
        let resolved = self.engine.resolve_image(query).await;
        let resolved = resolved.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::ResolvedImage {
            reference_resolved: resolved.reference_resolved,
            index_digest: resolved.index_digest.to_string(),
            image_digest: resolved.image_digest.to_string(),
            platform: resolved.platform.to_string(),
        }))
    }

    async fn list_tags(
        &self,
        request: Request<wire::ListTagsRequest>,
    ) -> Result<Response<wire::ListTagsResponse>, Status> {
        let tags = self.engine.list_tags(&request.into_inner().repository).await;
        let tags = tags.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::ListTagsResponse { tags }))
    }

    async fn list_repositories(
        &self,
        request: Request<wire::ListRepositoriesRequest>,
    ) -> Result<Response<wire::ListRepositoriesResponse>, Status> {
        let repositories = self.engine.list_repositories(&request.into_inner().remote).await;
        let repositories = repositories.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::ListRepositoriesResponse { repositories }))
    }

    type PullImageStream = Answers<wire::PullImageEvent>;

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        let query = pull_query(request.into_inner())?;
        let (reporter, progress) = Reporter::channel();
        let engine = self.engine.clone();
        let operation = async move { engine.pull_image(query, reporter).await };
        let show = |progress| match progress {
            Progress::Pull(progress) => Some(event(Event::Progress(image::progress(progress)))),
            Progress::Line(_) => None,
        };
        let answers = follow(operation, progress, show, |pin| event(Event::Pin(image::pin(pin))));
        Ok(Response::new(answers))
    }

    async fn get_pin(&self, request: Request<wire::GetPinRequest>) -> Result<Response<wire::Pin>, Status> {
        use wire::get_pin_request::By;
        let request = request.into_inner();
        let found = match request.by {
            Some(By::Id(text)) => self.engine.get_pin(id(&text)?).await,
            Some(By::Reference(reference)) => {
                self.engine.find_pin(&reference, platform(&request.platform)?.as_ref()).await
            }
            None => return Err(by::missing()),
        };
        found.map(image::pin).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_pins(
        &self,
        _: Request<wire::ListPinsRequest>,
    ) -> Result<Response<wire::ListPinsResponse>, Status> {
        let pins = self.engine.list_pins().await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::ListPinsResponse { pins: pins.into_iter().map(image::pin).collect() }))
    }

    async fn delete_pin(
        &self,
        request: Request<wire::DeletePinRequest>,
    ) -> Result<Response<wire::DeletePinResponse>, Status> {
        let pin = id(&request.into_inner().id)?;
        let image_removed = self.engine.delete_pin(pin).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::DeletePinResponse { image_removed }))
    }

    async fn get_image(
        &self,
        request: Request<wire::GetImageRequest>,
    ) -> Result<Response<wire::Image>, Status> {
        let found = self.engine.get_image(&request.into_inner().id).await;
        found.map(image::show).map(Response::new).map_err(|error| status::failed(&error))
    }

    async fn list_images(
        &self,
        _: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        let images = self.engine.list_images().await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(wire::ListImagesResponse { images: images.into_iter().map(image::show).collect() }))
    }

    type ImportImageStream = Answers<wire::PullImageEvent>;

    async fn import_image(
        &self,
        request: Request<Streaming<wire::ImportImageRequest>>,
    ) -> Result<Response<Self::ImportImageStream>, Status> {
        archives::import(&self.engine, request.into_inner()).await.map(Response::new)
    }

    type ExportImageStream = Answers<wire::ExportImageResponse>;

    async fn export_image(
        &self,
        request: Request<wire::ExportImageRequest>,
    ) -> Result<Response<Self::ExportImageStream>, Status> {
        archives::export(&self.engine, request.into_inner()).await.map(Response::new)
    }

    type CheckImagesStream = Answers<wire::CheckImagesEvent>;

    async fn check_images(
        &self,
        request: Request<wire::CheckImagesRequest>,
    ) -> Result<Response<Self::CheckImagesStream>, Status> {
        use wire::check_images_event::Event;
        let wire::CheckImagesRequest { ids, repair } = request.into_inner();
        let (reporter, progress) = Reporter::channel();
        let engine = self.engine.clone();
        let operation = async move { engine.check_images(ids, repair, reporter).await };
        let event = |event| wire::CheckImagesEvent { event: Some(event) };
        let show = move |progress| match progress {
            Progress::Line(line) => Some(event(Event::Progress(line))),
            Progress::Pull(_) => None,
        };
        let done = move |report| event(Event::Report(image::check(report)));
        Ok(Response::new(follow(operation, progress, show, done)))
    }

    async fn prune_images(
        &self,
        request: Request<wire::PruneImagesRequest>,
    ) -> Result<Response<wire::PruneImagesResponse>, Status> {
        let pruned = self.engine.prune_images(request.into_inner().dry_run).await;
        pruned.map(image::pruned).map(Response::new).map_err(|error| status::failed(&error))
    }
}

fn event(event: Event) -> wire::PullImageEvent {
    wire::PullImageEvent { event: Some(event) }
}

fn pull_query(request: wire::PullImageRequest) -> Result<PullQuery, Status> {
    let pin = match (request.pin_id.as_str(), request.reuse_pin) {
        ("", false) => PinTarget::New,
        ("", true) => PinTarget::Reuse,
        (text, _) => PinTarget::Move(id(text)?),
    };
    Ok(PullQuery {
        platform: platform(&request.platform)?,
        image_digest: digest(&request.image_digest)?,
        reference: request.reference,
        pin,
        keep_on_destroy: request.keep_on_destroy,
    })
}
