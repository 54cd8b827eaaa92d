use serde_json::json;
use tfplugin::{Diagnostics, MoveSource};

use super::{from_container, from_image, is_only_moved, qualified};
use crate::attr::{Attr, list, map};

fn source(type_name: &str, state: serde_json::Value) -> MoveSource {
    MoveSource {
        provider: "registry.terraform.io/kreuzwerker/docker".to_owned(),
        type_name: type_name.to_owned(),
        version: 2,
        state,
    }
}

fn only(told: &Diagnostics) -> String {
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    told.concat()
}

#[test]
fn references_get_the_registry_that_docker_means() {
    for (docker, berth) in [
        ("nginx:1.27", "docker.io/nginx:1.27"),
        ("me/web", "docker.io/me/web"),
        ("ghcr.io/me/web:1", "ghcr.io/me/web:1"),
        ("localhost:5000/web", "localhost:5000/web"),
        ("localhost/web", "localhost/web"),
    ] {
        assert_eq!(qualified(docker).as_deref(), Some(berth), "{docker}");
    }
    let digest = "a".repeat(64);
    assert_eq!(qualified(&format!("sha256:{digest}")), None);
    assert_eq!(qualified(&digest), None);
    assert_eq!(qualified("no such image"), None);
}

#[test]
fn a_container_gives_what_means_the_same() {
    let mut told = Diagnostics::new();
    let moved = from_container(
        &source(
            "docker_container",
            json!({
                "id": "9f", "name": "web", "image": "nginx:1.27", "command": ["serve"], "entrypoint": [],
                "env": ["A=1", "B=x=y"], "labels": [{ "label": "tier", "value": "front" }],
                "restart": "unless-stopped", "max_retry_count": 0, "memory": 512, "stop_timeout": 30,
                "volumes": [{ "container_path": "/data", "volume_name": "web-data", "host_path": "" }],
                "ipc_mode": "private", "log_driver": "json-file", "runtime": "runc", "dns": ["192.0.2.1"], "tty": false,
            }),
        ),
        &mut told,
    )
    .unwrap();
    assert_eq!((moved.name.as_str(), moved.image.as_str()), (Some("web"), Some("docker.io/nginx:1.27")));
    assert_eq!((moved.command, moved.entrypoint), (list(["serve".to_owned()]), Attr::Null));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(moved.environment, map([pair("A", "1"), pair("B", "x=y")]));
    assert_eq!(moved.labels, map([pair("tier", "front")]));
    assert_eq!(moved.stop_timeout.as_str(), Some("30s"));
    assert_eq!(moved.restart.known().unwrap().policy.as_str(), Some("always"));
    assert_eq!(moved.limits.known().unwrap().memory.as_str(), Some("512MiB"));
    assert!(is_only_moved(&moved.id), "Docker's id names nothing of Berth's");
    let told = only(&told);
    assert!(told.contains("docker rm -f web") && told.contains("(web-data)"), "{told}");
    assert!(told.contains("the same meaning: dns."), "{told}");
}

#[test]
fn an_image_gives_its_reference() {
    let mut told = Diagnostics::new();
    let state =
        json!({ "name": "nginx:1.27", "keep_locally": true, "platform": "", "build": [{ "context": "." }] });
    let moved = from_image(&source("docker_image", state), &mut told).unwrap();
    assert_eq!(moved.reference.as_str(), Some("docker.io/nginx:1.27"));
    assert_eq!((moved.keep_on_destroy, moved.platform), (Attr::Known(true), Attr::Null));
    let told = only(&told);
    assert!(told.contains("Berth builds nothing"), "{told}");
}

#[test]
fn what_is_not_of_docker_is_not_taken() {
    let mut told = Diagnostics::new();
    assert!(from_container(&source("docker_image", json!({})), &mut told).is_none());
    assert!(from_image(&source("docker_container", json!({})), &mut told).is_none());
    let other = MoveSource {
        provider: "registry.terraform.io/a/podman".to_owned(),
        ..source("docker_image", json!({}))
    };
    assert!(from_image(&other, &mut told).is_none());
    // A state of nonsense is taken for what it says, which is nothing.
    assert!(
        from_container(&source("docker_container", json!({ "env": 7, "labels": "no" })), &mut told).is_some()
    );
}
