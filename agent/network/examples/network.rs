//! Measures networks in namespaces of its own: `network ROUNDS` prints its figures as JSON.
//!
//! `published`: Gbit/s of iperf3 from outside of the host to an instance, through a published port, and in turn to the host
//! itself over the same veth pair. `change`: milliseconds of changes among two hundred instances with five ports each, by what
//! is changed; `apply`: of writing all of it. `flow`: packets of a flow that ran through a published port meanwhile, and those
//! that were lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, dead_code)] // A measuring tool: what fails ends it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_network::firewall::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Protocol, State, Target,
};
use berth_sys::netlink::MacAddress;
use serde_json::{Value, json};

#[path = "../tests/it/world.rs"]
mod world;

use world::{HOST, Netns, World};

const PORT: u16 = 5201;
const FLOW: u16 = 9001;

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let mut world = World::new();
    let web = world.instance(2);
    let bridge = world.agent.bridge.name.clone();
    crowd(&mut world.agent.desired, &bridge);
    world.agent.desired.interfaces.push(web.interface(&bridge));
    world.publish(Ipv4Addr::UNSPECIFIED, 9000, &web, PORT);
    let through = HostPort { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Udp, port: FLOW };
    world.agent.desired.ports.insert(through, Target { address: web.address.into(), port: FLOW });
    world.agent.apply(&world.host);
    let done = AtomicBool::new(false);
    let ((apply, change), flow) = std::thread::scope(|scope| {
        let running = scope.spawn(|| flow(&world.outside, &web.netns, &done));
        let changed = changes(&world, rounds * 10);
        done.store(true, Ordering::Relaxed);
        (changed, running.join().unwrap())
    });
    let mut servers = [serve(&web.netns), serve(&world.host)];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(throughput(&world.outside, 9000));
        theirs.push(throughput(&world.outside, PORT));
    }
    for server in &mut servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let published = json!({ "ours": ours, "peer": theirs });
    let figures = json!({ "published": published, "change": change, "apply": apply, "flow": flow });
    println!("{figures}");
}

fn crowd(desired: &mut Desired, bridge: &str) {
    desired.networks[0].access.ingress = Some(vec![AccessRule::default()]);
    for number in 0..200_u8 {
        let address = Ipv4Addr::new(10, 77, 1, 10 + number);
        let rule = AccessRule { protocol: Some(AccessProtocol::Tcp), ports: vec![80..=84], peers: None };
        desired.interfaces.push(Interface {
            name: format!("vcrowd{number}"),
            bridge: bridge.to_owned(),
            mac: MacAddress([2, 0, 0, 0, 1, number]),
            addresses: vec![address.into()],
            access: Access { ingress: Some(vec![rule]), egress: None },
        });
        for port in 0..5 {
            let host = 20_000 + u16::from(number) * 5 + port;
            let host =
                HostPort { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: host };
            desired.ports.insert(host, Target { address: address.into(), port: 80 + port });
        }
    }
}

type Edit = fn(&mut Desired);

/// What is changed, and by what; each is taken back again.
const CHANGES: [(&str, Edit); 6] = [
    ("port", |desired| desired.ports.retain(|port, _| port.port != 20_035)),
    ("instance", |desired| {
        let gone = desired.interfaces.remove(7);
        desired.ports.retain(|_, target| !gone.addresses.contains(&target.address));
    }),
    ("access rule", |desired| {
        let rule = AccessRule { protocol: Some(AccessProtocol::Udp), ports: vec![53..=53], peers: None };
        desired.interfaces[7].access.ingress.as_mut().unwrap().push(rule);
    }),
    ("access rules of all", |desired| {
        for interface in &mut desired.interfaces {
            interface.access.ingress.get_or_insert_default().push(AccessRule::default());
        }
    }),
    ("network's rule", |desired| {
        let rule = AccessRule { protocol: Some(AccessProtocol::Tcp), ports: vec![22..=22], peers: None };
        desired.networks[0].access.ingress.get_or_insert_default().insert(0, rule);
    }),
    // What a network itself is, nft changes.
    ("network's nat", |desired| desired.networks[0].nat = false),
];

fn changes(world: &World, rounds: usize) -> (Vec<f64>, Value) {
    let (firewall, before) = (&world.agent.firewall, &world.agent.desired);
    let timed = |call: &dyn Fn()| {
        let begun = Instant::now();
        call();
        begun.elapsed().as_secs_f64() * 1000.0
    };
    world.host.run(|| {
        let apply = (0..rounds).map(|_| timed(&|| firewall.apply(before).unwrap())).collect();
        let of = |(what, edit): (&str, Edit)| {
            let mut after = before.clone();
            edit(&mut after);
            let there_and_back = |_| {
                [(before, &after), (&after, before)]
                    .map(|(from, to)| timed(&|| firewall.change(from, to).unwrap()))
            };
            let times: Vec<f64> = (0..rounds).flat_map(there_and_back).collect();
            (what.to_owned(), json!(times))
        };
        let change = CHANGES.into_iter().map(of).collect::<serde_json::Map<_, _>>();
        assert_eq!(firewall.observe(before).unwrap(), State::AsDesired);
        (apply, change.into())
    })
}

/// Sends one packet after another from outside through a published port, each when the one before was answered.
fn flow(outside: &Netns, inside: &Netns, done: &AtomicBool) -> Value {
    let bound = |netns: &Netns, address: String| {
        let socket = netns.run(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    };
    let (server, client) = (bound(inside, format!("0.0.0.0:{FLOW}")), bound(outside, "0.0.0.0:0".to_owned()));
    client.connect((HOST, FLOW)).unwrap();
    let (mut packets, mut lost) = (0_u64, 0_u64);
    while !done.load(Ordering::Relaxed) {
        packets += 1;
        let number = packets.to_be_bytes();
        let mut buffer = [0; 8];
        client.send(&number).unwrap();
        let answered = server
            .recv_from(&mut buffer)
            .and_then(|(_, from)| server.send_to(&buffer, from))
            .and_then(|_| client.recv(&mut buffer));
        lost += u64::from(answered.is_err() || buffer != number);
    }
    json!({ "packets": packets, "lost": lost })
}

/// A server that listens when this returns.
fn serve(netns: &Netns) -> Child {
    netns.run(|| {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--forceflush", "--port", &PORT.to_string()]).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut out = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "iperf3 did not begin to listen");
        }
        // Read to its end, or the server would wait for somebody who does.
        std::thread::spawn(move || out.lines().for_each(drop));
        server
    })
}

fn throughput(netns: &Netns, port: u16) -> f64 {
    let answer = netns.sh(&format!("iperf3 --client {HOST} --port {port} --time 2 --omit 1 --json"));
    let figures: Value = serde_json::from_str(&answer).unwrap();
    figures["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e9
}
