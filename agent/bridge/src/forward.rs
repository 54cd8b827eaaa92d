//! Names that only the host's resolvers know: what they are asked, and what they say, goes through as it is.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use berth_network::helper::NAMES_PORT;
use berth_network::resolver::{HostFiles, Resolver};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::server::{read_message, write_message};

/// How long a resolver has before the next is asked. Clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer over UDP.
const ANSWER: usize = 16 * 1024;

/// Asks the host's resolvers.
#[derive(Default)]
pub(crate) struct Forwarder {
    files: HostFiles,
    /// Addresses at which this process itself would be asked.
    own: BTreeSet<IpAddr>,
    known: RefCell<Known>,
    /// The one that answered last.
    first: Cell<usize>,
}

#[derive(Default)]
struct Known {
    /// When the file that tells of them was changed.
    at: Option<SystemTime>,
    servers: Vec<IpAddr>,
}

impl Forwarder {
    pub(crate) fn new(own: BTreeSet<IpAddr>) -> Self {
        Self { own, ..Self::default() }
    }

    /// The resolvers, the one that answered last before the others.
    fn servers(&self) -> Vec<IpAddr> {
        let changed = fs::metadata(&self.files.resolv_conf).and_then(|file| file.modified()).ok();
        let mut known = self.known.borrow_mut();
        if known.servers.is_empty() || changed != known.at {
            let mut servers = Resolver::from_host(&self.files).unwrap_or_default();
            servers.retain(|server| !self.own.contains(server));
            *known = Known { at: changed, servers };
        }
        let mut servers = known.servers.clone();
        let first = self.first.get().min(servers.len());
        servers.rotate_left(first);
        servers
    }

    fn answered(&self, server: IpAddr) {
        let known = self.known.borrow();
        self.first.set(known.servers.iter().position(|it| *it == server).unwrap_or_default());
    }

    /// What the first of them that answers says.
    pub(crate) async fn ask(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            if let Ok(Ok(reply)) = timeout(PATIENCE, ask(server, question)).await {
                self.answered(server);
                return Some(reply);
            }
        }
        None
    }

    /// Likewise over TCP, where answers of any size fit.
    pub(crate) async fn ask_in_full(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers() {
            let asked = timeout(PATIENCE, async {
                let mut stream = TcpStream::connect((server, NAMES_PORT)).await?;
                write_message(&mut stream, question).await?;
                read_message(&mut stream).await
            });
            if let Ok(Ok(reply)) = asked.await {
                return Some(reply);
            }
        }
        None
    }
}

/// By a socket of its own, whose port nobody knows, with a number that nobody knows: what comes back is the server's.
async fn ask(server: IpAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect((server, NAMES_PORT)).await?;
    let mut number = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut number)?;
    let (Some(asked_as), Some(rest)) = (question.get(..2), question.get(2..)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    socket.send(&[number.as_slice(), rest].concat()).await?;
    let mut reply = vec![0; ANSWER];
    loop {
        let length = socket.recv(&mut reply).await?;
        if let Some(head) = reply.get_mut(..2).filter(|head| length >= 12 && **head == number) {
            head.copy_from_slice(asked_as);
            reply.truncate(length);
            return Ok(reply);
        }
    }
}
