//! What a guest can send that it should not, and what both sides do with it.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use berth_guest_protocol::frame::{Decoder, Frame, FrameError, MAX_DATA, MAX_TO_HOST, Stream, write_data};
use berth_guest_protocol::link::{Event, Guest, Host, LinkError, MAX_SESSIONS};
use berth_guest_protocol::message::{GuestSpec, Resources, ToGuest, ToHost};
use berth_guest_protocol::{VERSION, WORKLOAD};
use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use proptest::prelude::*;

fn spec() -> GuestSpec {
    GuestSpec {
        version: VERSION,
        hostname: "web".into(),
        resources: Resources::default(),
        interfaces: Vec::new(),
        sysctls: Vec::new(),
        shm_bytes: None,
        process: ProcessSpec { argv: vec!["/bin/true".into()], ..ProcessSpec::default() },
    }
}

fn message(message: &ToHost) -> Vec<u8> {
    let mut bytes = Vec::new();
    berth_guest_protocol::frame::write_message(&mut bytes, message, MAX_TO_HOST).unwrap();
    bytes
}

fn data(session: u16, stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_data(&mut out, session, stream, bytes);
    out
}

/// A host whose guest has booted and runs the workload.
fn started() -> Host {
    let mut host = Host::new();
    assert_eq!(host.feed(&message(&ToHost::Hello { version: VERSION })).unwrap(), [Event::Booted]);
    host.start(spec()).unwrap();
    let begun = Event::Started { session: WORKLOAD };
    assert_eq!(host.feed(&message(&ToHost::Started { session: WORKLOAD })).unwrap(), [begun]);
    host
}

fn carry(host: &mut Host, guest: &mut Guest) -> (Vec<Event>, Vec<Frame<ToGuest>>) {
    let (up, down) = (guest.output().to_vec(), host.output().to_vec());
    guest.sent(up.len());
    host.sent(down.len());
    (host.feed(&up).unwrap(), guest.feed(&down).unwrap())
}

#[test]
fn a_workload_starts_writes_reads_and_ends() {
    let (mut host, mut guest) = (Host::new(), Guest::new());
    assert_eq!(carry(&mut host, &mut guest).0, [Event::Booted]);
    host.start(spec()).unwrap();
    host.input(WORKLOAD, b"in the same bytes");
    let heard = carry(&mut host, &mut guest).1;
    assert_eq!(heard[0], Frame::Message(ToGuest::Start(Box::new(spec()))));
    assert_eq!(heard.len(), 2);
    guest.say(&ToHost::Started { session: WORKLOAD });
    guest.data(WORKLOAD, Stream::Stdout, b"hello");
    guest.data(WORKLOAD, Stream::Stdout, b"");
    guest.close(WORKLOAD, &ToHost::Exited { session: WORKLOAD, code: 3, signal: None });
    let data = |bytes: &[u8]| Event::Data { session: WORKLOAD, stream: Stream::Stdout, bytes: bytes.into() };
    let begun = Event::Started { session: WORKLOAD };
    let exited = Event::Exited { session: WORKLOAD, code: 3, signal: None };
    assert_eq!(carry(&mut host, &mut guest).0, [begun, data(b"hello"), data(b""), exited]);
}

#[test]
fn a_connection_is_a_session_with_a_session_s_bounds() {
    let (mut host, mut guest) = (started(), Guest::new());
    guest.sent(guest.output().len());
    carry(&mut host, &mut guest);
    let session = host.connect(8080, true).unwrap();
    let asked = ToGuest::Connect { session, port: 8080, loopback: true };
    assert_eq!(carry(&mut host, &mut guest).1, [Frame::Message(asked)]);
    let unstarted = LinkError::Turn { what: "something of a program that was not started" };
    let mut early = started();
    assert_eq!(early.connect(8080, true), Some(session));
    assert_eq!(early.feed(&data(session, Stream::Stdout, b"x")).unwrap_err(), unstarted);

    guest.say(&ToHost::Started { session });
    assert_eq!(carry(&mut host, &mut guest).0, [Event::Started { session }]);
    host.input(session, b"GET / HTTP/1.1");
    let input = Frame::Data { session, stream: Stream::Stdin, bytes: b"GET / HTTP/1.1".into() };
    assert_eq!(carry(&mut host, &mut guest).1, [input]);
    guest.close(session, &ToHost::Exited { session, code: 104, signal: None });
    assert_eq!(carry(&mut host, &mut guest).0, [Event::Exited { session, code: 104, signal: None }]);

    // A guest that answers none of them is asked for no more than it may have.
    let asked = std::iter::from_fn(|| host.connect(8080, false)).count();
    assert_eq!(asked, MAX_SESSIONS - 1, "the workload's is one");
    assert_eq!(host.exec(ProcessSpec::default(), None), Ok(None));
    let refusal = LaunchError { stage: Stage::Connect, errno: 111, path: "a port".into() };
    let refused = ToHost::Failed { session: session + 1, error: refusal.clone() };
    let event = Event::Failed { session: session + 1, error: refusal };
    assert_eq!(host.feed(&message(&refused)), Ok(vec![event]));
    assert!(host.connect(8080, false).is_some());
}

