//! `https://` with mutual TLS.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::world::{Agent, BERTH, Said, said};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, dir: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.ca")), self.0.pem()).unwrap();
    }
}

fn berth(address: &str, dir: &Path, ca: &str, client: Option<&str>) -> Said {
    let mut command = Command::new(BERTH);
    command.args(["--host", address, "--format", "json", "network", "ls"]);
    command.env("BERTH_CA_CERTIFICATE", dir.join(format!("{ca}.ca")));
    if let Some(client) = client {
        command.env("BERTH_CLIENT_CERTIFICATE", dir.join(format!("{client}.pem")));
        // Text is as good as a path.
        let key = std::fs::read_to_string(dir.join(format!("{client}.key"))).unwrap();
        command.env("BERTH_CLIENT_KEY", key);
    }
    said(&mut command, b"")
}

#[test]
fn only_clients_of_the_authority_get_in() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.write(dir.path(), "agent");
    ours.write(dir.path(), "client");
    theirs.write(dir.path(), "stranger");
    let config = dir.path().join("agent.toml");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let text = format!(
        "[tls]\ncertificate = '{}'\nkey = '{}'\nclient_ca = '{}'\n",
        file("agent.pem"),
        file("agent.key"),
        file("agent.ca")
    );
    std::fs::write(&config, text).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("https://127.0.0.1:{port}");
    let agent = Agent::start_with(&["--config", &config.display().to_string(), "--listen", &address]);
    assert!(!agent.socket().exists(), "it answers where it was told alone");

    assert_eq!(berth(&address, dir.path(), "client", Some("client")).json()[0]["name"], "default");
    berth(&address, dir.path(), "client", Some("stranger")).fails(1, &["BERTH_CLIENT_CERTIFICATE"]);
    berth(&address, dir.path(), "stranger", Some("client"))
        .fails(1, &["TLS handshake", "BERTH_CA_CERTIFICATE"]);
    berth(&address, dir.path(), "client", None).fails(1, &["BERTH_CLIENT_CERTIFICATE is not set"]);
    assert!(raw(port).is_err(), "a client without a certificate got an answer");
}

/// A client that shows no certificate at all, and speaks HTTP/2 all the same.
fn raw(port: u16) -> std::io::Result<()> {
    use std::io::{Read, Write};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Trusting(Arc<rustls::crypto::CryptoProvider>);
    impl rustls::client::danger::ServerCertVerifier for Trusting {
        fn verify_server_cert(
            &self,
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    let mut answer = [0; 9];
    stream.read_exact(&mut answer)
}
