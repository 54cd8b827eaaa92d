//! Between the model and the wire.

use berth_proto::agent as wire;

use super::model::{RemoteModel, RemotePrivate};
use crate::attr::Attr;

/// What the agent is asked for. The password is the configuration's, which no state holds.
pub fn to_spec(model: &RemoteModel, password: Option<&str>) -> wire::RemoteSpec {
    let optional = |attr: &Attr<String>| attr.as_str().map(str::to_owned);
    wire::RemoteSpec {
        name: model.name.as_str().unwrap_or_default().to_owned(),
        address: model.address.as_str().unwrap_or_default().to_owned(),
        username: optional(&model.username),
        password: password.map(str::to_owned),
        insecure: model.insecure.known().copied().unwrap_or(false),
        ca_certificate: optional(&model.ca_certificate),
        credential_helper: optional(&model.credential_helper),
        docker_config: optional(&model.docker_config),
    }
}

/// A remote as the agent has it, in the words of `prior` where they say the same. A password that was
/// lost takes its version out of the state, so that the next apply sends it again.
pub fn from_wire(remote: &wire::Remote, prior: Option<&RemoteModel>, private: &RemotePrivate) -> RemoteModel {
    let empty = wire::RemoteSpec::default();
    let spec = remote.spec.as_ref().unwrap_or(&empty);
    let lost = private.has_password && !remote.has_password;
    RemoteModel {
        host: prior.map(|prior| prior.host.clone()).unwrap_or_default(),
        name: Attr::Known(spec.name.clone()),
        address: match prior.and_then(|prior| prior.address.as_str()) {
            Some(text) if same_address(text, &spec.address) => Attr::Known(text.to_owned()),
            _ => Attr::Known(spec.address.clone()),
        },
        username: spec.username.clone().into(),
        password_wo: Attr::Null,
        password_wo_version: match prior {
            Some(prior) if !lost => prior.password_wo_version.clone(),
            _ => Attr::Null,
        },
        insecure: match prior.map(|prior| &prior.insecure) {
            Some(Attr::Known(_)) => Attr::Known(spec.insecure),
            _ if spec.insecure => Attr::Known(true),
            _ => Attr::Null,
        },
        ca_certificate: match prior.and_then(|prior| prior.ca_certificate.as_str()) {
            Some(text) if spec.ca_certificate.as_deref().map(str::trim) == Some(text.trim()) => {
                Attr::Known(text.to_owned())
            }
            _ => spec.ca_certificate.clone().into(),
        },
        credential_helper: spec.credential_helper.clone().into(),
        docker_config: spec.docker_config.clone().into(),
        timeouts: prior.map(|prior| prior.timeouts.clone()).unwrap_or_default(),
        id: Attr::Known(remote.id.clone()),
    }
}

/// Whether two addresses are one: a slash at the end, the scheme's own port and case do not matter.
pub fn same_address(one: &str, other: &str) -> bool {
    normal(one) == normal(other)
}

fn normal(address: &str) -> String {
    let address = address.trim_end_matches('/');
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, String::new()),
    };
    let host = host.to_ascii_lowercase();
    let own_port = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(own_port).unwrap_or(&host);
    format!("{scheme}://{host}{path}")
}
