//! Doors for the fuzz targets in `agent/guest-protocol/fuzz`, and for the corpus that they start from. Not for use otherwise.

use std::collections::BTreeMap;

use berth_runtime::spec::ProcessSpec;

use crate::flow::WINDOW;
use crate::frame::{Frame, HEADER, MAX_TO_GUEST, MAX_TO_HOST, Stream};
use crate::link::{Event, Guest, Host, MAX_SESSIONS};
use crate::message::{GuestSpec, Resources, Size, ToGuest, ToHost};
use crate::{VERSION, WORKLOAD};

/// Between two reads of one input.
const CUT: &[u8] = &[0xff, 0xfe, 0xff];

fn reads(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let at = data.windows(CUT.len()).position(|bytes| bytes == CUT);
        let (now, later) = at.map_or((data, &[][..]), |at| (&data[..at], &data[at + CUT.len()..]));
        data = later;
        Some(now)
    })
}

fn spec() -> GuestSpec {
    GuestSpec {
        version: VERSION,
        hostname: "web".into(),
        resources: Resources::default(),
        interfaces: Vec::new(),
        sysctls: Vec::new(),
        shm_bytes: None,
        process: program(),
    }
}

fn program() -> ProcessSpec {
    ProcessSpec { argv: vec!["/bin/true".into()], ..ProcessSpec::default() }
}

/// What a guest may say, to a host that does as the supervisor does. Of a stream that nobody reads (those of sessions with an
/// odd number) never more than a window is taken.
pub fn host(data: &[u8]) {
    let mut host = Host::new();
    let mut unread = BTreeMap::<_, usize>::new();
    for read in reads(data) {
        // An error ends the channel.
        let Ok(events) = host.feed(read) else { return };
        for event in events {
            answer(&mut host, event, &mut unread);
        }
        // No event makes more than a start's message and the input of one window.
        assert!(host.buffered() <= MAX_TO_HOST + HEADER, "{} are kept", host.buffered());
        host.sent(host.output().len());
    }
}

fn answer(host: &mut Host, event: Event, unread: &mut BTreeMap<(u16, Stream), usize>) {
    match event {
        Event::Booted => host.start(spec()).unwrap_or_else(|error| panic!("a short spec: {error}")),
        Event::Started { session } => {
            let begun = host.exec(program(), Some(Size { rows: 24, columns: 80 }));
            let begun = begun.unwrap_or_else(|error| panic!("a short program: {error}"));
            assert_ne!(begun, Some(WORKLOAD));
            assert!(host.connect(80, true).is_none_or(|connection| connection > WORKLOAD));
            host.input(session, &[7; 1000]);
            host.resize(session, Size { rows: 1, columns: 1 });
        }
        Event::Data { session, stream, bytes } if session % 2 == 0 => {
            host.consumed(session, stream, bytes.len());
        }
        Event::Data { session, stream, bytes } => {
            let kept = unread.entry((session, stream)).or_default();
            *kept += bytes.len();
            assert!(*kept <= WINDOW as usize, "{kept} bytes of session {session} are kept");
        }
        Event::InputTaken { session } => {
            assert!(host.input_room(session) <= WINDOW as usize);
            host.input(session, &[7; 1000]);
        }
        // Another program may have the number from now on.
        Event::Exited { session, .. } | Event::Failed { session, .. } => {
            unread.retain(|(known, _), _| *known != session);
        }
        Event::Stats(_) => {
            host.stats();
            host.interfaces(Vec::new());
        }
        Event::Has => host.resources(Resources::default()),
        Event::Connected(_) => host.interfaces(Vec::new()),
        Event::Addresses(interfaces) => assert!(interfaces.len() < MAX_TO_HOST),
    }
}

/// What could reach a guest, which does as its pid 1 does.
pub fn guest(data: &[u8]) {
    let mut guest = Guest::new();
    let mut pending = BTreeMap::<u16, usize>::new();
    for read in reads(data) {
        let Ok(frames) = guest.feed(read) else { return };
        for frame in frames {
            match frame {
                Frame::Message(ToGuest::Start(_)) => begin(&mut guest, WORKLOAD, &mut pending),
                Frame::Message(ToGuest::Exec { session, .. } | ToGuest::Connect { session, .. }) => {
                    begin(&mut guest, session, &mut pending);
                }
                Frame::Message(ToGuest::Signal { session, signal }) => {
                    guest.close(session, &ToHost::Exited { session, code: 137, signal: Some(signal) });
                    pending.remove(&session);
                }
                Frame::Message(_) => {}
                Frame::Data { session, bytes, .. } => {
                    let kept = pending.entry(session).or_default();
                    *kept += bytes.len();
                    assert!(*kept <= WINDOW as usize, "{kept} bytes of session {session} are kept");
                    if session % 2 == 0 {
                        guest.consumed(session, std::mem::take(kept));
                    }
                }
            }
        }
        assert!(guest.buffered() <= MAX_TO_GUEST + HEADER, "{} are kept", guest.buffered());
        guest.sent(guest.output().len());
    }
}

fn begin(guest: &mut Guest, session: u16, pending: &mut BTreeMap<u16, usize>) {
    pending.insert(session, 0);
    guest.say(&ToHost::Started { session });
    for stream in [Stream::Stdout, Stream::Stderr] {
        let room = guest.output_room(session, stream);
        assert!(room <= WINDOW as usize);
        guest.data(session, stream, &vec![7; room]);
        assert_eq!(guest.output_room(session, stream), 0);
    }
}

