//! Ports of the host of both families, under each Terraform, with curl as the client.
#![allow(clippy::unwrap_used, reason = "a test ends where something goes wrong")]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    ports_lead_from_addresses_of_both_families,
    a_range_of_ports_is_one_entry_and_changes_in_place,
    a_port_that_cannot_be_is_refused_at_its_argument,
);

mod cases {
    use std::net::TcpListener;
    use std::process::Command;
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, command, wait};

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

        /// A web server on a network with these ports.
        fn write(&self, ipv6: &str, ports: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 resource \"berth_network\" \"back\" {{\n  name = \"back\"\n  ipv6_subnet = \"{ipv6}\"\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  stop_timeout = \"1s\"\n  \
                 networks = {{ eth0 = {{ network = berth_network.back.id }} }}\n  ports = {{\n{ports}\n  }}\n}}\n",
                self.registry.address()
            );
            self.project.write(&text).unwrap();
        }

        fn port(&self, name: &str) -> u64 {
            self.agent.inspect("web").unwrap()["ports"][name]["host_port"].as_u64().unwrap()
        }
    }

    fn port(name: &str, host_address: &str, more: &str) -> String {
        format!(
            "    {name} = {{\n      container_port = 8080\n      host_address = \"{host_address}\"\n{more}    }}\n"
        )
    }

    fn page(address: &str, port: u64) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", "5"]);
        command::run(curl.arg(format!("http://{address}:{port}/"))).map_err(|error| error.to_string())
    }

    fn serves(address: &str, port: u64) {
        let what = format!("a page from {address}");
        let said = wait::until(&what, Duration::from_secs(20), || page(address, port)).unwrap();
        assert_eq!(said, "page one\n", "{address}");
    }

    pub fn ports_lead_from_addresses_of_both_families(terraform: &Terraform) {
        let mut world = World::new(terraform);
        let [four, six] = [port("four", "127.0.0.1", ""), port("six", "::1", "")];
        let all = port("all", "::", "");
        world.write("auto", &format!("{four}{six}{all}"));
        world.project.apply_settled();
        let (four_at, six_at, all_at) = (world.port("four"), world.port("six"), world.port("all"));
        serves("127.0.0.1", four_at);
        serves("[::1]", six_at);
        serves("[::1]", all_at);
        let network: serde_json::Value =
            serde_json::from_str(&world.agent.berth_ok(&["network", "inspect", "back"]).unwrap()).unwrap();
        let gateway = network["ipv6_subnet"].as_str().unwrap().replace("::/64", "::1");
        serves(&format!("[{gateway}]"), all_at);
        assert!(page(&format!("[{gateway}]"), six_at).is_err(), "it is published on the loopback alone");
        assert!(page("127.0.0.1", six_at).is_err());
        // What relays outlives the agent, and goes on with the next.
        world.agent.kill().unwrap();
        serves("[::1]", six_at);
        world.agent.restart().unwrap();
        serves("[::1]", six_at);
        assert!(TcpListener::bind(("::1", u16::try_from(six_at).unwrap())).is_err(), "it is nobody else's");
        // One is taken away while the process runs; the network may then have no IPv6.
        let pid = world.agent.inspect("web").unwrap()["pid"].clone();
        world.write("auto", &format!("{four}{six}"));
        world.project.apply_settled();
        assert!(page("[::1]", all_at).is_err());
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        world.write("none", &format!("{four}{six}"));
        world.project.apply_ok();
        world.project.apply_settled();
        serves("[::1]", six_at);
        world.project.destroy_ok();
        assert!(page("[::1]", six_at).is_err());
    }

    /// Three ports in a row that nobody has; the listener keeps the middle one.
    fn free_range() -> (u16, TcpListener) {
        let found = (0..100).find_map(|_| {
            let middle = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = middle.local_addr().ok()?.port();
            let neighbours = [port.checked_sub(1)?, port.checked_add(1)?];
            let free = neighbours.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
            free.then_some((port, middle))
        });
        found.unwrap()
    }

    pub fn a_range_of_ports_is_one_entry_and_changes_in_place(terraform: &Terraform) {
        let world = World::new(terraform);
        let (middle, taken) = free_range();
        let entry = |container: &str, host: &str| {
            format!("    media = {{ container_port = \"{container}\", host_port = \"{host}\" }}\n")
        };
        let range = format!("{}-{}", middle - 1, middle + 1);
        world.write("none", &entry("8079-8080", &range));
        let refused = world.project.plan().unwrap();
        assert!(
            refused.error().unwrap().detail.contains("container_port names 2, host_port 3"),
            "{refused:?}"
        );
        world.write("none", &entry("8079-8081", &range));
        let refused = world.project.apply().unwrap();
        let error = refused.error().unwrap();
        assert!(error.summary.contains("is taken") || error.detail.contains("is taken"), "{error:?}");
        assert!(error.code.contains("media") || error.code.contains("ports"), "{error:?}");
        drop(taken);
        world.project.apply_settled();
        serves("127.0.0.1", middle.into());
        let ports = &world.project.attributes("berth_instance.web").unwrap()["ports"];
        assert_eq!(ports["media"]["host_port"], range, "{ports}");
        let pid = world.agent.inspect("web").unwrap()["pid"].clone();
        world.write("none", &entry("8080-8082", &range));
        world.project.apply_settled();
        serves("127.0.0.1", (middle - 1).into());
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        world.project.destroy_ok();
    }

    pub fn a_port_that_cannot_be_is_refused_at_its_argument(terraform: &Terraform) {
        let world = World::new(terraform);
        let taken = TcpListener::bind("[::1]:0").unwrap();
        let at = taken.local_addr().unwrap().port();
        for (address, more, argument, words) in [
            ("::1", format!("      host_port = {at}\n"), "host_port", "is taken"),
            ("::", String::new(), "host_address", "no IPv6 address"),
            ("2001:db8::77", String::new(), "host_address", "not an address of this host"),
            ("fe80::1", String::new(), "host_address", "each of the host's links"),
        ] {
            world.write("none", &port("http", address, &more));
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words) || error.detail.contains(words), "{error:?}");
            assert!(error.code.contains(argument) || error.code.contains("ports"), "{error:?}");
            assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
        }
        world.write("auto", &port("http", "2001:db8::77", ""));
        let refused = world.project.apply().unwrap();
        assert!(refused.error().unwrap().detail.contains("not an address of this host"), "{refused:?}");
        world.write("none", &port("http", "::1", ""));
        world.project.apply_settled();
        serves("[::1]", world.port("http"));
        world.project.destroy_ok();
    }
}
