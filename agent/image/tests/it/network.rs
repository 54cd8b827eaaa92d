//! Where requests and credentials may go, and what changes under way: lines 24 and 27.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_sys::mount::make_all_private;
use berth_sys::netlink::Netlink;
use bytes::Bytes;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use crate::image::{Image, push_index};
use crate::registry::{Answer, Registry, Seen};
use crate::world::{PASSWORD, USER, World};

/// What `Authorization` holds a password in.
fn basic() -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    format!("Basic {text}")
}

/// Everything wants a password.
fn guarded(seen: &Seen) -> Option<Answer> {
    let known = seen.authorization.as_deref() == Some(&basic());
    (!known).then(|| Answer::status(401).header("www-authenticate", "Basic realm=\"tests\""))
}

fn challenge(realm: &str) -> Answer {
    Answer::status(401).header("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"tests\""))
}

/// Line 24.
#[tokio::test]
async fn a_foreign_layer_is_refused_and_its_url_never_asked() {
    let elsewhere = Registry::start().await;
    let mut image = Image::of(&[b"one"]);
    image.manifest["layers"][0]["urls"] = json!([elsewhere.url("/layer")]);
    let world = World::serving(&image).await;
    // A layer of an ordinary kind comes from the registry, whatever else it names.
    world.pull().await.unwrap();
    world.store.remove(&image.digest()).unwrap();
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ] {
        image.manifest["layers"][0]["mediaType"] = media_type.into();
        image.push(&world.registry, "1");
        world.refuses(world.pull().await, &[media_type, "not supported"]);
    }
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

/// Line 24: a redirect is followed, but what it leads to gets no credentials.
#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    let elsewhere = Registry::start().await;
    elsewhere.put("/layer", "", image.layers[0].clone());
    let (path, to) = (image.layer_path(0), elsewhere.url("/layer"));
    world
        .registry
        .behave(move |seen| guarded(seen).or_else(|| (seen.path == path).then(|| Answer::redirect(&to))));
    world.pull().await.unwrap();
    assert_eq!(elsewhere.count("/layer"), 1);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
    assert!(world.registry.seen().iter().any(|seen| seen.authorization.is_some()));
}

/// Line 24: what is redirected to may not ask for the credentials either.
#[tokio::test]
async fn who_is_redirected_to_is_told_no_credentials_when_he_asks() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    let elsewhere = Registry::start().await;
    let realm = elsewhere.url("/token");
    elsewhere.behave(move |seen| {
        Some(if seen.path == "/token" { Answer::json(&json!({ "token": "t" })) } else { challenge(&realm) })
    });
    let (path, to) = (image.layer_path(0), elsewhere.url("/layer"));
    world
        .registry
        .behave(move |seen| guarded(seen).or_else(|| (seen.path == path).then(|| Answer::redirect(&to))));
    world.refuses(world.pull().await, &["refuses"]);
    assert_eq!(elsewhere.count("/token"), 0);
    assert!(elsewhere.seen().iter().all(|seen| seen.authorization.is_none()));
}

/// Line 24.
#[tokio::test]
async fn redirects_to_where_no_registry_may_send_are_refused() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    for (target, why) in [
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://[fd00:ec2::254]/latest", "metadata"),
        ("http://[::ffff:169.254.169.254]/latest", "metadata"),
        ("http://metadata.google.internal/computeMetadata/v1/", "metadata"),
        ("http://2852039166/latest", "metadata"),
        ("file:///etc/passwd", "encrypted"),
        ("gopher://127.0.0.1/", "encrypted"),
        ("http://", "valid URL"),
        ("/v2/app/round", "too many redirects"),
    ] {
        world.registry.behave(move |seen| {
            (seen.path.contains("/blobs/") || seen.path.ends_with("/round")).then(|| Answer::redirect(target))
        });
        world.refuses(world.pull().await, &["refused", why]);
    }
}

