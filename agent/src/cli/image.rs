//! `berth image …`

mod archive;

use berth_proto::agent as wire;
use berth_proto::agent::image_service_client::ImageServiceClient;
use berth_proto::agent::pull_image_event::Event;
use serde_json::Value;
use tonic::Streaming;
use tonic::transport::Channel;

use super::args::{Format, ImageVerb};
use super::error::CliError;
use super::progress::Bar;
use super::{Cli, MAX_ANSWER, output, show};

pub(super) async fn run(cli: &Cli, verb: ImageVerb) -> Result<(), CliError> {
    let mut client = ImageServiceClient::new(cli.dial().await?).max_decoding_message_size(MAX_ANSWER);
    match verb {
        ImageVerb::Ls => list(cli, &mut client).await,
        ImageVerb::Pull { reference, platform } => {
            let pin = pull(&mut client, &reference, &platform).await?;
            show_pin(cli, pin)
        }
        ImageVerb::Inspect { image } => {
            let image = client.get_image(wire::GetImageRequest { id: image }).await?.into_inner();
            output::json(&show::image_in_full(&image))
        }
        ImageVerb::Import { archive, reference, platform } => {
            let pin = archive::import(&mut client, &archive, reference, platform).await?;
            show_pin(cli, pin)
        }
        ImageVerb::Export { image, output, refetch } => {
            archive::export(&mut client, image, output.as_deref(), refetch).await
        }
        ImageVerb::Check { images, repair } => check(cli, &mut client, images, repair).await,
        ImageVerb::Prune { dry_run } => prune(cli, &mut client, dry_run).await,
        ImageVerb::Tags { repository } => {
            let request = wire::ListTagsRequest { repository };
            names(cli, client.list_tags(request).await?.into_inner().tags)
        }
        ImageVerb::Search { remote } => {
            let request = wire::ListRepositoriesRequest { remote };
            names(cli, client.list_repositories(request).await?.into_inner().repositories)
        }
        ImageVerb::Rm { images } => {
            for image in images {
                remove(&mut client, &image).await?;
            }
            Ok(())
        }
    }
}

fn show_pin(cli: &Cli, pin: wire::Pin) -> Result<(), CliError> {
    match cli.format {
        Format::Json => output::json(&show::pin(&pin)),
        Format::Table => output::line(&pin.image.map(|image| image.id).unwrap_or_default()),
    }
}

/// One a line: the registry's order is kept.
fn names(cli: &Cli, names: Vec<String>) -> Result<(), CliError> {
    if cli.format == Format::Json {
        return output::json(&Value::from(names));
    }
    names.iter().try_for_each(|name| output::line(name))
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
    let events = client.pull_image(request).await?.into_inner();
    follow(events, reference).await
}

/// Shows the progress, until the pin comes.
async fn follow(mut events: Streaming<wire::PullImageEvent>, name: &str) -> Result<wire::Pin, CliError> {
    let bar = Bar::new(name);
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Event::Progress(progress)) => bar.show(&progress),
            Some(Event::Pin(pin)) => return Ok(pin),
            None => {}
        }
    }
    Err(CliError::CutOff)
}

async fn check(
    cli: &Cli,
    client: &mut ImageServiceClient<Channel>,
    ids: Vec<String>,
    repair: bool,
) -> Result<(), CliError> {
    use wire::check_images_event::Event;
    let mut events = client.check_images(wire::CheckImagesRequest { ids, repair }).await?.into_inner();
    let bar = Bar::new("the store");
    let report = loop {
        match events.message().await?.ok_or(CliError::CutOff)?.event {
            Some(Event::Progress(line)) => bar.say(line),
            Some(Event::Report(report)) => break report,
            None => {}
        }
    };
    drop(bar);
    match cli.format {
        Format::Json => output::json(&show::store_check(&report))?,
        Format::Table => {
            for image in &report.damaged {
                let state = match (image.repaired, image.repair_error.as_str()) {
                    (true, _) => "was damaged, and is whole again".to_owned(),
                    (false, "") => "is damaged".to_owned(),
                    (false, why) => format!("is damaged and cannot be mended: {why}"),
                };
                output::line(&format!("{} {state}", show::short(&image.id)))?;
                for part in &image.parts {
                    output::line(&format!("  {part}"))?;
                }
            }
            let size = show::size(report.bytes);
            output::line(&format!("{} images verified, {size}", report.images))?;
        }
    }
    let left = report.damaged.iter().filter(|image| !image.repaired).count();
    if left == 0 {
        return Ok(());
    }
    let summary = format!("{left} images are damaged");
    let advice = "Fetch them again with: berth image check --repair";
    Err(CliError::Refused(Box::new(super::error::Refusal::found(summary, if repair { "" } else { advice }))))
}

async fn prune(cli: &Cli, client: &mut ImageServiceClient<Channel>, dry_run: bool) -> Result<(), CliError> {
    let pruned = client.prune_images(wire::PruneImagesRequest { dry_run }).await?.into_inner();
    if cli.format == Format::Json {
        return output::json(&show::pruned(&pruned, dry_run));
    }
    let row = |image: &wire::PrunedImage| {
        vec![show::short(&image.id), image.platform.clone(), show::size(image.size), image.used_at.clone()]
    };
    let rows: Vec<_> = pruned.images.iter().map(row).collect();
    if !rows.is_empty() {
        output::table(&["ID", "PLATFORM", "SIZE", "LAST USED"], &rows)?;
    }
    let verb = if dry_run { "would be freed" } else { "were freed" };
    output::line(&format!("{} {verb} on disk", show::size(pruned.bytes_freed)))
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
            let advice = "It goes with the last of them";
            return Err(CliError::Refused(Box::new(super::error::Refusal::in_use(summary, advice))));
        }
    }
    for pin in doomed {
        client.delete_pin(wire::DeletePinRequest { id: pin.id.clone() }).await?;
    }
    Ok(())
}
