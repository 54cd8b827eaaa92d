//! Launch specs, and why a launch fails.

use std::io;

use berth_domain::{Digest, InstanceId, Limits, NetworkKind, RestartMode, RestartPolicy};
use berth_engine::ports::Cause;
use berth_engine::ports::runtime::{Attachment, StartError, StartRequest};
use berth_image::store::Store;
use berth_runtime::client::ClientError;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::lease::DhcpSpec;
use berth_runtime::spec::{
    self, CgroupSpec, IdRange, InterfaceKind, InterfaceSpec, LaunchSpec, LogSpec, RestartSpec, SharesSpec,
    StopSpec, VmSpec,
};
use berth_storage::rootfs::{Lower, RootfsSpec};
use nix::errno::Errno;

use super::{Home, files, mounts, process, writes};
use crate::host::Place;
use crate::host::driver::Driver;
use crate::host::guests;

const MTU: u32 = 1500;
const LOG_BYTES: u64 = 10 << 20;
const LOG_FILES: u32 = 3;

/// The image, as the host can mount it.
pub(super) async fn lower(store: &Store, driver: &Driver, image: &Digest) -> Result<Lower, StartError> {
    let gone = || StartError::ImageGone { image: image.clone() };
    let digest = image.as_str().parse().map_err(|_| gone())?;
    let (store, driver) = (store.clone(), driver.clone());
    let found = tokio::task::spawn_blocking(move || {
        let Some(found) = store.get(&digest).map_err(|error| unable("look for the image", error))? else {
            return Ok(None);
        };
        let lower = driver.lower(&store, found.tree, &digest);
        lower.map(Some).map_err(|error| unable("check out the image", error))
    });
    let found = found.await.map_err(|error| unable("look for the image", error))??;
    found.ok_or_else(gone)
}

/// All that the supervisor is told.
pub(super) fn spec(
    place: &Place,
    home: &Home,
    request: &StartRequest,
    lower: Lower,
    vm: Option<VmSpec>,
) -> LaunchSpec {
    let (config, rootfs) = (&request.config, home.rootfs(request.rootfs));
    let (parent, name) = (group(place), request.instance.to_string());
    let mut cgroup = CgroupSpec { parent, name, ..CgroupSpec::default() };
    limit(&mut cgroup, &request.settings.limits, vm.is_some());
    LaunchSpec {
        version: spec::VERSION,
        id: request.instance.to_string(),
        name: request.name.to_string(),
        revision: request.revision,
        run_dir: home.run.clone(),
        rootfs: RootfsSpec { lower, upper: rootfs.join("upper"), work: rootfs.join("work") },
        process: process::spec(config),
        hostname: config.hostname.to_string(),
        ids: ids(request),
        shares: SharesSpec {
            users: config.security.is_host_root(),
            network: config.security.host_network,
            pids: config.security.host_pid,
        },
        cgroup,
        networks: interfaces(place, request.instance, config.hostname.as_str(), &request.contents.interfaces),
        files: files::binds(&home.data),
        mounts: Vec::new(),
        writes: Vec::new(),
        stop: StopSpec {
            signal: config.stop_signal.number().into(),
            timeout_ms: config.stop_timeout_ms.into(),
        },
        restart: restart(request.settings.restart),
        health: None,
        kernel: process::kernel(config),
        vm,
        log: LogSpec { directory: home.log(), max_bytes: LOG_BYTES, keep: LOG_FILES },
    }
}

/// The control group of which each instance's is a part.
pub(super) fn group(place: &Place) -> String {
    format!("berth{}", place.prefix)
}

/// The instance's own ids, or the host's: as many of them as the kernel's settings of groups can name.
fn ids(request: &StartRequest) -> IdRange {
    if request.config.security.is_host_root() {
        return IdRange { host_base: 0, count: 1 << 31 };
    }
    IdRange { host_base: request.uids.base, count: request.uids.count }
}