/// Line 24: nor may a name lead there. In a network of the test's own, where such an address answers.
#[test]
fn a_name_of_a_metadata_address_leads_nowhere() {
    std::thread::scope(|scope| scope.spawn(name_of_a_metadata_address).join().unwrap());
}

fn name_of_a_metadata_address() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
    make_all_private().unwrap();
    let metadata = IpAddr::from([169, 254, 169, 254]);
    let mut netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    netlink.add_address("lo", metadata, 32).unwrap();
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), format!("{metadata} storage.test\n")).unwrap();
    let nothing = None::<&str>;
    mount(Some(hosts.path()), "/etc/hosts", nothing, MsFlags::MS_BIND, nothing).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let image = Image::of(&[b"one"]);
        let world = World::serving(&image).await;
        let secrets = Registry::start_on((metadata, 0).into()).await;
        let to = format!("http://storage.test:{}/layer", secrets.address.port());
        secrets.put("/layer", "", image.layers[0].clone());
        world.registry.behave_on(&image.layer_path(0), move |_| Answer::redirect(&to));
        world.refuses(world.pull().await, &["cannot reach", "storage.test"]);
        assert!(secrets.seen().is_empty(), "{:?}", secrets.seen());
    });
}

/// Line 24: what follows a storage provider's path opens it, and is nobody's to read.
#[tokio::test]
async fn no_error_holds_the_signature_of_a_url() {
    let image = Image::of(&[&[7; 100_000]]);
    let world = World::serving(&image).await;
    let storage = Registry::start().await;
    let bytes = Bytes::from(image.layers[0].clone());
    storage.behave(move |_| Some(Answer::cut_short(bytes.slice(..50_000), bytes.len() as u64)));
    let (path, nobody) = (image.layer_path(0), unused().await);
    for (to, word) in [
        (storage.url("/layer"), "broke off"),
        (format!("http://{nobody}/layer"), "cannot reach"),
        ("ftp://127.0.0.1/layer".to_owned(), "encrypted"),
    ] {
        let to = format!("{to}?signature=opens-it");
        world.registry.behave_on(&path, move |_| Answer::redirect(&to));
        let error = world.pull().await.unwrap_err();
        assert!(error.contains(word) && !error.contains("opens-it"), "{error}");
    }
}

/// An address on which nobody listens.
async fn unused() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Line 26: a password that was refused is refused.
#[tokio::test]
async fn a_password_that_is_refused_is_not_sent_twice_for_one_question() {
    let mut world = World::serving(&Image::of(&[b"one"])).await;
    world.log_in();
    world.registry.behave(|_| Some(Answer::status(401).header("www-authenticate", "Basic realm=\"x\"")));
    // The first question finds out what the registry wants, the second knows.
    for asked in [2, 3] {
        world.resolve().await.unwrap_err();
        assert_eq!(world.registry.seen().len(), asked);
    }
}

/// Line 24: who is not the registry gets no password for a token.
#[tokio::test]
async fn a_realm_elsewhere_gets_no_credentials() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    let elsewhere = Registry::start().await;
    let port = elsewhere.address.port();
    for (realm, why) in [
        (format!("http://localhost:{port}/token"), "https"),
        ("file:///etc/passwd".to_owned(), "https"),
        ("https://169.254.169.254/token".to_owned(), "metadata"),
        ("/token".to_owned(), "URL"),
    ] {
        world.registry.behave(move |_| Some(challenge(&realm)));
        world.refuses(world.pull().await, &["refused", why]);
    }
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

/// Line 24: a realm may not pass the credentials on.
#[tokio::test]
async fn a_realm_that_redirects_is_not_followed() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    let elsewhere = Registry::start().await;
    let (realm, to) = (world.registry.url("/token"), elsewhere.url("/token"));
    world.registry.behave(move |seen| {
        Some(if seen.path == "/token" { Answer::redirect(&to) } else { challenge(&realm) })
    });
    world.refuses(world.pull().await, &["307"]);
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

