use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use berth_dhcp::{Sender, kind, option};
use berth_network::helper::{Dhcp as Config, Lease};
use proptest::prelude::*;

use super::pool::{Pool, Reply};
use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 1);
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const INSTANCE: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const HOUR: u64 = 3_600_000;

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 2, last)
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, number]
}

fn config(first: u8, last: u8) -> Config {
    Config {
        subnet: "10.1.2.0/24".parse().unwrap(),
        gateway: GATEWAY,
        first: at(first),
        last: at(last),
        lease_seconds: 3600,
        mtu: Some(1400),
        instances: BTreeMap::from([("02:00:00:00:00:99".to_owned(), BTreeSet::from([at(11)]))]),
    }
}

fn pool(first: u8, last: u8) -> Pool {
    Pool::new(config(first, last), "net.berth".to_owned(), true)
}

fn message(kind: u8, mac: [u8; 6]) -> Message {
    Message { kind, xid: 7, mac, ..Message::default() }
}

fn discover(pool: &mut Pool, now: u64, mac: [u8; 6]) -> Option<Ipv4Addr> {
    let reply = pool.answer(now, NOBODY, &message(kind::DISCOVER, mac))?;
    assert_eq!(reply.message.kind, kind::OFFER);
    Some(reply.message.given)
}

/// Takes an offer.
fn select(mac: [u8; 6], address: Ipv4Addr) -> Message {
    message(kind::REQUEST, mac)
        .with(option::SERVER, GATEWAY.octets())
        .with(option::REQUESTED_ADDRESS, address.octets())
}

/// Asks for what it had before its last start.
fn reboot(mac: [u8; 6], address: Ipv4Addr) -> Message {
    message(kind::REQUEST, mac).with(option::REQUESTED_ADDRESS, address.octets())
}

fn renew(mac: [u8; 6], address: Ipv4Addr) -> Message {
    Message { own: address, ..message(kind::REQUEST, mac) }
}

fn said(reply: Option<Reply>) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
    reply.map(|reply| (reply.message.kind, reply.message.given, *reply.to.ip()))
}

fn ask(pool: &mut Pool, now: u64, asked: &Message) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
    said(pool.answer(now, NOBODY, asked))
}

const NAK: Option<(u8, Ipv4Addr, Ipv4Addr)> = Some((kind::NAK, NOBODY, Ipv4Addr::BROADCAST));

fn lease(pool: &mut Pool, now: u64, mac: [u8; 6]) -> Ipv4Addr {
    let offered = discover(pool, now, mac).unwrap();
    assert_eq!(ask(pool, now, &select(mac, offered)), Some((kind::ACK, offered, Ipv4Addr::BROADCAST)));
    offered
}