/// Both ends, with the wire between them: each pair of bytes is something that one of them does, and how much of it. What
/// each says is understood by the other, and what is sent is what arrives.
pub fn channel(data: &[u8]) {
    let mut wire = Wire::default();
    for step in data.chunks_exact(2) {
        wire.step(step[0], step[1]);
    }
}

#[derive(Default)]
struct Wire {
    host: Host,
    guest: Guest,
    /// That the host knows of.
    sessions: Vec<u16>,
    /// That the guest knows of.
    running: Vec<u16>,
    /// By session and stream: how many bytes were sent, and how many have arrived.
    streams: BTreeMap<(u16, Stream), (usize, usize)>,
}

/// The byte at a place of every stream.
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

impl Wire {
    fn step(&mut self, what: u8, much: u8) {
        // Mostly little, and up to a window.
        let amount = usize::from(much) * usize::from(much) * 4;
        let session = self.sessions.get(usize::from(much) % self.sessions.len().max(1)).copied();
        let session = session.unwrap_or(WORKLOAD);
        match what % 10 {
            0 => {
                let begun = match much % 2 {
                    0 => self.host.exec(program(), None).unwrap_or(None),
                    _ => self.host.connect(much.into(), true),
                };
                if let Some(session) = begun {
                    self.sessions.push(session);
                    self.streams.retain(|(known, _), _| *known != session);
                }
                assert!(self.sessions.len() <= MAX_SESSIONS);
            }
            1 => self.send(session, Stream::Stdin, amount),
            2 => self.send(session, Stream::Stdout, amount),
            3 => self.send(session, Stream::Stderr, amount),
            4 => self.up(amount),
            5 => self.down(amount),
            6 => {
                if let Some(session) = (!self.running.is_empty())
                    .then(|| self.running.swap_remove(usize::from(much) % self.running.len()))
                {
                    self.guest.close(session, &ToHost::Exited { session, code: 0, signal: None });
                }
            }
            7 => self.host.signal(session, 9),
            8 => self.host.interfaces(Vec::new()),
            _ => self.host.stats(),
        }
    }

    fn send(&mut self, session: u16, stream: Stream, amount: usize) {
        let room = match stream {
            Stream::Stdin => self.host.input_room(session),
            _ => self.guest.output_room(session, stream),
        };
        let (sent, _) = self.streams.entry((session, stream)).or_default();
        let bytes: Vec<u8> = (*sent..*sent + amount.min(room)).map(byte).collect();
        *sent += bytes.len();
        match stream {
            _ if bytes.is_empty() => {}
            Stream::Stdin => self.host.input(session, &bytes),
            _ => self.guest.data(session, stream, &bytes),
        }
    }

    fn arrive(&mut self, session: u16, stream: Stream, bytes: &[u8]) {
        let (sent, arrived) = self.streams.entry((session, stream)).or_default();
        for found in bytes {
            assert_eq!(*found, byte(*arrived), "at {arrived} of session {session}");
            *arrived += 1;
        }
        assert!(arrived <= sent);
    }

    fn up(&mut self, amount: usize) {
        let bytes = self.guest.output()[..amount.min(self.guest.output().len())].to_vec();
        self.guest.sent(bytes.len());
        let events = self.host.feed(&bytes);
        for event in events.unwrap_or_else(|error| panic!("the guest is not understood: {error:?}")) {
            match event {
                Event::Booted => {
                    self.host.start(spec()).unwrap_or_else(|error| panic!("a short spec: {error}"));
                    self.sessions.push(WORKLOAD);
                }
                Event::Data { session, stream, bytes } => {
                    self.arrive(session, stream, &bytes);
                    self.host.consumed(session, stream, bytes.len());
                }
                Event::Exited { session, .. } => {
                    self.sessions.retain(|known| *known != session);
                    for stream in [Stream::Stdout, Stream::Stderr] {
                        let (sent, arrived) = self.streams.remove(&(session, stream)).unwrap_or_default();
                        assert_eq!(sent, arrived, "of session {session}, which has ended");
                    }
                }
                _ => {}
            }
        }
    }

    fn down(&mut self, amount: usize) {
        let bytes = self.host.output()[..amount.min(self.host.output().len())].to_vec();
        self.host.sent(bytes.len());
        let frames = self.guest.feed(&bytes);
        for frame in frames.unwrap_or_else(|error| panic!("the host is not understood: {error:?}")) {
            let session = match frame {
                Frame::Data { session, stream, bytes } => {
                    self.arrive(session, stream, &bytes);
                    self.guest.consumed(session, bytes.len());
                    continue;
                }
                Frame::Message(ToGuest::Start(_)) => WORKLOAD,
                Frame::Message(ToGuest::Exec { session, .. } | ToGuest::Connect { session, .. }) => session,
                Frame::Message(ToGuest::Interfaces { number, .. }) => {
                    self.guest.say(&ToHost::Connected { number, error: None });
                    continue;
                }
                Frame::Message(_) => continue,
            };
            self.running.push(session);
            self.guest.say(&ToHost::Started { session });
        }
    }
}
