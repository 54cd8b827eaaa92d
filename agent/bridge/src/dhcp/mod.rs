//! Addresses for who is on the bridge and is no instance: what comes is bounded, what is given is kept before it is told of.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use berth_dhcp::Message;
use berth_network::helper::{Config, Leases};

use self::pool::Pool;

/// Who asks more often in a second is not heard: a client asks once in seconds.
const EACH: u32 = 8;
/// How many are heard in a second.
const ALL: usize = 128;

/// Gives addresses, where it is to.
#[derive(Default)]
pub(crate) struct Dhcp {
    pool: Option<Pool>,
    /// Where what is given is kept.
    directory: Option<OwnedFd>,
    heard: Heard,
    clock: Clock,
}

impl Dhcp {
    /// What is given is kept here from now on.
    pub(crate) fn keep(&mut self, directory: OwnedFd) {
        self.directory = Some(directory);
    }

    /// Does this from now on.
    pub(crate) fn configure(&mut self, config: &Config) {
        let Some(dhcp) = &config.dhcp else {
            (self.pool, self.directory) = (None, None);
            return;
        };
        let domain = config.zones.first().map(|zone| zone.domain.clone()).unwrap_or_default();
        let names = config.sockets.iter().any(|it| it.is_of_names() && it.address.ip() == dhcp.gateway);
        match &mut self.pool {
            Some(pool) => pool.configure(dhcp.clone(), domain, names),
            None => {
                let mut pool = Pool::new(dhcp.clone(), domain, names);
                // Where it is damaged, those who have something ask for it again.
                let before = self.directory.as_ref().and_then(|directory| Leases::read(directory).ok());
                pool.remember(before.unwrap_or_default());
                self.pool = Some(pool);
            }
        }
        self.write();
    }

    /// The answer to what came from an address, and where it goes.
    pub(crate) fn answer(&mut self, from: Ipv4Addr, question: &[u8]) -> Option<(Vec<u8>, SocketAddr)> {
        let asked = Message::read(question)?;
        let now = self.clock.now();
        if !self.heard.hears(now, asked.mac) {
            return None;
        }
        let reply = self.pool.as_mut()?.answer(now.as_millis().try_into().ok()?, from, &asked);
        // Nobody is told that an address is theirs of which nobody will know.
        if !self.write() {
            return None;
        }
        reply.map(|reply| (reply.message.write(), reply.to.into()))
    }

    /// Keeps what was given, where that has changed; whether it is kept.
    fn write(&mut self) -> bool {
        let Some(pool) = &mut self.pool else { return true };
        if !pool.has_changed() {
            return true;
        }
        let written = self.directory.as_ref().is_some_and(|it| pool.leases().write(it.as_fd()).is_ok());
        if !written {
            pool.is_unwritten();
        }
        written
    }
}

/// Who was heard in this second, and how often.
#[derive(Default)]
struct Heard {
    second: u64,
    all: HashMap<[u8; 6], u32>,
}

impl Heard {
    fn hears(&mut self, now: Duration, mac: [u8; 6]) -> bool {
        if self.second != now.as_secs() {
            self.second = now.as_secs();
            self.all.clear();
        }
        let many = self.all.len() >= ALL;
        match self.all.get_mut(&mac) {
            Some(times) => {
                *times = times.saturating_add(1);
                *times <= EACH
            }
            None if many => false,
            None => {
                self.all.insert(mac, 1);
                true
            }
        }
    }
}

/// The time of day as it was when this process began, and what has passed since: who sets the host's clock ends no lease.
struct Clock {
    began: Duration,
    origin: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began, origin: Instant::now() }
    }
}

impl Clock {
    fn now(&self) -> Duration {
        self.began + self.origin.elapsed()
    }
}
