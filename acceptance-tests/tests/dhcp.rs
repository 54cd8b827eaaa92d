//! Addresses for what is on a network and is no instance, under each Terraform, asked for by a real client.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(a_guest_of_another_tool_s_is_given_an_address_and_keeps_it);

mod cases {
    use std::collections::BTreeMap;
    use std::fs;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use berth_acceptance_tests::netns::Netns;
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, command, wait};
    use serde_json::Value;
    use tempfile::TempDir;

    const SUBNET: &str = "SUBNET";

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
        /// The beginning of a subnet that no test beside this one has.
        subnet: String,
    }

    impl World {
        fn new(terraform: &Terraform) -> Self {
            let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
            let project = Project::new(terraform, &agent).unwrap();
            let pid = std::process::id();
            let subnet = format!("10.{}.{}", 200 + pid / 256 % 50, pid % 256);
            Self { registry, agent, project, subnet }
        }

        /// A network with these arguments, and instances on it.
        fn write(&self, network: &str, instances: &[(&str, &str)]) {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 resource \"berth_network\" \"net\" {{\n  name = \"net\"\n  ipv4_subnet = \"SUBNET.0/24\"\n  {network}\n}}\n\
                 data \"berth_network\" \"net\" {{\n  name = berth_network.net.name\n}}\n",
                self.registry.address()
            );
            for (name, address) in instances {
                text.push_str(&format!(
                    "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  image = berth_image.tiny.id\n  \
                     user = \"root\"\n  stop_timeout = \"1s\"\n  security = {{ capabilities_add = [\"NET_RAW\", \"NET_ADMIN\"] }}\n  \
                     networks = {{ eth0 = {{ network = berth_network.net.id{address} }} }}\n}}\n"
                ));
            }
            self.project.write(&text.replace(SUBNET, &self.subnet)).unwrap();
        }

        fn network(&self) -> Value {
            serde_json::from_str(&self.agent.berth_ok(&["network", "inspect", "net"]).unwrap()).unwrap()
        }

        fn helper(&self) -> Vec<i32> {
            let mut all = self.agent.mark().processes();
            let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            all.retain(|pid| name(pid).trim() == "berth-bridge");
            all.into_iter().collect()
        }
    }

    /// What a client says has happened, and all that it knows.
    type Event = BTreeMap<String, String>;

    /// Something on a bridge that is not Berth's, with a client of its own.
    struct Guest {
        netns: Netns,
        dir: TempDir,
        client: Option<Child>,
    }

    const SCRIPT: &str = "#!/bin/sh\nset -e\ncase $1 in\n\
                          deconfig) ip address flush dev eth0; ip link set eth0 up;;\n\
                          bound|renew) ip address replace $ip/$mask dev eth0; ip route replace default via $router;;\n\
                          esac\n{ echo event=$1; env; echo; } >> DIR/events\n";

    impl Guest {
        fn on(bridge: &str, number: u8) -> Self {
            let (netns, dir) = (Netns::new().unwrap(), tempfile::tempdir().unwrap());
            let port = format!("gu{:x}n{number}", std::process::id());
            let ip = |args: &str| command::run(Command::new("ip").args(args.split(' '))).unwrap();
            let mac = format!("52:54:00:00:00:{number:02x}");
            ip(&format!("link add {port} type veth peer name eth0 address {mac} netns {}", netns.pid()));
            ip(&format!("link set {port} master {bridge} up"));
            let script = dir.path().join("script");
            fs::write(&script, SCRIPT.replace("DIR", &dir.path().display().to_string())).unwrap();
            command::run(Command::new("chmod").arg("755").arg(&script)).unwrap();
            netns.run(&["ip", "link", "set", "eth0", "up"]).unwrap();
            Self { netns, dir, client: None }
        }

        fn udhcpc(&self, more: &[&str]) -> Command {
            let script = self.dir.path().join("script").display().to_string();
            let mut command = self.netns.command(&["setpriv", "--pdeathsig", "KILL", "busybox", "udhcpc"]);
            command.args(["-f", "-i", "eth0", "-s", &script, "-T", "1", "-x", "hostname:guest"]).args(more);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        }

        fn events(&self) -> Vec<Event> {
            let text = fs::read_to_string(self.dir.path().join("events")).unwrap_or_default();
            let event = |text: &str| {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            };
            // What is not ended yet is still being written.
            text.rsplit_once("\n\n")
                .map(|(all, _)| all.split("\n\n").map(event).collect())
                .unwrap_or_default()
        }

        /// The next event of this name after those that there were.
        fn next(&self, name: &str, after: usize) -> Event {
            let found = wait::until(&format!("the client's {name}"), Duration::from_secs(20), || {
                let events = self.events();
                let found = events.iter().skip(after).find(|event| event["event"] == name).cloned();
                found.ok_or_else(|| format!("{events:?}"))
            });
            found.unwrap()
        }

        fn take_lease(&mut self) -> Event {
            let after = self.events().len();
            self.client = Some(self.udhcpc(&[]).spawn().unwrap());
            self.next("bound", after)
        }

        /// Asks for more time; gives what came of it.
        fn renew(&self, expected: &str) -> Event {
            let after = self.events().len();
            let pid = self.client.as_ref().unwrap().id().to_string();
            command::run(Command::new("kill").args(["-USR1", &pid])).unwrap();
            self.next(expected, after)
        }

        /// What it gets at this address, with its own resolver.
        fn fetch(&self, resolver: &str, url: &str) -> String {
            let conf = self.dir.path().join("resolv.conf");
            fs::write(&conf, format!("nameserver {resolver}\n")).unwrap();
            let script = format!(
                "mount --bind {} /etc/resolv.conf && exec curl --silent --max-time 10 --noproxy '*' {url}",
                conf.display()
            );
            self.netns.run(&["unshare", "--mount", "sh", "-c", &script]).unwrap()
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            if let Some(client) = &mut self.client {
                let _ = client.kill();
                let _ = client.wait();
            }
        }
    }

    /// The addresses that are leased, as the command line and the data source have them.
    fn leased(world: &World) -> Vec<String> {
        let shown = world.network()["leases"].clone();
        world.project.apply_ok();
        let state = world.project.attributes("data.berth_network.net").unwrap()["leases"].clone();
        let strip = |list: &Value| {
            let mut list = list.as_array().unwrap().clone();
            list.iter_mut().for_each(|lease| drop(lease.as_object_mut().unwrap().remove("expires")));
            list
        };
        assert_eq!(strip(&shown), strip(&state));
        let addresses = shown.as_array().unwrap().iter();
        addresses.map(|lease| lease["ipv4_address"].as_str().unwrap().to_owned()).collect()
    }

    pub fn a_guest_of_another_tool_s_is_given_an_address_and_keeps_it(terraform: &Terraform) {
        let mut world = World::new(terraform);
        let dhcp = |range: &str| format!("dhcp = {{ ipv4_range = \"{range}\", lease_time = \"1m\" }}");
        let first = dhcp("SUBNET.100-SUBNET.101");
        refused(&world);
        world.write(&first, &[("web", "")]);
        world.project.apply_settled();
        let bridge = world.network()["bridge"].as_str().unwrap().to_owned();
        let mut guest = Guest::on(&bridge, 1);
        let given = guest.take_lease();
        let (gateway, ip) = (format!("{}.1", world.subnet), given["ip"].clone());
        assert!(ip.ends_with(".100") || ip.ends_with(".101"), "{given:?}");
        for key in ["router", "dns", "serverid"] {
            assert_eq!(given[key], gateway, "{given:?}");
        }
        assert_eq!((&*given["domain"], &*given["lease"], &*given["mask"]), ("net.berth", "60", "24"));
        for name in ["web", "web.net.berth"] {
            assert_eq!(guest.fetch(&gateway, &format!("http://{name}:8080/")), "page one\n");
        }
        assert_eq!(leased(&world), [ip.as_str()]);
        let lease = world.network()["leases"][0].clone();
        assert_eq!((&lease["mac"], &lease["hostname"]), (&"52:54:00:00:00:01".into(), &"guest".into()));
        world.project.assert_empty_plan();
        it_outlives_who_gave_it(&mut world, &guest, &ip);
        instances_have_their_own(&world, &first, &guest, &ip);
        // Another range is given from at once, by the same process.
        let helper = world.helper();
        world.write(&dhcp("SUBNET.200-SUBNET.200"), &[("web", "")]);
        world.project.apply_settled();
        let moved = guest.renew("bound")["ip"].clone();
        assert_eq!((&moved, world.helper()), (&format!("{}.200", world.subnet), helper));
        assert_eq!(guest.fetch(&gateway, "http://web:8080/"), "page one\n");
        // There is nothing for another, and it is told of.
        let other = Guest::on(&bridge, 2);
        let nothing = other.udhcpc(&["-n", "-q", "-t", "1"]).status().unwrap();
        assert!(!nothing.success() && world.network()["leases_exhausted"].is_string());
        // Without a server nobody answers any more, and nothing is remembered.
        world.write("", &[("web", "")]);
        world.project.apply_settled();
        assert!(!guest.udhcpc(&["-n", "-q", "-t", "1"]).status().unwrap().success());
        assert_eq!(leased(&world), Vec::<String>::new());
        drop((guest, other));
        world.project.destroy_ok();
        let kept = fs::read_dir(world.agent.data_dir().join("leases")).unwrap().count();
        assert_eq!((kept, world.helper().len()), (0, 0));
        let left = world.agent.mark().leftovers().unwrap();
        assert!(left.iter().all(|left| left.contains("berthd") || left.starts_with("lock")), "{left:?}");
    }

    /// What cannot be is said by the plan, at its argument.
    fn refused(world: &World) {
        for (network, words, argument) in [
            ("dhcp = { ipv4_range = \"SUBNET.9-SUBNET.2\" }", "ends before it begins", "ipv4_range"),
            ("dhcp = { ipv4_range = \"SUBNET.1-SUBNET.9\" }", "host's own address", "ipv4_range"),
            ("dhcp = { ipv4_range = \"192.0.2.1-192.0.2.9\" }", "no address of the network", "ipv4_range"),
            ("dhcp = { lease_time = \"30s\" }", "time of a lease", "lease_time"),
        ] {
            world.write(network, &[]);
            let refused = world.project.plan().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words), "{error:?}");
            assert!(error.code.contains(argument), "{error:?}");
        }
    }

    /// The agent, and then the process that gives addresses, are killed.
    fn it_outlives_who_gave_it(world: &mut World, guest: &Guest, ip: &str) {
        let helper = world.helper();
        world.agent.kill().unwrap();
        assert_eq!(guest.renew("renew")["ip"], ip);
        world.agent.restart().unwrap();
        assert_eq!((guest.renew("renew")["ip"].as_str(), world.helper()), (ip, helper.clone()));
        command::run(Command::new("kill").args(["-9", &helper[0].to_string()])).unwrap();
        wait::until("another helper", Duration::from_secs(30), || {
            let now = world.helper();
            if now.len() == 1 && now != helper { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .unwrap();
        assert_eq!(leased(world), [ip]);
        assert_eq!(guest.renew("renew")["ip"], ip);
        world.project.assert_empty_plan();
    }

    /// No instance has what is a guest's; and one that asks is told what it has.
    fn instances_have_their_own(world: &World, network: &str, guest: &Guest, ip: &str) {
        world.write(network, &[("web", ""), ("other", &format!(", ipv4_address = \"{ip}\""))]);
        let refused = world.project.apply().unwrap();
        assert!(refused.error().unwrap().summary.contains("leased to 52:54:00:00:00:01"), "{refused:?}");
        // One of the range may be asked for, and is then no guest's.
        let free = if ip.ends_with(".100") { "SUBNET.101" } else { "SUBNET.100" };
        world.write(network, &[("web", ""), ("other", &format!(", ipv4_address = \"{free}\""))]);
        world.project.apply_settled();
        for name in ["web", "other"] {
            let own = world.agent.inspect(name).unwrap()["ipv4_address"].as_str().unwrap().to_owned();
            let ask = "busybox udhcpc -f -n -q -t 2 -T 1 -i eth0 -s /bin/true 2>&1";
            let said = world.agent.berth_ok(&["instance", "exec", name, "--", "sh", "-c", ask]).unwrap();
            assert!(said.contains(&format!("lease of {own} obtained")), "{own}: {said}");
            // In another's name it hears nothing, whatever it may do inside.
            let as_another = format!(
                "busybox ip link set eth0 down; busybox ip link set eth0 address 52:54:00:00:00:77; \
                 busybox ip link set eth0 up; {ask}; true"
            );
            if name == "other" {
                let said =
                    world.agent.berth_ok(&["instance", "exec", name, "--", "sh", "-c", &as_another]).unwrap();
                assert!(said.contains("no lease"), "{said}");
            }
        }
        let second = Guest::on(world.network()["bridge"].as_str().unwrap(), 3);
        assert!(
            !second.udhcpc(&["-n", "-q", "-t", "1"]).status().unwrap().success(),
            "an instance has the last"
        );
        assert_eq!(guest.renew("renew")["ip"], ip);
        assert_eq!(leased(world), [ip]);
    }
}
