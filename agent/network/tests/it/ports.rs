//! Holding ports that are published.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use berth_network::{
    firewall::{HostPort, Protocol},
    ports::{self, PortError},
};

use crate::world::World;

#[test]
fn a_held_port_is_refused_to_others_and_still_leads_to_the_instance() {
    let mut world = World::new();
    let web = world.instance(2);
    web.serve(80);
    let port = HostPort { address: Ipv4Addr::LOCALHOST.into(), protocol: Protocol::Tcp, port: 8080 };
    let held = world.host.run(|| ports::hold(port).unwrap());
    world.publish(Ipv4Addr::LOCALHOST, port.port, &web, 80);
    assert_eq!(world.host.ask("127.0.0.1:8080").unwrap(), "10.77.1.1", "the instance, not the holder");
    let error = world.host.run(|| TcpListener::bind("127.0.0.1:8080").unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let wildcard = world.host.run(|| ports::check_free(Ipv4Addr::UNSPECIFIED.into(), 8080, Protocol::Tcp));
    assert!(matches!(wildcard, Err(PortError::Taken { .. })));
    let shown = world.host.sh("ss -ltnpH 'sport = :8080'");
    assert!(shown.contains(&format!("pid={}", std::process::id())), "{shown}");
    drop(held);
    world.host.run(|| ports::check_free(port.address, port.port, port.protocol).unwrap());
}

#[test]
fn a_taken_port_names_the_program_that_has_it() {
    let world = World::new();
    let mut program = world.host.run(|| {
        let script = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalAddr => '0.0.0.0:8080', Listen => 1); \
                      $| = 1; print \"ready\\n\"; <STDIN>;";
        let mut program = Command::new("perl");
        program.args(["-e", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        program.spawn().unwrap()
    });
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(program.stdout.take().unwrap()), &mut ready)
        .unwrap();
    let error = world.host.run(|| ports::check_free(Ipv4Addr::LOCALHOST.into(), 8080, Protocol::Tcp));
    // Its input ends, and so does it.
    drop(program.stdin.take());
    program.wait().unwrap();
    let expected = format!("port 127.0.0.1:8080/tcp is in use by perl (process {})", program.id());
    assert_eq!(error.unwrap_err().to_string(), expected);
}
