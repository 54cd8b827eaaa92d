//! Client certificates and identity tokens: shown to the registry, and to nobody else.

use std::sync::Arc;

use berth_image::registry::{Client, Credentials, Endpoint, Settings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;

use crate::image::Image;
use crate::registry::{Answer, Registry};
use crate::world::{World, hasty};

/// Vouches for a registry on loopback and for its clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A registry that wants a certificate of this authority's, or asks for one and does without.
    async fn registry(&self, name: &str, needed: bool) -> Registry {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if needed { verifier } else { verifier.allow_unauthenticated() };
        let (chain, key) = self.issue(name);
        let chain = rustls::pki_types::CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![chain], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap());
        Registry::start_tls(config.unwrap()).await
    }

    fn endpoint(&self, registry: &Registry) -> Endpoint {
        let endpoint = Endpoint::parse(&format!("https://{}", registry.address), false).unwrap();
        endpoint.with_ca_certificate(&self.0.pem()).unwrap()
    }
}

/// A world whose registry speaks TLS.
async fn over_tls(registry: Registry, endpoint: Endpoint, image: &Image) -> World {
    let mut world = World::new().await;
    image.push(&registry, "1");
    world.registry = registry;
    world.client = Client::with(endpoint, Settings { patience: hasty(), ..Settings::default() }).unwrap();
    world
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_that_wants_one() {
    let (authority, image) = (Authority::new(), Image::of(&[b"one"]));
    let registry = authority.registry("127.0.0.1", true).await;
    let endpoint = authority.endpoint(&registry);
    let (chain, key) = authority.issue("client");
    let shown = endpoint.clone().with_client_certificate(&chain, &key).unwrap();
    let mut world = over_tls(registry, shown, &image).await;
    world.pull().await.unwrap();
    assert!(world.registry.seen().iter().all(|seen| seen.certificate.is_some()));
    world.client = Client::with(endpoint, Settings { patience: hasty(), ..Settings::default() }).unwrap();
    world.resolve().await.unwrap_err();
}

/// Line 24: the certificate says who we are, and that is the registry's to know.
#[tokio::test]
async fn a_client_certificate_is_not_shown_where_a_redirect_leads() {
    let (authority, image) = (Authority::new(), Image::of(&[b"one"]));
    let registry = authority.registry("127.0.0.1", true).await;
    // On another host, which would like to see one.
    let elsewhere = authority.registry("localhost", false).await;
    let localhost = format!("https://localhost:{}/layer", elsewhere.address.port());
    let (chain, key) = authority.issue("client");
    let endpoint = authority.endpoint(&registry).with_client_certificate(&chain, &key).unwrap();
    let world = over_tls(registry, endpoint, &image).await;
    elsewhere.put("/layer", "", image.layers[0].clone());
    let path = image.layer_path(0);
    world.registry.behave(move |seen| (seen.path == path).then(|| Answer::redirect(&localhost)));
    world.pull().await.unwrap();
    let seen = elsewhere.seen();
    assert!(seen.len() == 1 && seen[0].certificate.is_none(), "{seen:?}");
}

/// Line 24.
#[tokio::test]
async fn a_redirect_does_not_leave_tls() {
    let (authority, image) = (Authority::new(), Image::of(&[b"one"]));
    let registry = authority.registry("127.0.0.1", false).await;
    let endpoint = authority.endpoint(&registry);
    let world = over_tls(registry, endpoint, &image).await;
    let plain = Registry::start().await;
    plain.put("/layer", "", image.layers[0].clone());
    let (path, to) = (image.layer_path(0), plain.url("/layer"));
    world.registry.behave(move |seen| (seen.path == path).then(|| Answer::redirect(&to)));
    world.refuses(world.pull().await, &["refused", "encrypted"]);
    assert!(plain.seen().is_empty());
}

#[test]
fn what_is_no_pair_of_certificate_and_key_is_refused() {
    let authority = Authority::new();
    let endpoint = || Endpoint::parse("https://registry.example", false).unwrap();
    let ((chain, key), (_, other)) = (authority.issue("one"), authority.issue("two"));
    endpoint()
        .with_ca_certificate(&authority.0.pem())
        .unwrap()
        .with_client_certificate(&chain, &key)
        .unwrap();
    for (chain, key) in [(&chain, &other), (&chain, &chain), (&key, &key), (&String::new(), &key)] {
        let endpoint = endpoint().with_ca_certificate(&authority.0.pem()).unwrap();
        endpoint.with_client_certificate(chain, key).unwrap_err();
    }
}

/// The token goes to the realm, in a form; never to the registry, and never as a password.
#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    let endpoint = Endpoint::parse(&world.registry.url(""), true).unwrap();
    let endpoint = endpoint.with_credentials(Credentials::IdentityToken("identity".to_owned()));
    world.client = Client::with(endpoint, Settings { patience: hasty(), ..Settings::default() }).unwrap();
    let realm = world.registry.url("/token");
    world.registry.behave(move |seen| match (seen.path.as_str(), seen.authorization.as_deref()) {
        ("/token", None) if seen.method == "POST" => Some(Answer::json(&json!({ "access_token": "t" }))),
        ("/token", _) => Some(Answer::status(400)),
        (_, Some("Bearer t")) => None,
        _ => Some(
            Answer::status(401)
                .header("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"s\"")),
        ),
    });
    world.pull().await.unwrap();
    // A registry that wants a password gets none.
    world.registry.behave(|_| Some(Answer::status(401).header("www-authenticate", "Basic realm=\"x\"")));
    // The first question finds out what it wants, the second knows.
    world.resolve().await.unwrap_err();
    world.resolve().await.unwrap_err();
    assert!(
        world
            .registry
            .seen()
            .iter()
            .all(|seen| { !seen.authorization.as_ref().is_some_and(|header| header.starts_with("Basic")) })
    );
}
