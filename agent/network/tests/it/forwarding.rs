//! The shared setting is counted, and put back by the last.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
};

use berth_network::{Prefix, forwarding::Forwarding};
use berth_sys::netlink::{BridgeSpec, Netlink};

use crate::world::{Netns, host_and_outside};

struct Host {
    netns: Netns,
    _outside: Netns,
    directory: tempfile::TempDir,
}

impl Host {
    /// A host that does not forward and takes no redirects, but forwards from one of its links, as an administrator may
    /// have set it.
    fn new() -> Self {
        let (netns, outside) = host_and_outside();
        netns.sh("ip link add extra type bridge");
        netns.set_sysctl("net/ipv4/ip_forward", "0");
        netns.set_sysctl("net/ipv4/conf/extra/forwarding", "1");
        netns.set_sysctl("net/ipv4/conf/all/accept_redirects", "0");
        Self { netns, _outside: outside, directory: tempfile::tempdir().unwrap() }
    }

    fn shared(&self) -> PathBuf {
        self.directory.path().join("berth-host")
    }

    fn lock(&self, prefix: &str) -> PathBuf {
        self.directory.path().join(prefix)
    }

    fn agent(&self, prefix: &str) -> Forwarding {
        Forwarding::new(&self.shared(), &Prefix::new(prefix).unwrap(), &self.lock(prefix))
    }

    fn acquire(&self, agent: &Forwarding) {
        self.netns.run(|| agent.acquire(&mut Netlink::open().unwrap()).unwrap());
        assert_eq!(self.netns.sysctl("net/ipv4/ip_forward"), "1");
    }

