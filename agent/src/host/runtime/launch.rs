//! From a start request to a launch spec, and from the stage that failed to the argument that mends it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use berth_domain::{EffectiveConfig, InstanceId, Limits, RestartMode, RestartPolicy};
use berth_engine::ports::Cause;
use berth_engine::ports::runtime::{ExecError, RuntimeError, StartError, StartRequest};
use berth_image::store::Store;
use berth_network::resolver::{self, HostFiles, Identity, Resolver};
use berth_runtime::client::ClientError;
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{
    self, CgroupSpec, FileBind, IdRange, InterfaceSpec, LaunchSpec, LogSpec, ProcessSpec, RestartSpec, StopSpec,
};
use berth_storage::rootfs::{Lower, RootfsSpec};

use super::files::Files;
use crate::host::Place;

/// Of a log file before the next is begun, in bytes.
const LOG_FILE: u64 = 10 << 20;

/// How many older log files are kept.
const LOG_FILES: u32 = 3;

/// What Ethernet carries, in bytes.
const MTU: u32 = 1500;

pub(super) fn host(operation: &str, source: impl Into<Cause>) -> StartError {
    StartError::Host { operation: operation.to_owned(), advice: String::new(), source: source.into() }
}

/// The EROFS file of an image.
pub(super) fn tree(store: &Store, image: &berth_domain::Digest) -> Result<PathBuf, StartError> {
    let gone = || StartError::ImageGone { image: image.clone() };
    let digest = image.as_str().parse().map_err(|_| gone())?;
    let stored = store.get(&digest).map_err(|error| host("read the image store", error))?;
    stored.map(|stored| stored.tree).ok_or_else(gone)
}

/// All that a supervisor needs to know; the instance's own files are written on the way.
pub(super) fn spec(
    place: &Place,
    store: &Store,
    files: &Files,
    request: &StartRequest,
) -> Result<LaunchSpec, StartError> {
    files.make(request.rootfs).map_err(|error| host("make the instance's directories", error))?;
    let rootfs = files.rootfs(request.rootfs);
    let lower =
        Lower::Erofs { image: tree(store, &request.image)?, objects: store.objects_dir().to_owned() };
    let config = &request.config;
    Ok(LaunchSpec {
        version: spec::VERSION,
        id: request.instance.to_string(),
        name: request.name.to_string(),
        revision: request.revision,
        run_dir: files.run.clone(),
        rootfs: RootfsSpec { lower, upper: rootfs.join("upper"), work: rootfs.join("work") },
        process: ProcessSpec {
            argv: config.argv.clone(),
            environment: config.environment.clone().into_iter().collect(),
            working_dir: config.working_dir.clone(),
            user: config.user.as_str().to_owned(),
            no_new_privileges: false,
        },
        hostname: config.hostname.to_string(),
        ids: IdRange { host_base: request.uids.base, count: request.uids.count },
        cgroup: cgroup(format!("berth{}", place.prefix), &request.instance.to_string(), &request.settings.limits),
        networks: vec![interface(place, request)],
        files: write_files(files, request)?,
        stop: StopSpec {
            signal: config.stop_signal.number().into(),
            timeout_ms: config.stop_timeout_ms.into(),
        },
        restart: restart(&request.settings.restart),
        log: LogSpec { directory: files.log(), max_bytes: LOG_FILE, keep: LOG_FILES },
    })
}

/// The control group with its limits.
pub(super) fn cgroup(parent: String, name: &str, limits: &Limits) -> CgroupSpec {
    CgroupSpec {
        parent,
        name: name.to_owned(),
        cpu_millis: limits.cpu_millis,
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
    }
}

/// The policy in the supervisor's words.
pub(super) fn restart(policy: &RestartPolicy) -> RestartSpec {
    RestartSpec {
        policy: match policy.mode {
            RestartMode::No => spec::RestartPolicy::No,
            RestartMode::OnFailure => spec::RestartPolicy::OnFailure,
            RestartMode::Always => spec::RestartPolicy::Always,
        },
        max_retries: policy.max_retries.unwrap_or(0),
        backoff_ms: policy.backoff_ms,
    }
}

