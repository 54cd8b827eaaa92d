//! Access rules and isolated networks.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use berth_network::firewall::{AccessProtocol, AccessRule, Desired, Dropped};

use crate::world::{Agent, HOST, Instance, OUTSIDE, World};

fn tcp(port: u16, peers: Option<&str>) -> AccessRule {
    let peers = peers.map(|net| vec![net.parse().unwrap()]);
    AccessRule { protocol: Some(AccessProtocol::Tcp), ports: vec![port..=port], peers }
}

/// Changes what is there to what `edit` makes of it, as the agent does.
fn change(world: &mut World, edit: impl FnOnce(&mut Desired)) {
    let before = world.agent.desired.clone();
    edit(&mut world.agent.desired);
    let (firewall, desired) = (&world.agent.firewall, &world.agent.desired);
    world.host.run(|| firewall.change(&before, desired).unwrap());
    let seen = world.host.run(|| firewall.observe(desired).unwrap());
    assert_eq!(seen, berth_network::firewall::State::AsDesired);
}

fn dropped(world: &World, instance: &Instance) -> Dropped {
    world.host.run(|| world.agent.firewall.dropped(&instance.port).unwrap())
}

fn world() -> (World, Instance, Instance) {
    let mut world = World::new();
    let (web, other) = (world.instance(2), world.instance(3));
    let bridge = world.agent.bridge.name.clone();
    world.agent.desired.interfaces = [&web, &other].map(|instance| instance.interface(&bridge)).into();
    world.agent.apply(&world.host);
    (world, web, other)
}

fn pass(client: &mut TcpStream, server: &mut TcpStream) {
    let mut got = [0];
    client.write_all(b"x").unwrap();
    server.read_exact(&mut got).unwrap();
    server.write_all(&got).unwrap();
    client.read_exact(&mut got).unwrap();
}

#[test]
fn an_instance_is_reached_where_its_list_says_by_neighbours_and_from_outside() {
    let (mut world, web, other) = world();
    web.serve(80);
    web.serve(81);
    world.publish(HOST, 8080, &web, 80);
    world.publish(HOST, 8081, &web, 81);
    assert!(other.netns.ask("10.77.1.2:81").is_ok() && world.outside.ask(&format!("{HOST}:8081")).is_ok());
    change(&mut world, |desired| desired.interfaces[0].access.ingress = Some(vec![tcp(80, None)]));
    for (client, open, closed) in [
        (&other.netns, "10.77.1.2:80".to_owned(), "10.77.1.2:81".to_owned()),
        (&world.outside, format!("{HOST}:8080"), format!("{HOST}:8081")),
    ] {
        assert!(client.ask(&open).is_ok());
        let before = dropped(&world, &web);
        client.hears_nothing_from(&closed);
        assert!(dropped(&world, &web).ingress > before.ingress, "{closed} is counted");
    }
    assert_eq!((dropped(&world, &web).egress, dropped(&world, &other)), (0, Dropped::default()));
    // By who asks.
    let outside = format!("{OUTSIDE}/32");
    change(&mut world, |desired| desired.interfaces[0].access.ingress = Some(vec![tcp(80, Some(&outside))]));
    assert!(world.outside.ask(&format!("{HOST}:8080")).is_ok());
    other.netns.hears_nothing_from("10.77.1.2:80");
    change(&mut world, |desired| desired.interfaces[0].access.ingress = None);
    assert!(other.netns.ask("10.77.1.2:81").is_ok());
}

#[test]
fn what_goes_out_is_restricted_but_for_answers() {
    let (mut world, web, other) = world();
    web.serve(80);
    other.serve(80);
    world.outside.serve(&format!("{OUTSIDE}:80"));
    world.host.serve("10.77.1.1:5432");
    change(&mut world, |desired| {
        desired.interfaces[0].access.egress = Some(vec![tcp(80, Some("10.77.1.3/32"))])
    });
    assert!(web.netns.ask("10.77.1.3:80").is_ok());
    web.netns.hears_nothing_from(&format!("{OUTSIDE}:80"));
    web.netns.hears_nothing_from("10.77.1.1:5432");
    assert!(dropped(&world, &web).egress >= 2 && dropped(&world, &web).ingress == 0);
    assert!(other.netns.ask("10.77.1.2:80").is_ok(), "it answers");
    assert!(other.netns.ask(&format!("{OUTSIDE}:80")).is_ok(), "the other has no list");

    // UDP: what it is asked it answers, and no more.
    let bind = |instance: &Instance, address: &str| {
        let socket = instance.netns.run(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    };
    let (ours, theirs) = (bind(&web, "10.77.1.2:900"), bind(&other, "10.77.1.3:900"));
    ours.send_to(b"x", "10.77.1.3:900").unwrap();
    assert!(theirs.recv(&mut [0; 8]).is_err());
    theirs.send_to(b"x", "10.77.1.2:900").unwrap();
    ours.recv(&mut [0; 8]).unwrap();
    ours.send_to(b"x", "10.77.1.3:900").unwrap();
    theirs.recv(&mut [0; 8]).unwrap();
}

#[test]
fn a_networks_lists_are_asked_at_its_border_and_open_connections_go_on() {
    let (mut world, web, other) = world();
    other.serve(90);
    let listener = web.netns.run(|| TcpListener::bind("10.77.1.2:80").unwrap());
    world.publish(HOST, 8080, &web, 80);
    let address = std::net::SocketAddr::from((HOST, 8080));
    let mut client = world.outside.run(|| TcpStream::connect(address).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    pass(&mut client, &mut server);
    change(&mut world, |desired| {
        desired.networks[0].access.ingress = Some(Vec::new());
        desired.networks[0].access.egress = Some(Vec::new());
    });
    pass(&mut client, &mut server);
    world.outside.hears_nothing_from(&format!("{HOST}:8080"));
    assert!(web.netns.ask("10.77.1.3:90").is_ok(), "neighbours are inside");
    web.netns.hears_nothing_from(&format!("{OUTSIDE}:80"));
    pass(&mut client, &mut server);
}

#[test]
fn an_isolated_network_reaches_itself_and_the_host_alone() {
    let (mut world, web, other) = world();
    web.serve(80);
    other.serve(80);
    world.outside.serve(&format!("{OUTSIDE}:80"));
    world.host.serve("10.77.1.1:53");
    world.publish(HOST, 8080, &web, 80);
    let second = Agent::new(&world.host, "tesu", "10.77.2.0/24");
    let far = second.instance(&world.host, 2);
    assert!(far.netns.ask(&format!("{HOST}:8080")).is_ok());
    change(&mut world, |desired| desired.networks[0].isolated = true);
    for client in [&far.netns, &world.outside] {
        client.hears_nothing_from(&format!("{HOST}:8080"));
    }
    web.netns.hears_nothing_from(&format!("{OUTSIDE}:80"));
    assert!(web.netns.ask("10.77.1.3:80").is_ok());
    assert!(web.netns.ask("10.77.1.1:53").is_ok());
    assert!(world.host.ask(&format!("{HOST}:8080")).is_ok(), "from the host itself");
    change(&mut world, |desired| desired.networks[0].isolated = false);
    assert!(world.outside.ask(&format!("{HOST}:8080")).is_ok());
}
