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
fn the_same_image_by_its_digest_keeps_its_id() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let image = wire::Image { id: digest("1"), size: 5, ..wire::Image::default() };
    let prior = from_wire(&wire::Pin { image: Some(image), ..pin() }, Some(&config()), &private());
    let by = |digest: &str| ImageModel { reference: known(&format!("hub:web:1@{digest}")), ..config() };
    let private = ImagePrivate { index_digest: digest("a"), ..private() };
    for same in [digest("1"), digest("a")] {
        let planned = plan(&prior, &by(&same), &private).model;
        assert_eq!((&planned.id, &planned.size), (&known(&digest("1")), &prior.size));
    }
    assert!(plan(&prior, &by(&digest("b")), &private).model.id.is_unknown());
    // The index that is known is the one of what the tag means by now.
    let moved = Moved { image_digest: digest("2"), reference_resolved: "x@sha256:2".to_owned() };
    let moved = ImagePrivate { moved: Some(moved), ..private };
    let planned = plan(&prior, &by(&digest("a")), &moved).model;
    assert_eq!(planned.id, known(&digest("2")));
    assert!(planned.size.is_unknown());
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
