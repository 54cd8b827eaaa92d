//! Between the model and the wire.

use berth_proto::agent as wire;

use super::model::{RemoteModel, RemotePrivate, VerifyModel};
use crate::attr::{Attr, List, list};

/// What no state holds: it is the configuration's.
#[derive(Clone, Copy, Default)]
pub struct Secrets<'c> {
    pub password: Option<&'c str>,
    pub client_key: Option<&'c str>,
}

impl<'c> Secrets<'c> {
    pub fn of(config: &'c RemoteModel) -> Self {
        Self { password: config.password_wo.as_str(), client_key: config.client_key_wo.as_str() }
    }

    /// What the provider remembers of them.
    pub fn private(self) -> RemotePrivate {
        RemotePrivate { has_password: self.password.is_some(), has_client_key: self.client_key.is_some() }
    }
}

/// What the agent is asked for.
pub fn to_spec(model: &RemoteModel, secrets: Secrets<'_>) -> wire::RemoteSpec {
    let optional = |attr: &Attr<String>| attr.as_str().map(str::to_owned);
    wire::RemoteSpec {
        name: model.name.as_str().unwrap_or_default().to_owned(),
        address: model.address.as_str().unwrap_or_default().to_owned(),
        username: optional(&model.username),
        password: secrets.password.map(str::to_owned),
        insecure: model.insecure.known().copied().unwrap_or(false),
        ca_certificate: optional(&model.ca_certificate),
        credential_helper: optional(&model.credential_helper),
        docker_config: optional(&model.docker_config),
        client_certificate: optional(&model.client_certificate),
        client_key: secrets.client_key.map(str::to_owned),
        mirrors: texts(&model.mirrors),
        verify_keys: model.verify.known().map(|verify| texts(&verify.keys)).unwrap_or_default(),
    }
}

fn texts(list: &List<String>) -> Vec<String> {
    let known = list.known().into_iter().flatten();
    known.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A PEM text in the words of `prior`, where they say the same.
fn pem(prior: Option<&Attr<String>>, now: Option<&String>) -> Attr<String> {
    match prior.and_then(Attr::as_str) {
        Some(text) if now.map(|now| now.trim()) == Some(text.trim()) => Attr::Known(text.to_owned()),
        _ => now.cloned().into(),
    }
}

/// An absent list and an empty one mean the same.
fn list_like(prior: Option<&List<String>>, now: &[String]) -> List<String> {
    match prior {
        _ if !now.is_empty() => list(now.iter().cloned()),
        Some(Attr::Known(prior)) if prior.is_empty() => list([]),
        _ => Attr::Null,
    }
}

fn verify(prior: Option<&Attr<VerifyModel>>, now: &[String]) -> Attr<VerifyModel> {
    if now.is_empty() {
        return Attr::Null;
    }
    let prior = prior.and_then(Attr::known).and_then(|verify| verify.keys.known());
    let key = |(index, now)| pem(prior.and_then(|keys| keys.get(index)), Some(now));
    Attr::Known(VerifyModel { keys: Attr::Known(now.iter().enumerate().map(key).collect()) })
}

/// A remote as the agent has it, in the words of `prior` where they say the same. A secret that was lost takes its
/// version out of the state, so that the next apply sends it again.
pub fn from_wire(remote: &wire::Remote, prior: Option<&RemoteModel>, private: &RemotePrivate) -> RemoteModel {
    let empty = wire::RemoteSpec::default();
    let spec = remote.spec.as_ref().unwrap_or(&empty);
    let lost = private.has_password && !remote.has_password;
    let lost_key = private.has_client_key && !remote.has_client_key;
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
        ca_certificate: pem(prior.map(|prior| &prior.ca_certificate), spec.ca_certificate.as_ref()),
        credential_helper: spec.credential_helper.clone().into(),
        docker_config: spec.docker_config.clone().into(),
        client_certificate: pem(prior.map(|it| &it.client_certificate), spec.client_certificate.as_ref()),
        client_key_wo: Attr::Null,
        client_key_wo_version: match prior {
            Some(prior) if !lost_key => prior.client_key_wo_version.clone(),
            _ => Attr::Null,
        },
        mirrors: list_like(prior.map(|prior| &prior.mirrors), &spec.mirrors),
        verify: verify(prior.map(|prior| &prior.verify), &spec.verify_keys),
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
