//! Plans of a pin, without an agent.

use berth_proto::agent as wire;

use super::convert::from_wire;
use super::model::{ImageModel, ImagePrivate, Moved};
use super::plan::{Planned, create, needs_agent, update, validate};
use crate::attr::{Attr, Part};
use crate::report::Path;

fn known(text: &str) -> Attr<String> {
    Attr::Known(text.to_owned())
}

fn config() -> ImageModel {
    ImageModel { reference: known("hub:web:1"), ..ImageModel::default() }
}

fn pin() -> wire::Pin {
    wire::Pin {
        id: "pin".to_owned(),
        reference: "docker.io/library/web:1".to_owned(),
        platform: "linux/amd64".to_owned(),
        reference_resolved: "docker.io/library/web@sha256:1".to_owned(),
        image: Some(wire::Image { id: "sha256:1".to_owned(), size: 5, ..wire::Image::default() }),
        ..wire::Pin::default()
    }
}

fn private() -> ImagePrivate {
    ImagePrivate { pin_reference: "docker.io/library/web:1".to_owned(), ..ImagePrivate::default() }
}

fn plan(prior: &ImageModel, config: &ImageModel, private: &ImagePrivate) -> Planned {
    update(prior, config, private, |one, other| one == other)
}

#[test]
fn a_second_plan_is_empty_and_keeps_the_users_words() {
    let prior = from_wire(&pin(), Some(&config()), &private());
    assert_eq!(prior.reference, known("hub:web:1"));
    let planned = plan(&prior, &config(), &private());
    assert_eq!(planned.model, prior);
    assert!(!needs_agent(&prior, &planned.model));
}

#[test]
fn a_pin_that_was_moved_by_others_is_drift() {
    let elsewhere = wire::Pin { reference: "docker.io/library/web:2".to_owned(), ..pin() };
    let read = from_wire(&elsewhere, Some(&config()), &private());
    assert_eq!(read.reference, known("docker.io/library/web:2"));
    assert!(plan(&read, &config(), &private()).model.id.is_unknown());
}

#[test]
fn a_moved_tag_is_a_known_new_id() {
    let prior = from_wire(&pin(), Some(&config()), &private());
    let moved = Moved { image_digest: "sha256:2".to_owned(), reference_resolved: "x@sha256:2".to_owned() };
    let private = ImagePrivate { moved: Some(moved), ..private() };
    let planned = plan(&prior, &config(), &private);
    assert_eq!(planned.model.id, known("sha256:2"));
    assert_eq!(planned.model.reference_resolved, known("x@sha256:2"));
    assert!(planned.model.size.is_unknown());
    assert_eq!(planned.replaced_by, []);
    assert!(needs_agent(&prior, &planned.model));
}

#[test]
fn the_platform_replaces_only_when_it_means_another() {
    let prior = from_wire(&pin(), Some(&config()), &private());
    let same = ImageModel { platform: known("linux/amd64"), ..config() };
    assert_eq!(plan(&prior, &same, &private()).model, prior);
    let other = ImageModel { platform: known("linux/arm64"), ..config() };
    assert_eq!(plan(&prior, &other, &private()).replaced_by, [Path::at("platform")]);
}

#[test]
fn a_create_knows_nothing_of_the_content() {
    let planned = create(&config()).model;
    assert!(planned.id.is_unknown() && planned.platform.is_unknown() && planned.has_unknown());
    assert_eq!(planned.reference, known("hub:web:1"));
}

#[test]
fn malformed_arguments_are_named() {
    let model =
        ImageModel { reference: known("nginx"), platform: known("windows/amd64"), ..ImageModel::default() };
    let paths: Vec<_> = validate(&model).into_iter().map(|report| report.path).collect();
    assert_eq!(paths, [Path::at("reference"), Path::at("platform")]);
    assert_eq!(validate(&config()), []);
}
