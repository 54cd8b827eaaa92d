//! `berth-supervisor probe`: reads what to try on standard input, and says on standard output what this host can mount.
//!
//! It is done here because it takes namespaces, which only a process with one thread enters, and because nothing of it is
//! left when the process ends.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use berth_storage::probe::{ProbeSpec, Probed, probe};
use berth_sys::process::{IdMap, make_namespaces};
use nix::sched::CloneFlags;

/// Ids of an instance.
const IDS: u32 = 65_536;

pub fn run() -> ExitCode {
    let mut text = Vec::new();
    let said = io::stdin().read_to_end(&mut text).map_err(|error| error.to_string());
    let spec = said.and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let Ok(spec) = spec else {
        let _ = io::stderr().write_all(b"the probe's specification cannot be read\n");
        return ExitCode::from(2);
    };
    let probed = isolated(&spec).unwrap_or_else(|error| {
        let why = format!("no namespaces can be made: {error}");
        Probed { erofs: Some(why.clone()), directory: Some(why) }
    });
    match serde_json::to_vec(&probed).map(|text| io::stdout().write_all(&text)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn isolated(spec: &ProbeSpec) -> io::Result<Probed> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    berth_sys::mount::make_all_slave()?;
    let namespaces = make_namespaces(Some(IdMap { host_base: spec.host_base, count: IDS }), true)?;
    Ok(probe(spec, namespaces.user.as_ref().map(AsFd::as_fd)))
}
