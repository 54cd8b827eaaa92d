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
}

/// What to log in with; `None`: nothing.
pub(super) async fn of(remote: &Remote) -> Result<Option<Credentials>, CredentialsError> {
    let spec = &remote.spec;
    if let Some(helper) = &spec.credential_helper {
        return ask(helper, &server(&spec.address)).await.map(Some);
    }
    if let Some(path) = &spec.docker_config {
        return from_config(PathBuf::from(path), &server(&spec.address)).await;
    }
    Ok(spec.username.as_ref().zip(remote.password.as_ref()).map(|(username, password)| Credentials {
        username: username.clone(),
        password: password.reveal().to_owned(),
    }))
}

/// What a registry is called where Docker keeps credentials.
fn server(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

async fn ask(helper: &str, server: &str) -> Result<Credentials, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let output = match tokio::time::timeout(HELPER, run(&program, server)).await {
        Ok(output) => output.map_err(|source| CredentialsError::Run { program: program.clone(), source })?,
        Err(_elapsed) => return Err(CredentialsError::TimedOut { program }),
    };
    if !output.status.success() {
        // By the protocol, what is wrong is said on standard output; a secret is never there then.
        let said = String::from_utf8_lossy(&output.stdout).chars().take(200).collect::<String>();
        return Err(CredentialsError::Failed { program, said: said.trim().to_owned() });
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|source| CredentialsError::Answer { program, source })?;
    Ok(Credentials { username: answer.username, password: answer.secret })
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
        return ask(helper, server).await.map(Some);
    }
    let https = format!("https://{server}");
    let entry = config.auths.get(server).or_else(|| config.auths.get(&https));
    if let Some(entry) = entry.filter(|entry| !entry.auth.is_empty()) {
        let bad = || CredentialsError::Entry { path: path.clone(), server: server.to_owned() };
        return decode(&entry.auth).map(Some).ok_or_else(bad);
    }
    match config.creds_store {
        Some(store) if entry.is_some() => ask(&store, server).await.map(Some),
        _ => Ok(None),
    }
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    Some(Credentials { username: username.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_its_old_name_in_docker_s_files() {
        assert_eq!(server("https://docker.io"), DOCKER_HUB);
        assert_eq!(server("http://127.0.0.1:5000/path"), "127.0.0.1:5000");
    }

    #[tokio::test]
    async fn a_docker_config_is_read_by_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let auth = STANDARD.encode("me:a:b");
        std::fs::write(&path, format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#)).unwrap();
        let found = from_config(path.clone(), "r.example").await.unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "a:b"));
        assert!(from_config(path.clone(), "other.example").await.unwrap().is_none());
        std::fs::write(&path, "{").unwrap();
        assert!(from_config(path, "r.example").await.is_err());
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_named() {
        let error = ask("berth-no-such-helper", "r.example").await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-berth-no-such-helper"), "{error}");
    }
}
