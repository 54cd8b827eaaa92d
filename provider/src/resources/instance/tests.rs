//! Plans and conversions of an instance, without an agent.

use std::collections::BTreeMap;

use berth_proto::agent as wire;

use super::contents::ports::PortModel;
use super::convert::{Labels, from_wire, to_spec};
use super::model::{InstanceModel, LimitsModel, RestartModel};
use super::plan::{Change, Effect, Planned, create, update};
use super::validate::validate;
use crate::attr::{Attr, Part, list, map};
use crate::client::hosts::Setting;
use crate::report::Path;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn known(text: &str) -> Attr<String> {
    Attr::Known(text.to_owned())
}

fn config() -> InstanceModel {
    InstanceModel {
        name: known("web"),
        image: known(DIGEST),
        environment: map([("MODE".to_owned(), "test".to_owned())]),
        stop_timeout: known("90s"),
        limits: Attr::Known(LimitsModel {
            memory: known("512MiB"),
            cpu: known("1.50"),
            ..LimitsModel::default()
        }),
        ports: map([("http".to_owned(), PortModel { container_port: known("80"), ..PortModel::default() })]),
        ..InstanceModel::default()
    }
}

fn defaults() -> Setting<Labels> {
    Setting::Known(Labels::new())
}

/// What the agent holds after an apply of `config`.
fn applied(config: &InstanceModel) -> wire::Instance {
    let spec = to_spec(config, &Labels::new());
    let mut ports = spec.ports.clone();
    ports.values_mut().for_each(|port| port.host_port = 32_768);
    wire::Instance {
        id: "one".to_owned(),
        image_id: DIGEST.to_owned(),
        image_reference: spec.image.clone(),
        status: wire::instance::Status::Running.into(),
        ipv4_address: "10.0.0.2".to_owned(),
        addresses: [("eth0".to_owned(), wire::StringList { values: vec!["10.0.0.2/24".to_owned()] })].into(),
        mac_addresses: [("eth0".to_owned(), "02:00:00:00:00:01".to_owned())].into(),
        ports,
        spec: Some(spec),
        ..wire::Instance::default()
    }
}

/// Its state after that apply and a read.
fn state(config: &InstanceModel) -> InstanceModel {
    from_wire(&applied(config), Some(config), &Labels::new())
}

fn plan(prior: &InstanceModel, config: &InstanceModel) -> Planned {
    update(prior, config, &defaults(), |one, other| one == other)
}

fn effects(planned: &Planned) -> Vec<(&'static str, Effect)> {
    planned.changes.iter().map(|Change { argument, effect }| (*argument, *effect)).collect()
}

#[test]
fn a_create_knows_what_it_can() {
    let planned = create(&config(), &Setting::Known([("team".to_owned(), "a".to_owned())].into()));
    assert_eq!(planned.model.image_id, known(DIGEST));
    assert_eq!(planned.model.effective_labels, map([("team".to_owned(), "a".to_owned())]));
    assert!(planned.model.id.is_unknown() && planned.model.ports.has_unknown());
    let by_reference = InstanceModel { image: known("docker.io/nginx"), ..config() };
    assert!(create(&by_reference, &defaults()).model.image_id.is_unknown());
}

#[test]
fn a_second_plan_is_empty() {
    let prior = state(&config());
    let planned = plan(&prior, &config());
    assert_eq!(effects(&planned), []);
    assert_eq!(planned.model, prior);
}

#[test]
fn equal_spellings_are_no_change() {
    let prior = state(&config());
    let other = InstanceModel {
        stop_timeout: known("1m30s"),
        limits: Attr::Known(LimitsModel {
            memory: known("536870912"),
            cpu: known("1.5"),
            ..LimitsModel::default()
        }),
        ..config()
    };
    let planned = plan(&prior, &other);
    assert_eq!(planned.model, prior);
}

