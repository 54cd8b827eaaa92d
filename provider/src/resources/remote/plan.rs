//! What an apply would do to a remote, and what can be said of its arguments: pure.

use super::convert::{Secrets, same_address, to_spec};
use super::model::RemoteModel;
use crate::attr::{Attr, settle};
use crate::report::{self, Diagnostic, Path, capital};
use crate::text::name;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// The state after the apply, as far as it is known.
    pub model: RemoteModel,
    /// The arguments that make Terraform replace the remote.
    pub replaced_by: Vec<Path>,
}

/// Checks what is known.
pub fn validate(model: &RemoteModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Some(Err(error)) = model.name.as_str().map(name::check_remote) {
        let detail = "A remote's name is up to 63 letters, digits, hyphens and underscores, and neither begins nor \
                      ends with a hyphen.";
        found.push(report::error(Path::at("name"), capital(&error.to_string()), detail));
    }
    if let Some(address) = model.address.as_str() {
        check_address("address", address, &model.insecure, &mut found);
    }
    check_credentials(model, &mut found);
    check_paths(model, &mut found);
    check_client_certificate(model, &mut found);
    check_trust(model, &mut found);
    found
}

fn check_client_certificate(model: &RemoteModel, found: &mut Vec<Diagnostic>) {
    let (certificate, key) = (&model.client_certificate, &model.client_key_wo);
    if certificate.is_null() && !key.is_null() {
        let detail = "They belong together. Set client_certificate too.";
        let path = Path::at("client_certificate");
        found.push(report::error(path, "There is a client key but no client certificate", detail));
    }
    if !certificate.is_null() && key.is_null() {
        let detail = "They belong together. Set client_key_wo too.";
        let path = Path::at("client_key_wo");
        found.push(report::error(path, "There is a client certificate but no key", detail));
    }
    if !model.client_key_wo_version.is_null() && key.is_null() {
        let detail = "Set client_key_wo, or leave both out.";
        let path = Path::at("client_key_wo_version");
        found.push(report::error(path, "There is a version of a client key but no key", detail));
    }
    if certificate.as_str().is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----")) {
        let detail = "Give the certificate's PEM text, for example with file(\"client.pem\").";
        let path = Path::at("client_certificate");
        found.push(report::error(path, "client_certificate is no PEM certificate", detail));
    }
}

fn check_trust(model: &RemoteModel, found: &mut Vec<Diagnostic>) {
    for mirror in model.mirrors.known().into_iter().flatten().filter_map(Attr::as_str) {
        check_address("mirrors", mirror, &model.insecure, found);
    }
    let Some(verify) = model.verify.known() else { return };
    let path = || Path::at("verify").attribute("keys");
    let Some(keys) = verify.keys.known() else {
        return;
    };
    if keys.is_empty() {
        let detail = "Give at least one public key, or leave verify out: then nothing has to be signed.";
        found.push(report::error(path(), "verify has no keys", detail));
    }
    let bad = |text: &str| !text.contains("-----BEGIN PUBLIC KEY-----");
    if keys.iter().filter_map(Attr::as_str).any(bad) {
        let detail = "Give the public key's PEM text, for example with file(\"cosign.pub\").";
        found.push(report::error(path(), "A key to verify with is no PEM public key", detail));
    }
}

fn check_address(argument: &'static str, address: &str, insecure: &Attr<bool>, found: &mut Vec<Diagnostic>) {
    let error = |summary: String, detail: &str| report::error(Path::at(argument), summary, detail);
    let rest = match address.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", rest)) => {
            if !insecure.is_unknown() && *insecure != Attr::Known(true) {
                found.push(error(
                    "The address is plain HTTP".to_owned(),
                    "Everyone on the way can read and change what is pulled. Write https://, or set insecure = true \
                     if that is meant.",
                ));
            }
            rest
        }
        _ => {
            let detail = "Write https://host[:port][/path], or http:// with insecure = true.";
            found.push(error(format!("\"{address}\" is no registry's address"), detail));
            return;
        }
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        // The address itself is not shown: it holds a password.
        let detail = "Give them as username and password_wo: an address is kept in the state.";
        found.push(error("The address holds credentials".to_owned(), detail));
    } else if host.is_empty() || address.contains(|c: char| c.is_whitespace() || "?#".contains(c)) {
        let detail = "Write https://host[:port][/path], with no query.";
        found.push(error(format!("\"{address}\" is no registry's address"), detail));
    }
}

