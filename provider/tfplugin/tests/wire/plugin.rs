//! Starts the provider as Terraform does, and connects to it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

pub const COOKIE: &str = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2";

/// The process; killed when the test ends.
pub struct Plugin {
    child: Child,
    pub socket: PathBuf,
    pub certificate: Vec<u8>,
    pub started_in: Duration,
}

/// A client's certificate and key.
pub struct Identity {
    pub pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { pem: certificate.pem(), certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    /// Another's certificate with this one's key.
    pub fn with_certificate_of(self, other: &Self) -> Self {
        Self { pem: other.pem.clone(), certificate: other.certificate.clone(), key: self.key }
    }
}

pub fn command() -> Command {
    let this = std::env::current_exe().unwrap();
    let binary = this.ancestors().nth(2).unwrap().join("examples/terraform-provider-keeper");
    assert!(binary.exists(), "{binary:?} is missing: run `cargo build --release -p tfplugin --examples`");
    let mut command = Command::new(binary);
    for name in [
        "TF_PLUGIN_MAGIC_COOKIE",
        "PLUGIN_CLIENT_CERT",
        "PLUGIN_PROTOCOL_VERSIONS",
        "TF_LOG",
        "TF_LOG_PROVIDER",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Plugin {
    /// As Terraform starts it; without a client's certificate there is no TLS.
    pub fn start(client: Option<&Identity>) -> Self {
        Self::start_with(command(), client)
    }

    /// As [`Self::start`], of this command.
    pub fn start_with(mut command: Command, client: Option<&Identity>) -> Self {
        command.env("TF_PLUGIN_MAGIC_COOKIE", COOKIE).env("PLUGIN_PROTOCOL_VERSIONS", "5,6");
        if let Some(client) = client {
            command.env("PLUGIN_CLIENT_CERT", &client.pem);
        }
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started_in = begun.elapsed();
        let parts: Vec<&str> = line.trim_end().split('|').collect();
        assert_eq!([parts[0], parts[1], parts[2], parts[4]], ["1", "6", "unix", "grpc"], "{line}");
        Self {
            child,
            socket: parts[3].into(),
            certificate: STANDARD_NO_PAD.decode(parts[5]).unwrap(),
            started_in,
        }
    }

    pub async fn plain(&self) -> Result<Channel, tonic::transport::Error> {
        let socket = self.socket.clone();
        Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
    }

    /// Over TLS, as this client or as one without a certificate.
    pub async fn secure(&self, client: Option<&Identity>) -> Result<Channel, tonic::transport::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().into()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                // Not `with_client_auth_cert`, which would find out a stolen certificate itself.
                let key = PrivateKeyDer::Pkcs8(client.key.clone().into());
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                let certified = CertifiedKey::new(vec![client.certificate.clone()], key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = self.socket.clone();
        Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_| {
                let (socket, connector) = (socket.clone(), connector.clone());
                async move {
                    let stream = UnixStream::connect(socket).await?;
                    connector.connect("localhost".try_into().unwrap(), stream).await.map(TokioIo::new)
                }
            }))
            .await
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, and gives what it said on standard error.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
