//! The engine's contract suites on the real adapters: what the fakes promise, the host keeps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use berth_agent::daemon::Config;
use berth_agent::host::{self, RootfsDriver};
use berth_domain::{
    EffectiveConfig, ImageInfo, InstanceDraft, InstanceId, KnownNetwork, Limits, MacAddress, Name,
    NetworkDraft, NetworkId, Protocol, RemoteDraft, RemoteId, RestartPolicy, Timestamp, UidRange,
    VolumeDraft,
};
use berth_engine::ports::images::{Remote, ResolveRequest};
use berth_engine::ports::network::{Link, Publication, PublishedPort};
use berth_engine::ports::runtime::{Attachment, Contents, Settings, StartRequest};
use berth_engine::{Ports, Reporter, testing};
use tempfile::TempDir;

use crate::world::{Registry, free_port, said};

const IDS: UidRange = UidRange { base: 1_500_000_000, count: 65_536 };

/// Directories of an agent's, the ports on them, and a registry that the ports may ask.
struct World {
    dir: TempDir,
    ports: Ports,
    _registry: Registry,
    remotes: Arc<[Remote]>,
}

impl World {
    async fn new() -> Self {
        Self::with(RootfsDriver::Auto).await
    }

    async fn with(driver: RootfsDriver) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(false);
        let draft = RemoteDraft {
            name: "reg".to_owned(),
            address: registry.address(),
            insecure: true,
            ..RemoteDraft::default()
        };
        let remote =
            Remote { id: RemoteId::random(), spec: draft.validate().unwrap(), secrets: Default::default() };
        let (data, run) = (dir.path().join("data"), dir.path().join("run"));
        for made in [data.join("instances"), run.join("instances")] {
            std::fs::create_dir_all(made).unwrap();
        }
        let config = Config {
            data_dir: data.clone(),
            run_dir: run.clone(),
            listen: Vec::new(),
            tls: None,
            supervisor: None,
            uid_base: IDS.base,
            uid_count: IDS.count,
            bind_sources: None,
            cdi_spec_dirs: Vec::new(),
            allow_privileged: false,
            log_format: Default::default(),
            images: Default::default(),
            rootfs_driver: driver,
            pull: Default::default(),
            vm: Default::default(),
        };
        let ports = host::ports(&config, &data, &run).await.unwrap();
        Self { dir, ports, _registry: registry, remotes: Arc::from([remote]) }
    }

    /// The tests' image, in the store.
    async fn pulled(&self) -> Arc<ImageInfo> {
        let request = ResolveRequest {
            reference: "reg:tiny:1".to_owned(),
            platform: None,
            known: Vec::new(),
            image_digest: None,
            remotes: Arc::clone(&self.remotes),
        };
        let resolution = self.ports.images.resolve(&request).await.unwrap();
        self.ports.images.pull(&resolution, &self.remotes, &Reporter::silent()).await.unwrap()
    }

    fn request(&self, kind: &str, image: &ImageInfo, network: KnownNetwork) -> StartRequest {
        let draft = InstanceDraft {
            name: "contract".to_owned(),
            kind: kind.to_owned(),
            image: "reg:tiny:1".to_owned(),
            running: true,
            ..InstanceDraft::default()
        };
        let spec = draft.validate().unwrap();
        let id = InstanceId::random();
        StartRequest {
            instance: id,
            name: spec.name.clone(),
            revision: 7,
            rootfs: 1,
            image: image.digest.clone(),
            uids: IDS,
            config: EffectiveConfig::new(&image.config, &spec).unwrap(),
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
                    ipv4: Some("10.231.77.2/24".parse().unwrap()),
                    mac: MacAddress::of_instance(id),
                }],
                ..Contents::default()
            },
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn network(subnet: &str) -> KnownNetwork {
    let draft = NetworkDraft {
        name: "default".to_owned(),
        ipv4_subnet: subnet.to_owned(),
        ..NetworkDraft::default()
    };
    let spec = draft.validate().unwrap().0;
    KnownNetwork { id: NetworkId::random(), number: 0, generation: 1, spec, created_at: Timestamp(0) }
}

/// All files below, by path: what is there before and what is left after.
fn files(root: &Path) -> BTreeMap<PathBuf, bool> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let is_dir = entry.file_type().unwrap().is_dir();
            if is_dir {
                pending.push(entry.path());
            }
            found.insert(entry.path(), is_dir);
        }
    }
    found
}

#[tokio::test]
async fn the_image_store_keeps_its_promises() {
    let world = World::new().await;
    let before = files(&world.path().join("data/images"));
    testing::images(&*world.ports.images, &world.remotes, "reg:tiny:1", "reg:tiny:none").await;
    assert_eq!(files(&world.path().join("data/images")), before, "a pull and a removal leave nothing");
}

#[tokio::test]
async fn the_host_s_network_keeps_its_promises() {
    let world = World::new().await;
    let port = PublishedPort {
        name: "http".to_owned(),
        host_address: Ipv4Addr::LOCALHOST.into(),
        host_port: free_port(),
        container_port: 80,
        protocol: Protocol::Tcp,
    };
    let (network, instance) = (network("10.231.78.0/24"), InstanceId::random());
    let ipv4 = Ipv4Addr::new(10, 231, 78, 2);
    let mac = MacAddress::of_instance(instance);
    let name = Name::new("web").unwrap();
    let link = Link { network: network.clone(), slot: 0, mac, addresses: vec![ipv4.into()], name };
    let publication =
        Publication { instance, ipv4: Some(ipv4), ipv6: None, ports: vec![port], links: vec![link] };
    testing::network(&*world.ports.network, &network, &publication).await;
    let bridge = world.ports.network.host_name(&network);
    assert!(!Path::new("/sys/class/net").join(&bridge).exists(), "{bridge} is left");
    let tables = said(Command::new("nft").args(["list", "tables"]), b"").ok();
    assert!(!tables.contains(bridge.trim_end_matches('0')), "{tables}");
}

#[tokio::test]
async fn the_supervisors_keep_their_promises_on_mounted_images() {
    supervisors(World::with(RootfsDriver::Erofs).await, "container").await;
}

#[tokio::test]
async fn the_supervisors_keep_their_promises_on_directories() {
    supervisors(World::with(RootfsDriver::Directory).await, "container").await;
}

#[tokio::test]
async fn the_supervisors_keep_their_promises_of_virtual_machines() {
    supervisors(World::new().await, "virtual-machine").await;
}

async fn supervisors(world: World, kind: &str) {
    let image = world.pulled().await;
    let network = network("10.231.77.0/24");
    world.ports.network.ensure(&network).await.unwrap();
    let request = world.request(kind, &image, network.clone());
    testing::runtime(&*world.ports.runtime, &request).await;
    world.ports.network.release(&network).await.unwrap();
    for left in ["data/instances", "run/instances"] {
        assert_eq!(files(&world.path().join(left)), BTreeMap::new(), "{left}");
    }
}

#[tokio::test]
async fn the_volumes_keep_their_promises() {
    let world = World::new().await;
    let draft = VolumeDraft { name: "data".to_owned(), mode: Some(0o750), ..VolumeDraft::default() };
    testing::volumes(&*world.ports.volumes, &draft.validate().unwrap()).await;
    let sized = VolumeDraft { size: Some(16 << 20), ..draft };
    testing::volumes(&*world.ports.volumes, &sized.validate().unwrap()).await;
    assert_eq!(files(&world.path().join("data/volumes")), BTreeMap::new(), "something is left");
}