/// Interfaces as the supervisor takes them.
pub(super) fn interfaces(
    place: &Place,
    instance: InstanceId,
    hostname: &str,
    wanted: &[Attachment],
) -> Vec<InterfaceSpec> {
    // Whoever names resolvers for one interface asks no others.
    let names_given = wanted.iter().any(|it| !it.dns.is_empty());
    let interface = |attachment: &Attachment| {
        let network = &attachment.network.spec;
        let own = network.kind == NetworkKind::Bridge;
        let bridge = match &network.parent {
            Some(parent) => parent.clone(),
            None => place.prefix.bridge(attachment.network.number),
        };
        let default_route = attachment.default_route;
        // The resolvers are those of the way that all else goes.
        let dhcp = || DhcpSpec {
            default_route,
            dns: default_route && !names_given,
            hostname: Some(hostname.to_owned()),
            second_ms: None,
        };
        InterfaceSpec {
            name: attachment.interface.clone(),
            host_name: place.link(instance, attachment.slot),
            kind: match network.kind {
                NetworkKind::Bridge => InterfaceKind::Bridge,
                NetworkKind::Physical => InterfaceKind::Physical,
                NetworkKind::Macvlan => InterfaceKind::Macvlan,
            },
            bridge,
            vlan: network
                .vlan
                .map(|id| spec::VlanSpec { id, link: place.prefix.vlan(attachment.network.number) }),
            mac: attachment.mac.to_string(),
            ipv4_address: attachment.ipv4.map(|net| net.addr()),
            ipv4_prefix: attachment.ipv4.map_or(0, |net| net.prefix_len()),
            ipv4_gateway: attachment.gateway,
            ipv6_address: attachment.ipv6.map(|net| net.addr()),
            ipv6_prefix: attachment.ipv6.map_or(0, |net| net.prefix_len()),
            ipv6_gateway: attachment.ipv6_gateway,
            ipv6_autoconf: !own && attachment.ipv6.is_none(),
            dhcp: (!own && attachment.ipv4.is_none()).then(dhcp),
            // Of a network of the host's, the parent's is the one that fits.
            mtu: network.mtu.or(own.then_some(MTU)),
        }
    };
    wanted
        .iter()
        .filter(|it| it.ipv4.is_some() || it.network.spec.kind != NetworkKind::Bridge)
        .map(interface)
        .collect()
}

/// The name of the interface that an error is about, by either of its ends or by what it is to be connected to.
pub(super) fn interface_of(interfaces: &[InterfaceSpec], error: &LaunchError) -> String {
    let path = error.path.display().to_string();
    let found = interfaces.iter().find(|interface| match error.stage {
        Stage::NetworkParent => {
            interface.bridge == path || interface.vlan.as_ref().is_some_and(|vlan| vlan.link == path)
        }
        _ => interface.host_name == path,
    });
    // A machine's is called by its name, and perhaps more is said of it.
    let name = || path.split_once(": ").map_or(path.as_str(), |(name, _)| name).to_owned();
    found.map_or_else(name, |interface| interface.name.clone())
}

pub(super) fn limit(cgroup: &mut CgroupSpec, limits: &Limits, is_machine: bool) {
    cgroup.cpu_millis = limits.cpu_millis;
    let beside = |memory| if is_machine { guests::with_overhead(memory) } else { memory };
    cgroup.memory_bytes = limits.memory_bytes.map(beside);
    cgroup.pids = limits.pids;
    cgroup.cpuset.clone_from(&limits.cpuset);
    cgroup.swap_bytes = limits.swap_bytes;
    cgroup.io_weight = limits.io_weight;
}

pub(super) fn restart(policy: RestartPolicy) -> RestartSpec {
    RestartSpec {
        policy: match policy.mode {
            RestartMode::No => spec::RestartPolicy::No,
            RestartMode::OnFailure => spec::RestartPolicy::OnFailure,
            RestartMode::Always => spec::RestartPolicy::Always,
        },
        max_retries: policy.max_retries.unwrap_or_default(),
        backoff_ms: policy.backoff_ms,
    }
}

pub(super) fn unable(operation: &str, source: impl Into<Cause>) -> StartError {
    let advice = "berth check says what this host lacks".to_owned();
    StartError::Host { operation: operation.to_owned(), advice, source: source.into() }
}

/// Why a start failed, with the argument that mends it.
pub(super) fn failed(request: &StartRequest, spec: &LaunchSpec, error: ClientError) -> StartError {
    let ClientError::Launch(error) = error else {
        return unable("start the instance's supervisor", error);
    };
    if let Some(fault) = mounts::fault(&spec.mounts, &error).or_else(|| writes::fault(&error)) {
        return StartError::Mount(fault);
    }
    let program = request.config.argv.first().cloned().unwrap_or_default();
    let source = Cause::from(io::Error::from_raw_os_error(error.errno));
    match error.stage {
        Stage::User | Stage::Group => StartError::UserNotFound { user: request.config.user.to_string() },
        Stage::WorkingDir => StartError::WorkingDir { path: request.config.working_dir.clone(), source },
        Stage::Exec if error.errno == Errno::ENOENT as i32 => StartError::EntrypointNotFound { program },
        Stage::Exec => StartError::EntrypointNotExecutable { program, source },
        Stage::Sysctl => StartError::Sysctl { name: error.path.display().to_string(), source },
        Stage::Network | Stage::NetworkParent => {
            StartError::Interface { interface: interface_of(&spec.networks, &error), source: error.into() }
        }
        Stage::Cgroup if process::limit_of(&error.path).is_some() => {
            let limit = process::limit_of(&error.path).unwrap_or_default().to_owned();
            StartError::Limit { limit, source }
        }
        Stage::Boot => StartError::Machine {
            advice: "berth check says what this host lacks for virtual machines".to_owned(),
            source: error.into(),
        },
        _ => unable("start the instance", error),
    }
}