/// Line 27: what was resolved is what is pulled.
#[tokio::test]
async fn a_tag_that_moves_does_not_change_what_is_pulled() {
    let (old, new) = (Image::of(&[b"old"]), Image::of(&[b"new"]));
    let world = World::serving(&old).await;
    push_index(&world.registry, &old.index(), "1");
    let resolved = world.resolve().await.unwrap();
    new.push(&world.registry, "1");
    assert_eq!(world.fetch(&resolved).await.unwrap().digest, old.digest());
    assert_eq!(world.pull().await.unwrap().digest, new.digest());
}

/// A registry that wants tokens, and lets all that it gave expire before each of these requests that have a good one.
fn tokens(registry: &Registry, expiries: &'static [u64]) {
    let realm = registry.url("/token");
    let (generation, served) = (AtomicU64::new(0), AtomicU64::new(0));
    registry.behave(move |seen| {
        if seen.path == "/token" {
            assert_eq!(seen.authorization.as_deref(), Some(basic().as_str()));
            assert!(seen.query.contains("scope=repository%3Aapp%3Apull"), "{}", seen.query);
            let token = format!("token-{}", generation.load(Ordering::Relaxed));
            return Some(Answer::json(&json!({ "token": token, "expires_in": 3600 })));
        }
        let good = |generation: u64| seen.authorization == Some(format!("Bearer token-{generation}"));
        if good(generation.load(Ordering::Relaxed))
            && expiries.contains(&served.fetch_add(1, Ordering::Relaxed))
        {
            generation.fetch_add(1, Ordering::Relaxed);
        }
        (!good(generation.load(Ordering::Relaxed))).then(|| challenge(&realm))
    });
}

/// Line 27: before the config is fetched, and among the layers.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let image = Image::of(&[b"one", b"two", b"three", b"four"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    tokens(&world.registry, &[1, 4]);
    world.pull().await.unwrap();
    assert_eq!(world.registry.count("/token"), 3);
}

/// Line 27: a token that is about to end is not sent at all, and one that never ends is no other.
#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    for (lifetime, tokens) in [(0, 3), (5, 3), (u64::MAX, 1)] {
        let world = World::serving(&Image::of(&[b"one"])).await;
        let realm = world.registry.url("/token");
        world.registry.behave(move |seen| match (seen.path.as_str(), &seen.authorization) {
            ("/token", _) => Some(Answer::json(&json!({ "token": "t", "expires_in": lifetime }))),
            (_, Some(_)) => None,
            (_, None) => Some(challenge(&realm)),
        });
        world.pull().await.unwrap();
        assert_eq!(world.registry.count("/token"), tokens, "{lifetime}");
    }
}

/// Line 27: a registry that no token satisfies is not asked for ever.
#[tokio::test]
async fn a_token_that_is_never_accepted_is_an_error() {
    let image = Image::of(&[b"one"]);
    let mut world = World::serving(&image).await;
    world.log_in();
    let realm = world.registry.url("/token");
    world.registry.behave(move |seen| {
        Some(if seen.path == "/token" {
            Answer::json(&json!({ "token": "never", "expires_in": 3600 }))
        } else {
            challenge(&realm)
        })
    });
    world.refuses(world.pull().await, &["refuses", "credentials are wrong"]);
    assert_eq!(world.registry.count("/token"), 1);
}

/// A token server's answers are bounded and checked too.
#[tokio::test]
async fn answers_of_a_token_server_that_make_no_sense_are_errors() {
    let image = Image::of(&[b"one"]);
    let world = World::serving(&image).await;
    for (answer, word) in [
        (json!({}).to_string(), "holds no token"),
        (json!({ "token": "" }).to_string(), "holds no token"),
        ("<html>".to_owned(), "not JSON"),
        (" ".repeat(300_000), "larger than"),
    ] {
        let realm = world.registry.url("/token");
        world.registry.behave(move |seen| {
            Some(if seen.path == "/token" { Answer::bytes(answer.clone()) } else { challenge(&realm) })
        });
        world.refuses(world.pull().await, &[word]);
    }
}
