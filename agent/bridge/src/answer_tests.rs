use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn names(forward: bool) -> Names {
    let zone = |domain: &str, subnets: &[&str], names: &[(&str, &[&str])]| Zone {
        domain: domain.to_owned(),
        subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
        names: names
            .iter()
            .map(|(name, all)| ((*name).to_owned(), all.iter().map(|it| it.parse().unwrap()).collect()))
            .collect(),
    };
    let own = zone(
        "default.berth",
        &["10.1.2.0/24", "fd00:1::/64"],
        &[("web", &["10.1.2.3", "fd00:1::3"]), ("db", &["10.1.2.4"])],
    );
    let other = zone("back.example", &["10.9.9.0/24"], &[("store", &["10.9.9.9"]), ("db", &["10.9.9.8"])]);
    let also = BTreeMap::from([("10.1.2.3".parse().unwrap(), vec![1])]);
    Names::new(Config { zones: vec![own, other], also, forward, ..Config::default() })
}

fn ask_from(names: &Names, client: &str, name: &str, kind: RecordType) -> Option<Message> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    match names.answer(client.parse().unwrap(), &message.to_vec().unwrap()) {
        Answer::Reply(reply) => Some(Message::from_vec(&reply).unwrap()),
        Answer::Forward => None,
        Answer::Ignore => panic!("{name} is ignored"),
    }
}

fn ask(name: &str, kind: RecordType) -> Option<Message> {
    ask_from(&names(true), "10.1.2.4", name, kind)
}

/// The code, and the answers' data.
fn told(reply: &Message) -> (ResponseCode, Vec<String>) {
    assert_eq!(reply.metadata.id, 77);
    let answers = reply.answers.iter().map(|record| record.data.to_string()).collect();
    (reply.metadata.response_code, answers)
}

#[test]
fn a_name_means_its_addresses_in_either_spelling() {
    for name in ["web.", "web.default.berth.", "WEB.Default.BERTH."] {
        let v4 = ask(name, RecordType::A).unwrap();
        assert_eq!(told(&v4), (ResponseCode::NoError, vec!["10.1.2.3".to_owned()]), "{name}");
        assert!(v4.metadata.authoritative && v4.metadata.recursion_available);
        assert_eq!(v4.answers[0].name.to_string(), name, "the name is as it was asked for");
        let v6 = ask(name, RecordType::AAAA).unwrap();
        assert_eq!(told(&v6).1, ["fd00:1::3"], "{name}");
        assert_eq!(told(&ask(name, RecordType::ANY).unwrap()).1.len(), 2);
    }
}

#[test]
fn a_name_without_such_an_address_is_there_all_the_same() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT] {
        let reply = ask("db.default.berth.", kind).unwrap();
        assert_eq!(told(&reply), (ResponseCode::NoError, Vec::new()));
        assert_eq!(reply.authorities.len(), 1);
    }
    assert_eq!(told(&ask("default.berth.", RecordType::A).unwrap()).0, ResponseCode::NoError);
    assert_eq!(told(&ask("default.berth.", RecordType::SOA).unwrap()).1.len(), 1);
}

#[test]
fn nobody_else_is_asked_for_what_is_ours_alone() {
    for name in ["gone.default.berth.", "a.web.default.berth.", "web.other.berth.", "berth."] {
        let reply = ask(name, RecordType::A).unwrap();
        assert_eq!(told(&reply), (ResponseCode::NXDomain, Vec::new()), "{name}");
        assert_eq!(reply.authorities.len(), 1);
    }
    for name in ["example.org.", "gone.", ".", "notdefault.berth.example.", "we\\.b.default.berth."] {
        assert!(ask(name, RecordType::A).is_none(), "{name}");
    }
    let reply = ask_from(&names(false), "10.1.2.4", "example.org.", RecordType::A).unwrap();
    assert_eq!(told(&reply).0, ResponseCode::Refused);
    assert!(!reply.metadata.recursion_available);
}

#[test]
fn addresses_have_names() {
    let of = |address: &str| Name::from(address.parse::<IpAddr>().unwrap()).to_string();
    for address in ["10.1.2.3", "fd00:1::3"] {
        assert_eq!(told(&ask(&of(address), RecordType::PTR).unwrap()).1, ["web.default.berth."], "{address}");
    }
    assert_eq!(told(&ask(&of("10.1.2.99"), RecordType::PTR).unwrap()).0, ResponseCode::NXDomain);
    assert!(ask(&of("10.9.9.9"), RecordType::PTR).is_none());
    assert!(ask("2.1.10.in-addr.arpa.", RecordType::PTR).is_none());
}

#[test]
fn who_is_on_two_networks_knows_the_names_of_both() {
    let names = names(true);
    let from = |client, name| ask_from(&names, client, name, RecordType::A).map(|reply| told(&reply).1);
    assert_eq!(from("10.1.2.3", "store.back.example."), Some(vec!["10.9.9.9".to_owned()]));
    assert_eq!(from("10.1.2.3", "store."), Some(vec!["10.9.9.9".to_owned()]));
    assert_eq!(from("10.1.2.3", "db."), Some(vec!["10.1.2.4".to_owned()]));
    assert_eq!(from("10.1.2.4", "store.back.example."), None);
    assert_eq!(from("10.1.2.4", "store."), None);
}

#[test]
fn what_is_no_question_gets_no_answer_or_an_error() {
    let names = names(true);
    let client = "10.1.2.3".parse().unwrap();
    assert_eq!(names.answer(client, b""), Answer::Ignore);
    assert_eq!(names.answer(client, &[0; 11]), Answer::Ignore);
    let mut answer = Message::response(7, OpCode::Query);
    answer.add_query(Query::query(Name::from_ascii("web.").unwrap(), RecordType::A));
    assert_eq!(names.answer(client, &answer.to_vec().unwrap()), Answer::Ignore);
    let none = Message::new(7, MessageType::Query, OpCode::Query).to_vec().unwrap();
    let Answer::Reply(reply) = names.answer(client, &none) else { panic!("no answer") };
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    let update = Message::new(7, MessageType::Query, OpCode::Update).to_vec().unwrap();
    let Answer::Reply(reply) = names.answer(client, &update) else { panic!("no answer") };
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::NotImp);
}

#[test]
fn who_speaks_edns_is_answered_in_it() {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("web.").unwrap(), RecordType::A));
    message.set_edns(Edns::new());
    let Answer::Reply(reply) = names(true).answer("10.1.2.4".parse().unwrap(), &message.to_vec().unwrap())
    else {
        panic!("no answer")
    };
    assert!(Message::from_vec(&reply).unwrap().edns.is_some());
}

proptest! {
    #[test]
    fn whatever_is_sent_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let names = names(false);
        names.answer("10.1.2.3".parse().unwrap(), &bytes);
        failure(&bytes);
    }

    #[test]
    fn a_damaged_question_breaks_nothing(at in 0..40_usize, byte in any::<u8>()) {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii("web.default.berth.").unwrap(), RecordType::A));
        let mut bytes = message.to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        names(false).answer("10.1.2.3".parse().unwrap(), &bytes);
        failure(&bytes);
    }
}
