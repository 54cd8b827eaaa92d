//! The sockets, each with its task.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use berth_network::firewall::Protocol;
use berth_network::helper::{Config, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::answer::{Answer, Names, failure};
use crate::dhcp::Dhcp;
use crate::forward::Forwarder;
use crate::relay;

/// The largest question that is taken over UDP: they are 50 bytes as a rule.
const QUESTION: usize = 4096;
/// How many TCP connections a socket has at a time.
const CONNECTIONS: usize = 64;
/// How many questions of a socket wait for the host's resolvers at a time; more are dropped, and asked again.
const WAITING: usize = 512;
/// How long a TCP connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// All that this process does.
#[derive(Default)]
pub(crate) struct Server {
    names: RefCell<Rc<Names>>,
    forwarder: RefCell<Rc<Forwarder>>,
    dhcp: RefCell<Dhcp>,
    targets: RefCell<HashMap<Socket, SocketAddr>>,
    tasks: RefCell<HashMap<Socket, Task>>,
}

/// Ends with this.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    pub(crate) fn sockets(&self) -> BTreeSet<Socket> {
        self.tasks.borrow().keys().cloned().collect()
    }

    /// Where a relayed port leads now.
    pub(crate) fn target(&self, socket: &Socket) -> Option<SocketAddr> {
        self.targets.borrow().get(socket).copied()
    }

    /// Where leases are kept from now on.
    pub(crate) fn keep_leases(&self, directory: OwnedFd) {
        self.dhcp.borrow_mut().keep(directory);
    }

    /// Nothing listens any more.
    pub(crate) fn let_go(&self) {
        self.tasks.borrow_mut().clear();
    }

    /// Does this from now on; nothing changes where a socket is missing.
    pub(crate) fn configure(
        self: &Rc<Self>,
        config: Config,
        came: &mut HashMap<Socket, OwnedFd>,
    ) -> io::Result<()> {
        let mut tasks = self.tasks.borrow_mut();
        let missing = config.sockets.iter().find(|it| !tasks.contains_key(it) && !came.contains_key(it));
        if let Some(socket) = missing {
            let text = format!("there is no socket for {}", socket.address);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        *self.targets.borrow_mut() = config.relays.iter().cloned().collect();
        self.dhcp.borrow_mut().configure(&config);
        let mut started = Vec::new();
        for socket in config.sockets.iter().filter(|socket| !tasks.contains_key(socket)) {
            let Some(descriptor) = came.remove(socket) else { continue };
            started.push((socket.clone(), self.start(socket, descriptor)?));
        }
        tasks.extend(started);
        tasks.retain(|socket, _| config.sockets.contains(socket));
        let own = config.sockets.iter().map(|socket| socket.address.ip()).collect();
        *self.forwarder.borrow_mut() = Rc::new(Forwarder::new(own));
        *self.names.borrow_mut() = Rc::new(Names::new(config));
        Ok(())
    }

    fn start(self: &Rc<Self>, socket: &Socket, descriptor: OwnedFd) -> io::Result<Task> {
        let server = Rc::clone(self);
        let task = match socket.protocol {
            Protocol::Udp => {
                let bound = UdpSocket::from_std(descriptor.into())?;
                match self.target(socket) {
                    None if socket.is_of_dhcp() => tokio::task::spawn_local(server.give_addresses(bound)),
                    Some(_) => tokio::task::spawn_local(relay::datagrams(server, socket.clone(), bound)),
                    None => tokio::task::spawn_local(server.answer_datagrams(bound)),
                }
            }
            Protocol::Tcp => {
                let bound = TcpListener::from_std(descriptor.into())?;
                match self.target(socket) {
                    Some(_) => tokio::task::spawn_local(relay::connections(server, socket.clone(), bound)),
                    None => tokio::task::spawn_local(server.answer_connections(bound)),
                }
            }
        };
        Ok(Task(task.abort_handle()))
    }

    async fn answer_datagrams(self: Rc<Self>, socket: UdpSocket) {
        let (socket, waiting) = (Rc::new(socket), Arc::new(Semaphore::new(WAITING)));
        let mut buffer = vec![0; QUESTION];
        loop {
            // What a client's host says of an answer that it did not want comes as an error here.
            let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
            let question = buffer.get(..length).unwrap_or_default();
            let answer = self.names.borrow().answer(client.ip(), question);
            match answer {
                Answer::Reply(reply) => drop(socket.send_to(&reply, client).await),
                Answer::Ignore => {}
                Answer::Forward => {
                    let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else { continue };
                    let forwarder = Rc::clone(&self.forwarder.borrow());
                    let (socket, question) = (Rc::clone(&socket), question.to_vec());
                    tokio::task::spawn_local(async move {
                        let reply = forwarder.ask(&question).await;
                        let reply = reply.or_else(|| failure(&question));
                        if let Some(reply) = reply {
                            drop(socket.send_to(&reply, client).await);
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn give_addresses(self: Rc<Self>, socket: UdpSocket) {
        let mut buffer = vec![0; QUESTION];
        loop {
            let Ok((length, SocketAddr::V4(client))) = socket.recv_from(&mut buffer).await else { continue };
            let question = buffer.get(..length).unwrap_or_default();
            let answer = self.dhcp.borrow_mut().answer(*client.ip(), question);
            if let Some((reply, to)) = answer {
                // One that is not sent is asked for again.
                drop(socket.send_to(&reply, to).await);
            }
        }
    }

    async fn answer_connections(self: Rc<Self>, listener: TcpListener) {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
            // It has gone again, or there are no descriptors for the moment.
            let Ok((stream, client)) = listener.accept().await else { continue };
            let server = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                // The client has gone, or is too slow.
                let _ = server.answer_connection(stream, client).await;
                drop(permit);
            });
        }
    }

    async fn answer_connection(&self, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
        loop {
            let question = timeout(IDLE, read_message(&mut stream)).await??;
            let answer = self.names.borrow().answer(client.ip(), &question);
            let reply = match answer {
                Answer::Reply(reply) => Some(reply),
                Answer::Ignore => None,
                Answer::Forward => {
                    let forwarder = Rc::clone(&self.forwarder.borrow());
                    forwarder.ask_in_full(&question).await.or_else(|| failure(&question))
                }
            };
            let Some(reply) = reply else { return Ok(()) };
            timeout(IDLE, write_message(&mut stream, &reply)).await??;
        }
    }
}

/// A message of a TCP connection has its length before it.
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
