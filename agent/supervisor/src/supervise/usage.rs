//! What the instance uses.

use std::io;

use berth_runtime::control::{Response, Usage};

use super::Supervisor;
use crate::host::inside;

impl Supervisor {
    pub(super) fn usage(&self) -> Response {
        let group = match self.host.cgroup.usage() {
            Ok(group) => group,
            Err(error) => return Response::Refused { reason: format!("{error}: {}", error.source) },
        };
        match self.traffic() {
            Ok((received_bytes, sent_bytes)) => Response::Usage(Usage {
                cpu_ns: group.cpu_ns,
                memory_bytes: group.memory_bytes,
                memory_limit: group.memory_limit,
                pids: group.pids,
                read_bytes: group.read_bytes,
                written_bytes: group.written_bytes,
                received_bytes,
                sent_bytes,
            }),
            Err(error) => Response::Refused { reason: format!("read the interfaces: {error}") },
        }
    }

    fn traffic(&self) -> io::Result<(u64, u64)> {
        if self.spec.vm.is_some() {
            // By the ends on the host, which see it from the other side.
            let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            let ours = |name: &str| self.spec.networks.iter().any(|one| one.host_name == name);
            let (received, sent) = traffic(&table, ours);
            return Ok((sent, received));
        }
        let table =
            inside(&self.host.namespaces.network, || std::fs::read_to_string("/proc/thread-self/net/dev"))??;
        Ok(traffic(&table, |name| name != "lo"))
    }
}

/// Bytes received and sent, of the interfaces that count.
fn traffic(table: &str, counts: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in table.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        if !counts(name.trim()) {
            continue;
        }
        let number = |index| numbers.split_whitespace().nth(index)?.parse::<u64>().ok();
        sum.0 += number(0).unwrap_or(0);
        sum.1 += number(8).unwrap_or(0);
    }
    sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_is_asked_for_counts() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n\
                     eth0: 100 2 0 0 0 0 0 0 250 3 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(super::traffic(table, |name| name != "lo"), (101, 252));
        assert_eq!(super::traffic(table, |name| name == "eth0"), (100, 250));
    }
}
