//! What every port must do, as tests that run on the fake and on the real adapter.
//!
//! Each takes the port and what it needs of the world; it panics where the port breaks its promise, and leaves
//! nothing behind where it keeps it.

use std::sync::Arc;

use berth_domain::{Digest, InstanceId, KnownNetwork, Workload};

use crate::ports::images::{ImageError, Images, Remote, ResolveRequest};
use crate::ports::network::{Network, Publication};
use crate::ports::runtime::{RootfsRequest, Runtime, RuntimeError, StartRequest, StopMode};
use crate::report::Reporter;

/// The promises of [`Images`]: `present` is a reference that a registry of `remotes` has, `absent` one that it has not.
pub async fn images(port: &dyn Images, remotes: &Arc<[Remote]>, present: &str, absent: &str) {
    let request = |reference: &str| ResolveRequest {
        reference: reference.to_owned(),
        platform: None,
        known: Vec::new(),
        image_digest: None,
        remotes: Arc::clone(remotes),
    };
    let missing = port.resolve(&request(absent)).await;
    assert!(matches!(missing, Err(ImageError::NotFound { .. })), "an absent image: {missing:?}");
    let resolution = port.resolve(&request(present)).await.unwrap_or_else(|e| panic!("resolve: {e:?}"));
    assert_eq!(resolution.reference, present);
    // A tag that has moved on since it was planned, or is gone: what was planned is what counts.
    let planned: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap_or_else(|e| panic!("{e:?}"));
    for reference in [present, absent] {
        let planned = ResolveRequest { image_digest: Some(planned.clone()), ..request(reference) };
        let found = port.resolve(&planned).await.unwrap_or_else(|e| panic!("resolve what is planned: {e:?}"));
        assert_eq!(Some(found.image_digest), planned.image_digest);
    }
    let digest = &resolution.image_digest;
    assert!(port.get(digest).await.is_ok_and(|found| found.is_none()), "resolving pulled");
    for _ in 0..2 {
        let pulled = port.pull(&resolution, remotes, &Reporter::silent()).await;
        let pulled = pulled.unwrap_or_else(|e| panic!("pull: {e:?}"));
        assert_eq!(&pulled.digest, digest);
    }
    assert!(port.get(digest).await.is_ok_and(|found| found.is_some()), "a pulled image is there");
    let listed = port.list().await.unwrap_or_else(|e| panic!("list: {e:?}"));
    assert_eq!(listed.iter().filter(|image| &image.digest == digest).count(), 1);
    for _ in 0..2 {
        port.remove(digest).await.unwrap_or_else(|e| panic!("remove: {e:?}"));
    }
    assert!(port.get(digest).await.is_ok_and(|found| found.is_none()), "a removed image is gone");
}

/// The promises of [`Network`].
pub async fn network(port: &dyn Network, network: &KnownNetwork, publication: &Publication) {
    let fine = |what: &str, result: Result<(), _>| {
        if let Err(error) = result {
            panic!("{what}: {error:?}");
        }
    };
    let subnet = port.choose_subnet(&[]).await.unwrap_or_else(|e| panic!("choose_subnet: {e:?}"));
    assert!(subnet.addr().is_private(), "{subnet} is not private");
    for _ in 0..2 {
        fine("ensure", port.ensure(network).await);
    }
    for _ in 0..2 {
        fine("join", port.join(network, publication.instance, &publication.links).await);
    }
    for _ in 0..2 {
        fine("publish", port.publish(publication).await);
    }
    for port_of in &publication.ports {
        // Its own publication does not count.
        fine("check", port.check_port(port_of.host_address, port_of.host_port, port_of.protocol).await);
    }
    fine("publish none", port.publish(&Publication { ports: Vec::new(), ..publication.clone() }).await);
    let empty = Publication { ports: Vec::new(), links: Vec::new(), ..publication.clone() };
    fine("publish nothing", port.publish(&empty).await);
    for _ in 0..2 {
        fine("withdraw", port.withdraw(publication.instance).await);
    }
    for _ in 0..2 {
        fine("release", port.release(network).await);
    }
    assert!(!port.host_name(network).is_empty());
}

/// The promises of [`Runtime`]: the request's image is in the store, and its program runs until it is stopped.
pub async fn runtime(port: &dyn Runtime, request: &StartRequest) {
    let id = request.instance;
    let absent = observe(port, id).await;
    assert_eq!(
        (&absent.workload, &absent.rootfs),
        (&Workload::Absent, &Vec::new()),
        "nothing is there before"
    );
    assert!(matches!(
        port.apply(id, &request.settings, &request.contents).await,
        Err(RuntimeError::NotRunning)
    ));
    assert!(matches!(port.usage(id).await, Err(RuntimeError::NotRunning)));
    let rootfs = RootfsRequest {
        instance: id,
        rootfs: request.rootfs,
        image: request.image.clone(),
        uids: request.uids,
    };
    for _ in 0..2 {
        port.prepare_rootfs(&rootfs).await.unwrap_or_else(|e| panic!("prepare_rootfs: {e:?}"));
    }
    assert_eq!(observe(port, id).await.rootfs, [request.rootfs]);
    let started = port.start(request).await.unwrap_or_else(|e| panic!("start: {e:?}"));
    let running = observe(port, id).await.workload;
    assert_eq!((running.revision(), running.pid()), (Some(request.revision), Some(started.pid)));
    port.apply(id, &request.settings, &request.contents).await.unwrap_or_else(|e| panic!("apply: {e:?}"));
    assert_eq!(
        port.settled(id).await.unwrap_or_else(|e| panic!("settled: {e:?}")),
        None,
        "there is no check"
    );
    port.usage(id).await.unwrap_or_else(|e| panic!("usage: {e:?}"));
    let all = port.observe_all().await.unwrap_or_else(|e| panic!("observe_all: {e:?}"));
    assert!(all.iter().any(|(other, state)| *other == id && state.workload.is_live()), "it is not among all");
    let exit = port.stop(id, StopMode::Kill).await.unwrap_or_else(|e| panic!("stop: {e:?}"));
    assert!(exit.is_some_and(|exit| exit.code != 0), "how it ended is known");
    assert!(!observe(port, id).await.workload.is_live(), "it still runs");
    port.stop(id, StopMode::Graceful).await.unwrap_or_else(|e| panic!("stop again: {e:?}"));
    port.keep_only_rootfs(id, request.rootfs + 1).await.unwrap_or_else(|e| panic!("keep_only_rootfs: {e:?}"));
    assert!(observe(port, id).await.rootfs.is_empty(), "a root filesystem is left");
    for _ in 0..2 {
        port.remove(id).await.unwrap_or_else(|e| panic!("remove: {e:?}"));
    }
    assert_eq!(observe(port, id).await.workload, Workload::Absent);
}

async fn observe(port: &dyn Runtime, id: InstanceId) -> crate::ports::runtime::InstanceState {
    port.observe(id).await.unwrap_or_else(|e| panic!("observe: {e:?}"))
}
