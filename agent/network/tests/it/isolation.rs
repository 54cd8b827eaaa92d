//! What must not pass.

use std::net::Ipv4Addr;

use crate::world::{HOST, Instance, Netns, World};

/// Lets a namespace send to 127.0.0.1 through a neighbour, as a hostile one would.
fn send_loopback_through(netns: &Netns, neighbour: Ipv4Addr) {
    netns.sh(&format!(
        "sysctl -qw net.ipv4.conf.all.route_localnet=1
         ip route flush table local 127.0.0.0/8 2>/dev/null || true
         ip link set lo down
         ip address flush dev lo
         ip route add 127.0.0.1/32 via {neighbour} dev eth0"
    ));
}

fn dropped(host: &Netns, rule: &str) -> u64 {
    let listing = host.sh("nft list table inet berthtest");
    let line = listing.lines().find(|line| line.contains(rule)).unwrap();
    let mut words = line.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_not_published_is_not_reached_from_outside() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    web.serve(81);
    world.publish(Ipv4Addr::LOCALHOST, 8080, &web, 80);
    world.publish(HOST, 8081, &web, 81);
    world.outside.sh(&format!("ip route add 10.77.1.0/24 via {HOST}"));
    assert!(world.outside.ask(&format!("{HOST}:8081")).is_ok(), "the way is open");
    for port in [80, 81] {
        world.outside.hears_nothing_from(&format!("{}:{port}", web.address));
    }
    assert!(dropped(&world.host, "nothing else enters") >= 2);
    // The host itself may.
    assert!(world.host.ask(&format!("{}:80", web.address)).is_ok());
}

#[test]
fn what_is_published_on_loopback_is_not_reached_by_a_neighbour_that_sends_to_loopback() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    world.publish(Ipv4Addr::LOCALHOST, 8080, &web, 80);
    send_loopback_through(&world.outside, HOST);
    world.outside.hears_nothing_from("127.0.0.1:8080");
    assert!(world.host.ask("127.0.0.1:8080").is_ok());
}

#[test]
fn an_instance_does_not_reach_the_hosts_loopback() {
    let world = World::new();
    let instance = world.instance(2);
    world.host.serve("127.0.0.1:5432");
    send_loopback_through(&instance.netns, world.agent.bridge.gateway.addr());
    instance.netns.hears_nothing_from("127.0.0.1:5432");
    assert!(dropped(&world.host, "no way to the host's loopback") >= 1);
}

#[test]
fn an_instance_cannot_speak_in_a_foreign_name() {
    let world = World::new();
    let Instance { netns, .. } = world.instance(2);
    world.host.serve("0.0.0.0:5432");
    let gateway = world.agent.bridge.gateway.addr();
    assert!(netns.ask(&format!("{gateway}:5432")).is_ok());
    netns.sh(&format!(
        "ip address add 198.51.100.9/32 dev eth0; ip route replace {gateway} dev eth0 src 198.51.100.9"
    ));
    // The host would answer: it is told where the address is.
    world.host.sh("ip route add 198.51.100.9/32 dev berthtest0");
    netns.hears_nothing_from(&format!("{gateway}:5432"));
    assert!(dropped(&world.host, "no foreign source") >= 1);
}