#[test]
fn what_a_guest_has_is_heard_of_the_last_question_alone() {
    let mut host = started();
    let has = |number| message(&ToHost::Has { number });
    let unasked = Err(LinkError::Turn { what: "that it has what it was not asked for" });
    assert_eq!(started().feed(&has(0)), unasked);
    assert_eq!(started().feed(&has(1)), unasked);
    host.resources(Resources { cpus: 4, plugged_bytes: 1 << 30 });
    host.resources(Resources { cpus: 1, plugged_bytes: 0 });
    assert_eq!(host.feed(&has(1)), Ok(vec![]), "that was another question");
    assert_eq!(host.feed(&has(2)), Ok(vec![Event::Has]));
    assert_eq!(host.feed(&has(3)), unasked);
}

#[test]
fn interfaces_are_answered_for_the_last_question_alone() {
    let mut host = started();
    let connected = |number, error| message(&ToHost::Connected { number, error });
    let unasked = Err(LinkError::Turn { what: "that it has interfaces which it was not asked for" });
    assert_eq!(started().feed(&connected(0, None)), unasked);
    assert_eq!(started().feed(&connected(1, None)), unasked);
    host.interfaces(Vec::new());
    host.interfaces(Vec::new());
    let why = LaunchError { stage: Stage::Network, errno: 19, path: "02:00:00:00:00:07".into() };
    assert_eq!(host.feed(&connected(1, Some(why.clone()))), Ok(vec![]), "that was another question");
    assert_eq!(host.feed(&connected(2, Some(why.clone()))), Ok(vec![Event::Connected(Err(why))]));
    assert_eq!(host.feed(&connected(2, None)), Ok(vec![Event::Connected(Ok(()))]));
    // What was asked for of the processors is another count.
    host.resources(Resources::default());
    assert_eq!(host.feed(&connected(3, None)), unasked);
}

#[test]
fn a_stream_of_fifty_mebibytes_arrives_whole_and_never_exceeds_its_window() {
    let (mut host, mut guest) = (started(), Guest::new());
    guest.sent(guest.output().len());
    carry(&mut host, &mut guest);
    let (total, mut sent, mut received) = (50 << 20, 0_usize, 0_usize);
    while received < total {
        let room = guest.output_room(WORKLOAD, Stream::Stdout).min(total - sent);
        let bytes: Vec<u8> = (sent..sent + room).map(|at| (at % 251) as u8).collect();
        guest.data(WORKLOAD, Stream::Stdout, &bytes);
        sent += room;
        for event in carry(&mut host, &mut guest).0 {
            let Event::Data { bytes, .. } = event else { panic!("{event:?}") };
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == ((received + at) % 251) as u8));
            received += bytes.len();
            host.consumed(WORKLOAD, Stream::Stdout, bytes.len());
        }
        assert!(guest.output().len() < 512 * 1024);
    }
    assert_eq!(sent, total);
}

#[test]
fn a_guest_that_floods_is_noticed_before_more_than_its_window_is_kept() {
    let mut host = started();
    let chunk = data(WORKLOAD, Stream::Stderr, &[7; MAX_DATA]);
    let mut kept = 0;
    let error = loop {
        match host.feed(&chunk) {
            Ok(events) => kept += events.len() * MAX_DATA,
            Err(error) => break error,
        }
    };
    assert_eq!(error, LinkError::Credit { session: WORKLOAD });
    assert_eq!(kept, 256 * 1024);
}

