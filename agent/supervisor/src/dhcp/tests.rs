//! The machine against servers that do as they should, and against others.

use std::net::Ipv4Addr;
use std::time::Duration;

use berth_runtime::lease::LeaseRoute;
use proptest::prelude::*;

use super::machine::{Action, Machine};
use super::message::{self, ACK, DISCOVER, NAK, OFFER, Query, RELEASE, REQUEST, Reply};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const SECOND: Duration = Duration::from_secs(1);
const SERVER: [u8; 4] = [192, 0, 2, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

fn machine(last: Option<(Ipv4Addr, bool)>) -> Machine {
    Machine::new(MAC, Some("web".into()), SECOND, 42, last, Duration::ZERO)
}

fn raw(kind: u8, xid: u32, address: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Query { kind, xid, mac: MAC, ..Query::default() }.write();
    bytes.truncate(240);
    bytes[0] = 2;
    bytes[16..20].copy_from_slice(&address.octets());
    bytes.extend([53, 1, kind]);
    for (code, value) in options {
        bytes.extend([*code, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

fn good(kind: u8, xid: u32) -> Vec<u8> {
    let options: [(u8, &[u8]); 5] = [
        (1, &[255, 255, 255, 0]),
        (3, &[192, 0, 2, 1]),
        (6, &[192, 0, 2, 2]),
        (51, &[0, 0, 0, 120]),
        (54, &SERVER),
    ];
    raw(kind, xid, ADDRESS, &options)
}

fn query(actions: &[Action]) -> Query {
    match actions {
        [Action::Broadcast(query) | Action::Unicast(query, _)] => query.clone(),
        other => panic!("{other:?}"),
    }
}

fn give(machine: &mut Machine, message: &[u8], now: Duration) -> Vec<Action> {
    machine.receive(&Reply::read(message).unwrap(), now)
}

fn bound(machine: &mut Machine) {
    let discover = query(&machine.tick(Duration::ZERO));
    assert_eq!(discover.kind, DISCOVER);
    let request = query(&give(machine, &good(OFFER, discover.xid), Duration::ZERO));
    assert_eq!((request.kind, request.requested), (REQUEST, Some(ADDRESS)));
    assert_eq!(request.server, Some(SERVER.into()));
    let actions = give(machine, &good(ACK, request.xid), Duration::ZERO);
    assert!(matches!(actions.as_slice(), [Action::Bound(lease)] if lease.address == ADDRESS), "{actions:?}");
}

#[test]
fn a_lease_is_taken_renewed_rebound_and_lost_in_time() {
    let mut machine = machine(None);
    bound(&mut machine);
    let first = machine.due().unwrap();
    assert!((Duration::from_secs(56)..=Duration::from_secs(60)).contains(&first), "{first:?}");
    let renew = query(&machine.tick(first));
    assert_eq!((renew.own, renew.requested, renew.server), (Some(ADDRESS), None, None));
    assert!(matches!(give(&mut machine, &good(ACK, renew.xid), first)[..], [Action::Bound(_)]));
    let mut now = machine.due().unwrap();
    assert!(now > first);
    let mut broadcasts = 0;
    let lost = loop {
        let actions = machine.tick(now);
        broadcasts += usize::from(matches!(actions[..], [Action::Broadcast(_)]));
        if actions.contains(&Action::Lost) {
            break now;
        }
        assert_eq!(machine.lease().unwrap().address, ADDRESS, "it is good until its end");
        now = machine.due().unwrap();
    };
    assert!(broadcasts > 0, "any server is asked before the end");
    assert_eq!(lost, first + SECOND * 120);
    assert!(machine.lease().is_none() && machine.trouble().is_some());
}

#[test]
fn a_refusal_takes_the_address_away_and_begins_anew() {
    let mut machine = machine(None);
    bound(&mut machine);
    let now = machine.due().unwrap();
    let renew = query(&machine.tick(now));
    let nak = raw(NAK, renew.xid, Ipv4Addr::UNSPECIFIED, &[(54, &SERVER), (56, b"moved\n")]);
    let foreign = raw(NAK, renew.xid, Ipv4Addr::UNSPECIFIED, &[(54, &[192, 0, 2, 9])]);
    assert_eq!(give(&mut machine, &foreign, now), [], "another server has no say");
    assert_eq!(give(&mut machine, &nak, now), [Action::Lost]);
    assert_eq!(machine.trouble(), Some("the server takes the address back: moved"));
    assert_eq!(query(&machine.tick(now)).requested, None);
}

#[test]
fn an_address_of_before_is_asked_for_without_an_offer() {
    let mut first = machine(Some((ADDRESS, true)));
    let request = query(&first.tick(Duration::ZERO));
    assert_eq!((request.kind, request.requested, request.server), (REQUEST, Some(ADDRESS), None));
    assert!(matches!(give(&mut first, &good(ACK, request.xid), Duration::ZERO)[..], [Action::Bound(_)]));
    let over = query(&machine(Some((ADDRESS, false))).tick(Duration::ZERO));
    assert_eq!((over.kind, over.requested), (DISCOVER, Some(ADDRESS)));
    // Nobody answers: after a few tries anything will do.
    let mut alone = machine(Some((ADDRESS, true)));
    let kinds: Vec<u8> = (0..5).map(|_| query(&alone.tick(alone.due().unwrap())).kind).collect();
    assert_eq!(kinds, [REQUEST, REQUEST, REQUEST, DISCOVER, DISCOVER]);
}

#[test]
fn a_lease_is_given_back_to_its_server() {
    let mut machine = machine(None);
    assert_eq!(machine.release(), None);
    bound(&mut machine);
    match machine.release() {
        Some(Action::Unicast(query, server)) => {
            assert_eq!((query.kind, query.own, server), (RELEASE, Some(ADDRESS), SERVER.into()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((machine.lease(), machine.due()), (None, None));
}

#[test]
fn a_server_that_never_answers_is_asked_less_and_less() {
    let mut machine = machine(None);
    let mut times = vec![Duration::ZERO];
    for _ in 0..8 {
        let now = machine.due().unwrap();
        assert_eq!(query(&machine.tick(now)).kind, DISCOVER);
        times.push(machine.due().unwrap());
    }
    let gaps: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    for (gap, around) in gaps.iter().zip([4, 8, 16, 32, 64, 64, 64, 64]) {
        assert!((around - 1..=around + 1).contains(gap), "{gaps:?}");
    }
    assert!(machine.trouble().unwrap().contains("no server"));
}

#[test]
fn offers_of_nonsense_are_passed_over_and_named() {
    let mask: (u8, &[u8]) = (1, &[255, 255, 255, 0]);
    let time: (u8, &[u8]) = (51, &[0, 0, 0, 120]);
    let server: (u8, &[u8]) = (54, &SERVER);
    let all = [mask, time, server];
    let at = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    type Case<'a> = (Ipv4Addr, Vec<(u8, &'a [u8])>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (at("0.0.0.0"), all.to_vec(), "no address for a host"),
        (at("255.255.255.255"), all.to_vec(), "no address for a host"),
        (at("224.0.0.5"), all.to_vec(), "no address for a host"),
        (at("127.0.0.1"), all.to_vec(), "no address for a host"),
        (at("192.0.2.255"), all.to_vec(), "broadcast"),
        (at("192.0.2.0"), all.to_vec(), "broadcast"),
        (ADDRESS, vec![(1, &[255, 0, 255, 0]), time, server], "no network mask"),
        (ADDRESS, vec![(1, &[0, 0, 0, 0]), time, server], "no network mask"),
        (ADDRESS, vec![(1, &[255, 255]), time, server], "cut short"),
        (ADDRESS, vec![mask, (51, &[0, 0, 0, 1]), server], "too short"),
        (ADDRESS, vec![mask, (51, &[0, 0, 0, 0]), server], "too short"),
        (ADDRESS, vec![mask, server], "for how long"),
        (ADDRESS, vec![mask, time], "who the server is"),
        (ADDRESS, vec![mask, time, (54, &[255, 255, 255, 255])], "who the server is"),
    ];
    for (address, options, reason) in cases {
        let mut machine = machine(None);
        let xid = query(&machine.tick(Duration::ZERO)).xid;
        assert_eq!(give(&mut machine, &raw(OFFER, xid, address, &options), Duration::ZERO), []);
        let trouble = machine.trouble().unwrap().to_owned();
        assert!(trouble.contains(reason), "{reason}: {trouble}");
        // And an honest one beside it is taken.
        assert_eq!(query(&give(&mut machine, &good(OFFER, xid), Duration::ZERO)).kind, REQUEST);
    }
}

#[test]
fn answers_to_others_are_not_ours() {
    let mut machine = machine(None);
    let xid = query(&machine.tick(Duration::ZERO)).xid;
    assert_eq!(give(&mut machine, &good(OFFER, xid.wrapping_add(1)), Duration::ZERO), []);
    let mut foreign = good(OFFER, xid);
    foreign[28] ^= 1;
    assert_eq!(give(&mut machine, &foreign, Duration::ZERO), []);
    assert_eq!(give(&mut machine, &good(ACK, xid), Duration::ZERO), [], "nothing was asked for");
}

#[test]
fn a_lease_without_end_is_never_asked_for_again() {
    let options: [(u8, &[u8]); 2] = [(51, &[255; 4]), (54, &SERVER)];
    let mut machine = machine(Some((ADDRESS, true)));
    let xid = query(&machine.tick(Duration::ZERO)).xid;
    let actions = give(&mut machine, &raw(ACK, xid, ADDRESS, &options), Duration::ZERO);
    assert!(matches!(&actions[..], [Action::Bound(lease)] if lease.seconds.is_none()), "{actions:?}");
    assert_eq!(machine.due(), None);
}

#[test]
fn classless_routes_stand_for_the_router() {
    let routes = [24, 10, 1, 2, 192, 0, 2, 3, 0, 192, 0, 2, 4, 16, 10, 9, 0, 0, 0, 0, 33, 1];
    let options: [(u8, &[u8]); 5] =
        [(1, &[255, 255, 255, 0]), (3, &[192, 0, 2, 1]), (51, &[0, 0, 1, 0]), (54, &SERVER), (121, &routes)];
    let lease = Reply::read(&raw(ACK, 1, ADDRESS, &options)).unwrap().lease().unwrap();
    let route = |destination: &str, prefix_len, gateway: Option<&str>| LeaseRoute {
        destination: destination.parse().unwrap(),
        prefix_len,
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    let expected = [
        route("10.1.2.0", 24, Some("192.0.2.3")),
        route("0.0.0.0", 0, Some("192.0.2.4")),
        route("10.9.0.0", 16, None),
    ];
    assert_eq!(lease.routes, expected);
}

#[test]
fn a_domain_is_no_second_line() {
    let domain = |value: &[u8]| {
        let options: [(u8, &[u8]); 3] = [(51, &[0, 0, 1, 0]), (54, &SERVER), (15, value)];
        Reply::read(&raw(ACK, 1, ADDRESS, &options)).unwrap().lease().unwrap().domain
    };
    assert_eq!(domain(b"lan.example"), Some("lan.example".into()));
    assert_eq!(domain(b"lan\nnameserver 203.0.113.66"), None);
}

#[test]
fn a_packet_carries_its_message() {
    let message = good(OFFER, 7);
    let mut packet = message::packet(&message);
    assert_eq!(message::payload(&packet), None, "it goes to a server");
    packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
    assert_eq!(message::payload(&packet), Some(&message[..]));
    for length in 0..packet.len() {
        assert_eq!(message::payload(&packet[..length]), None, "cut at {length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = message::payload(&bytes).and_then(Reply::read);
        if let Some(reply) = Reply::read(&bytes) {
            let _ = reply.lease();
        }
    }

    /// Whatever a server says and whenever: an address that is in use is one that a host can have, nothing that is due
    /// lies in the past for ever, and no more is sent than time has passed for.
    #[test]
    fn whatever_a_server_says_the_lease_is_sane(
        steps in proptest::collection::vec(
            (any::<u8>(), any::<u32>(), any::<u32>(), 0u64..200, any::<bool>()), 1..60),
    ) {
        let mut machine = machine(None);
        let (mut now, mut xid, mut sent) = (Duration::ZERO, 0, 0usize);
        for (kind, address, time, wait, honest) in &steps {
            now += Duration::from_secs(*wait);
            for _ in 0..4 {
                for action in machine.tick(now) {
                    if let Action::Broadcast(query) | Action::Unicast(query, _) = action {
                        (xid, sent) = (query.xid, sent + 1);
                    }
                }
            }
            prop_assert!(machine.due().is_none_or(|due| due > now));
            let message = if *honest {
                good([OFFER, ACK, NAK][usize::from(kind % 3)], xid)
            } else {
                let time = time.to_be_bytes();
                let mask = u32::MAX.checked_shl(u32::from(kind % 40)).unwrap_or(0).to_be_bytes();
                let options: [(u8, &[u8]); 4] = [(51, &time), (54, &SERVER), (1, &mask), (58, &time)];
                raw([OFFER, ACK, NAK][usize::from(kind % 3)], xid, Ipv4Addr::from_bits(*address), &options)
            };
            for action in give(&mut machine, &message, now) {
                if let Action::Broadcast(query) | Action::Unicast(query, _) = action {
                    (xid, sent) = (query.xid, sent + 1);
                }
            }
            if let Some(lease) = machine.lease() {
                let own = lease.address;
                prop_assert!(!own.is_unspecified() && !own.is_loopback() && !own.is_multicast());
                prop_assert!(!own.is_broadcast() && (1..=32).contains(&lease.prefix_len));
                prop_assert!(lease.renew_seconds < lease.rebind_seconds);
            }
        }
        prop_assert!(sent <= 6 * steps.len(), "{sent} messages in {} steps", steps.len());
    }
}
