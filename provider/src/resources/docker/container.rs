//! `docker_container`.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tfplugin::{Diagnostic, Diagnostics, MoveSource};

use super::{is, qualified, text, texts};
use crate::attr::{Attr, List, list, map_or_null, non_empty};
use crate::resources::instance::model::{InstanceModel, LimitsModel, RestartModel};

/// Arguments of Docker's that Berth has under no name, and what they are when nobody set them.
const WITHOUT_EQUAL: [(&str, &str); 19] = [
    ("cgroupns_mode", "private"),
    ("cpu_shares", ""),
    ("dns", ""),
    ("dns_opts", ""),
    ("dns_search", ""),
    ("domainname", ""),
    ("gpus", ""),
    ("group_add", ""),
    ("host", ""),
    ("init", ""),
    ("ipc_mode", "private"),
    ("links", ""),
    ("log_driver", "json-file"),
    ("log_opts", ""),
    ("publish_all_ports", ""),
    ("runtime", "runc"),
    ("stdin_open", ""),
    ("storage_opts", ""),
    ("tty", ""),
];

/// Takes over what a container was asked for, as far as it has the same name and meaning. The instance is made by the apply.
pub fn from_container(source: &MoveSource, told: &mut Diagnostics) -> Option<InstanceModel> {
    if !is(source, "docker_container") {
        return None;
    }
    told.push(warning(&source.state));
    Some(model(&source.state))
}

fn model(state: &Json) -> InstanceModel {
    let plain = |name: &str| non_empty(text(state, name).unwrap_or_default());
    let variables = texts(&state["env"]).filter_map(|it| it.split_once('='));
    let labels = state["labels"].as_array().into_iter().flatten();
    let labels =
        labels.filter_map(|it| Some((it["label"].as_str()?.to_owned(), it["value"].as_str()?.to_owned())));
    InstanceModel {
        name: plain("name"),
        image: text(state, "image").and_then(qualified).map_or(Attr::Null, Attr::Known),
        entrypoint: words(&state["entrypoint"]),
        command: words(&state["command"]),
        environment: map_or_null(variables.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        working_dir: plain("working_dir"),
        user: plain("user"),
        hostname: plain("hostname"),
        stop_signal: plain("stop_signal"),
        stop_timeout: positive(state, "stop_timeout").map_or(Attr::Null, |it| Attr::Known(format!("{it}s"))),
        labels: map_or_null(labels),
        restart: restart(state),
        limits: positive(state, "memory").map_or(Attr::Null, |memory| {
            Attr::Known(LimitsModel { memory: Attr::Known(format!("{memory}MiB")), ..LimitsModel::default() })
        }),
        ..InstanceModel::default()
    }
}

fn words(json: &Json) -> List<String> {
    let words: Vec<_> = texts(json).map(str::to_owned).collect();
    if words.is_empty() { Attr::Null } else { list(words) }
}

fn positive(state: &Json, name: &str) -> Option<i64> {
    state[name].as_i64().filter(|it| *it > 0)
}

fn restart(state: &Json) -> Attr<RestartModel> {
    let policy = match text(state, "restart").unwrap_or("no") {
        "unless-stopped" => "always",
        policy => policy,
    };
    Attr::Known(RestartModel {
        policy: Attr::from(policy),
        max_retries: positive(state, "max_retry_count").map_or(Attr::Null, Attr::Known),
        backoff: Attr::Null,
    })
}

/// What becomes of the container, and what does not come along.
fn warning(state: &Json) -> Diagnostic {
    let name = text(state, "name").unwrap_or("NAME");
    let mut detail = format!(
        "Terraform no longer manages the container {name}, and neither stops nor removes it. A new instance is made. Remove the \
         container before the apply, since its published ports stay taken: `docker rm -f {name}`.\n\nNot kept: its id, its addresses, \
         its log, and what was written to its own file system."
    );
    let volumes = volumes(state);
    if !volumes.is_empty() {
        let volumes = volumes.into_iter().collect::<Vec<_>>().join(", ");
        detail.push_str(&format!(
            "\n\nWhat is in Docker's volumes ({volumes}) stays there: copy it into a berth_volume, or mount its directory with a bind."
        ));
    }
    let lost: Vec<_> =
        WITHOUT_EQUAL.iter().filter(|(name, default)| is_set(&state[*name], default)).collect();
    if !lost.is_empty() {
        let lost = lost.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        detail.push_str(&format!("\n\nSet in Docker, and without an argument of the same meaning: {lost}."));
    }
    Diagnostic::warning(format!("The container {name} stays Docker's, and an instance is made beside it"))
        .detail(detail)
}

fn volumes(state: &Json) -> BTreeSet<&str> {
    let of = |list: &'static str| state[list].as_array().into_iter().flatten();
    let mounts =
        of("mounts").filter(|mount| mount["type"] == "volume").filter_map(|mount| text(mount, "source"));
    of("volumes").filter_map(|volume| text(volume, "volume_name")).chain(mounts).collect()
}

fn is_set(value: &Json, default: &str) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(value) => value.as_f64() != Some(0.0),
        Json::String(value) => !value.is_empty() && value != default,
        Json::Array(values) => !values.is_empty(),
        Json::Object(values) => !values.is_empty(),
    }
}