#[test]
fn an_import_plans_empty() {
    let imported = from_wire(&applied(&config()), None, &Labels::new());
    let planned = plan(&imported, &config());
    assert_eq!(planned.model, imported);
    assert_eq!(imported.r#type, Attr::Null);
    assert_eq!(imported.restart, Attr::Null);
    assert_eq!(imported.running, Attr::Null);
}

#[test]
fn defaults_written_out_change_nothing_on_the_host() {
    let written = InstanceModel {
        r#type: known("container"),
        running: Attr::Known(true),
        restart: Attr::Known(RestartModel { policy: known("always"), ..RestartModel::default() }),
        ..config()
    };
    let imported = from_wire(&applied(&config()), None, &Labels::new());
    assert_eq!(effects(&plan(&imported, &written)), []);
    let prior = state(&written);
    assert_eq!(plan(&prior, &written).model, prior);
}

#[test]
fn an_environment_change_restarts_and_keeps_what_stays() {
    let prior = state(&config());
    let environment = map([("MODE".to_owned(), "other".to_owned())]);
    let planned = plan(&prior, &InstanceModel { environment, command: list(["x".to_owned()]), ..config() });
    assert_eq!(effects(&planned), [("command", Effect::Restart), ("environment", Effect::Restart)]);
    assert_eq!(planned.model.id, prior.id);
    assert_eq!(planned.model.ipv4_address, prior.ipv4_address);
    assert_eq!(planned.model.mac_addresses, prior.mac_addresses);
    assert_eq!(planned.model.image_id, prior.image_id);
    assert_eq!(planned.model.ports, prior.ports);
    assert!(planned.model.status.is_unknown());
    assert_eq!(planned.reports[0].summary, "The instance web will be restarted");
    assert!(planned.reports[0].detail.starts_with("Because command and environment change. "));
    assert_eq!(planned.reports[0].path, Path::at("command"));
}

#[test]
fn what_changes_in_place_warns_of_nothing() {
    let prior = state(&config());
    let limits = Attr::Known(LimitsModel { memory: known("1GiB"), ..LimitsModel::default() });
    let planned = plan(&prior, &InstanceModel { limits, description: known("x"), ..config() });
    assert_eq!(effects(&planned), [("description", Effect::InPlace), ("limits", Effect::InPlace)]);
    assert_eq!(planned.reports, []);
    assert_eq!(planned.model.status, prior.status);
}

#[test]
fn a_machine_boots_again_for_what_cannot_be_plugged_in_and_is_refused_what_it_cannot_have() {
    let machine = |cpu: &str, memory: &str| {
        let limits = LimitsModel { cpu: known(cpu), memory: known(memory), ..LimitsModel::default() };
        InstanceModel { r#type: known("virtual-machine"), limits: Attr::Known(limits), ..config() }
    };
    let prior = state(&machine("1.2", "1GiB"));
    let effect = |cpu, memory| effects(&plan(&prior, &machine(cpu, memory)));
    for (cpu, memory) in [("1.8", "1GiB"), ("2.5", "1GiB"), ("16", "4GiB"), ("1", "256MiB")] {
        assert_eq!(effect(cpu, memory), [("limits", Effect::InPlace)], "{cpu} {memory}");
    }
    for (cpu, memory) in [("16.5", "1GiB"), ("1", "255MiB")] {
        assert_eq!(effect(cpu, memory), [("limits", Effect::Restart)], "{cpu} {memory}");
    }
    let replaced = plan(&state(&config()), &InstanceModel { r#type: known("virtual-machine"), ..config() });
    assert_eq!(effects(&replaced), [("type", Effect::Replace)]);
    let small = LimitsModel { memory: known("64MiB"), pids: Attr::Known(9), ..LimitsModel::default() };
    let paths: Vec<_> = validate(&InstanceModel { limits: Attr::Known(small), ..machine("1", "1GiB") })
        .into_iter()
        .map(|report| report.path)
        .collect();
    let at = |name: &str| Path::at("limits").attribute(name);
    assert_eq!(paths, [at("pids"), at("memory")]);
}

#[test]
fn a_rename_restarts_unless_a_hostname_is_set() {
    let prior = state(&config());
    let planned = plan(&prior, &InstanceModel { name: known("web2"), ..config() });
    assert_eq!(effects(&planned), [("name", Effect::Restart)]);
    let named = InstanceModel { hostname: known("www"), ..config() };
    let planned = plan(&state(&named), &InstanceModel { name: known("web2"), ..named });
    assert_eq!(effects(&planned), [("name", Effect::InPlace)]);
}

#[test]
fn an_image_changes_as_asked() {
    let prior = state(&config());
    let rebuilt = plan(&prior, &InstanceModel { image: known(OTHER), ..config() });
    assert_eq!(effects(&rebuilt), [("image", Effect::Rebuild)]);
    assert_eq!(rebuilt.model.image_id, known(OTHER));
    assert_eq!(rebuilt.reports[0].summary, "The instance web will be rebuilt");

    let on = |way: &str| InstanceModel { on_image_change: known(way), ..config() };
    let replaced = plan(&state(&on("replace")), &InstanceModel { image: known(OTHER), ..on("replace") });
    assert_eq!(replaced.replaced_by().collect::<Vec<_>>(), [Path::at("image")]);
    let ignored = plan(&state(&on("ignore")), &InstanceModel { image: known(OTHER), ..on("ignore") });
    assert_eq!(effects(&ignored), []);
    assert_eq!(ignored.model.image, known(DIGEST));
}

#[test]
fn the_digest_that_runs_already_rebuilds_nothing() {
    let by_tag = InstanceModel { image: known("docker.io/nginx"), ..config() };
    let planned = plan(&state(&by_tag), &config());
    assert_eq!(effects(&planned), [("image", Effect::InPlace)]);
    assert_eq!(planned.reports, []);
    assert_eq!(planned.model.image_id, known(DIGEST));
}

#[test]
fn a_stop_by_hand_is_drift_and_an_exit_is_not() {
    let mut stopped = applied(&config());
    stopped.spec.as_mut().unwrap().running = false;
    stopped.status = wire::instance::Status::Stopped.into();
    let read = from_wire(&stopped, Some(&state(&config())), &Labels::new());
    assert_eq!(effects(&plan(&read, &config())), [("running", Effect::InPlace)]);

    let mut exited = applied(&config());
    exited.status = wire::instance::Status::Exited.into();
    exited.exit_code = Some(3);
    let read = from_wire(&exited, Some(&state(&config())), &Labels::new());
    assert_eq!((&read.status, &read.exit_code), (&known("exited"), &Attr::Known(3)));
    assert_eq!(plan(&read, &config()).model, read);
}

#[test]
fn default_labels_do_not_show_as_the_users_own() {
    let defaults: Labels = [("team".to_owned(), "a".to_owned())].into();
    let own = InstanceModel { labels: map([("app".to_owned(), "web".to_owned())]), ..config() };
    let mut instance = applied(&own);
    instance.spec = Some(to_spec(&own, &defaults));
    let read = from_wire(&instance, None, &defaults);
    assert_eq!(read.labels, own.labels);
    let planned = update(&read, &own, &Setting::Known(defaults), |_, _| true);
    assert_eq!(planned.model, read);
    let other: Labels = [("team".to_owned(), "b".to_owned())].into();
    let planned = update(&read, &own, &Setting::Known(other.clone()), |_, _| true);
    assert_eq!(effects(&planned), [("labels", Effect::InPlace)]);
    let reread = from_wire(&instance, Some(&read), &other);
    assert_eq!(reread.labels, own.labels);
}

#[test]
fn an_unset_variable_is_kept() {
    let environment = Attr::Known(BTreeMap::from([("PATH".to_owned(), Attr::Null)]));
    let config = InstanceModel { environment, ..config() };
    let spec = to_spec(&config, &Labels::new());
    assert_eq!(spec.environment["PATH"].value, None);
    assert_eq!(state(&config).environment, config.environment);
}

#[test]
fn all_errors_come_at_once_on_their_arguments() {
    let port = |container: &str, host: &str| PortModel {
        container_port: known(container),
        host_port: known(host),
        ..PortModel::default()
    };
    let model = InstanceModel {
        name: known("my_web"),
        r#type: known("jail"),
        image: known("nginx"),
        environment: map([("A".to_owned(), "x\0".to_owned())]),
        stop_timeout: known("10"),
        limits: Attr::Known(LimitsModel { memory: known("512M"), ..LimitsModel::default() }),
        ports: map([("a".to_owned(), port("80", "8080")), ("b".to_owned(), port("81", "8080"))]),
        ..InstanceModel::default()
    };
    let reports = validate(&model);
    let paths: Vec<_> = reports.iter().map(|report| report.path.clone()).collect();
    let expected = [
        Path::at("name"),
        Path::at("type"),
        Path::at("image"),
        Path::at("stop_timeout"),
        Path::at("environment").key("A"),
        Path::at("limits").attribute("memory"),
        Path::at("ports").key("b").attribute("host_port"),
    ];
    assert_eq!(paths, expected);
    assert_eq!(validate(&config()), []);
}
