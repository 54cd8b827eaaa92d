//! What the agent puts on the host's network, keeps there and takes away again: in a network namespace that is the host's for it.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::world::{Agent, said, tiny};

/// A host of its own for an agent: an uplink, somebody else's firewall that lets nothing be forwarded, and an `nft` that tells
/// of its runs.
const HOST: &str = "mount -t tmpfs tmpfs /run && ip link set lo up \
                    && echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad && ip link add up0 type bridge \
                    && ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
                    nft=$(command -v nft) && cp $nft /run/nft && \
                    printf '#!/bin/sh\\necho \"$@\" >> /run/nft.log\\nexec /run/nft \"$@\"\\n' > /run/told && \
                    chmod +x /run/told && mount --bind /run/told $nft && exec \"$@\"";
const OTHERS: &str = "nft -f - <<'END'\nflush ruleset\ntable inet other {\n  chain forward {\n    \
                      type filter hook forward priority 10; policy drop;\n    ct state established accept\n  }\n}\nEND";

struct World {
    agent: Agent,
    /// Holds the namespace while no agent is in it.
    namespace: std::fs::File,
    /// By its id: no registry is asked for it.
    image: String,
}

impl World {
    fn new() -> Self {
        let mut agent = Agent::start();
        let layout = agent.dir.path().join("layouts/layout");
        std::fs::create_dir_all(&layout).unwrap();
        tiny(&layout);
        let import = ["image", "import", layout.to_str().unwrap(), "--reference", "example.com/tiny:1"];
        let image = agent.berth(&import).ok().trim().to_owned();
        agent.signal(Signal::SIGTERM);
        assert!(agent.run_under(&["unshare", "--net", "--mount", "sh", "-c", HOST, "sh"]));
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", agent.pid())).unwrap();
        let world = Self { agent, namespace, image };
        world.host(OTHERS);
        world
    }

    /// What a script says on the agent's host.
    fn host(&self, script: &str) -> String {
        use std::os::fd::AsRawFd;
        let net = format!("--net=/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd());
        said(Command::new("nsenter").args([&net, "sh", "-c", script]), b"").ok()
    }

    fn everything(&self) -> String {
        self.host(
            "nft list ruleset; ip -o address; ip route show table all; ip -o link | sed 's/ qlen.*//'; \
             cd /proc/sys/net; grep -r . ipv4/ip_forward ipv4/conf ipv6/conf 2> /dev/null | sort",
        )
    }

    fn page(&self) -> String {
        self.host("curl -s -m 2 http://127.0.0.1:8080/hostname 2>&1 || true")
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "nothing tells a test what the agent has done to a firewall"
    )]
    fn comes_to_serve(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let (page, tables) = (self.page(), self.host("nft list tables"));
            if page == "web\n" && tables.matches("berth").count() == 2 {
                return;
            }
            assert!(Instant::now() < deadline, "{page} {tables}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the agent has run `nft` with, if it has.
    fn runs(&self) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/root/run/nft.log", self.agent.pid())).ok()
    }

    fn launch(&self, name: &str, port: u16) {
        let publish = format!("{port}:8080");
        let launch = ["instance", "launch", self.image.as_str(), "--name", name, "--publish", &publish];
        let httpd = ["--entrypoint", "/bin/httpd", "--", "-f", "-p", "8080", "-h", "/etc"];
        self.agent.berth(&[&launch[..], &httpd[..]].concat()).ok();
    }
}

#[test]
fn tables_that_another_program_flushes_are_put_back() {
    let mut world = World::new();
    world.launch("web", 8080);
    world.comes_to_serve();
    world.host(OTHERS);
    world.comes_to_serve();
    let looked = world.runs().unwrap();
    assert!(looked.contains("list") && !looked.contains("-f"), "it is run to look alone: {looked}");
    world.host("nft list tables | sed -n 's/^table bridge/delete table bridge/p' | nft -f -");
    world.comes_to_serve();
    world.host("nft list tables | sed -n 's/^table inet berth/flush table inet berth/p' | nft -f -");
    world.comes_to_serve();
    // While no agent looks.
    world.agent.signal(Signal::SIGKILL);
    world.host(OTHERS);
    assert_ne!(world.page(), "web\n");
    let net = format!(
        "--net=/proc/{}/fd/{}",
        std::process::id(),
        std::os::fd::AsRawFd::as_raw_fd(&world.namespace)
    );
    let again = "mount -t tmpfs tmpfs /run && exec \"$@\"";
    assert!(world.agent.run_under(&["nsenter", &net, "unshare", "--mount", "sh", "-c", again, "sh"]));
    world.comes_to_serve();
}

#[test]
fn the_last_use_leaves_the_host_as_it_was() {
    let world = World::new();
    let before = world.everything();
    world.launch("web", 8080);
    world.comes_to_serve();
    assert_ne!(world.everything(), before);
    world.launch("other", 8081);
    for verb in [&["stop"][..], &["start"], &["rm", "--force"]] {
        world.agent.berth(&[&["instance"], verb, &["other"]].concat()).ok();
    }
    world.agent.berth(&["instance", "stop", "--force", "web"]).ok();
    assert_eq!(world.everything(), before);
    world.agent.berth(&["instance", "start", "web"]).ok();
    world.comes_to_serve();
    world.agent.berth(&["instance", "rm", "--force", "web"]).ok();
    assert_eq!(world.everything(), before);
    // Neither the first use nor the last had a program run for it, nor what came and went between them.
    assert_eq!(world.runs(), None);
}
