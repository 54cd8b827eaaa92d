//! The fakes keep the promises that the real adapters must keep.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::ports::images::{Images, ResolveRequest};
use crate::ports::network::{Link, Publication, PublishedPort};
use crate::ports::runtime::{Attachment, Contents, Settings, StartRequest};
use crate::{Reporter, testing};
use berth_domain::{
    EffectiveConfig, ImageConfig, InstanceId, KnownNetwork, Limits, MacAddress, Name, NetworkDraft,
    NetworkId, Protocol, RestartPolicy, Timestamp, UidRange,
};

use crate::tests::support::{WEB, World, draft};

fn default_network() -> KnownNetwork {
    let draft = NetworkDraft {
        name: "default".to_owned(),
        ipv4_subnet: "10.9.8.0/24".to_owned(),
        ..NetworkDraft::default()
    };
    let spec = draft.validate().unwrap().0;
    KnownNetwork { id: NetworkId::random(), number: 0, generation: 1, spec, created_at: Timestamp::now() }
}

#[tokio::test]
async fn the_fake_store_keeps_its_promises() {
    let world = World::new();
    testing::images(&*world.host, &Arc::from([]), WEB, "registry.test/none:1").await;
}

#[tokio::test]
async fn the_fake_network_keeps_its_promises() {
    let world = World::new();
    let port = PublishedPort {
        name: "http".to_owned(),
        host_address: Ipv4Addr::LOCALHOST.into(),
        host_port: 20_000,
        container_port: 80,
        protocol: Protocol::Tcp,
    };
    let instance = InstanceId::random();
    let (ipv4, network) = (Ipv4Addr::new(10, 9, 8, 2), default_network());
    let mac = MacAddress::of_instance(instance);
    let name = Name::new("web").unwrap();
    let link = Link { network: network.clone(), slot: 0, mac, addresses: vec![ipv4.into()], name };
    let publication =
        Publication { instance, ipv4: Some(ipv4), ipv6: None, ports: vec![port], links: vec![link] };
    testing::network(&*world.host, &network, &publication).await;
}

#[tokio::test]
async fn the_fake_runtime_keeps_its_promises() {
    let world = World::new();
    let reference = WEB.to_owned();
    let remotes = Arc::from([]);
    let request =
        ResolveRequest { reference, platform: None, known: Vec::new(), image_digest: None, remotes };
    let resolution = world.host.resolve(&request).await.unwrap();
    world.host.pull(&resolution, &request.remotes, &Reporter::silent()).await.unwrap();
    let spec = draft("web", WEB).validate().unwrap();
    let image = ImageConfig { entrypoint: vec!["/bin/web".to_owned()], ..ImageConfig::default() };
    let id = InstanceId::random();
    let network = default_network();
    let start = StartRequest {
        instance: id,
        name: spec.name.clone(),
        revision: 7,
        rootfs: 1,
        image: world.web.clone(),
        uids: UidRange { base: 1_000_000_000, count: 65_536 },
        config: EffectiveConfig::new(&image, &spec).unwrap(),
        settings: Settings { limits: Limits::default(), restart: RestartPolicy::default(), health: None },
        contents: Contents {
            interfaces: vec![Attachment {
                gateway: network.spec.ipv4_gateway(),
                network,
                interface: "eth0".to_owned(),
                slot: 0,
                ipv6: None,
                ipv6_gateway: None,
                default_route: true,
                dns: Vec::new(),
                ipv4: Some("10.9.8.2/24".parse().unwrap()),
                mac: MacAddress::of_instance(id),
            }],
            ..Contents::default()
        },
    };
    testing::runtime(&*world.host, &start).await;
}
