//! The agent's connections.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::rc::Rc;

use berth_network::helper::{MAX_LINE, Request, Response, Socket, VERSION};
use berth_sys::socket::receive_with_descriptors;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::server::Server;

/// Serves agents until one says that it is enough.
pub(crate) async fn serve(listener: StdListener) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let (server, quit) = (Rc::new(Server::default()), Rc::new(Notify::new()));
    loop {
        let accepted = tokio::select! {
            () = quit.notified() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = accepted?;
        let (server, quit) = (Rc::clone(&server), Rc::clone(&quit));
        tokio::task::spawn_local(async move {
            let connection =
                Connection { stream, input: Vec::new(), came: HashMap::new(), descriptors: Vec::new() };
            // Whatever goes wrong with a connection, the agent makes another.
            if let Ok(true) = connection.run(&server).await {
                quit.notify_one();
            }
        });
    }
}

struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    /// Sockets that no configuration has asked for yet.
    came: HashMap<Socket, OwnedFd>,
    /// Descriptors whose line is not complete yet.
    descriptors: Vec<OwnedFd>,
}

impl Connection {
    /// Whether the end was asked for.
    async fn run(mut self, server: &Rc<Server>) -> io::Result<bool> {
        while let Some(line) = self.line().await? {
            let request = serde_json::from_slice(&line)?;
            let quits = request == Request::Quit;
            if let Some(response) = self.answer(server, request) {
                let mut text = serde_json::to_vec(&response)?;
                text.push(b'\n');
                self.stream.write_all(&text).await?;
            }
            if quits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn answer(&mut self, server: &Rc<Server>, request: Request) -> Option<Response> {
        match request {
            Request::Status => Some(Response::Status { version: VERSION, sockets: server.sockets() }),
            Request::Socket(socket) => {
                self.came.extend(self.descriptors.pop().map(|descriptor| (socket, descriptor)));
                None
            }
            Request::Leases => {
                self.descriptors.pop().into_iter().for_each(|directory| server.keep_leases(directory));
                None
            }
            Request::Configure(config) => Some(match server.configure(config, &mut self.came) {
                Ok(()) => Response::Done,
                Err(error) => Response::Refused { reason: error.to_string() },
            }),
            Request::Quit => {
                server.let_go();
                Some(Response::Done)
            }
        }
    }

    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            let end = self.input.iter().skip(seen).position(|byte| *byte == b'\n');
            if let Some(end) = end {
                return Ok(Some(self.input.drain(..=seen + end).collect()));
            }
            seen = self.input.len();
            if seen > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut buffer = [0; 16 * 1024];
            let received = self
                .stream
                .async_io(Interest::READABLE, || receive_with_descriptors(self.stream.as_fd(), &mut buffer));
            let (length, descriptors) = received.await?;
            if length == 0 {
                return Ok(None);
            }
            self.descriptors.extend(descriptors);
            self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
        }
    }
}
