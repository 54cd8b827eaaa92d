//! `berth-tls-probe PORT PATH`: a health check's request over TLS, on the connection that is its standard input.
//!
//! A program of its own, as nobody, so that what a workload answers is never read with the supervisor's rights, and so that
//! instances without such a check have none of it in memory. It says what came, and ends with 0 where that is well. As with
//! Kubernetes' probes, whose certificate it is is not looked at: it is the instance's own, by an address of its own.
#![allow(clippy::print_stdout)] // What it says is read by the supervisor.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use berth_runtime::health::{judge, request};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|text| text.parse().ok());
    let (Some(port), Some(path)) = (port, arguments.next()) else {
        println!("usage: berth-tls-probe PORT PATH");
        return ExitCode::from(2);
    };
    match ask(port, &path) {
        Ok(Ok(line)) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Ok(Err(line)) => {
            println!("{line}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the answer's first line says.
fn ask(port: u16, path: &str) -> io::Result<Result<String, String>> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // The supervisor does not wait for its sockets; here there is nothing else to do.
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty()))?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::from(socket));
    stream.write_all(&request(port, path))?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        if let Some(verdict) = judge(&answer) {
            return Ok(verdict);
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(Err("the connection ended without an answer".to_owned())),
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Takes any certificate; that its owner holds the key is still asked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
