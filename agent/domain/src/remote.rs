//! A remote: a registry known by a name.

use std::fmt;

use url::Url;

use crate::invalid::{Findings, Invalid, Invalids};
use crate::name::{RemoteName, shown};
use crate::value::text;

/// A password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for the one who sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a remote has that is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteSecrets {
    /// For its user name.
    pub password: Option<Password>,
    /// PEM of the key of its client certificate.
    pub client_key: Option<Password>,
}

/// What an update does with a remote's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSecretChanges {
    /// With the password.
    pub password: PasswordChange,
    /// With the client certificate's key.
    pub client_key: PasswordChange,
}

impl RemoteSecretChanges {
    /// What there is after it.
    #[must_use]
    pub fn apply(self, known: RemoteSecrets) -> RemoteSecrets {
        RemoteSecrets {
            password: self.password.apply(known.password),
            client_key: self.client_key.apply(known.client_key),
        }
    }
}

/// What an update does with one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordChange {
    /// The one it has stays.
    Keep,
    /// It has none from now on.
    Clear,
    /// It has this one from now on.
    Set(Password),
}

impl PasswordChange {
    fn apply(self, known: Option<Password>) -> Option<Password> {
        match self {
            Self::Keep => known,
            Self::Clear => None,
            Self::Set(password) => Some(password),
        }
    }
}

/// A registry as it was asked for; only [`RemoteDraft::validate`] makes one. Its password is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteSpec {
    /// Its name in references.
    pub name: RemoteName,
    /// `http(s)://host[:port][/path]`, as it was written.
    pub address: String,
    /// Who logs in.
    pub username: Option<String>,
    /// Plain HTTP will do.
    pub insecure: bool,
    /// PEM of the authorities that vouch for it, instead of the system's.
    pub ca_certificate: Option<String>,
    /// A `docker-credential-*` helper on the host.
    pub credential_helper: Option<String>,
    /// A Docker config file on the host.
    pub docker_config: Option<String>,
    /// PEM of the certificate that is shown to it; its key is a secret.
    pub client_certificate: Option<String>,
    /// Addresses that are tried first for what a digest names.
    pub mirrors: Vec<String>,
    /// PEM of public keys: if there are any, one must have signed what is pulled.
    pub verify_keys: Vec<String>,
}

/// A remote before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in RemoteSpec")]
pub struct RemoteDraft {
    pub name: String,
    pub address: String,
    pub username: Option<String>,
    pub insecure: bool,
    pub ca_certificate: Option<String>,
    pub credential_helper: Option<String>,
    pub docker_config: Option<String>,
    pub client_certificate: Option<String>,
    pub mirrors: Vec<String>,
    pub verify_keys: Vec<String>,
}

impl RemoteDraft {
    /// Checks everything, and makes the spec.
    ///
    /// # Errors
    /// Every mistake, each with the path of its argument.
    pub fn validate(&self) -> Result<RemoteSpec, Invalids> {
        let mut findings = Findings::default();
        let name = findings.keep(&["name"], RemoteName::new(&self.name));
        let origin = findings.keep(&["address"], address(&self.address, self.insecure));
        if let Some(username) = &self.username {
            findings.keep(&["username"], username_is_good(username));
        }
        if let Some(pem) = &self.ca_certificate {
            findings.keep(&["ca_certificate"], certificate(pem));
        }
        if let Some(helper) = &self.credential_helper {
            findings.keep(&["credential_helper"], helper_is_good(helper));
        }
        if let Some(path) = &self.docker_config {
            findings.keep(&["docker_config"], text::absolute_path(path));
        }
        if let Some(pem) = &self.client_certificate {
            findings.keep(&["client_certificate"], certificate(pem));
        }
        for mirror in &self.mirrors {
            findings.keep(&["mirrors"], address(mirror, self.insecure));
        }
        for key in &self.verify_keys {
            findings.keep(&["verify", "keys"], public_key(key));
        }
        self.one_source_of_credentials(&mut findings);
        let spec = name.zip(origin).map(|(name, address)| RemoteSpec {
            name,
            address,
            username: self.username.clone(),
            insecure: self.insecure,
            ca_certificate: self.ca_certificate.clone(),
            credential_helper: self.credential_helper.clone(),
            docker_config: self.docker_config.clone(),
            client_certificate: self.client_certificate.clone(),
            mirrors: self.mirrors.clone(),
            verify_keys: self.verify_keys.clone(),
        });
        findings.finish(spec)
    }

    fn one_source_of_credentials(&self, findings: &mut Findings) {
        let given = [
            ("username", self.username.is_some()),
            ("credential_helper", self.credential_helper.is_some()),
            ("docker_config", self.docker_config.is_some()),
        ];
        let mut given = given.iter().filter(|(_, given)| *given).map(|(field, _)| field);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let summary = format!("Both {first} and {second} say where the credentials come from");
            findings.add(Invalid::new(&[second], summary, "Give one of them"));
        }
    }
}

fn address(text: &str, insecure: bool) -> Result<String, Invalid> {
    const ADVICE: &str = "Write https://host[:port][/path]";
    let bad = |why: &str| Invalid::new(&[], format!("\"{}\" {why}", shown(text)), ADVICE);
    // Credentials in an address would be shown wherever the address is.
    if text.contains('@') {
        return Err(Invalid::new(
            &[],
            "The address holds a user or a password",
            "Use username and password instead",
        ));
    }
    let url = Url::parse(text).map_err(|_| bad("is not the address of a registry"))?;
    match url.scheme() {
        "https" => {}
        "http" if insecure => {}
        "http" => {
            let summary = format!("{} would be reached without encryption", shown(text));
            return Err(Invalid::new(&[], summary, "Use https://, or set insecure = true if that is meant"));
        }
        _ => return Err(bad("is neither https:// nor http://")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("has no host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a query or a fragment"));
    }
    Ok(text.to_owned())
}

fn username_is_good(text: &str) -> Result<(), Invalid> {
    if !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_control()) && text.len() <= 1024 {
        return Ok(());
    }
    Err(Invalid::new(
        &[],
        "The user name is empty or holds a colon or control character",
        "Give the registry's user name",
    ))
}

/// What may follow `docker-credential-` in a program's name.
fn helper_is_good(text: &str) -> Result<(), Invalid> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if matches!(text.len(), 1..=64) && text.bytes().all(good) && !text.starts_with(['-', '.']) {
        return Ok(());
    }
    let summary = format!("\"{}\" is not a credential helper", shown(text));
    Err(Invalid::new(
        &[],
        summary,
        "Give what follows docker-credential- in the helper's name, such as \"pass\"",
    ))
}

fn certificate(pem: &str) -> Result<(), Invalid> {
    if pem.contains("-----BEGIN CERTIFICATE-----") && pem.contains("-----END CERTIFICATE-----") {
        return Ok(());
    }
    let advice = "Give the text of the PEM file, from -----BEGIN CERTIFICATE----- on: file(\"ca.pem\")";
    Err(Invalid::new(&[], "This is not a certificate in PEM", advice))
}

fn public_key(pem: &str) -> Result<(), Invalid> {
    if pem.contains("-----BEGIN PUBLIC KEY-----") && pem.contains("-----END PUBLIC KEY-----") {
        return Ok(());
    }
    let advice = "Give the text of the PEM file, from -----BEGIN PUBLIC KEY----- on: file(\"cosign.pub\")";
    Err(Invalid::new(&[], "This is not a public key in PEM", advice))
}
