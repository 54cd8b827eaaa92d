//! Measures networks in namespaces of its own: `network ROUNDS` prints its figures as JSON.
//!
//! `published`: Gbit/s of iperf3 from outside of the host to an instance, through a published port, and in turn to the host
//! itself over the same veth pair. `change`: milliseconds of a change of one instance's list and ports among two hundred with
//! five ports each; `apply`: of writing all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, dead_code)] // A measuring tool: what fails ends it.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use berth_network::firewall::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Protocol, Target,
};
use berth_sys::netlink::MacAddress;
use serde_json::{Value, json};

#[path = "../tests/it/world.rs"]
mod world;

use world::{HOST, Netns, World};

const PORT: u16 = 5201;

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let mut world = World::new();
    let web = world.instance(2);
    let bridge = world.agent.bridge.name.clone();
    crowd(&mut world.agent.desired, &bridge);
    world.agent.desired.interfaces.push(web.interface(&bridge));
    world.publish(Ipv4Addr::UNSPECIFIED, 9000, &web, PORT);
    let (apply, change) = changes(&world, rounds * 4);
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
    let figures = json!({ "published": { "ours": ours, "peer": theirs }, "change": change, "apply": apply });
    println!("{figures}");
}

fn crowd(desired: &mut Desired, bridge: &str) {
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

fn changes(world: &World, rounds: usize) -> (Vec<f64>, Vec<f64>) {
    let (firewall, before) = (&world.agent.firewall, &world.agent.desired);
    let mut after = before.clone();
    after.interfaces[7].access.ingress = Some(Vec::new());
    after.ports.pop_first();
    let timed = |call: &dyn Fn()| {
        let begun = Instant::now();
        call();
        begun.elapsed().as_secs_f64() * 1000.0
    };
    world.host.run(|| {
        let apply = (0..rounds).map(|_| timed(&|| firewall.apply(before).unwrap())).collect();
        let there_and_back = |_| {
            [(before, &after), (&after, before)]
                .map(|(from, to)| timed(&|| firewall.change(from, to).unwrap()))
        };
        (apply, (0..rounds).flat_map(there_and_back).collect())
    })
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
