//! The harness itself: a registry of real images.

use std::process::Command;

use berth_acceptance_tests::{Registry, command, images};

#[test]
fn a_registry_serves_every_image() {
    let registry = Registry::start().unwrap();
    for recipe in images::all() {
        let name = format!("docker://{}/{}", registry.host(), recipe.reference());
        let mut skopeo = Command::new("skopeo");
        let inspected =
            command::json(skopeo.args(["--insecure-policy", "inspect", "--tls-verify=false", &name]))
                .unwrap();
        assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(recipe.layers.len()), "{name}");
    }
}

#[test]
fn a_registry_with_a_password_refuses_who_has_none() {
    let registry = Registry::start_with_password().unwrap();
    let name = format!("docker://{}/berth/tiny:1", registry.host());
    let mut skopeo = Command::new("skopeo");
    let refused =
        command::capture(skopeo.args(["--insecure-policy", "inspect", "--tls-verify=false", &name])).unwrap();
    assert_ne!(refused.code, 0, "{refused:?}");
}
