//! The sockets that an agent answers on.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, chown};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::config::Listen;
use super::error::StartError;

/// Who may use the socket, where the host has the group.
const GROUP: &str = "berth";
const MODE: u32 = 0o660;

/// A socket that is bound.
pub(super) enum Listener {
    /// Dropped, its file goes.
    Unix(UnixListener, SocketFile),
    /// With mutual TLS.
    Https(TcpListener, TlsAcceptor),
}

/// The file of a socket.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // That it is gone already is fine.
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Binds all addresses, or none.
pub(super) async fn bind_all(
    addresses: &[Listen],
    tls: Option<Arc<ServerConfig>>,
) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failed = |source| StartError::Listen { address: format!("{address:?}"), source };
        listeners.push(match address {
            Listen::Unix(path) => {
                displace(path).await?;
                bind_unix(path).map_err(failed)?
            }
            Listen::Https(socket) => {
                let tls = tls.clone().ok_or(super::config::FileError::NoCertificates)?;
                Listener::Https(TcpListener::bind(socket).await.map_err(failed)?, TlsAcceptor::from(tls))
            }
        });
    }
    Ok(listeners)
}

/// A socket that nobody answers on is a dead agent's: it is taken away. Anything else is left alone.
async fn displace(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Listen { address: format!("unix://{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(StartError::SocketInUse { path: path.to_owned() });
            }
            std::fs::remove_file(path).map_err(failed)
        }
        Ok(_) => {
            Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "a file of that name is no socket")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) => std::fs::create_dir_all(parent).map_err(failed),
            None => Ok(()),
        },
        Err(source) => Err(failed(source)),
    }
}

/// The socket is made under another name and renamed when its owner and mode are right: nobody connects before.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&staged)?;
    let file = SocketFile(staged.clone());
    chown(&staged, None, Some(group()))?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(MODE))?;
    std::fs::rename(&staged, path)?;
    drop(file);
    Ok(Listener::Unix(listener, SocketFile(path.to_owned())))
}

fn group() -> Gid {
    match Group::from_name(GROUP) {
        Ok(Some(group)) => group.gid,
        // Root, or whoever runs the agent, alone.
        Ok(None) | Err(_) => Gid::effective(),
    }
}
