//! Proxies that the environment names.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::world::{Agent, Registry};

const LIMIT: Duration = Duration::from_secs(20);

/// A proxy for plain HTTP that takes every host for the one registry. It serves until the tests' process ends.
struct Proxy {
    address: String,
    served: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::<Mutex<Vec<String>>>::default();
        let (list, target) = (Arc::clone(&served), registry.host());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                pass_on(client, &target, &list).unwrap();
            }
        });
        Self { address, served }
    }

    /// What was asked for since the last call, such as `GET /v2/`.
    fn served(&self) -> Vec<String> {
        std::mem::take(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One request: `GET http://host/path` becomes `GET /path` at the registry.
fn pass_on(mut client: TcpStream, target: &str, served: &Mutex<Vec<String>>) -> std::io::Result<()> {
    client.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut first) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    let at_host =
        first.split_once("http://").and_then(|(method, rest)| Some((method, rest.split_once('/')?.1)));
    let (method, path) = at_host.ok_or(std::io::ErrorKind::InvalidData)?;
    head.push_str(&format!("{method}/{path}"));
    let asked = head.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    // Before the answer: whoever has it may look here next.
    served.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
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
    assert!(served.len() >= 3, "{served:?}");
    agent.berth(&["remote", "add", "near", &registry.address(), "--insecure"]).ok();
    agent.berth(&["image", "tags", "near:tiny"]).ok();
    assert_eq!(proxy.served(), Vec::<String>::new());
    // What is there is asked for once, whether it still is what the tag means.
    agent.berth(&["image", "pull", "far:tiny:1"]).ok();
    assert_eq!(proxy.served(), ["HEAD /v2/tiny/manifests/1"]);
}
