//! Whether a port of an instance is open.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use berth_runtime::client::Supervisor;
use tokio::time::timeout;

use super::blocking;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(1);

/// Whether a connection from the host comes about.
pub(super) async fn answers(address: Ipv4Addr, port: u16) -> bool {
    let connect = tokio::net::TcpStream::connect((address, port));
    matches!(timeout(CONNECT, connect).await, Ok(Ok(_)))
}

/// Whether somebody listens on it inside, at an address that others reach: of a machine its guest alone knows.
pub(super) async fn is_open_inside(supervisor: &Supervisor, pid: i32, is_machine: bool, port: u16) -> bool {
    if is_machine {
        return matches!(timeout(CONNECT, supervisor.reach(port)).await, Ok(Ok(())));
    }
    blocking(move || listens(pid, port)).await.unwrap_or(false)
}

/// Whether somebody listens on a port in the network namespace of a process.
fn listens(pid: i32, port: u16) -> io::Result<bool> {
    for file in ["tcp", "tcp6"] {
        match std::fs::read_to_string(format!("/proc/{pid}/net/{file}")) {
            Ok(table) if listening(&table, port) => return Ok(true),
            Ok(_) => {}
            // A host without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether such a table has a socket that listens on a port; one on the loopback does not count.
fn listening(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    const LOOPBACKS: [&str; 2] = ["0100007F", "00000000000000000000000001000000"];
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (Some(local), Some(state)) = (words.next(), words.nth(1)) else { return false };
        let Some((address, found)) = local.split_once(':') else { return false };
        state == LISTEN && !LOOPBACKS.contains(&address) && u16::from_str_radix(found, 16) == Ok(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_read_from_the_kernel_s_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
                     0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n\
                     2: 320200C0:01BB 010200C0:9C40 01 00000000:00000000 00:00000000 00000000     0\n\
                     nonsense\n";
        for (port, expected) in [(8080, true), (80, false), (443, false), (81, false)] {
            assert_eq!(listening(table, port), expected, "{port}");
        }
        let own = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(listens(pid, port).unwrap());
        drop(own);
        assert!(!listens(pid, port).unwrap());
    }
}
