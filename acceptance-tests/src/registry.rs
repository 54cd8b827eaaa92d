//! Debian's `docker-registry` on a loopback port that the kernel chooses.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::tokens::{ISSUER, SERVICE, TokenServer};
use crate::{Error, images, paths, wait};

/// Who may use a registry with a password.
pub const USER: &str = "berth";
/// The password of [`USER`].
pub const PASSWORD: &str = "secret-of-tests";
/// [`USER`] and the bcrypt hash of [`PASSWORD`].
const HTPASSWD: &str = "berth:$2y$05$Xw..iYenWr65PWvRsHIcf.bc79rZOzAX6vutKVg6lB1TKlw1x4HfW\n";

const LOG: &str = "registry.log";

/// How a registry is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it takes pushes.
    pub writable: bool,
    /// Whether it asks for [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// Whom it takes tokens from, and sends its clients to for them.
    pub tokens: Option<Tokens>,
    /// A port, or 0 for any that is free.
    pub port: u16,
}

/// Who issues a registry's tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Where.
    pub realm: String,
    /// PEM file of the certificate that vouches for them.
    pub certificate: PathBuf,
}

/// A running registry; it ends when dropped.
pub struct Registry {
    config: TempDir,
    storage: PathBuf,
    options: Options,
    child: Child,
    port: u16,
}

impl Registry {
    /// One with all the test images, to read from.
    pub fn start() -> Result<Self, Error> {
        Self::start_on(&images::storage()?, Options::default())
    }

    /// The same, behind a password.
    pub fn start_with_password() -> Result<Self, Error> {
        Self::start_on(&images::storage()?, Options { password: true, ..Options::default() })
    }

    /// The same, behind a token server.
    pub fn start_with_tokens(server: &TokenServer) -> Result<Self, Error> {
        let tokens = Tokens { realm: server.realm(), certificate: server.certificate() };
        Self::start_on(&images::storage()?, Options { tokens: Some(tokens), ..Options::default() })
    }

    /// One over this storage.
    pub fn start_on(storage: &Path, options: Options) -> Result<Self, Error> {
        let config = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let (child, port) = launch(config.path(), storage, options.clone())?;
        Ok(Self { config, storage: storage.to_owned(), options, child, port })
    }

    /// "127.0.0.1:port".
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// "http://127.0.0.1:port".
    pub fn address(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Whether it asks for a password.
    pub fn has_password(&self) -> bool {
        self.options.password
    }

    /// All that it was asked for so far, a line each, among what else it has to say.
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.path().join(LOG)).unwrap_or_default()
    }

    /// Takes it down; its port refuses from now on.
    pub fn stop(&mut self) -> Result<(), Error> {
        let _ = self.child.kill();
        self.child.wait().map(drop).map_err(Error::io("wait for", &self.storage))
    }

    /// Brings it back on the same port.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        let options = Options { port: self.port, ..self.options.clone() };
        (self.child, self.port) = launch(self.config.path(), &self.storage, options)?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Starts a registry whose config and log lie in `dir` and that outlives this process; says on which port.
pub fn launch(dir: &Path, storage: &Path, options: Options) -> Result<(Child, u16), Error> {
    let program = paths::find_in_path("docker-registry").ok_or(Error::Missing {
        program: "docker-registry",
        fix: "install Debian's package docker-registry",
    })?;
    let config = dir.join("registry.yml");
    let passwords = dir.join("htpasswd");
    fs::write(&passwords, HTPASSWD).map_err(Error::io("write", &passwords))?;
    fs::write(&config, config_text(storage, &passwords, &options)).map_err(Error::io("write", &config))?;
    let log_path = dir.join(LOG);
    let log = File::create(&log_path).map_err(Error::io("make", &log_path))?;
    let errors = log.try_clone().map_err(Error::io("share", &log_path))?;
    let mut command = Command::new(&program);
    command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    let mut child =
        command.spawn().map_err(|source| Error::Spawn { program: "docker-registry".into(), source })?;
    let port = wait::until("docker-registry listening", Duration::from_secs(20), || {
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        listening_port(&log).ok_or(log)
    });
    if port.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok((child, port?))
}

fn config_text(storage: &Path, passwords: &Path, options: &Options) -> String {
    let auth = match &options.tokens {
        Some(Tokens { realm, certificate }) => format!(
            "auth:\n  token:\n    realm: {realm}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n",
            certificate.display()
        ),
        None if options.password => {
            format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", passwords.display())
        }
        None => String::new(),
    };
    format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n  maintenance:\n    \
         uploadpurging:\n      enabled: false\n    readonly:\n      enabled: {}\nhttp:\n  addr: 127.0.0.1:{}\n{auth}",
        storage.display(),
        !options.writable,
        options.port
    )
}

fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    // A line that is still being written ends in a digit.
    (digits.len() < rest.len()).then(|| digits.parse().ok())?
}