#[test]
fn what_is_out_of_turn_ends_the_channel() {
    let credit = |stream, bytes| ToHost::Credit { session: WORKLOAD, stream, bytes };
    let cases = [
        (message(&ToHost::Hello { version: VERSION }), LinkError::Turn { what: "hello" }),
        (message(&ToHost::Started { session: 9 }), LinkError::Session { session: 9 }),
        (
            message(&ToHost::Started { session: WORKLOAD }),
            LinkError::Turn { what: "that a program was started" },
        ),
        (data(4, Stream::Stdout, b"x"), LinkError::Session { session: 4 }),
        (data(WORKLOAD, Stream::Stdin, b"x"), LinkError::Turn { what: "input" }),
        (message(&credit(Stream::Stdin, 1)), LinkError::Credit { session: WORKLOAD }),
        (message(&credit(Stream::Stdin, u32::MAX)), LinkError::Credit { session: WORKLOAD }),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(started().feed(&bytes).unwrap_err(), wanted);
    }
    let early = message(&ToHost::Started { session: WORKLOAD });
    assert!(matches!(Host::new().feed(&early), Err(LinkError::Turn { .. })));
    let other = message(&ToHost::Hello { version: 9 });
    assert_eq!(Host::new().feed(&other).unwrap_err(), LinkError::Version { theirs: 9 });
    let mut early = Host::new();
    early.feed(&message(&ToHost::Hello { version: VERSION })).unwrap();
    early.start(spec()).unwrap();
    let unstarted = LinkError::Turn { what: "something of a program that was not started" };
    assert_eq!(early.feed(&data(WORKLOAD, Stream::Stdout, b"x")).unwrap_err(), unstarted);
    let mut over = started();
    let exited = message(&ToHost::Exited { session: WORKLOAD, code: 0, signal: None });
    over.feed(&exited).unwrap();
    assert_eq!(over.feed(&exited).unwrap_err(), LinkError::Session { session: WORKLOAD });
}

#[test]
fn a_length_beyond_all_bounds_is_refused_by_its_header() {
    for (kind, most) in [(0, MAX_TO_HOST), (2, MAX_DATA)] {
        let mut decoder = Decoder::<ToHost>::new(MAX_TO_HOST);
        decoder.push(&[0xBE, kind, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
        let error = FrameError::TooLong { length: 0x7fff_ffff, most };
        assert_eq!(decoder.next_frame().unwrap_err(), error);
        decoder.push(&[0; 4096]);
        assert_eq!((decoder.next_frame().unwrap_err(), decoder.buffered()), (error, 0));
    }
}

fn frames() -> impl Strategy<Value = Vec<(u16, u8, Vec<u8>)>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec((any::<u16>(), 0_u8..4, bytes), 0..20)
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_however_it_is_cut(frames in frames(), cuts in prop::collection::vec(1_usize..64, 1..64)) {
        let mut bytes = Vec::new();
        let mut wanted = Vec::new();
        for (session, kind, payload) in frames {
            let stream = [Stream::Stdin, Stream::Stdout, Stream::Stderr].get(usize::from(kind)).copied();
            match stream {
                Some(stream) => {
                    write_data(&mut bytes, session, stream, &payload);
                    wanted.push(Frame::Data { session, stream, bytes: payload });
                }
                None => {
                    let told = ToHost::Started { session };
                    bytes.extend(message(&told));
                    wanted.push(Frame::Message(told));
                }
            }
        }
        let mut decoder = Decoder::<ToHost>::new(MAX_TO_HOST);
        let (mut read, mut rest, mut cuts) = (Vec::new(), bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().copied().unwrap_or(1).min(rest.len()));
            decoder.push(now);
            while let Some(frame) = decoder.next_frame().unwrap() {
                read.push(frame);
            }
            rest = later;
        }
        prop_assert_eq!(read, wanted);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn garbage_never_panics_and_is_never_kept(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20), valid in any::<bool>()) {
        let mut host = started();
        for mut chunk in chunks {
            if valid && let Some(first) = chunk.first_mut() {
                *first = 0xBE;
            }
            let _ = host.feed(&chunk);
        }
        let mut guest = Guest::new();
        let _ = guest.feed(&[0xBE, 0, 0, 0, 3, 0, 0, 0, b'a', b'b', b'c']);
    }
}
