//! Networks under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_network_is_made_changed_imported_and_removed,
    a_network_that_cannot_be_is_refused_at_its_argument,
    another_subnet_of_the_default_network_restarts_who_is_on_it,
);

mod cases {
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
        let rule = "ingress = [{ protocol = \"tcp\", ports = [\"80\"], cidr = \"10.0.0.0/8\" }]";
        world.project.write(&network(&format!("name = \"web\"\n  {rule}"))).unwrap();
        world.project.apply_settled();
        let first = world.network("web");
        assert_ne!(first["ipv4_subnet"], world.network("default")["ipv4_subnet"]);
        assert_eq!(first["ingress"][0]["ports"][0], "80");
        world
            .project
            .write(&network("name = \"front\"\n  nat = false\n  mtu = 1400\n  ipv6_subnet = \"none\""))
            .unwrap();
        world.project.apply_settled();
        let second = world.network("front");
        assert_eq!((&second["id"], &second["ipv4_subnet"]), (&first["id"], &first["ipv4_subnet"]));
        assert_eq!((&second["nat"], &second["mtu"]), (&false.into(), &1400.into()));
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
}