    fn release(&self, agent: &Forwarding) {
        self.netns.run(|| agent.release(&mut Netlink::open().unwrap()).unwrap());
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let listing = self.netns.sh("cd /proc/sys/net/ipv4; grep -r . ip_forward conf || true");
        listing
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn is_on(&self) -> bool {
        self.netns.run(|| Forwarding::is_on().unwrap())
    }
}

#[test]
fn of_ipv6_too_and_a_link_goes_on_hearing_its_routers() {
    let host = Host::new();
    host.netns.sh("ip link add aaa type bridge && ip link set aaa up && ip link add deaf type bridge");
    host.netns.set_sysctl("net/ipv6/conf/deaf/accept_ra", "0");
    host.netns.set_sysctl("net/ipv6/conf/extra/forwarding", "1");
    let settings = || host.netns.sh("cd /proc/sys/net/ipv6/conf; grep . */forwarding */accept_ra");
    let before = (host.settings(), settings());
    let agent = host.agent("aaaa");
    host.acquire(&agent);
    for _ in 0..2 {
        host.netns.run(|| agent.acquire_ipv6().unwrap());
    }
    let read = |name: &str| host.netns.sysctl(&format!("net/ipv6/conf/{name}"));
    assert_eq!((read("all/forwarding"), read("aaa/forwarding")), ("1".to_owned(), "1".to_owned()));
    assert_eq!((read("aaa/accept_ra"), read("deaf/accept_ra")), ("2".to_owned(), "0".to_owned()));
    host.netns.sh("ip link delete deaf && ip link add deaf type bridge");
    host.netns.set_sysctl("net/ipv6/conf/deaf/accept_ra", "0");
    host.release(&agent);
    assert_eq!((host.settings(), settings()), before);
    assert!(!host.shared().exists());
}

#[test]
fn the_last_user_puts_everything_back() {
    let host = Host::new();
    let before = host.settings();
    assert_eq!(before["conf/extra/forwarding"], "1");
    let (first, second) = (host.agent("aaaa"), host.agent("bbbb"));
    // Both run: they hold their locks.
    let locks = ["aaaa", "bbbb"].map(|prefix| File::create(host.lock(prefix)).unwrap());
    locks.iter().for_each(|lock| lock.lock().unwrap());
    host.acquire(&first);
    host.acquire(&first);
    host.acquire(&second);
    host.release(&first);
    assert!(host.is_on(), "the second still uses it");
    host.release(&second);
    assert_eq!(host.settings(), before);
    assert!(!host.shared().exists(), "nothing is left");
    host.release(&second);
    assert_eq!(host.settings(), before);
}

#[test]
fn a_host_that_forwards_already_goes_on_forwarding() {
    let host = Host::new();
    host.netns.set_sysctl("net/ipv4/ip_forward", "1");
    let before = host.settings();
    let agent = host.agent("aaaa");
    host.acquire(&agent);
    host.release(&agent);
    assert_eq!(host.settings(), before);
}

#[test]
fn a_killed_agent_counts_while_it_has_a_bridge() {
    let host = Host::new();
    let before = host.settings();
    let mut netlink = host.netns.netlink();
    netlink.create_bridge(&BridgeSpec { name: "berthaaaa0", mac: None, mtu: None }).unwrap();
    let (killed, living) = (host.agent("aaaa"), host.agent("bbbb"));
    host.acquire(&killed);
    host.acquire(&living);
    host.release(&living);
    assert!(host.is_on(), "its instances may still run");

    // Its data and its bridge are gone: nobody will ever release it.
    netlink.delete_link("berthaaaa0").unwrap();
    host.acquire(&living);
    host.release(&living);
    assert_eq!(host.settings(), before);
    assert!(!host.shared().exists());
}

#[test]
fn what_was_saved_outlives_the_agent_that_saved_it() {
    let host = Host::new();
    let before = host.settings();
    host.acquire(&host.agent("aaaa"));
    // Killed. The next finds forwarding on, and knows all the same that it was off.
    let next = host.agent("bbbb");
    host.acquire(&next);
    host.release(&next);
    assert_eq!(host.settings(), before);
}

#[test]
fn what_somebody_turned_off_is_turned_on_again() {
    let host = Host::new();
    let before = host.settings();
    let agent = host.agent("aaaa");
    host.acquire(&agent);
    host.netns.set_sysctl("net/ipv4/ip_forward", "0");
    host.acquire(&agent);
    host.release(&agent);
    assert_eq!(host.settings(), before);
}

#[test]
fn other_shared_files_stay() {
    let host = Host::new();
    let agent = host.agent("aaaa");
    host.acquire(&agent);
    fs::write(host.shared().join("uids.json"), "{}").unwrap();
    host.release(&agent);
    let left: Vec<_> = fs::read_dir(host.shared()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["uids.json"]);
}

#[test]
fn a_damaged_record_is_named_and_changes_nothing() {
    let host = Host::new();
    let before = host.settings();
    fs::create_dir(host.shared()).unwrap();
    fs::write(host.shared().join("ip_forward.json"), "{").unwrap();
    let agent = host.agent("aaaa");
    let error = host.netns.run(|| agent.acquire(&mut Netlink::open().unwrap()).unwrap_err());
    assert!(error.to_string().contains("ip_forward.json is damaged: remove it"), "{error}");
    assert_eq!(host.settings(), before);
}

#[test]
fn agents_that_come_and_go_at_once_lose_nothing() {
    let host = Host::new();
    let before = host.settings();
    let prefixes = ["aaaa", "bbbb", "cccc", "dddd"];
    let locks: Vec<File> = prefixes.iter().map(|prefix| File::create(host.lock(prefix)).unwrap()).collect();
    locks.iter().for_each(|lock| lock.lock().unwrap());
    std::thread::scope(|scope| {
        for prefix in prefixes {
            let host = &host;
            scope.spawn(move || {
                let agent = host.agent(prefix);
                for _ in 0..20 {
                    host.acquire(&agent);
                    host.release(&agent);
                }
            });
        }
    });
    assert_eq!(host.settings(), before);
    assert!(!host.shared().exists());
}
