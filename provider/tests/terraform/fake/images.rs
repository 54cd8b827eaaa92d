//! Images of the fake agent: a registry is a map of tags.

use berth_proto::agent as wire;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use wire::error_detail::Reason;

use super::{Services, State, detail, not_found, refuse};

/// Index and image digest of a reference.
pub fn resolve(state: &State, reference: &str) -> Result<(String, String), Status> {
    if state.registry_down {
        let reason = detail(
            Reason::RegistryUnreachable,
            "The registry does not answer",
            "Check the network.",
            &["reference"],
        );
        return Err(refuse(Code::Unavailable, reason));
    }
    if let Some((_, digest)) = reference.split_once('@') {
        return Ok((digest.to_owned(), digest.to_owned()));
    }
    state.tags.get(reference).cloned().ok_or_else(|| {
        let reason = detail(
            Reason::ImageNotFound,
            &format!("There is no image {reference}"),
            "Check the repository and the tag.",
            &["reference"],
        );
        refuse(Code::NotFound, reason)
    })
}

fn resolved_reference(reference: &str, digest: &str) -> String {
    let named = reference.split('@').next().unwrap();
    let repository = match named.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => named,
    };
    format!("{repository}@{digest}")
}

fn image(id: &str, platform: &str) -> wire::Image {
    wire::Image {
        id: id.to_owned(),
        platform: platform.to_owned(),
        size: 1234,
        layers: vec![wire::Layer {
            digest: super::digest("layer"),
            diff_id: super::digest("diff"),
            size: 1200,
        }],
        created: "2026-01-02T03:04:05Z".to_owned(),
        config: Some(wire::ImageConfig {
            entrypoint: vec!["/bin/web".to_owned()],
            environment: [("PATH".to_owned(), "/bin".to_owned())].into(),
            exposed_ports: vec!["80/tcp".to_owned()],
            health_check: Some(wire::HealthCheckConfig {
                test: vec!["CMD".to_owned(), "true".to_owned()],
                interval_ns: 30_000_000_000,
                ..wire::HealthCheckConfig::default()
            }),
            ..wire::ImageConfig::default()
        }),
        ..wire::Image::default()
    }
}

type PullEvents = std::pin::Pin<Box<dyn Stream<Item = Result<wire::PullImageEvent, Status>> + Send>>;

#[tonic::async_trait]
impl wire::image_service_server::ImageService for Services {
    type PullImageStream = PullEvents;

    async fn resolve_image(
        &self,
        request: Request<wire::ResolveImageRequest>,
    ) -> Result<Response<wire::ResolvedImage>, Status> {
        let mut state = self.state();
        state.enter("ResolveImage")?;
        let request = request.into_inner();
        let (index_digest, image_digest) = resolve(&state, &request.reference)?;
        Ok(Response::new(wire::ResolvedImage {
            reference_resolved: resolved_reference(&request.reference, &image_digest),
            index_digest,
            image_digest,
            platform: format!("linux/{}", state.architecture),
        }))
    }

    async fn list_tags(
        &self,
        request: Request<wire::ListTagsRequest>,
    ) -> Result<Response<wire::ListTagsResponse>, Status> {
        self.state().enter("ListTags")?;
        let tags = vec![request.into_inner().repository, "latest".to_owned()];
        Ok(Response::new(wire::ListTagsResponse { tags }))
    }

    async fn list_repositories(
        &self,
        request: Request<wire::ListRepositoriesRequest>,
    ) -> Result<Response<wire::ListRepositoriesResponse>, Status> {
        self.state().enter("ListRepositories")?;
        let repositories = vec![request.into_inner().remote];
        Ok(Response::new(wire::ListRepositoriesResponse { repositories }))
    }

    async fn pull_image(
        &self,
        request: Request<wire::PullImageRequest>,
    ) -> Result<Response<PullEvents>, Status> {
        let mut state = self.state();
        state.enter("PullImage")?;
        let request = request.into_inner();
        let (index_digest, mut id) = resolve(&state, &request.reference)?;
        if !request.image_digest.is_empty() {
            id = request.image_digest.clone();
        }
        let own = format!("linux/{}", state.architecture);
        let platform = if request.platform.is_empty() { &own } else { &request.platform };
        let pin_id =
            if request.pin_id.is_empty() { uuid::Uuid::new_v4().to_string() } else { request.pin_id };
        let pin = wire::Pin {
            id: pin_id.clone(),
            reference: request.reference.clone(),
            platform: platform.to_owned(),
            index_digest,
            reference_resolved: resolved_reference(&request.reference, &id),
            keep_on_destroy: request.keep_on_destroy,
            image: Some(image(&id, platform)),
        };
        state.pins.insert(pin_id, pin.clone());
        let event = wire::PullImageEvent { event: Some(wire::pull_image_event::Event::Pin(pin)) };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(event)))))
    }

    async fn get_pin(&self, request: Request<wire::GetPinRequest>) -> Result<Response<wire::Pin>, Status> {
        let mut state = self.state();
        state.enter("GetPin")?;
        let request = request.into_inner();
        let found = match request.by.unwrap() {
            wire::get_pin_request::By::Id(id) => state.pins.get(&id),
            wire::get_pin_request::By::Reference(reference) => {
                state.pins.values().find(|pin| pin.reference == reference)
            }
        };
        found.cloned().map(Response::new).ok_or_else(|| not_found("pin"))
    }

    async fn list_pins(
        &self,
        _: Request<wire::ListPinsRequest>,
    ) -> Result<Response<wire::ListPinsResponse>, Status> {
        let mut state = self.state();
        state.enter("ListPins")?;
        Ok(Response::new(wire::ListPinsResponse { pins: state.pins.values().cloned().collect() }))
    }

    async fn delete_pin(
        &self,
        request: Request<wire::DeletePinRequest>,
    ) -> Result<Response<wire::DeletePinResponse>, Status> {
        let mut state = self.state();
        state.enter("DeletePin")?;
        let removed = state.pins.remove(&request.into_inner().id);
        removed
            .map(|_| Response::new(wire::DeletePinResponse { image_removed: true }))
            .ok_or_else(|| not_found("pin"))
    }

    async fn get_image(&self, _: Request<wire::GetImageRequest>) -> Result<Response<wire::Image>, Status> {
        Err(Status::unimplemented("get_image"))
    }

    async fn list_images(
        &self,
        _: Request<wire::ListImagesRequest>,
    ) -> Result<Response<wire::ListImagesResponse>, Status> {
        Err(Status::unimplemented("list_images"))
    }

    type ImportImageStream = PullEvents;

    async fn import_image(
        &self,
        _: Request<tonic::Streaming<wire::ImportImageRequest>>,
    ) -> Result<Response<PullEvents>, Status> {
        Err(Status::unimplemented("import_image"))
    }

    type ExportImageStream = tokio_stream::Empty<Result<wire::ExportImageResponse, Status>>;

    async fn export_image(
        &self,
        _: Request<wire::ExportImageRequest>,
    ) -> Result<Response<Self::ExportImageStream>, Status> {
        Err(Status::unimplemented("export_image"))
    }

    type CheckImagesStream = tokio_stream::Empty<Result<wire::CheckImagesEvent, Status>>;

    async fn check_images(
        &self,
        _: Request<wire::CheckImagesRequest>,
    ) -> Result<Response<Self::CheckImagesStream>, Status> {
        Err(Status::unimplemented("check_images"))
    }

    async fn prune_images(
        &self,
        _: Request<wire::PruneImagesRequest>,
    ) -> Result<Response<wire::PruneImagesResponse>, Status> {
        Err(Status::unimplemented("prune_images"))
    }
}