#[test]
fn an_address_comes_with_all_that_is_needed_to_use_it() {
    let mut pool = pool(10, 20);
    let asked =
        message(kind::DISCOVER, mac(1)).with(option::CLIENT, [1, 2, 3]).with(option::HOSTNAME, "guest");
    let reply = pool.answer(0, NOBODY, &Message { broadcast: true, ..asked }).unwrap();
    let Message { sender, xid, broadcast, mac: to, given, .. } = reply.message;
    assert_eq!((sender, xid, broadcast, to), (Sender::Server, 7, true, mac(1)));
    assert!((at(10)..=at(20)).contains(&given) && given != at(11), "{given}");
    let said = |code| reply.message.option(code);
    assert_eq!(said(option::SUBNET_MASK), [255, 255, 255, 0]);
    assert_eq!(said(option::BROADCAST), [10, 1, 2, 255]);
    for code in [option::ROUTER, option::DNS, option::SERVER] {
        assert_eq!(said(code), GATEWAY.octets());
    }
    assert_eq!(said(option::DOMAIN), b"net.berth");
    assert_eq!(said(option::MTU), 1400_u16.to_be_bytes());
    assert_eq!(said(option::CLIENT), [1, 2, 3]);
    let times =
        [option::RENEW_TIME, option::REBIND_TIME, option::LEASE_TIME].map(|it| reply.message.number(it));
    assert_eq!(times, [Some(1800), Some(3150), Some(3600)]);
    assert_eq!(reply.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    assert_eq!(pool.leases().leases, [], "nothing is given that is only offered");
    let asked = select(mac(1), given).with(option::HOSTNAME, "guest");
    pool.answer(5, NOBODY, &asked).unwrap();
    let (address, mac) = (given, "02:00:00:00:01:01".to_owned());
    let expected = Lease { address, mac, hostname: Some("guest".to_owned()), expires_ms: HOUR + 5 };
    assert_eq!(pool.leases().leases, [expected]);
    // Where nobody answers for names, nobody is asked.
    pool.configure(config(10, 20), "net.berth".to_owned(), false);
    let reply = pool.answer(9, given, &renew([2, 0, 0, 0, 1, 1], given)).unwrap();
    assert_eq!((reply.message.option(option::DNS), *reply.to.ip()), (&[][..], given));
}

#[test]
fn who_has_one_keeps_it_and_others_get_others() {
    let mut pool = pool(10, 20);
    let first = lease(&mut pool, 0, mac(1));
    let second = lease(&mut pool, 0, mac(2));
    assert_ne!(first, second);
    assert_eq!(discover(&mut pool, 1, mac(1)), Some(first));
    for asked in [renew(mac(1), first), reboot(mac(1), first), select(mac(1), first)] {
        let (kind, given, _) = ask(&mut pool, 2, &asked).unwrap();
        assert_eq!((kind, given), (kind::ACK, first));
    }
    for asked in [renew(mac(2), first), reboot(mac(2), first), select(mac(2), first), reboot(mac(1), at(99))]
    {
        assert_eq!(ask(&mut pool, 3, &asked), NAK);
    }
    assert_eq!(ask(&mut pool, 3, &reboot(mac(1), Ipv4Addr::new(192, 0, 2, 7))), NAK);
    // Of what it has forgotten it gives what is free: a helper may have been killed.
    assert_eq!(ask(&mut pool, 3, &reboot(mac(3), at(20))).unwrap().0, kind::ACK);
    // Released or ended it is its holder's still, until another needs it.
    pool.answer(4, first, &Message { own: first, ..select(mac(1), first) });
    let release = Message { kind: kind::RELEASE, own: first, ..select(mac(1), first) };
    assert_eq!(ask(&mut pool, 5, &Message { mac: mac(2), ..release.clone() }), None);
    assert_eq!(ask(&mut pool, 6, &reboot(mac(4), first)), NAK, "it is not another's to release");
    assert_eq!(ask(&mut pool, 7, &release), None);
    assert_eq!(discover(&mut pool, 8, mac(1)), Some(first));
    assert_eq!(ask(&mut pool, 9, &reboot(mac(4), first)).unwrap().0, kind::ACK);
    assert_eq!(discover(&mut pool, 2 * HOUR, mac(2)), Some(second));
}

#[test]
fn an_instance_is_told_its_own_and_nobody_else_is() {
    let mut pool = pool(10, 12);
    for _ in 0..300 {
        assert_eq!(discover(&mut pool, 0, INSTANCE), Some(at(11)));
    }
    assert_eq!(ask(&mut pool, 0, &select(INSTANCE, at(11))).unwrap().1, at(11));
    assert_eq!(ask(&mut pool, 0, &select(INSTANCE, at(12))), NAK);
    assert_eq!(ask(&mut pool, 0, &reboot(mac(1), at(11))), NAK);
    assert_eq!(pool.leases(), Leases::default(), "it takes nothing of what there is for others");
    let given: BTreeSet<_> = [1, 2].map(|number| lease(&mut pool, 0, mac(number))).into();
    assert_eq!(given, BTreeSet::from([at(10), at(12)]));
    // An address that an instance has now is given to nobody, whoever has it.
    let mut changed = config(10, 12);
    changed.instances.insert("02:00:00:00:00:98".to_owned(), BTreeSet::from([at(12)]));
    pool.configure(changed, "net.berth".to_owned(), true);
    assert_eq!(pool.leases().leases.len(), 1);
    let robbed = if discover(&mut pool, 1, mac(1)).is_none() { 1 } else { 2 };
    assert_eq!(ask(&mut pool, 1, &renew(mac(robbed), at(12))), NAK);
}

#[test]
fn a_range_that_is_exhausted_says_nothing_and_is_told_of_once() {
    let mut pool = pool(10, 13);
    for number in 1..=3 {
        lease(&mut pool, 5, mac(number));
    }
    assert!(pool.has_changed());
    assert_eq!(discover(&mut pool, 6, mac(4)), None);
    assert_eq!(pool.leases().exhausted_ms, Some(6));
    assert!(pool.has_changed());
    assert_eq!(discover(&mut pool, 7, mac(5)), None);
    assert_eq!(pool.leases().exhausted_ms, Some(6));
    assert!(!pool.has_changed());
    // Who has something is served as ever; what ended longest ago is given first.
    let first = discover(&mut pool, 8, mac(1)).unwrap();
    assert_eq!(ask(&mut pool, 8, &renew(mac(1), first)).unwrap().0, kind::ACK);
    let fourth = discover(&mut pool, 5 + HOUR, mac(4)).unwrap();
    assert_ne!(fourth, first);
    assert_eq!(pool.leases().exhausted_ms, None);
    // Offers keep nobody from anything.
    for number in 0..=255 {
        discover(&mut pool, 6 + HOUR, [6, 6, 6, 6, 6, number]).unwrap();
    }
    assert_eq!(ask(&mut pool, 7 + HOUR, &select(mac(4), fourth)).unwrap().0, kind::ACK);
}

#[test]
fn what_another_uses_is_set_aside() {
    let mut pool = pool(10, 12);
    let first = lease(&mut pool, 0, mac(1));
    let decline = |mac, address| Message { kind: kind::DECLINE, ..select(mac, address) };
    assert_eq!(ask(&mut pool, 1, &decline(mac(2), first)), None);
    assert_eq!(pool.leases().leases.len(), 1, "it is not another's to decline");
    assert_eq!(ask(&mut pool, 2, &decline(mac(1), first)), None);
    assert_eq!(pool.leases().leases, []);
    let other = lease(&mut pool, 3, mac(1));
    assert_ne!(other, first);
    // Before nobody gets anything, it is tried again; after ten minutes it is as any.
    assert_eq!(discover(&mut pool, 4, mac(2)), Some(first));
    assert_eq!(discover(&mut pool, 700_000, mac(3)), Some(first));
}

#[test]
fn what_is_not_for_this_server_is_not_answered() {
    let mut pool = pool(10, 20);
    let question = || message(kind::DISCOVER, mac(1));
    let other = select(mac(1), at(10)).with(option::SERVER, [10, 1, 2, 99]);
    for asked in [
        Message { sender: Sender::Server, ..question() },
        Message { relay: at(5), ..question() },
        Message { mac: [0; 6], ..question() },
        Message { mac: [0xff; 6], ..question() },
        Message { kind: kind::OFFER, ..question() },
        Message { kind: 99, ..question() },
        message(kind::REQUEST, mac(1)),
        Message { own: at(10), ..reboot(mac(1), at(10)) },
        Message { kind: kind::RELEASE, ..other.clone() },
        Message { kind: kind::DECLINE, ..other.clone() },
        other,
    ] {
        assert_eq!(ask(&mut pool, 0, &asked), None, "{asked:?}");
    }
    // Who has an address of its own is told the rest where it is, and nobody else anywhere.
    let inform = Message { own: at(77), ..message(kind::INFORM, mac(1)) };
    let reply = pool.answer(0, at(77), &inform).unwrap();
    assert_eq!((reply.message.given, *reply.to.ip()), (NOBODY, at(77)));
    assert_eq!(
        (reply.message.option(option::LEASE_TIME), reply.message.option(option::DNS).len()),
        (&[][..], 4)
    );
    assert_eq!(pool.answer(0, at(78), &inform), None);
    let far = Ipv4Addr::new(192, 0, 2, 7);
    assert_eq!(pool.answer(0, far, &Message { own: far, ..inform }), None);
}

#[test]
fn another_range_is_given_from_at_once() {
    let mut pool = pool(10, 20);
    let first = lease(&mut pool, 0, mac(1));
    pool.configure(config(30, 40), "net.berth".to_owned(), true);
    assert_eq!(ask(&mut pool, 1, &renew(mac(1), first)), NAK);
    let next = lease(&mut pool, 2, mac(1));
    assert!((at(30)..=at(40)).contains(&next));
    assert_eq!(pool.leases().leases.len(), 1, "who has another has the one of before no more");
}

#[test]
fn what_was_given_before_is_known_again() {
    let mut before = pool(10, 20);
    let first = lease(&mut before, 0, mac(1));
    let mut kept = before.leases();
    let other = if first == at(13) { at(14) } else { at(13) };
    let damaged = |address: Ipv4Addr, mac: &str| Lease {
        address,
        mac: mac.to_owned(),
        hostname: Some("a\nb".to_owned()),
        expires_ms: HOUR,
    };
    kept.leases.extend([
        damaged(at(12), "nonsense"),
        damaged(Ipv4Addr::new(192, 0, 2, 7), "02:00:00:00:01:07"),
        damaged(at(11), "02:00:00:00:01:08"),
        damaged(GATEWAY, "02:00:00:00:01:09"),
        damaged(other, "02:00:00:00:01:0a"),
    ]);
    let mut after = pool(10, 20);
    after.remember(kept);
    let known: Vec<_> = after.leases().leases.into_iter().map(|it| (it.address, it.hostname)).collect();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&(other, None)) && known.contains(&(first, None)));
    assert_eq!(discover(&mut after, 1, mac(1)), Some(first));
    assert_eq!(ask(&mut after, 1, &reboot(mac(2), first)), NAK);
}

