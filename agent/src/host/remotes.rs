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
