//! Proxies that the environment names.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::world::{Agent, Registry};

const LIMIT: Duration = Duration::from_secs(20);

/// A proxy for plain HTTP that takes every host for the one registry. It serves until the tests' process ends.
struct Proxy {
    address: String,
    served: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(AtomicUsize::new(0));
        let (counter, target) = (Arc::clone(&served), registry.host());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if pass_on(client, &target).is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { address, served }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// One request: `GET http://host/path` becomes `GET /path` at the registry.
fn pass_on(mut client: TcpStream, target: &str) -> std::io::Result<()> {
    client.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut first) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    let at_host =
        first.split_once("http://").and_then(|(method, rest)| Some((method, rest.split_once('/')?.1)));
    let (method, path) = at_host.ok_or(std::io::ErrorKind::InvalidData)?;
    head.push_str(&format!("{method}/{path}"));
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut registry = TcpStream::connect(target)?;
    registry.set_read_timeout(Some(LIMIT))?;
    registry.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    registry.read_to_end(&mut answer)?;
    client.write_all(&answer)
}

#[test]
fn a_proxy_of_the_environment_is_used_unless_it_says_otherwise() {
    let registry = Registry::start(false);
    let proxy = Proxy::start(&registry);
    let environment = [("HTTP_PROXY", proxy.address.as_str()), ("NO_PROXY", "127.0.0.1")];
    let agent = Agent::start_in(&environment);
    // No resolver knows this name: only the proxy leads there.
    agent.berth(&["remote", "add", "far", "http://registry.invalid:5000", "--insecure"]).ok();
    agent.berth(&["image", "pull", "far:tiny:1"]).ok();
    let served = proxy.served();
    assert!(served >= 3, "{served}");
    agent.berth(&["remote", "add", "near", &registry.address(), "--insecure"]).ok();
    agent.berth(&["image", "tags", "near:tiny"]).ok();
    assert_eq!(proxy.served(), served);
}