#[test]
fn what_cannot_be_kept_is_not_given() {
    let directory = tempfile::tempdir().unwrap();
    let mut dhcp = Dhcp::default();
    dhcp.configure(&berth_network::helper::Config { dhcp: Some(config(10, 20)), ..Default::default() });
    let answer = |dhcp: &mut Dhcp, asked: &Message| {
        let (reply, _) = dhcp.answer(NOBODY, &asked.write())?;
        Some(Message::read(&reply).unwrap())
    };
    let offered = answer(&mut dhcp, &message(kind::DISCOVER, mac(1))).unwrap().given;
    assert_eq!(answer(&mut dhcp, &select(mac(1), offered)), None);
    dhcp.keep(berth_sys::fs::open_dir(directory.path()).unwrap());
    assert_eq!(answer(&mut dhcp, &select(mac(1), offered)).unwrap().given, offered);
    assert_eq!(Leases::read_in(directory.path()).unwrap().leases[0].address, offered);
    // Another process takes it up.
    let mut next = Dhcp::default();
    next.keep(berth_sys::fs::open_dir(directory.path()).unwrap());
    next.configure(&berth_network::helper::Config { dhcp: Some(config(10, 20)), ..Default::default() });
    assert_eq!(answer(&mut next, &message(kind::DISCOVER, mac(1))).unwrap().given, offered);
}