fn check_credentials(model: &RemoteModel, found: &mut Vec<Diagnostic>) {
    let given = |attr: &Attr<String>| !attr.is_null();
    if given(&model.password_wo) && model.username.is_null() {
        let detail = "A registry asks for both. Set username too.";
        found.push(report::error(Path::at("username"), "There is a password but no username", detail));
    }
    if given(&model.username) && model.password_wo.is_null() {
        let detail = "A registry asks for both. Set password_wo too.";
        found.push(report::error(Path::at("password_wo"), "There is a username but no password", detail));
    }
    if !model.password_wo_version.is_null() && model.password_wo.is_null() {
        let detail = "Set password_wo, or leave both out to clear the password.";
        let path = Path::at("password_wo_version");
        found.push(report::error(path, "There is a version of a password but no password", detail));
    }
    let ways = [
        ("username", &model.username),
        ("credential_helper", &model.credential_helper),
        ("docker_config", &model.docker_config),
    ];
    let used: Vec<_> = ways.iter().filter(|(_, attr)| given(attr)).map(|(name, _)| *name).collect();
    if let [first, second, ..] = used.as_slice() {
        let detail = "Each is a way to find the credentials. Keep one of them.";
        found.push(report::error(
            Path::at(*second),
            format!("{first} and {second} exclude each other"),
            detail,
        ));
    }
}

fn check_paths(model: &RemoteModel, found: &mut Vec<Diagnostic>) {
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with(['-', '.'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if let Some(helper) = model.credential_helper.as_str().filter(|it| !word(it)) {
        let detail = "Write what follows docker-credential- in the program's name, such as \"pass\".";
        let summary = format!("\"{helper}\" is no credential helper");
        found.push(report::error(Path::at("credential_helper"), summary, detail));
    }
    if model.docker_config.as_str().is_some_and(|path| !path.starts_with('/')) {
        let detail = "Write the absolute path of a config.json on the host.";
        found.push(report::error(Path::at("docker_config"), "docker_config is no absolute path", detail));
    }
    if model.ca_certificate.as_str().is_some_and(|text| !text.contains("-----BEGIN CERTIFICATE-----")) {
        let detail = "Give the certificate's PEM text, for example with file(\"ca.pem\").";
        found.push(report::error(Path::at("ca_certificate"), "ca_certificate is no PEM certificate", detail));
    }
}

/// Plans a create.
pub fn create(config: &RemoteModel) -> Planned {
    let model = RemoteModel {
        id: Attr::Unknown,
        password_wo: Attr::Null,
        client_key_wo: Attr::Null,
        ..config.clone()
    };
    Planned { model, replaced_by: Vec::new() }
}

/// Plans an update.
pub fn update(
    prior: &RemoteModel,
    config: &RemoteModel,
    same_host: impl Fn(Option<&str>, Option<&str>) -> bool,
) -> Planned {
    let model = RemoteModel {
        id: prior.id.clone(),
        password_wo: Attr::Null,
        client_key_wo: Attr::Null,
        address: settle(Some(&prior.address), &config.address, same_address),
        ..config.clone()
    };
    let mut replaced_by = Vec::new();
    if model.host.is_unknown() || !same_host(prior.host.as_str(), model.host.as_str()) {
        replaced_by.push(Path::at("host"));
    }
    if prior.name != model.name {
        replaced_by.push(Path::at("name"));
    }
    Planned { model, replaced_by }
}

/// Whether the agent has to do anything.
pub fn needs_agent(prior: &RemoteModel, planned: &RemoteModel) -> bool {
    let spec = |model| to_spec(model, Secrets::default());
    spec(prior) != spec(planned)
        || prior.password_wo_version != planned.password_wo_version
        || prior.client_key_wo_version != planned.client_key_wo_version
}
