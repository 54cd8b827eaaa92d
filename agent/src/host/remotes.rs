//! Remotes: where a registry is, how it is talked to, and how references look it up.

use berth_engine::ports::images::{ImageError, Remote};
use berth_image::reference::{Reference, ReferenceError, RemoteAddress, Remotes};
use berth_image::registry::{Endpoint, EndpointError, KeyError, Settings, VerifyKey};

use super::credentials::{self, CredentialsError};

/// Why what a remote says cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRemote {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Where a remote is, how to log in, its mirrors, and who signs.
pub(super) async fn set_up(
    remote: &Remote,
    mut settings: Settings,
) -> Result<(Endpoint, Settings), BadRemote> {
    let spec = &remote.spec;
    let mut origin = endpoint(remote, &spec.address)?;
    if let (Some(chain), Some(key)) = (&spec.client_certificate, &remote.secrets.client_key) {
        origin = origin.with_client_certificate(chain, key.reveal())?;
    }
    if let Some(found) = credentials::of(remote).await? {
        origin = origin.with_credentials(found);
    }
    for address in &spec.mirrors {
        let mut mirror = endpoint(remote, address)?;
        // The password and the client certificate are the registry's. A helper or a Docker config may know the mirror.
        if let Some(found) = credentials::for_address(remote, address).await? {
            mirror = mirror.with_credentials(found);
        }
        settings.mirrors.push(mirror);
    }
    settings.keys = spec.verify_keys.iter().map(|pem| VerifyKey::from_pem(pem)).collect::<Result<_, _>>()?;
    Ok((origin, settings))
}

fn endpoint(remote: &Remote, address: &str) -> Result<Endpoint, EndpointError> {
    let endpoint = Endpoint::parse(address, remote.spec.insecure)?;
    match &remote.spec.ca_certificate {
        Some(pem) => endpoint.with_ca_certificate(pem),
        None => Ok(endpoint),
    }
}

/// The remotes as references look them up.
struct Lookup<'r>(&'r [Remote]);

impl Remotes for Lookup<'_> {
    fn by_name(&self, name: &str) -> Option<RemoteAddress> {
        let remote = self.0.iter().find(|remote| remote.spec.name.as_str() == name)?;
        Some(endpoint(remote, &remote.spec.address).ok()?.remote_address(name))
    }

    fn by_host(&self, host: &str) -> Option<RemoteAddress> {
        let addresses = self.0.iter().filter_map(|remote| {
            let endpoint = endpoint(remote, &remote.spec.address).ok()?;
            Some(endpoint.remote_address(remote.spec.name.as_str()))
        });
        let mut addresses = addresses.filter(|address| address.host == host);
        addresses.next()
    }
}

pub(super) fn parse(text: &str, remotes: &[Remote]) -> Result<Reference, ImageError> {
    let written = || text.to_owned();
    Reference::parse(text, &Lookup(remotes)).map_err(|error| match error {
        ReferenceError::NoRegistry { suggestion, .. } => {
            ImageError::UnknownRemote { reference: written(), remote: String::new(), suggestion }
        }
        ReferenceError::UnknownRemote { remote, suggestion, .. } => {
            ImageError::UnknownRemote { reference: written(), remote, suggestion }
        }
        other => ImageError::BadReference { reference: written(), why: other.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use berth_domain::{Password, RemoteDraft, RemoteId, RemoteSecrets};
    use berth_image::platform::Platform;
    use berth_image::registry::Client;
    use berth_image::resolve::resolve;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A registry that asks everybody for a password and keeps what it is told.
    async fn asking() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        const ANSWER: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=x\r\n\
            content-length: 0\r\nconnection: close\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                keeping.lock().unwrap().push(String::from_utf8(request).unwrap().to_lowercase());
                stream.write_all(ANSWER.as_bytes()).await.unwrap();
            }
        });
        (address, told)
    }

    fn remote(draft: &RemoteDraft, secrets: RemoteSecrets) -> Remote {
        Remote { id: RemoteId::random(), spec: draft.validate().unwrap(), secrets }
    }

    /// hostile.md, line 24.
    #[tokio::test]
    async fn a_mirror_is_told_no_password_and_shown_no_certificate() {
        let ((registry, told), (mirror, mirror_told)) = (asking().await, asking().await);
        let draft = RemoteDraft {
            name: "hub".to_owned(),
            address: format!("http://{registry}"),
            username: Some("me".to_owned()),
            insecure: true,
            mirrors: vec![format!("http://{mirror}")],
            ..RemoteDraft::default()
        };
        let password = Some(Password::new("s3cret".to_owned()));
        let hub = remote(&draft, RemoteSecrets { password, client_key: None });
        let (origin, settings) = set_up(&hub, Settings::default()).await.unwrap();
        let reference = format!("hub:app@sha256:{}", "0".repeat(64));
        let reference = parse(&reference, &[hub]).unwrap();
        let client = Client::with(origin, settings).unwrap();
        resolve(&client, &reference, &Platform::host(), None).await.unwrap_err();
        let knows = |told: &Mutex<Vec<String>>| {
            let told = told.lock().unwrap();
            (!told.is_empty(), told.iter().any(|request| request.contains("authorization: basic")))
        };
        assert_eq!((knows(&told), knows(&mirror_told)), ((true, true), (true, false)));

        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let draft = RemoteDraft { client_certificate: Some(certificate.pem()), ..draft };
        let client_key = Some(Password::new(key.serialize_pem()));
        let hub = remote(&draft, RemoteSecrets { password: None, client_key });
        let (origin, settings) = set_up(&hub, Settings::default()).await.unwrap();
        let shows = |endpoint: &Endpoint| format!("{endpoint:?}").contains("Identity");
        assert_eq!((shows(&origin), shows(&settings.mirrors[0])), (true, false));
    }
}
