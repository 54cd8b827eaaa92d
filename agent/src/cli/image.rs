//! `berth image …`

use berth_proto::agent as wire;
use berth_proto::agent::image_service_client::ImageServiceClient;
use berth_proto::agent::pull_image_event::Event;
use serde_json::Value;
use tonic::transport::Channel;

use super::args::{Format, ImageVerb};
use super::error::CliError;
use super::progress::Bar;
use super::{Cli, output, show};

/// Lists are long on hosts with many images.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

pub(super) async fn run(cli: &Cli, verb: ImageVerb) -> Result<(), CliError> {
    let mut client = ImageServiceClient::new(cli.dial().await?).max_decoding_message_size(MAX_ANSWER);
    match verb {
        ImageVerb::Ls => list(cli, &mut client).await,
        ImageVerb::Pull { reference, platform } => {
            let pin = pull(&mut client, &reference, &platform).await?;
            match cli.format {
                Format::Json => output::json(&show::pin(&pin)),
                Format::Table => output::line(&pin.image.map(|image| image.id).unwrap_or_default()),
            }
        }
        ImageVerb::Inspect { image } => {
            let image = client.get_image(wire::GetImageRequest { id: image }).await?.into_inner();
            output::json(&show::image_in_full(&image))
        }
        ImageVerb::Rm { images } => {
            for image in images {
                remove(&mut client, &image).await?;
            }
            Ok(())
        }
    }
}

async fn list(cli: &Cli, client: &mut ImageServiceClient<Channel>) -> Result<(), CliError> {
    let images = client.list_images(wire::ListImagesRequest {}).await?.into_inner().images;
    if cli.format == Format::Json {
        return output::json(&Value::Array(images.iter().map(show::image).collect()));
    }
    let row = |image: &wire::Image| {
        vec![
            image.references.first().cloned().unwrap_or_else(|| "-".to_owned()),
            show::short(&image.id),
            image.platform.clone(),
            show::size(image.size),
            image.layers.len().to_string(),
            image.used_by.len().to_string(),
        ]
    };
    let rows: Vec<_> = images.iter().map(row).collect();
    output::table(&["REFERENCE", "ID", "PLATFORM", "SIZE", "LAYERS", "USED BY"], &rows)
}

async fn pull(
    client: &mut ImageServiceClient<Channel>,
    reference: &str,
    platform: &str,
) -> Result<wire::Pin, CliError> {
    let request = wire::PullImageRequest {
        reference: reference.to_owned(),
        platform: platform.to_owned(),
        reuse_pin: true,
        ..Default::default()
    };
    let mut events = client.pull_image(request).await?.into_inner();
    let bar = Bar::new(reference);
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Progress(progress)) => bar.show(&progress),
            Some(Event::Pin(pin)) => return Ok(pin),
            None => {}
        }
    }
    Err(CliError::CutOff)
}

/// Removes the pin of a reference, or every pin of an image.
async fn remove(client: &mut ImageServiceClient<Channel>, image: &str) -> Result<(), CliError> {
    let pins = client.list_pins(wire::ListPinsRequest {}).await?.into_inner().pins;
    let mut doomed: Vec<&wire::Pin> = pins.iter().filter(|pin| pin.reference == image).collect();
    if doomed.is_empty() {
        let found = client.get_image(wire::GetImageRequest { id: image.to_owned() }).await?.into_inner();
        let of_image = |pin: &&wire::Pin| pin.image.as_ref().is_some_and(|image| image.id == found.id);
        doomed = pins.iter().filter(of_image).collect();
        if doomed.is_empty() {
            let summary = format!("Instances still use {image}, and nothing else keeps it");
            return Err(CliError::Refused(Box::new(super::error::Refusal::in_use(summary))));
        }
    }
    for pin in doomed {
        client.delete_pin(wire::DeletePinRequest { id: pin.id.clone() }).await?;
    }
    Ok(())
}
