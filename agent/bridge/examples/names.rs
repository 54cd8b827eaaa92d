//! Measures answers for names: `names PROGRAM` starts the helper in a network namespace of its own, with two hundred names, and
//! prints as JSON the milliseconds of questions one after the other, and how many it answers in a second to one client.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A measuring tool: what fails ends it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use berth_network::firewall::Protocol;
use berth_network::helper::{Config, Helper, Socket, Zone};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::sched::{CloneFlags, unshare};

const QUESTIONS: usize = 5000;
const AT_ONCE: usize = 32;
const LONG: Duration = Duration::from_secs(3);

fn main() {
    let program = std::env::args().nth(1).unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let directory = tempfile::tempdir().unwrap();
    let mut started = Helper::start(Path::new(&program), &directory.path().join("names.sock")).unwrap();
    started.helper.configure(&config()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect("127.0.0.1:53").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let questions: Vec<Vec<u8>> = (0..200).map(question).collect();
    let mut buffer = [0; 512];
    let mut times: Vec<f64> = questions
        .iter()
        .cycle()
        .take(QUESTIONS)
        .map(|question| {
            let begun = Instant::now();
            client.send(question).unwrap();
            client.recv(&mut buffer).unwrap();
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let mut asked = questions.iter().cycle();
    for question in asked.by_ref().take(AT_ONCE) {
        client.send(question).unwrap();
    }
    let (begun, mut answers) = (Instant::now(), 0_u32);
    while begun.elapsed() < LONG {
        client.recv(&mut buffer).unwrap();
        answers += 1;
        client.send(asked.next().unwrap()).unwrap();
    }
    let per_second = f64::from(answers) / begun.elapsed().as_secs_f64();
    started.helper.quit().unwrap();
    started.process.wait().unwrap();
    let figures = serde_json::json!({ "median_ms": times[QUESTIONS / 2], "p99_ms": times[QUESTIONS * 99 / 100], "per_second": per_second });
    println!("{figures}");
}

fn config() -> Config {
    let name = |number: u8| {
        (format!("instance{number}"), BTreeSet::from([IpAddr::V4(Ipv4Addr::new(10, 1, 2, number))]))
    };
    let zone = Zone {
        domain: "default.berth".to_owned(),
        subnets: vec!["10.1.2.0/24".parse().unwrap()],
        names: (0..200).map(name).collect(),
    };
    let (address, device) = ("127.0.0.1:53".parse().unwrap(), Some("lo".to_owned()));
    let sockets = BTreeSet::from([Socket { address, protocol: Protocol::Udp, device }]);
    Config { zones: vec![zone], sockets, ..Config::default() }
}

fn question(number: u8) -> Vec<u8> {
    let mut message = Message::new(u16::from(number), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("instance{number}.default.berth.")).unwrap();
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().unwrap()
}