fn interface(place: &Place, request: &StartRequest) -> InterfaceSpec {
    let attachment = &request.attachment;
    InterfaceSpec {
        name: attachment.interface.clone(),
        host_name: link_name(place, request.instance),
        bridge: place.prefix.bridge(0),
        mac: attachment.mac.to_string(),
        ipv4_address: attachment.ipv4.addr(),
        ipv4_prefix: attachment.ipv4.prefix_len(),
        ipv4_gateway: Some(attachment.gateway),
        mtu: MTU,
    }
}

/// Fifteen characters at the most: what is not the agent's mark is the instance's.
fn link_name(place: &Place, instance: InstanceId) -> String {
    let [a, b, c, d, ..] = instance.as_bytes();
    format!("vb{}{a:02x}{b:02x}{c:02x}{d:02x}0", place.prefix)
}

fn write_files(files: &Files, request: &StartRequest) -> Result<Vec<FileBind>, StartError> {
    let failed = |error: berth_sys::fs::FsError| host("write the instance's own files", error);
    let resolver = Resolver::of_host(&HostFiles::default(), false)
        .map_err(|error| host("read the host's name servers", error))?;
    let addresses = [IpAddr::V4(request.attachment.ipv4.addr())];
    let extra_hosts = BTreeMap::new();
    let hostname = request.config.hostname.to_string();
    let identity = Identity { hostname: &hostname, addresses: &addresses, extra_hosts: &extra_hosts };
    let texts = resolver::files(&resolver, &identity);
    let mut binds = Vec::new();
    for (name, text) in
        [("resolv.conf", &texts.resolv_conf), ("hosts", &texts.hosts), ("hostname", &texts.hostname)]
    {
        let source = files.own().join(name);
        berth_sys::fs::write_atomic(&source, text.as_bytes(), 0o644).map_err(failed)?;
        binds.push(FileBind { source, target: Path::new("/etc").join(name), read_only: false });
    }
    Ok(binds)
}

/// Why a start failed, in the engine's words.
pub(super) fn failed(error: ClientError, config: &EffectiveConfig) -> StartError {
    let error = match error {
        ClientError::Launch(error) => error,
        other => return host("run the instance's supervisor", other),
    };
    let path = error.path.display().to_string();
    let missing = error.errno == nix::errno::Errno::ENOENT as i32;
    match error.stage {
        Stage::User | Stage::Group => StartError::UserNotFound { user: config.user.as_str().to_owned() },
        Stage::Exec if missing => StartError::EntrypointNotFound { program: path },
        Stage::Exec => StartError::EntrypointNotExecutable { program: path, source: error.into() },
        Stage::WorkingDir => StartError::WorkingDir { path, source: error.into() },
        Stage::Cgroup => match limit_in(&path) {
            Some(limit) => StartError::Limit { limit, source: error.into() },
            None => host("set up the control group", error),
        },
        _ => host("start the instance", error),
    }
}

/// Why a program beside the workload failed, in the engine's words.
pub(super) fn exec_failed(error: LaunchError, user: &str) -> ExecError {
    let path = error.path.display().to_string();
    match error.stage {
        Stage::User | Stage::Group => ExecError::UserNotFound { user: user.to_owned() },
        Stage::Exec if error.errno == nix::errno::Errno::ENOENT as i32 => ExecError::ProgramNotFound { program: path },
        Stage::Exec => ExecError::NotExecutable { program: path, source: error.into() },
        Stage::WorkingDir => ExecError::WorkingDir { path, source: error.into() },
        _ => ExecError::Host { operation: "enter the instance".to_owned(), source: error.into() },
    }
}

/// A change of limits that the kernel would not have.
pub(super) fn refused_limit(error: ClientError) -> RuntimeError {
    let limit = match &error {
        ClientError::Refused { reason } => limit_in(reason),
        _ => None,
    };
    match limit {
        Some(limit) => RuntimeError::Limit { limit, source: error.into() },
        None => super::host("change the instance's settings", error),
    }
}

/// The limit that a control group's file is for.
fn limit_in(text: &str) -> Option<&'static str> {
    [("memory.", "memory"), ("cpu.", "cpu"), ("pids.", "pids")]
        .into_iter()
        .find_map(|(file, limit)| text.contains(file).then_some(limit))
}
