//! Instances on a physical network, whose DHCP server is a real one, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    an_instance_has_a_lease_of_its_own_and_keeps_it,
    an_instance_beside_an_interface_has_a_lease,
    another_address_of_the_server_s_is_in_the_state_at_the_next_refresh,
    a_server_that_was_away_is_asked_when_it_is_back,
    an_interface_is_plugged_into_the_physical_network_and_out_again,
    a_fixed_address_is_one_instance_s_and_changes_while_it_runs,
    an_instance_with_ipv6_alone_waits_for_an_address_that_leads_elsewhere,
    a_vlan_that_the_host_cannot_have_is_refused_at_its_argument,
    what_does_not_go_on_a_physical_network_is_refused_at_its_argument,
);

mod cases {
    use std::time::Duration;

    use berth_acceptance_tests::lan::{Door, Lan};
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};
    use serde_json::Value;

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
        lan: Lan,
    }

    const ON_LAN: &str = "networks = { eth0 = { network = berth_network.lan.name } }";
    const MACHINE: &str = "type = \"virtual-machine\"";
    const WAIT: &str = "wait_for = { condition = \"address\" }";
    const PORT: &str = "wait_for = { condition = \"port\", port = 8080 }";

    impl World {
        fn new(terraform: &Terraform, door: Door) -> Self {
            let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry, agent, project, lan: Lan::new(door).unwrap() }
        }

        /// A network on the host's door, and an instance `web` with these arguments.
        fn write(&self, kind: &str, arguments: &[&str]) {
            self.project.write(&self.text(kind, arguments)).unwrap();
        }

        fn text(&self, kind: &str, arguments: &[&str]) -> String {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 resource \"berth_network\" \"lan\" {{\n  name = \"lan\"\n  type = \"{kind}\"\n  parent = \"{}\"\n}}\n",
                self.registry.address(),
                self.lan.parent(),
            );
            if !arguments.is_empty() {
                text.push_str(&format!(
                    "resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  \
                     stop_timeout = \"1s\"\n  {}\n}}\n",
                    arguments.join("\n  ")
                ));
            }
            text
        }

        fn sh(&self, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", "web", "--", "sh", "-c", script]).unwrap();
            said.trim().to_owned()
        }

        fn state(&self) -> Value {
            self.project.attributes("berth_instance.web").unwrap()
        }

        /// Waits until its lease, as the command line shows it, is so.
        fn until_lease(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
            let seen = wait::until(what, Duration::from_secs(40), || {
                let lease = self.agent.inspect("web").unwrap()["leases"]["eth0"].clone();
                if good(&lease) { Ok(lease) } else { Err(format!("{lease}\n{}", self.lan.leases())) }
            });
            seen.unwrap()
        }

        /// All that the state says of its addresses is what `ip` shows inside, and what the server has given.
        fn assert_as_inside(&self) {
            let state = self.state();
            let shown = self.sh("busybox ip -4 -o address show dev eth0 scope global");
            let inside = shown.split_whitespace().nth(3).unwrap_or_default().to_owned();
            assert_eq!(state["addresses"]["eth0"][0], inside.as_str(), "{shown}");
            let address = state["ipv4_address"].as_str().unwrap();
            assert_eq!(inside, format!("{address}/24"));
            assert_eq!(state["mac_addresses"]["eth0"], self.sh("cat /sys/class/net/eth0/address"));
            let mac = state["mac_addresses"]["eth0"].as_str().unwrap();
            assert!(self.lan.leases().contains(&format!("{mac} {address} web ")), "{}", self.lan.leases());
        }

        fn until_given_back(&self) {
            wait::until("the lease being given back", Duration::from_secs(5), || {
                let leases = self.lan.leases();
                if leases.contains(" web ") { Err(leases) } else { Ok(()) }
            })
            .unwrap();
        }

        /// A guest is told of a lease a moment after the host has it.
        fn until_inside(&self) {
            let address = self.state()["ipv4_address"].as_str().unwrap().to_owned();
            wait::until("the address inside", Duration::from_secs(10), || {
                let shown = self.sh("busybox ip -4 -o address show dev eth0 scope global");
                if shown.contains(&address) { Ok(()) } else { Err(shown) }
            })
            .unwrap();
        }

        fn assert_page(&self) {
            let url = format!("http://{}:8080/", self.state()["ipv4_address"].as_str().unwrap());
            assert_eq!(self.lan.inside(&["curl", "-sS", "--max-time", "5", &url]).unwrap(), "page one\n");
        }
    }

    fn address(lease: &Value) -> &str {
        lease["address"].as_str().unwrap_or_default()
    }

    fn renewals(lease: &Value) -> u64 {
        lease["renewals"].as_u64().unwrap_or_default()
    }

    pub fn an_instance_has_a_lease_of_its_own_and_keeps_it(terraform: &Terraform) {
        let mut world = World::new(terraform, Door::Bridge);
        world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
        world.write("physical", &[ON_LAN, WAIT]);
        world.project.apply_settled();
        world.assert_as_inside();
        world.assert_page();
        assert!(world.sh("busybox ip route").contains("default via 192.0.2.1 dev eth0"));
        assert_eq!(world.sh("cat /etc/resolv.conf"), "search lan.example\nnameserver 192.0.2.53");
        let before = world.state()["ipv4_address"].clone();
        let kept = world.until_lease("three renewals", |lease| renewals(lease) >= 3);
        assert_eq!(address(&kept), format!("{}/24", before.as_str().unwrap()));
        assert_eq!((&kept["server"], &kept["trouble"]), (&"192.0.2.1".into(), &Value::Null));
        // Over a restart and over a new agent, too.
        world.write("physical", &[ON_LAN, WAIT, "restart_triggers = { a = \"b\" }"]);
        world.project.apply_settled();
        world.agent.restart().unwrap();
        world.project.apply_settled();
        assert_eq!(world.state()["ipv4_address"], before);
        world.assert_as_inside();
        let listed = world.agent.berth_ok(&["instance", "ls"]).unwrap();
        assert!(listed.contains(before.as_str().unwrap()), "{listed}");
        world.project.destroy_ok();
        world.until_given_back();
        assert_eq!(world.agent.mark().links(), [] as [String; 0]);
    }

    pub fn an_instance_beside_an_interface_has_a_lease(terraform: &Terraform) {
        // The host does not reach an instance beside its interface; whether its port is open is seen all the same.
        for (kind, arguments) in
            [("physical", [WAIT, ""]), ("macvlan", [PORT, ""]), ("macvlan", [PORT, MACHINE])]
        {
            let mut world = World::new(terraform, Door::Interface);
            world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
            world.write(kind, &[ON_LAN, arguments[0], arguments[1]]);
            world.project.apply_settled();
            world.assert_as_inside();
            world.assert_page();
            if arguments[1] == MACHINE {
                its_health_is_asked_for_inside(&world, kind);
                routers_are_listened_to(&mut world);
            }
            world.project.destroy_ok();
            assert_eq!(world.agent.mark().links(), [] as [String; 0]);
        }
    }

    /// Which is waited for at the next start.
    fn its_health_is_asked_for_inside(world: &World, kind: &str) {
        const CHECK: &str = "health_check = { http = { port = 8080, path = \"/\" }, interval = \"200ms\" }";
        const HEALTHY: &str = "wait_for = { condition = \"healthy\" }";
        world.write(kind, &[ON_LAN, MACHINE, CHECK, HEALTHY, "restart_triggers = { a = \"b\" }"]);
        world.project.apply_settled();
        assert_eq!(world.agent.inspect("web").unwrap()["health"], "healthy");
    }

    /// The guest says what it has of them.
    fn routers_are_listened_to(world: &mut World) {
        world.lan.advertise().unwrap();
        let seen = wait::until("an address of a router's", Duration::from_secs(20), || {
            let all = world.agent.inspect("web").unwrap()["addresses"]["eth0"].to_string();
            if all.contains("2001:db8:1:") { Ok(all) } else { Err(all) }
        });
        let seen = seen.unwrap();
        let inside = world.sh("busybox ip -6 -o address show dev eth0 scope global");
        let own = inside.split_whitespace().nth(3).unwrap();
        assert!(seen.contains(own), "{own} in {seen}");
    }

    pub fn another_address_of_the_server_s_is_in_the_state_at_the_next_refresh(terraform: &Terraform) {
        let mut world = World::new(terraform, Door::Bridge);
        world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
        world.write("physical", &[ON_LAN, WAIT]);
        world.project.apply_settled();
        let pid = world.agent.inspect("web").unwrap()["pid"].clone();
        world.lan.forget();
        world.lan.serve("192.0.2.150", "192.0.2.159").unwrap();
        world.until_lease("another address", |lease| address(lease).starts_with("192.0.2.15"));
        world.project.apply_settled();
        world.assert_as_inside();
        world.assert_page();
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        world.project.destroy_ok();
    }

    pub fn a_server_that_was_away_is_asked_when_it_is_back(terraform: &Terraform) {
        let mut world = World::new(terraform, Door::Bridge);
        // It never answers: whoever waits for an address is told so.
        world.write("physical", &[ON_LAN, WAIT, "timeouts = { create = \"6s\" }"]);
        let failed = world.project.apply().unwrap();
        let error = failed.error().unwrap();
        assert!(error.summary.contains("its interface eth0 has no address"), "{error:?}");
        assert!(error.summary.contains("no server has answered so far"), "{error:?}");
        assert!(error.code.contains("wait_for"), "{error:?}");
        // Whoever does not has an instance without one.
        world.write("physical", &[ON_LAN]);
        world.project.apply_settled();
        assert_eq!(world.state()["addresses"]["eth0"], serde_json::json!([]));
        // The one that every interface gives itself is none that others could use.
        assert!(world.sh("busybox ip -6 -o address show dev eth0").contains(" fe80:"));
        assert_eq!(world.state()["ipv6_address"], Value::Null);
        world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
        world.until_lease("a lease", |lease| !address(lease).is_empty());
        world.project.apply_settled();
        world.assert_as_inside();
        // It goes on with what it has while the server is away, and has the same from it afterwards.
        let before = world.until_lease("a renewal", |lease| renewals(lease) >= 1);
        world.lan.stop_serving();
        let alone = world.until_lease("a server that is away", |lease| !lease["trouble"].is_null());
        assert_eq!(alone["address"], before["address"]);
        assert_eq!(alone["trouble"], "192.0.2.1 does not renew the lease");
        world.project.assert_empty_plan();
        world.project.destroy_ok();
    }

    pub fn an_interface_is_plugged_into_the_physical_network_and_out_again(terraform: &Terraform) {
        for kind in ["", MACHINE] {
            it_is_plugged_in_and_out(terraform, kind);
        }
    }

    fn it_is_plugged_in_and_out(terraform: &Terraform, kind: &str) {
        let mut world = World::new(terraform, Door::Bridge);
        world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
        const BESIDE: &str = "networks = {\n    eth0 = { network = berth_network.lan.id }\n    eth1 = { network = \"default\" }\n  }";
        const ALONE: &str = "networks = { eth1 = { network = \"default\" } }";
        world.write("physical", &[ALONE, kind]);
        world.project.apply_settled();
        let pid = world.agent.inspect("web").unwrap()["pid"].clone();
        world.write("physical", &[BESIDE, kind]);
        world.project.apply_ok();
        world.until_lease("a lease", |lease| !address(lease).is_empty());
        world.project.apply_settled();
        world.until_inside();
        world.assert_as_inside();
        world.assert_page();
        assert_eq!(world.sh("cat /etc/resolv.conf"), "search lan.example\nnameserver 192.0.2.53");
        let renewed = world.until_lease("a renewal", |lease| renewals(lease) >= 1);
        assert_eq!(renewed["trouble"], Value::Null);
        // The server is away, and has forgotten it; what it gives then is what the instance has.
        world.lan.forget();
        world.lan.serve("192.0.2.150", "192.0.2.159").unwrap();
        world.until_lease("another address", |lease| address(lease).starts_with("192.0.2.15"));
        world.project.apply_settled();
        world.until_inside();
        world.assert_as_inside();
        world.assert_page();
        world.write("physical", &[ALONE, kind]);
        world.project.apply_settled();
        world.until_given_back();
        assert!(!world.sh("busybox ip -o link").contains("eth0"));
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        assert_eq!(world.agent.inspect("web").unwrap()["leases"], serde_json::json!({}));
        world.project.destroy_ok();
    }

    fn fixed(host: u8, dns: &str) -> String {
        format!(
            "networks = {{\n    eth0 = {{\n      network = berth_network.lan.id\n      ipv4_address = \"192.0.2.{host}/24\"\n      \
             ipv4_gateway = \"192.0.2.1\"\n      ipv6_address = \"2001:DB8::{host}/64\"\n      ipv6_gateway = \"fe80::1\"\n      \
             dns = [\"{dns}\"]\n    }}\n  }}"
        )
    }

    pub fn a_fixed_address_is_one_instance_s_and_changes_while_it_runs(terraform: &Terraform) {
        for (kind, door) in [("physical", Door::Bridge), ("macvlan", Door::Interface)] {
            let mut world = World::new(terraform, door);
            // Nobody serves: nobody is asked.
            world.write(kind, &[&fixed(77, "192.0.2.53"), WAIT]);
            world.project.apply_settled();
            let state = world.state();
            assert_eq!(state["addresses"]["eth0"], serde_json::json!(["192.0.2.77/24", "2001:db8::77/64"]));
            assert_eq!(
                (&state["ipv4_address"], &state["ipv6_address"]),
                (&"192.0.2.77".into(), &"2001:db8::77".into())
            );
            let shown = world.sh(
                "busybox ip -o address show dev eth0 scope global; busybox ip route; busybox ip -6 route",
            );
            for part in ["192.0.2.77/24", "2001:db8::77/64", "default via 192.0.2.1", "default via fe80::1"] {
                assert!(shown.contains(part), "no {part} in {shown}");
            }
            assert!(world.sh("cat /etc/resolv.conf").contains("nameserver 192.0.2.53"));
            world.assert_page();
            let pid = world.agent.inspect("web").unwrap()["pid"].clone();
            // Another address of the same interface: the neighbours hear of it, whatever they knew of it before.
            let stale = "ip neighbour replace 192.0.2.78 nud reachable lladdr 02:00:00:00:de:ad dev lan0";
            world.lan.inside(&["sh", "-c", stale]).unwrap();
            world.write(kind, &[&fixed(78, "192.0.2.54"), WAIT]);
            world.project.apply_settled();
            let mac = world.state()["mac_addresses"]["eth0"].as_str().unwrap().to_owned();
            wait::until("the announcement of the address", Duration::from_secs(5), || {
                let known = world.lan.inside(&["ip", "neighbour", "show", "192.0.2.78"]).unwrap();
                if known.contains(&mac) { Ok(()) } else { Err(known) }
            })
            .unwrap();
            world.assert_page();
            let asked = world.sh("cat /etc/resolv.conf");
            assert!(asked.contains("nameserver 192.0.2.54") && !asked.contains("192.0.2.53"), "{asked}");
            let second = "resource \"berth_instance\" \"second\" {\n  name = \"second\"\n  image = berth_image.tiny.id\n  ";
            let text = world.text(kind, &[&fixed(78, "192.0.2.54"), WAIT]);
            world.project.write(&format!("{text}{second}{}\n}}\n", fixed(78, "192.0.2.54"))).unwrap();
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains("192.0.2.78 is the instance \"web\"'s"), "{error:?}");
            assert!(error.code.contains("ipv4_address"), "{error:?}");
            assert_eq!(world.agent.instances().unwrap(), ["web"]);
            // The address of a server again, and its resolvers.
            world.lan.serve("192.0.2.50", "192.0.2.59").unwrap();
            world.write(kind, &[ON_LAN, WAIT]);
            world.project.apply_settled();
            world.until_lease("a lease", |lease| !address(lease).is_empty());
            world.project.apply_settled();
            world.assert_as_inside();
            assert_eq!(world.sh("cat /etc/resolv.conf"), "search lan.example\nnameserver 192.0.2.53");
            assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
            world.project.destroy_ok();
        }
    }

    pub fn an_instance_with_ipv6_alone_waits_for_an_address_that_leads_elsewhere(terraform: &Terraform) {
        const WAIT_FOR_IPV6: &str = "wait_for = { condition = \"address\", family = \"ipv6\" }";
        let mut world = World::new(terraform, Door::Bridge);
        // It has a link-local address at once, which is none to wait for.
        world.write("physical", &[ON_LAN, WAIT_FOR_IPV6, "timeouts = { create = \"4s\" }"]);
        let failed = world.project.apply().unwrap();
        let error = failed.error().unwrap();
        assert!(
            error.summary.contains("eth0 has no address") && error.code.contains("wait_for"),
            "{error:?}"
        );
        assert!(world.sh("busybox ip -6 -o address show dev eth0").contains("inet6 fe80:"));
        world.lan.advertise().unwrap();
        world.write("physical", &[ON_LAN, WAIT_FOR_IPV6]);
        world.project.apply_settled();
        let state = world.state();
        let address = state["ipv6_address"].as_str().unwrap().to_owned();
        assert!(address.starts_with("2001:db8:1:"), "{address}");
        assert_eq!(state["ipv4_address"], Value::Null);
        assert_eq!(state["addresses"]["eth0"], serde_json::json!([format!("{address}/64")]));
        let inside = world.sh("busybox ip -6 -o address show dev eth0 scope global; busybox ip -6 route");
        assert!(
            inside.contains(&format!("{address}/64")) && inside.contains("default via fe80:"),
            "{inside}"
        );
        world.lan.inside(&["busybox", "ping", "-6", "-c", "1", "-W", "5", &address]).unwrap();
        world.project.destroy_ok();
    }

    /// Where the kernel has VLANs, instances are on them; where not, it is said what to do. `berth check` knows which.
    pub fn a_vlan_that_the_host_cannot_have_is_refused_at_its_argument(terraform: &Terraform) {
        let fixed = fixed(77, "192.0.2.53");
        for (kind, door) in [("physical", Door::Bridge), ("macvlan", Door::Interface)] {
            let world = World::new(terraform, door);
            let text =
                world.text(kind, &[&fixed]).replace("name = \"lan\"\n", "name = \"lan\"\n  vlan = 100\n");
            world.project.write(&text).unwrap();
            let applied = world.project.apply().unwrap();
            let checks = world.agent.berth(&["--format", "json", "check"]).unwrap();
            let checks: Vec<Value> = serde_json::from_str(&checks.stdout).unwrap();
            let vlan = checks.iter().find(|check| check["name"] == "vlan").unwrap();
            let Some(error) = applied.error() else {
                assert_eq!(vlan["outcome"], "ok", "{vlan}");
                let untagged = ["busybox", "ping", "-c", "1", "-W", "1", "192.0.2.77"];
                assert!(world.lan.inside(&untagged).is_err(), "it is on another VLAN");
                world.project.assert_empty_plan();
                world.project.destroy_ok();
                assert_eq!(world.agent.mark().links(), [] as [String; 0]);
                continue;
            };
            let words = format!("The host has no way to the VLAN 100 of {}", world.lan.parent());
            assert!(error.detail.contains(&words) && error.code.contains("vlan"), "{error:?}");
            if door == Door::Interface {
                assert!(error.detail.contains("modprobe 8021q"), "{error:?}");
                assert!(vlan["fix"].as_str().unwrap().contains("modprobe 8021q"), "{vlan}");
            } else {
                assert!(
                    error.detail.contains("BRIDGE_VLAN_FILTERING")
                        || error.detail.contains("vlan_filtering 1"),
                    "{error:?}"
                );
            }
            world.write(kind, &[&fixed]);
            world.project.apply_settled();
            world.project.destroy_ok();
        }
    }

    pub fn what_does_not_go_on_a_physical_network_is_refused_at_its_argument(terraform: &Terraform) {
        let world = World::new(terraform, Door::Bridge);
        world.write("physical", &[ON_LAN, "ports = { http = { container_port = 8080 } }"]);
        let refused = world.project.apply().unwrap();
        let error = refused.error().unwrap();
        assert!(error.summary.contains("publishes no ports") && error.code.contains("ports"), "{error:?}");
        for (arguments, argument, words) in [
            ("ipv4_address = \"192.0.2.5\"", "ipv4_address", "is written with its prefix"),
            (
                "ipv4_address = \"192.0.2.5/24\", ipv4_gateway = \"192.0.3.1\"",
                "ipv4_gateway",
                "no address of the network",
            ),
            ("ipv4_gateway = \"192.0.2.1\"", "ipv4_gateway", "goes with an IPv4 address"),
            ("ipv6_address = \"fe80::5/64\"", "ipv6_address", "cannot be the address of an interface"),
            ("dns = [\"ns.example\"]", "dns", "is not the address of a resolver"),
        ] {
            let on = format!(
                "networks = {{\n    eth0 = {{\n      network = berth_network.lan.id\n      {}\n    }}\n  }}",
                arguments.replace(", ", "\n      ")
            );
            world.write("physical", &[&on]);
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words) && error.code.contains(argument), "{error:?}");
        }
        world.lan.unplug().unwrap();
        world.write("physical", &[ON_LAN]);
        let refused = world.project.apply().unwrap();
        let error = refused.error().unwrap();
        let words = format!("The host has no interface {}", world.lan.parent());
        assert!(error.detail.contains(&words), "{error:?}");
        assert_eq!(world.agent.instances().unwrap(), [] as [String; 0]);
        world.project.destroy_ok();
    }
}
