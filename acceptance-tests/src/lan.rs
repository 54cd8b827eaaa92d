//! A physical network of a test's own: a network namespace with a DHCP server, dnsmasq, and a link of the host's that
//! leads there.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::netns::Netns;
use crate::{Error, command};

/// What the host has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A bridge, of which the way to the network is a port.
    Bridge,
    /// An interface.
    Interface,
}

/// A network with the addresses 192.0.2.0/24, of which 192.0.2.1 is the router and the server. Dropped, nothing is left.
pub struct Lan {
    door: Door,
    name: String,
    netns: Netns,
    server: Option<Child>,
    dir: TempDir,
}

impl Lan {
    /// One without a server.
    pub fn new(door: Door) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lan{:x}n{number}", std::process::id());
        let dir = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let netns = Netns::new()?;
        let lan = Self { door, name, netns, server: None, dir };
        lan.connect()?;
        Ok(lan)
    }

    fn connect(&self) -> Result<(), Error> {
        let pid = self.netns.pid();
        let port = match self.door {
            Door::Bridge => format!("{}p", self.name),
            Door::Interface => self.name.clone(),
        };
        ip(&["link", "add", &port, "type", "veth", "peer", "name", "lan0", "netns", &pid.to_string()])?;
        if self.door == Door::Bridge {
            ip(&["link", "add", &self.name, "type", "bridge"])?;
            ip(&["link", "set", &port, "master", &self.name])?;
            ip(&["link", "set", &self.name, "up"])?;
        }
        ip(&["link", "set", &port, "up"])?;
        self.inside(&["ip", "link", "set", "lo", "up"])?;
        self.inside(&["ip", "address", "add", "192.0.2.1/24", "dev", "lan0"])?;
        self.inside(&["ip", "link", "set", "lan0", "up"]).map(drop)
    }

    /// The host's bridge or interface: what a network has as its parent.
    pub fn parent(&self) -> &str {
        &self.name
    }

    /// Runs a program of the host's in the network, which must succeed; gives what it printed.
    pub fn inside(&self, program: &[&str]) -> Result<String, Error> {
        self.netns.run(program)
    }

    /// The router advertises 2001:db8:1::/64; nobody gives addresses.
    pub fn advertise(&mut self) -> Result<(), Error> {
        self.inside(&["ip", "address", "replace", "2001:db8:1::1/64", "dev", "lan0", "nodad"])?;
        self.run_server(&["--enable-ra", "--dhcp-range=2001:db8:1::,ra-only"])
    }

    /// Starts a server that gives addresses from `first` to `last`, and is asked for more time after three seconds and, if
    /// it does not answer, anyone after six.
    pub fn serve(&mut self, first: &str, last: &str) -> Result<(), Error> {
        self.run_server(&[
            &format!("--dhcp-range={first},{last},255.255.255.0,120"),
            "--dhcp-authoritative",
            "--domain=lan.example",
            "--dhcp-option=option:dns-server,192.0.2.53",
            "--dhcp-option=option:T1,3",
            "--dhcp-option=option:T2,6",
        ])
    }

    fn run_server(&mut self, arguments: &[&str]) -> Result<(), Error> {
        self.stop_serving();
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let (leases, pid) =
            (format!("--dhcp-leasefile={}", file("leases")), format!("--pid-file={}", file("pid")));
        let mut command = self.netns.command(&["dnsmasq", "--keep-in-foreground", "--port=0", "--no-ping"]);
        command.args(["--conf-file=/dev/null", "--user=root", "--group=root"]);
        command.args(["--interface=lan0", "--bind-interfaces", "--log-facility=/dev/null"]);
        command.args(arguments).args([&leases, &pid]).stdin(Stdio::null());
        self.server = Some(spawn(command, "dnsmasq")?);
        Ok(())
    }

    /// Ends the server; what it has given it knows again when it is back.
    pub fn stop_serving(&mut self) {
        if let Some(mut server) = self.server.take() {
            // nsenter becomes the program: it is dnsmasq that ends.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// The server forgets whom it has given what.
    pub fn forget(&mut self) {
        self.stop_serving();
        let _ = fs::remove_file(self.dir.path().join("leases"));
    }

    /// What the server has given: its lease file.
    pub fn leases(&self) -> String {
        fs::read_to_string(self.dir.path().join("leases")).unwrap_or_default()
    }

    /// Takes the host's bridge or interface away.
    pub fn unplug(&self) -> Result<(), Error> {
        ip(&["link", "delete", &self.name])
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.stop_serving();
        // Perhaps it was unplugged; the pair goes with the namespace.
        let _ = command::capture(Command::new("ip").args(["link", "delete", &self.name]));
        let _ = command::capture(Command::new("ip").args(["link", "delete", &format!("{}p", self.name)]));
    }
}

fn spawn(mut command: Command, program: &str) -> Result<Child, Error> {
    command.spawn().map_err(|source| Error::Spawn { program: program.to_owned(), source })
}

fn ip(args: &[&str]) -> Result<(), Error> {
    command::run(Command::new("ip").args(args)).map(drop)
}
