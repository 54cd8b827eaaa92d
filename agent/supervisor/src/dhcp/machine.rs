//! The states of a DHCP client (RFC 2131, figure 5). Pure: it is told the time and what came, and says what to do.
//!
//! ```text
//! Init --> Selecting --offer--> Requesting --ack--> Bound --T1--> Renewing --T2--> Rebinding --end--> Init
//! Rebooting (an address of before) --ack--> Bound       Renewing, Rebinding --ack--> Bound
//! any of them --nak--> Init
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use berth_runtime::lease::Lease;

use super::message::{ACK, DISCOVER, NAK, OFFER, Query, RELEASE, REQUEST, Reply};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send to all.
    Broadcast(Query),
    /// Send to the server, from the address of the lease.
    Unicast(Query, Ipv4Addr),
    /// There is a lease, a new one or the old for longer.
    Bound(Lease),
    /// The lease's address is not to be used any more.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Init,
    Rebooting(Ipv4Addr),
    Selecting,
    Requesting(Lease),
    Bound(Lease),
    Renewing(Lease),
    Rebinding(Lease),
}

/// A client of one interface.
#[derive(Debug)]
pub struct Machine {
    mac: [u8; 6],
    hostname: Option<String>,
    /// How long a second of the protocol is.
    second: Duration,
    random: u64,
    state: State,
    /// When something is due; `None` is never.
    due: Option<Duration>,
    xid: u32,
    tries: u32,
    /// When the present exchange began: a lease counts from when it was asked for.
    began: Duration,
    /// When the lease began.
    since: Duration,
    /// What to ask for first.
    wish: Option<Ipv4Addr>,
    refusals: u32,
    trouble: Option<String>,
}

const REBOOT_TRIES: u32 = 3;
const REQUEST_TRIES: u32 = 4;
/// Between tries for a lease that is still good, in seconds.
const PATIENCE: u32 = 60;

impl Machine {
    /// Begins at once; with the address of a lease that may still be good it asks for that one, without an offer.
    pub fn new(
        mac: [u8; 6],
        hostname: Option<String>,
        second: Duration,
        random: u64,
        last: Option<(Ipv4Addr, bool)>,
        now: Duration,
    ) -> Self {
        let mut machine = Self {
            mac,
            hostname,
            second,
            random: random | 1,
            state: State::Init,
            due: Some(now),
            xid: 0,
            tries: 0,
            began: now,
            since: now,
            wish: last.map(|(address, _)| address),
            refusals: 0,
            trouble: Some("no server has answered so far".to_owned()),
        };
        if let Some((address, true)) = last {
            machine.begin(State::Rebooting(address), now);
            machine.due = Some(now);
        }
        machine
    }

