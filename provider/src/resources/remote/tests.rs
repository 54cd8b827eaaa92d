//! Plans and conversions of a remote, without an agent.

use berth_proto::agent as wire;

use super::convert::{Secrets, from_wire, same_address, to_spec};
use super::model::{RemoteModel, RemotePrivate, VerifyModel};
use super::plan::{needs_agent, update, validate};
use crate::attr::{Attr, list};
use crate::report::Path;

fn known(text: &str) -> Attr<String> {
    Attr::Known(text.to_owned())
}

fn config() -> RemoteModel {
    RemoteModel {
        name: known("hub"),
        address: known("https://Registry.example:443/"),
        username: known("me"),
        password_wo: known("secret"),
        password_wo_version: Attr::Known(1),
        client_certificate: known("-----BEGIN CERTIFICATE-----\n"),
        client_key_wo: known("secret"),
        client_key_wo_version: Attr::Known(1),
        mirrors: list(["https://mirror.example".to_owned()]),
        verify: Attr::Known(VerifyModel { keys: list(["-----BEGIN PUBLIC KEY-----\n".to_owned()]) }),
        ..RemoteModel::default()
    }
}

fn remote(has_password: bool) -> wire::Remote {
    let mut spec = to_spec(&config(), Secrets::default());
    spec.address = "https://registry.example".to_owned();
    wire::Remote { id: "one".to_owned(), spec: Some(spec), has_password, has_client_key: true }
}

fn private() -> RemotePrivate {
    RemotePrivate { has_password: true, has_client_key: true }
}

#[test]
fn a_second_plan_is_empty_and_holds_no_password() {
    let prior = from_wire(&remote(true), Some(&config()), &private());
    let planned = update(&prior, &config(), |_, _| true);
    assert_eq!(planned.model, prior);
    assert_eq!((&planned.model.password_wo, &planned.model.client_key_wo), (&Attr::Null, &Attr::Null));
    assert!(!needs_agent(&prior, &planned.model));
}

#[test]
fn a_lost_password_is_drift() {
    let prior = from_wire(&remote(false), Some(&config()), &private());
    assert_eq!(prior.password_wo_version, Attr::Null);
    assert!(needs_agent(&prior, &update(&prior, &config(), |_, _| true).model));
}

#[test]
fn a_lost_client_key_is_drift_and_pems_keep_their_spelling() {
    let mut lost = remote(true);
    lost.has_client_key = false;
    let spec = lost.spec.as_mut().unwrap();
    spec.verify_keys = vec!["-----BEGIN PUBLIC KEY-----".to_owned()];
    let prior = from_wire(&lost, Some(&config()), &private());
    assert_eq!((&prior.client_key_wo_version, &prior.verify), (&Attr::Null, &config().verify));
    assert!(needs_agent(&prior, &update(&prior, &config(), |_, _| true).model));
}

#[test]
fn the_name_and_the_host_replace() {
    let prior = from_wire(&remote(true), Some(&config()), &private());
    let renamed = RemoteModel { name: known("other"), host: known("node1"), ..config() };
    let planned = update(&prior, &renamed, |one, other| one == other);
    assert_eq!(planned.replaced_by, [Path::at("host"), Path::at("name")]);
}

#[test]
fn addresses_are_compared_by_what_they_mean() {
    assert!(same_address("https://a.example/", "HTTPS://A.example:443"));
    assert!(same_address("http://a:80/v", "http://a/v"));
    assert!(!same_address("https://a/v", "https://a/w"));
    assert!(!same_address("https://a:5000", "https://a"));
}

#[test]
fn arguments_that_cannot_be_are_named() {
    let paths =
        |model: RemoteModel| -> Vec<Path> { validate(&model).into_iter().map(|it| it.path).collect() };
    assert_eq!(paths(config()), []);
    let plain = RemoteModel { address: known("http://a"), ..config() };
    assert_eq!(paths(plain.clone()), [Path::at("address")]);
    assert_eq!(paths(RemoteModel { insecure: Attr::Known(true), ..plain }), []);
    let bad = RemoteModel {
        name: known("sha256"),
        address: known("https://me:secret@a"),
        username: Attr::Null,
        credential_helper: known("../x"),
        docker_config: known("config.json"),
        ca_certificate: known("x"),
        client_certificate: known("x"),
        client_key_wo: Attr::Null,
        mirrors: list(["http://a".to_owned()]),
        verify: Attr::Known(VerifyModel { keys: list([]) }),
        ..config()
    };
    let reports = validate(&bad);
    let names = [
        "name",
        "address",
        "username",
        "docker_config",
        "credential_helper",
        "docker_config",
        "ca_certificate",
        "client_key_wo",
        "client_key_wo_version",
        "client_certificate",
        "mirrors",
    ];
    let found: Vec<_> = reports.iter().map(|report| report.path.clone()).collect();
    assert_eq!(found[..names.len()], names.map(Path::at));
    assert_eq!(found[names.len()..], [Path::at("verify").attribute("keys")]);
    assert!(reports.iter().all(|report| !report.summary.contains("secret")));
}
