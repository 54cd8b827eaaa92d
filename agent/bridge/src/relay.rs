//! Ports that lead to instances by this process, as the kernel translates nothing that is sent to `::1`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use berth_network::helper::Socket;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::server::Server;

/// How many connections, or senders of datagrams, a port has at a time. Others wait; datagrams of others are dropped.
const PEERS: usize = 1024;
/// How long the answer to a datagram is waited for.
const SILENCE: Duration = Duration::from_secs(60);
const DATAGRAM: usize = 65_536;

/// Takes connections on, each to where the port leads at that moment.
pub(crate) async fn connections(server: Rc<Server>, socket: Socket, listener: TcpListener) {
    let free = Arc::new(Semaphore::new(PEERS));
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let Some(target) = server.target(&socket) else { continue };
        tokio::task::spawn_local(async move {
            // Where nobody listens inside, the client sees its connection end, as it would see it refused.
            if let Ok(mut inside) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut inside).await;
            }
            drop(permit);
        });
    }
}

type Senders = Rc<RefCell<HashMap<SocketAddr, Rc<UdpSocket>>>>;

/// Takes datagrams on; each sender has a socket of its own, at which it is answered.
pub(crate) async fn datagrams(server: Rc<Server>, socket: Socket, listener: UdpSocket) {
    let (listener, senders) = (Rc::new(listener), Senders::default());
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok((length, client)) = listener.recv_from(&mut buffer).await else { continue };
        let known = senders.borrow().get(&client).cloned();
        let inside = match known {
            Some(inside) => inside,
            None if senders.borrow().len() >= PEERS => continue,
            None => {
                let Some(target) = server.target(&socket) else { continue };
                let Ok(inside) = connect(target).await.map(Rc::new) else { continue };
                senders.borrow_mut().insert(client, Rc::clone(&inside));
                let (listener, senders, answers) =
                    (Rc::clone(&listener), Rc::clone(&senders), Rc::clone(&inside));
                tokio::task::spawn_local(async move {
                    answer(&listener, &answers, client).await;
                    senders.borrow_mut().remove(&client);
                });
                inside
            }
        };
        // Nobody may listen inside: then it is lost, as datagrams are.
        let _ = inside.send(buffer.get(..length).unwrap_or_default()).await;
    }
}

async fn connect(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Until there is nothing for a while.
async fn answer(listener: &UdpSocket, inside: &UdpSocket, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(length)) = timeout(SILENCE, inside.recv(&mut buffer)).await {
        let _ = listener.send_to(buffer.get(..length).unwrap_or_default(), client).await;
    }
}
