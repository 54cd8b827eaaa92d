//! Files on their way into an instance: each lies in the run directory, which only root can enter, until the supervisor has
//! written it.

use std::io;
use std::path::Path;

use berth_engine::mount_error::MountFault;
use berth_engine::ports::Cause;
use berth_engine::ports::runtime::FileWrite as Wanted;
use berth_runtime::file::FileWrite;
use berth_runtime::launch::{LaunchError, Stage};
use berth_sys::fs::{unique_name, write_whole};

const PENDING: &str = "pending";

/// Lays out what is to be written. Only root can read it, as it may be a secret.
pub(super) fn lay_out(run: &Path, wanted: &[Wanted]) -> io::Result<Vec<FileWrite>> {
    let directory = run.join(PENDING);
    let mut writes = Vec::new();
    for Wanted { path, content, uid, gid, mode } in wanted {
        let mut source = None;
        if let Some(content) = content {
            std::fs::create_dir_all(&directory)?;
            let file = directory.join(unique_name("file-"));
            write_whole(&file, content.reveal(), 0o600).map_err(io::Error::other)?;
            source = Some(file);
        }
        writes.push(FileWrite { target: path.into(), source, uid: *uid, gid: *gid, mode: *mode });
    }
    Ok(writes)
}

/// The same, and nothing that was laid out before.
pub(super) fn lay_out_anew(run: &Path, wanted: &[Wanted]) -> io::Result<Vec<FileWrite>> {
    clear(run)?;
    lay_out(run, wanted)
}

/// Removes what was not taken.
pub(super) fn clear(run: &Path) -> io::Result<()> {
    super::remains::remove_dir(&run.join(PENDING))
}

/// The file that could not be written, and why; `None` where it was something else.
pub(super) fn fault(error: &LaunchError) -> Option<MountFault> {
    (error.stage == Stage::File).then(|| MountFault::File {
        path: error.path.display().to_string(),
        source: Cause::from(io::Error::from_raw_os_error(error.errno)),
    })
}
