//! Files that users put into a running instance, and take out of it.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsFd;

use berth_domain::FilePlace;
use berth_engine::ports::runtime::RuntimeError;
use berth_runtime::client::{ClientError, Supervisor};
use berth_runtime::file::FileWrite;
use berth_runtime::launch::LaunchError;

use super::{unable, writes};

pub(super) async fn push(
    supervisor: &Supervisor,
    place: &FilePlace,
    mut content: File,
) -> Result<(), RuntimeError> {
    let operation = "write a file into the instance";
    content.rewind().map_err(|error| unable(operation, error))?;
    let FilePlace { path, uid, gid, mode, .. } = place;
    let write = FileWrite { target: path.into(), source: None, uid: *uid, gid: *gid, mode: *mode };
    match supervisor.put_file(write, content.as_fd()).await {
        Ok(()) => Ok(()),
        Err(ClientError::File(error)) => match writes::fault(&error) {
            Some(fault) => Err(RuntimeError::Mount(fault)),
            None => Err(unable(operation, error)),
        },
        Err(error) => Err(unable(operation, error)),
    }
}

pub(super) async fn pull(supervisor: &Supervisor, path: &str) -> Result<File, RuntimeError> {
    let opened = supervisor.get_file(path.into()).await;
    opened.map_err(|error| match error {
        ClientError::File(LaunchError { errno, .. }) => RuntimeError::UnreadableFile {
            path: path.to_owned(),
            source: io::Error::from_raw_os_error(errno).into(),
        },
        error => unable("read a file of the instance", error),
    })
}