#[test]
fn who_floods_is_not_heard_and_keeps_nobody_else_from_it() {
    let mut heard = Heard::default();
    let second = Duration::from_secs(1);
    let hears = |heard: &mut Heard, now, mac| heard.hears(now, mac);
    let all = (0..1000).filter(|_| hears(&mut heard, second, mac(1))).count();
    assert_eq!(all, 8);
    assert!(hears(&mut heard, second, mac(2)));
    assert!(hears(&mut heard, second * 2, mac(1)));
    let many = (0..=255).filter(|number| hears(&mut heard, second * 2, [6, 6, 6, 6, 6, *number])).count();
    assert_eq!(many, ALL - 1);
}

/// What anybody may say: addresses of the network, and a few hardware addresses, so that all of it meets.
fn any_message() -> impl Strategy<Value = Message> {
    let address = prop_oneof![Just(NOBODY), (0_u8..=255).prop_map(at), any::<u32>().prop_map(Ipv4Addr::from)];
    let option = prop_oneof![
        address.clone().prop_map(|it| it.octets().to_vec()),
        Just(GATEWAY.octets().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..9)
    ];
    let options = proptest::collection::btree_map(
        prop_oneof![
            Just(option::SERVER),
            Just(option::REQUESTED_ADDRESS),
            Just(option::HOSTNAME),
            any::<u8>()
        ],
        option,
        0..5,
    );
    (0_u8..10, 0_u8..40, address, options).prop_map(|(kind, number, own, mut options)| {
        // Those are not the sender's to set.
        [0, 52, 53, 255].iter().for_each(|code| drop(options.remove(code)));
        let mac = if number == 39 { INSTANCE } else { mac(number) };
        Message { kind, mac, own, options, ..Message::default() }
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let mut dhcp = Dhcp::default();
        dhcp.configure(&berth_network::helper::Config { dhcp: Some(config(10, 20)), ..Default::default() });
        let mut framed = message(kind::DISCOVER, mac(1)).write();
        framed.truncate(240);
        framed.extend(&bytes);
        for question in [&bytes, &framed] {
            if let Some((reply, _)) = dhcp.answer(at(9), question) {
                prop_assert!(Message::read(&reply).is_some());
            }
        }
    }

    /// Whatever is said and whenever: nobody is given what is not to be given, or is another's, and what is kept is bounded.
    #[test]
    fn no_address_is_two_s(steps in proptest::collection::vec((any_message(), 0_u64..1_000_000), 1..200)) {
        let mut pool = pool(10, 20);
        let mut now = 0;
        for (asked, wait) in steps {
            now += wait;
            let from = if asked.own.is_unspecified() { NOBODY } else { asked.own };
            let before = pool.leases().leases;
            let reply = pool.answer(now, from, &asked);
            let Some(Reply { message, to }) = reply else { continue };
            prop_assert!(*to.ip() == Ipv4Addr::BROADCAST || (*to.ip() == asked.own && at(0) <= asked.own && asked.own <= at(255)));
            prop_assert!(Message::read(&message.write()).is_some());
            let given = message.given;
            if asked.mac == INSTANCE {
                prop_assert!(given == at(11) || given == NOBODY);
            } else if given != NOBODY {
                prop_assert!((at(10)..=at(20)).contains(&given) && given != at(11));
                let text = berth_sys::netlink::MacAddress(asked.mac).to_string();
                prop_assert!(!before.iter().any(|it| it.address == given && it.mac != text && it.expires_ms > now));
            }
            let kept = pool.leases().leases;
            let holders: BTreeSet<_> = kept.iter().map(|lease| &lease.mac).collect();
            prop_assert_eq!(holders.len(), kept.len());
            prop_assert!(kept.len() <= 10);
        }
    }
}
