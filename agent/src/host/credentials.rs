//! Credentials for a registry: a password of the ledger, a helper on the host, or a Docker config file on the host.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_engine::ports::images::Remote;
use berth_image::registry::Credentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A helper that asks something hangs for ever: nobody is there to answer.
const HELPER: Duration = Duration::from_secs(30);
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user of a secret that is an identity token.
const TOKEN_USER: &str = "<token>";
/// What every helper says of a server that it does not know.
const NOT_FOUND: &str = "credentials not found";

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("The credential helper {program} cannot be run")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("The credential helper {program} failed: {said}")]
    Failed { program: String, said: String },
    #[error("The credential helper {program} did not answer in time")]
    TimedOut { program: String },
    #[error("The credential helper {program} gave no credentials")]
    Answer {
        program: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("The Docker config {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("The Docker config {} is malformed", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("The Docker config {} has an entry for {server} that is not USER:PASSWORD in base64", path.display())]
    Entry { path: PathBuf, server: String },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// What to log in with; `None`: nothing.
pub(super) async fn of(remote: &Remote) -> Result<Option<Credentials>, CredentialsError> {
    let spec = &remote.spec;
    if spec.credential_helper.is_some() || spec.docker_config.is_some() {
        return for_address(remote, &spec.address).await;
    }
    Ok(spec.username.as_ref().zip(remote.secrets.password.as_ref()).map(|(username, password)| {
        Credentials::Password { username: username.clone(), password: password.reveal().to_owned() }
    }))
}

/// What a helper or a Docker config has for this address: a mirror's, say, which is not told the registry's.
pub(super) async fn for_address(
    remote: &Remote,
    address: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    let spec = &remote.spec;
    if let Some(helper) = &spec.credential_helper {
        return ask(helper, &server(address)).await;
    }
    match &spec.docker_config {
        Some(path) => from_config(PathBuf::from(path), &server(address)).await,
        None => Ok(None),
    }
}

/// What a registry is called where Docker keeps credentials.
fn server(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// `None`: the helper knows none for this server.
async fn ask(helper: &str, server: &str) -> Result<Option<Credentials>, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let output = match tokio::time::timeout(HELPER, run(&program, server)).await {
        Ok(output) => output.map_err(|source| CredentialsError::Run { program: program.clone(), source })?,
        Err(_elapsed) => return Err(CredentialsError::TimedOut { program }),
    };
    if !output.status.success() {
        // By the protocol, what is wrong is said on standard output; a secret is never there then.
        let said = String::from_utf8_lossy(&output.stdout).chars().take(200).collect::<String>();
        if said.contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(CredentialsError::Failed { program, said: said.trim().to_owned() });
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|source| CredentialsError::Answer { program, source })?;
    Ok(Some(login(answer.username, answer.secret)))
}

/// By the same name Docker marks a token that is no password.
fn login(username: String, password: String) -> Credentials {
    if username == TOKEN_USER {
        return Credentials::IdentityToken(password);
    }
    Credentials::Password { username, password }
}

async fn run(program: &str, server: &str) -> io::Result<Output> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await?;
    }
    child.wait_with_output().await
}

async fn from_config(path: PathBuf, server: &str) -> Result<Option<Credentials>, CredentialsError> {
    let text = tokio::fs::read(&path).await;
    let text = text.map_err(|source| CredentialsError::Read { path: path.clone(), source })?;
    let config: DockerConfig = serde_json::from_slice(&text)
        .map_err(|source| CredentialsError::Parse { path: path.clone(), source })?;
    if let Some(helper) = config.cred_helpers.get(server) {
        return ask(helper, server).await;
    }
    let https = format!("https://{server}");
    let entry = config.auths.get(server).or_else(|| config.auths.get(&https));
    if let Some(token) = entry.map(|entry| &entry.identity_token).filter(|token| !token.is_empty()) {
        return Ok(Some(Credentials::IdentityToken(token.clone())));
    }
    if let Some(entry) = entry.filter(|entry| !entry.auth.is_empty()) {
        let bad = || CredentialsError::Entry { path: path.clone(), server: server.to_owned() };
        return decode(&entry.auth).map(Some).ok_or_else(bad);
    }
    match config.creds_store {
        Some(store) => ask(&store, server).await,
        None => Ok(None),
    }
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(login(username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_its_old_name_in_docker_s_files() {
        assert_eq!(server("https://docker.io"), DOCKER_HUB);
        assert_eq!(server("http://127.0.0.1:5000/path"), "127.0.0.1:5000");
    }

    fn password(username: &str, password: &str) -> Credentials {
        Credentials::Password { username: username.to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn a_docker_config_is_read_by_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let (auth, token) = (STANDARD.encode("me:a:b"), STANDARD.encode("<token>:t"));
        let config = serde_json::json!({ "auths": {
            "r.example": { "auth": auth },
            "https://s.example": { "auth": token },
            "t.example": { "auth": STANDARD.encode("me:"), "identitytoken": "i" },
            "bad.example": { "auth": "***" },
        }});
        std::fs::write(&path, config.to_string()).unwrap();
        let find = async |server: &str| from_config(path.clone(), server).await;
        assert_eq!(find("r.example").await.unwrap(), Some(password("me", "a:b")));
        assert_eq!(find("s.example").await.unwrap(), Some(Credentials::IdentityToken("t".to_owned())));
        assert_eq!(find("t.example").await.unwrap(), Some(Credentials::IdentityToken("i".to_owned())));
        assert_eq!(find("other.example").await.unwrap(), None);
        assert!(find("bad.example").await.unwrap_err().to_string().contains("bad.example"));
        std::fs::write(&path, "{").unwrap();
        find("r.example").await.unwrap_err();
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let error = ask("berth-no-such-helper", "r.example").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-berth-no-such-helper"), "{error}");
    }
}