    /// When [`Machine::tick`] has something to do.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Why there is no lease, or what was wrong with the last answer.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The lease that is in force.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) => Some(lease),
            _ => None,
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        match self.state.clone() {
            State::Init => {
                self.begin(State::Selecting, now);
                self.send(now)
            }
            State::Rebooting(_) if self.tries >= REBOOT_TRIES => self.start_over(now),
            State::Requesting(_) if self.tries >= REQUEST_TRIES => {
                self.trouble = Some("the server does not give what it offered".to_owned());
                self.start_over(now)
            }
            State::Bound(lease) => {
                self.begin(State::Renewing(lease), now);
                self.send(now)
            }
            State::Renewing(lease) if now >= self.at(lease.rebind_seconds) => {
                self.trouble = Some(format!("{} does not renew the lease", lease.server));
                self.state = State::Rebinding(lease);
                self.send(now)
            }
            State::Rebinding(lease) if lease.seconds.is_some_and(|end| now >= self.at(end)) => {
                self.trouble = Some("no server renewed the lease before its end".to_owned());
                let mut actions = vec![Action::Lost];
                actions.extend(self.start_over(now));
                actions
            }
            _ => self.send(now),
        }
    }

    /// Takes what came.
    pub fn receive(&mut self, reply: &Reply, now: Duration) -> Vec<Action> {
        if reply.xid != self.xid || reply.mac != self.mac {
            return Vec::new();
        }
        match (reply.kind, self.state.clone()) {
            (OFFER, State::Selecting) => match reply.lease() {
                Ok(lease) => {
                    self.state = State::Requesting(lease);
                    self.tries = 0;
                    self.began = now;
                    self.send(now)
                }
                Err(reason) => self.complain(reply, &reason),
            },
            (ACK, State::Requesting(offer)) => match reply.lease() {
                Ok(lease) if lease.server != offer.server => Vec::new(),
                Ok(lease) if lease.address == offer.address => self.bind(lease, now),
                outcome => {
                    let reason = outcome.err().unwrap_or_else(|| "it gives another address".to_owned());
                    self.complain(reply, &reason);
                    self.refused(now);
                    Vec::new()
                }
            },
            (ACK, State::Rebooting(address)) => self.confirmed(reply, address, now),
            (ACK, State::Renewing(lease) | State::Rebinding(lease)) => {
                self.confirmed(reply, lease.address, now)
            }
            (NAK, state) => self.denied(reply, &state, now),
            _ => Vec::new(),
        }
    }

    /// Gives the lease back.
    pub fn release(&mut self) -> Option<Action> {
        let lease = self.lease()?.clone();
        self.due = None;
        self.state = State::Init;
        self.xid = self.next_random() as u32;
        let query = Query { own: Some(lease.address), server: Some(lease.server), ..self.query(RELEASE) };
        Some(Action::Unicast(Query { hostname: None, ..query }, lease.server))
    }

    fn confirmed(&mut self, reply: &Reply, address: Ipv4Addr, now: Duration) -> Vec<Action> {
        match reply.lease() {
            Ok(lease) if lease.address == address => self.bind(lease, now),
            Ok(_) => self.complain(reply, "it gives an address that was not asked for"),
            Err(reason) => self.complain(reply, &reason),
        }
    }

    fn denied(&mut self, reply: &Reply, state: &State, now: Duration) -> Vec<Action> {
        let had = self.lease().is_some();
        let listens = match state {
            State::Requesting(lease) | State::Renewing(lease) => reply.server() == Some(lease.server),
            State::Rebooting(_) | State::Rebinding(_) => reply.server().is_some(),
            _ => false,
        };
        if !listens {
            return Vec::new();
        }
        let text = reply.text().map(|text| format!(": {text}")).unwrap_or_default();
        self.trouble = Some(format!("the server takes the address back{text}"));
        self.wish = None;
        self.refused(now);
        if had { vec![Action::Lost] } else { Vec::new() }
    }

    fn complain(&mut self, reply: &Reply, reason: &str) -> Vec<Action> {
        let who = reply.server().map_or_else(|| "a server".to_owned(), |server| server.to_string());
        self.trouble = Some(format!("the answer of {who} is of no use: {reason}"));
        Vec::new()
    }

    /// Begins anew, the first time at once: a server that always refuses must not be asked without end.
    fn refused(&mut self, now: Duration) {
        let delay = if self.refusals == 0 { 0 } else { 5 << self.refusals.min(4) };
        self.refusals = self.refusals.saturating_add(1);
        self.state = State::Init;
        self.due = Some(now + self.second * delay);
    }

    fn start_over(&mut self, now: Duration) -> Vec<Action> {
        self.begin(State::Selecting, now);
        self.send(now)
    }

    fn begin(&mut self, state: State, now: Duration) {
        self.state = state;
        self.tries = 0;
        self.began = now;
        self.xid = self.next_random() as u32;
    }

    fn bind(&mut self, lease: Lease, now: Duration) -> Vec<Action> {
        self.since = self.began;
        self.trouble = None;
        self.refusals = 0;
        self.wish = Some(lease.address);
        // A little earlier than it must be, so that many do not ask at once.
        let early = (self.next_random() % 16) as u32;
        let renew = self.second * lease.renew_seconds;
        self.due = lease.seconds.map(|_| (self.since + renew - renew * early / 256).max(now));
        self.state = State::Bound(lease.clone());
        vec![Action::Bound(lease)]
    }

    fn send(&mut self, now: Duration) -> Vec<Action> {
        let waited = self.tries.min(4);
        self.tries = self.tries.saturating_add(1);
        let passed = now.saturating_sub(self.began).as_secs();
        let seconds = u16::try_from(passed).unwrap_or(u16::MAX);
        let request = Query { seconds, ..self.query(REQUEST) };
        let action = match &self.state {
            State::Selecting => {
                Action::Broadcast(Query { seconds, requested: self.wish, ..self.query(DISCOVER) })
            }
            State::Rebooting(address) => Action::Broadcast(Query { requested: Some(*address), ..request }),
            State::Requesting(offer) => Action::Broadcast(Query {
                requested: Some(offer.address),
                server: Some(offer.server),
                ..request
            }),
            State::Renewing(lease) => {
                Action::Unicast(Query { own: Some(lease.address), ..request }, lease.server)
            }
            State::Rebinding(lease) => Action::Broadcast(Query { own: Some(lease.address), ..request }),
            State::Init | State::Bound(_) => return Vec::new(),
        };
        let until = match &self.state {
            State::Renewing(lease) => Some(self.at(lease.rebind_seconds)),
            State::Rebinding(lease) => lease.seconds.map(|seconds| self.at(seconds)),
            _ => None,
        };
        self.due = Some(match until {
            Some(until) => {
                let half = until.saturating_sub(now) / 2;
                (now + half.max(self.second * PATIENCE)).min(until)
            }
            None => {
                // 4, 8, 16, 32, 64 s, each a second more or less.
                let fuzz = self.second * (self.next_random() % 2001) as u32 / 1000;
                now + self.second * ((4 << waited) - 1) + fuzz
            }
        });
        vec![action]
    }

    fn at(&self, seconds: u32) -> Duration {
        self.since + self.second * seconds
    }

    fn query(&self, kind: u8) -> Query {
        let hostname = self.hostname.clone();
        Query { kind, xid: self.xid, mac: self.mac, hostname, ..Query::default() }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 16
    }
}
