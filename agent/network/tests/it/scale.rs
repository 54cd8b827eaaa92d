//! Two hundred instances: what a change takes, and that a running flow does not notice it.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use berth_network::firewall::{
    Access, AccessProtocol, AccessRule, Desired, HostPort, Interface, Protocol, State, Target,
};
use berth_sys::netlink::MacAddress;

use crate::world::World;

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
            let port_of_host =
                HostPort { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: host };
            desired.ports.insert(port_of_host, Target { address: address.into(), port: 80 + port });
        }
    }
}

#[test]
fn a_change_among_two_hundred_instances_is_quick_and_loses_nothing_of_a_flow() {
    let mut world = World::new();
    let web = world.instance(2);
    let bridge = world.agent.bridge.name.clone();
    crowd(&mut world.agent.desired, &bridge);
    world.agent.desired.interfaces.push(web.interface(&bridge));
    let port = HostPort { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Udp, port: 9000 };
    world.agent.desired.ports.insert(port, Target { address: web.address.into(), port: 9000 });
    world.agent.apply(&world.host);

    let server = web.netns.run(|| UdpSocket::bind("10.77.1.2:9000").unwrap());
    let client = world.outside.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    client.connect("203.0.113.1:9000").unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let done = AtomicBool::new(false);
    let (firewall, before) = (&world.agent.firewall, &world.agent.desired);
    let mut after = before.clone();
    let rule = AccessRule { protocol: Some(AccessProtocol::Udp), ports: vec![53..=53], peers: None };
    after.interfaces[7].access.ingress.as_mut().unwrap().push(rule);
    after.interfaces[200].access.ingress = Some(Vec::new());
    after.ports.pop_first();
    let (mut times, packets) = std::thread::scope(|scope| {
        let flow = scope.spawn(|| {
            let mut packets = 0_u32;
            let mut buffer = [0; 4];
            while !done.load(Ordering::Relaxed) {
                client.send(&packets.to_be_bytes()).unwrap();
                let (_, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer, from).unwrap();
                client.recv(&mut buffer).unwrap();
                assert_eq!(u32::from_be_bytes(buffer), packets, "one was lost");
                packets += 1;
            }
            packets
        });
        let times = world.host.run(|| {
            let mut times = Vec::new();
            for _ in 0..20 {
                for (from, to) in [(before, &after), (&after, before)] {
                    let begun = Instant::now();
                    firewall.change(from, to).unwrap();
                    times.push(begun.elapsed());
                }
            }
            times
        });
        done.store(true, Ordering::Relaxed);
        (times, flow.join().unwrap())
    });
    assert_eq!(world.host.run(|| firewall.observe(before).unwrap()), State::AsDesired);
    times.sort();
    let begun = Instant::now();
    world.agent.apply(&world.host);
    println!(
        "change: median {:?}, worst {:?}; all anew {:?}; {packets} packets of the flow, none lost",
        times[20],
        times[39],
        begun.elapsed()
    );
    assert!(packets > 40, "the flow ran");
    // The quickest, whatever else the machine does: running a program takes longer.
    assert!(times[0] < Duration::from_millis(10) && times[20] < Duration::from_millis(100), "{times:?}");
}
