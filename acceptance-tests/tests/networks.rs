//! Networks under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_network_is_made_changed_imported_and_removed,
    a_network_that_cannot_be_is_refused_at_its_argument,
    another_subnet_of_the_default_network_restarts_who_is_on_it,
    instances_on_a_network_reach_each_other_and_no_one_on_another,
    an_interface_comes_and_goes_and_the_process_stays,
    an_address_stays_over_rebuild_and_replacement,
    what_an_interface_cannot_have_is_refused_at_its_argument,
    instances_on_a_network_reach_each_other_by_ipv6,
);

mod cases {
    use std::collections::{BTreeMap, BTreeSet};

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform) -> Self {
            let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry, agent, project }
        }

        /// An instance of each name with arguments, beside `others`.
        fn write(&self, others: &str, instances: &[(&str, &str)]) {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 {others}\n",
                self.registry.address()
            );
            for (name, arguments) in instances {
                text.push_str(&format!(
                    "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  image = berth_image.tiny.id\n  \
                     stop_timeout = \"1s\"\n  {arguments}\n}}\n"
                ));
            }
            self.project.write(&text).unwrap();
        }

        fn sh(&self, name: &str, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", name, "--", "sh", "-c", script]).unwrap();
            said.trim().to_owned()
        }

        fn network(&self, name: &str) -> serde_json::Value {
            let said = self.agent.berth_ok(&["network", "inspect", name]).unwrap();
            serde_json::from_str(&said).unwrap()
        }
    }

    /// The beginning of a subnet that no test beside this one has.
    fn own_subnet() -> String {
        let pid = std::process::id();
        format!("10.{}.{}.", 200 + pid / 256 % 50, pid % 256)
    }

    fn network(arguments: &str) -> String {
        format!("resource \"berth_network\" \"net\" {{\n  {arguments}\n}}\n")
    }

    pub fn a_network_is_made_changed_imported_and_removed(terraform: &Terraform) {
        let world = World::new(terraform);
        world.project.write(&network("name = \"web\"")).unwrap();
        world.project.apply_settled();
        let (first, default) = (world.network("web"), world.network("default"));
        assert_ne!(first["ipv4_subnet"], default["ipv4_subnet"]);
        // What was chosen is to be read; the network that is there by itself changes nothing of the host's IPv6.
        let state = world.project.attributes("berth_network.net").unwrap();
        assert_eq!(
            (&state["ipv4_subnet"], &state["ipv6_subnet"]),
            (&first["ipv4_subnet"], &first["ipv6_subnet"])
        );
        assert!(state["ipv6_subnet"].as_str().unwrap().starts_with("fd"), "{state}");
        assert_eq!(default["ipv6_subnet"], serde_json::Value::Null);
        world
            .project
            .write(&network("name = \"front\"\n  nat = false\n  mtu = 1400\n  ipv6_subnet = \"none\""))
            .unwrap();
        world.project.apply_settled();
        let second = world.network("front");
        assert_eq!((&second["id"], &second["ipv4_subnet"]), (&first["id"], &first["ipv4_subnet"]));
        assert_eq!((&second["nat"], &second["mtu"]), (&false.into(), &1400.into()));
        assert_eq!(second["ipv6_subnet"], serde_json::Value::Null);
        world.project.destroy_ok();
        let listed = world.agent.berth_ok(&["network", "ls"]).unwrap();
        assert!(listed.contains("default") && !listed.contains("front"), "{listed}");
    }

    pub fn a_network_that_cannot_be_is_refused_at_its_argument(terraform: &Terraform) {
        let world = World::new(terraform);
        let taken = world.network("default")["ipv4_subnet"].as_str().unwrap().to_owned();
        for (arguments, code, words) in [
            (
                format!("name = \"a\"\n  ipv4_subnet = \"{taken}\""),
                "ipv4_subnet",
                "of the network \"default\"",
            ),
            ("name = \"a\"\n  ipv4_subnet = \"10.1.2.3/24\"".to_owned(), "ipv4_subnet", "beyond its prefix"),
            (
                "name = \"a\"\n  ipv4_subnet = \"127.1.0.0/16\"".to_owned(),
                "ipv4_subnet",
                "cannot be a network",
            ),
            (
                "name = \"a\"\n  type = \"macvlan\"\n  parent = \"nothere0\"".to_owned(),
                "parent",
                "has no parent",
            ),
            (
                "name = \"a\"\n  ingress = [{ protocol = \"tcp\", ports = [\"90-80\"] }]".to_owned(),
                "",
                "ends before",
            ),
        ] {
            world.project.write(&network(&arguments)).unwrap();
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words) || error.detail.contains(words), "{error:?}");
            assert!(error.code.contains(code), "{error:?}");
        }
        // One of the agent's own bridges, whether it is there now or not.
        let own = world.network("default")["bridge"].as_str().unwrap().to_owned();
        world
            .project
            .write(&network(&format!("name = \"a\"\n  type = \"physical\"\n  parent = \"{own}\"")))
            .unwrap();
        let refused = world.project.apply().unwrap();
        let error = refused.error().unwrap();
        assert!(format!("{} {}", error.summary, error.detail).contains("of this agent's own"), "{error:?}");
        assert!(error.code.contains("parent"), "{error:?}");
        world.project.write("").unwrap();
        world.project.apply_settled();
    }

    pub fn another_subnet_of_the_default_network_restarts_who_is_on_it(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("", &[("one", ""), ("two", "")]);
        world.project.apply_settled();
        let before = world.agent.inspect("two").unwrap();
        let default = "import {\n  to = berth_network.net\n  id = \"default\"\n}\n".to_owned();
        let instances = [("one", ""), ("two", "")];
        let plain = network("name = \"default\"\n  nat = false");
        world.write(&format!("{default}{plain}"), &instances);
        world.project.apply_settled();
        assert_eq!(world.agent.inspect("two").unwrap()["pid"], before["pid"]);
        let subnet = own_subnet();
        let moved = network(&format!("name = \"default\"\n  ipv4_subnet = \"{subnet}0/24\""));
        world.write(&moved, &instances);
        world.project.apply_ok();
        let after = world.agent.inspect("two").unwrap();
        assert_ne!(after["pid"], before["pid"]);
        let address = after["ipv4_address"].as_str().unwrap();
        assert!(address.starts_with(&subnet), "{address}");
        let inside = world.sh("two", "busybox ip -4 -o address show eth0");
        assert!(inside.contains(&format!("{address}/24")), "{inside}");
        world.sh("one", &format!("busybox ping -c 1 -W 2 {address}"));
        world.project.assert_empty_plan();
        world.project.destroy_ok();
        assert_eq!(world.network("default")["ipv4_subnet"], format!("{subnet}0/24"));
    }

    const BACK: &str = "resource \"berth_network\" \"back\" {\n  name = \"back\"\n}\n";
    const OTHER: &str = "resource \"berth_network\" \"other\" {\n  name = \"other\"\n}\n";
    const ON_BACK: &str = "networks = { eth0 = { network = berth_network.back.id } }";
    const ON_OTHER: &str = "networks = { eth0 = { network = berth_network.other.id } }";
    const ON_BOTH: &str = "networks = {\n    eth0 = { network = \"default\" }\n    eth1 = { network = berth_network.back.id }\n  }";

    /// All that the state says of addresses is what `ip` shows inside.
    fn assert_as_inside(world: &World, name: &str) {
        let state = world.project.attributes(&format!("berth_instance.{name}")).unwrap();
        let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in world.sh(name, "busybox ip -o address show scope global").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            shown.entry(words[1].to_owned()).or_default().insert(words[3].to_owned());
        }
        let told: BTreeMap<String, BTreeSet<String>> =
            serde_json::from_value(state["addresses"].clone()).unwrap();
        assert_eq!(told, shown);
        for interface in shown.keys() {
            let mac = world.sh(name, &format!("cat /sys/class/net/{interface}/address"));
            assert_eq!(state["mac_addresses"][interface], mac.as_str());
        }
    }

    fn address(world: &World, name: &str) -> String {
        world.agent.inspect(name).unwrap()["ipv4_address"].as_str().unwrap().to_owned()
    }

    fn reaches(world: &World, from: &str, address: &str) -> bool {
        let ping = format!("busybox ping -c 1 -W 1 {address} > /dev/null && echo yes || echo no");
        world.sh(from, &ping) == "yes"
    }

    pub fn instances_on_a_network_reach_each_other_and_no_one_on_another(terraform: &Terraform) {
        let world = World::new(terraform);
        let networks = format!("{BACK}{OTHER}");
        let served = format!("{ON_BACK}\n  ports = {{ http = {{ container_port = 8081 }} }}");
        world.write(&networks, &[("one", &served), ("two", ON_BACK), ("three", ON_OTHER), ("four", "")]);
        world.project.apply_settled();
        for name in ["one", "two", "three", "four"] {
            assert_as_inside(&world, name);
        }
        assert!(reaches(&world, "two", &address(&world, "one")));
        assert!(!reaches(&world, "three", &address(&world, "one")));
        assert!(!reaches(&world, "four", &address(&world, "one")));
        world.sh(
            "one",
            "mkdir -p /tmp/www; echo served > /tmp/www/index.html; busybox httpd -p 8081 -h /tmp/www",
        );
        let port = world.agent.inspect("one").unwrap()["ports"]["http"]["host_port"].as_u64().unwrap();
        let page = berth_acceptance_tests::wait::page(u16::try_from(port).unwrap(), "/").unwrap();
        assert_eq!(page, "served\n");
        let refused = world.agent.berth(&["network", "inspect", "back"]).unwrap();
        let users: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!(users["used_by"].as_array().unwrap().len(), 2);
        world.project.destroy_ok();
    }

    pub fn an_interface_comes_and_goes_and_the_process_stays(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write(BACK, &[("web", ""), ("db", ON_BACK)]);
        world.project.apply_settled();
        let before = world.agent.inspect("web").unwrap()["pid"].clone();
        assert!(!reaches(&world, "web", &address(&world, "db")));
        world.write(BACK, &[("web", ON_BOTH), ("db", ON_BACK)]);
        world.project.apply_settled();
        assert_as_inside(&world, "web");
        assert!(reaches(&world, "web", &address(&world, "db")));
        // Names of the network are found from now on, and when they are others.
        let asked = |domain: &str| world.sh("web", "cat /etc/resolv.conf").contains(domain);
        assert!(asked("back.berth") && reaches(&world, "web", "db"));
        let renamed = BACK.replace("name =", "dns_domain = \"rear.example\"\n  name =");
        world.write(&renamed, &[("web", ON_BOTH), ("db", ON_BACK)]);
        world.project.apply_settled();
        assert!(asked("rear.example") && !asked("back.berth") && reaches(&world, "web", "db.rear.example"));
        let addresses = world.project.attributes("berth_instance.web").unwrap()["addresses"].clone();
        world.write(BACK, &[("web", "networks = {}"), ("db", ON_BACK)]);
        world.project.apply_settled();
        assert!(!asked("rear.example") && !asked("back.berth"));
        assert_as_inside(&world, "web");
        world.write(BACK, &[("web", ON_BOTH), ("db", ON_BACK)]);
        world.project.apply_settled();
        assert_eq!(world.project.attributes("berth_instance.web").unwrap()["addresses"], addresses);
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], before);
        world.project.destroy_ok();
    }

    pub fn an_address_stays_over_rebuild_and_replacement(terraform: &Terraform) {
        let world = World::new(terraform);
        let subnet = own_subnet();
        let back = BACK.replace("name =", &format!("ipv4_subnet = \"{subnet}0/24\"\n  name ="));
        let fixed = format!(
            "networks = {{ net0 = {{ network = berth_network.back.name, ipv4_address = \"{subnet}77\", mac = \"02:AB:00:00:00:77\" }} }}"
        );
        world.write(&back, &[("web", &fixed)]);
        world.project.apply_settled();
        assert_as_inside(&world, "web");
        let first = world.project.attributes("berth_instance.web").unwrap();
        assert_eq!(first["ipv4_address"], format!("{subnet}77"));
        // The agent keeps what it gave: a replacement asks for nothing and has the same.
        let free = "networks = { net0 = { network = berth_network.back.name } }";
        world.write(&back, &[("web", &format!("{free}\n  restart_triggers = {{ a = \"b\" }}"))]);
        world.project.apply_settled();
        world.project.run(&["taint", "berth_instance.web"]).unwrap();
        world.project.apply_settled();
        let second = world.project.attributes("berth_instance.web").unwrap();
        assert_ne!(second["id"], first["id"]);
        assert_eq!(
            (&second["addresses"], &second["mac_addresses"]),
            (&first["addresses"], &first["mac_addresses"])
        );
        assert_as_inside(&world, "web");
        world.project.destroy_ok();
    }

    /// Likewise, of both families.
    fn assert_both_as_inside(world: &World, name: &str) -> Vec<String> {
        assert_as_inside(world, name);
        let state = world.project.attributes(&format!("berth_instance.{name}")).unwrap();
        let told = state["addresses"]["eth0"].as_array().unwrap().iter();
        let told: Vec<_> = told.map(|it| it.as_str().unwrap().to_owned()).collect();
        let v6 = state["ipv6_address"].as_str().unwrap();
        assert!(told.contains(&format!("{v6}/64")), "{told:?}");
        told
    }

    pub fn instances_on_a_network_reach_each_other_by_ipv6(terraform: &Terraform) {
        let world = World::new(terraform);
        let back = |subnet: &str| BACK.replace("name =", &format!("ipv6_subnet = \"{subnet}\"\n  name ="));
        let waits = format!("{ON_BACK}\n  wait_for = {{ condition = \"address\", family = \"ipv6\" }}");
        world.write(&back("auto"), &[("one", &waits), ("two", ON_BACK)]);
        world.project.apply_settled();
        let first = assert_both_as_inside(&world, "one");
        assert_both_as_inside(&world, "two");
        let ipv6 =
            |name: &str| world.agent.inspect(name).unwrap()["ipv6_address"].as_str().unwrap().to_owned();
        let ping = |from: &str, address: &str| {
            world.sh(from, &format!("busybox ping -6 -c 1 -W 5 {address} > /dev/null && echo yes || echo no"))
                == "yes"
        };
        assert!(ping("two", &ipv6("one")));
        // The host is the network's router.
        let subnet = world.network("back")["ipv6_subnet"].as_str().unwrap().to_owned();
        let gateway = subnet.replace("::/64", "::1");
        assert!(ping("one", &gateway));
        assert!(world.sh("one", "busybox ip -6 route show default").contains(&gateway));
        let fixed = subnet.replace("::/64", "::Ab");
        let on = format!(
            "networks = {{ eth0 = {{ network = berth_network.back.id, ipv6_address = \"{fixed}\" }} }}"
        );
        world.write(&back("auto"), &[("one", ON_BACK), ("two", &on)]);
        world.project.apply_settled();
        assert_eq!(ipv6("two"), fixed.to_lowercase());
        assert_both_as_inside(&world, "two");
        assert_eq!(assert_both_as_inside(&world, "one"), first);
        world.write(&back("none"), &[("one", ON_BACK), ("two", ON_BACK)]);
        world.project.apply_ok();
        world.project.apply_settled();
        assert_as_inside(&world, "two");
        assert!(!ping("one", &gateway));
        world.project.destroy_ok();
    }

    pub fn what_an_interface_cannot_have_is_refused_at_its_argument(terraform: &Terraform) {
        let world = World::new(terraform);
        let subnet = own_subnet();
        let back = BACK.replace("name =", &format!("ipv4_subnet = \"{subnet}0/24\"\n  name ="));
        let at = |address: &str| {
            format!(
                "networks = {{\n    eth0 = {{\n      network = berth_network.back.id\n      ipv4_address = \"{address}\"\n    }}\n  }}"
            )
        };
        let taken = format!("{subnet}9");
        world.write(&back, &[("first", &at(&taken))]);
        world.project.apply_settled();
        let outside = "10.199.0.9".to_owned();
        for (address, words) in
            [(taken.clone(), "\"first\""), (outside, "no address of"), (format!("{subnet}1"), "host's own")]
        {
            world.write(&back, &[("first", &at(&taken)), ("second", &at(&address))]);
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words), "{error:?}");
            assert!(error.code.contains("ipv4_address") || error.code.contains("networks"), "{error:?}");
            assert_eq!(world.agent.instances().unwrap(), ["first"]);
        }
        let in_use = world.agent.berth(&["network", "inspect", "back"]).unwrap();
        assert_eq!(in_use.code, 0);
        world.write(&back, &[("first", &at(&format!("{taken}/24")))]);
        let bad = world.project.apply().unwrap();
        assert!(bad.error().unwrap().summary.contains("is written without its prefix"), "{bad:?}");
        // The instance names the network by its name: Terraform does not know that it is in use, the agent does.
        world.write("", &[("first", "networks = { eth0 = { network = \"back\" } }")]);
        let refused = world.project.apply().unwrap();
        assert!(refused.error().unwrap().summary.contains("used by the instance \"first\""), "{refused:?}");
        world.write(&back, &[]);
        world.project.apply_settled();
        world.project.destroy_ok();
    }
}
