//! Names of instances, under each Terraform, asked with a real dig.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    instances_reach_each_other_by_name,
    a_domain_of_one_s_own_changes_while_instances_run,
    an_instance_on_two_networks_knows_the_names_of_both,
    names_of_others_come_and_go_while_an_instance_runs,
);

mod cases {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::process::Command;
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, command, wait};

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    const BACK: &str =
        "resource \"berth_network\" \"back\" {\n  name = \"back\"\n  ipv6_subnet = \"auto\"\n}\n";
    const ON_BACK: &str = "networks = { eth0 = { network = berth_network.back.id } }";

    impl World {
        fn new(terraform: &Terraform) -> Self {
            let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry, agent, project }
        }

        fn write(&self, networks: &str, instances: &[(&str, &str)]) {
            self.compose(networks, instances);
            self.project.apply_settled();
        }

        fn compose(&self, networks: &str, instances: &[(&str, &str)]) {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 resource \"berth_image\" \"python\" {{\n  reference = \"${{berth_remote.local.name}}:berth/interpreter:1\"\n}}\n\
                 {networks}\n",
                self.registry.address()
            );
            for (name, arguments) in instances {
                // Who asks has the C library's resolver.
                let image = if *name == "db" || *name == "front" { "python" } else { "tiny" };
                text.push_str(&format!(
                    "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  image = berth_image.{image}.id\n  \
                     stop_timeout = \"1s\"\n  {arguments}\n}}\n"
                ));
            }
            self.project.write(&text).unwrap();
        }

        fn sh(&self, name: &str, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", name, "--", "sh", "-c", script]).unwrap();
            said.trim().to_owned()
        }

        /// What an instance gets from an address of another's, by a program that asks as all do.
        fn fetch(&self, from: &str, url: &str) -> String {
            let program =
                format!("import urllib.request as u; print(u.urlopen('{url}', timeout=10).read().decode())");
            let said =
                self.agent.berth_ok(&["instance", "exec", from, "--", "python3", "-c", &program]).unwrap();
            said.trim().to_owned()
        }

        /// That an instance does not know a name.
        fn does_not_know(&self, from: &str, name: &str) -> bool {
            let program = format!("import socket; socket.getaddrinfo('{name}', 80)");
            let said =
                self.agent.berth(&["instance", "exec", from, "--", "python3", "-c", &program]).unwrap();
            said.code != 0 && said.stderr.contains("Name or service not known")
        }

        fn gateway(&self, network: &str, family: &str) -> String {
            let said = self.agent.berth_ok(&["network", "inspect", network]).unwrap();
            let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
            let subnet = shown[family].as_str().unwrap().to_owned();
            let (address, _) = subnet.split_once('/').unwrap();
            match address.parse().unwrap() {
                IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) + 1).to_string(),
                IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) + 1).to_string(),
            }
        }

        /// What dig says, run on the host: the status, and the answers.
        fn dig(&self, server: &str, question: &[&str]) -> (String, Vec<String>) {
            let mut dig = Command::new("dig");
            dig.arg(format!("@{server}")).args(["+tries=1", "+timeout=5", "+noall", "+comments", "+answer"]);
            let said = command::run(dig.args(question)).unwrap();
            let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
            let answers = said.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
            let mut answers: Vec<_> =
                answers.map(|line| line.split_whitespace().nth(4).unwrap_or_default().to_owned()).collect();
            answers.sort();
            (status.unwrap_or_default().to_owned(), answers)
        }

        fn address(&self, name: &str, family: &str) -> String {
            self.agent.inspect(name).unwrap()[family].as_str().unwrap().to_owned()
        }

        /// The process that answers for names on the agent's bridges.
        fn helpers(&self) -> Vec<i32> {
            let mut all = self.agent.mark().processes();
            all.retain(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim()
                    == "berth-bridge"
            });
            all.into_iter().collect()
        }
    }

    fn fine(answers: &[&str]) -> (String, Vec<String>) {
        ("NOERROR".to_owned(), answers.iter().map(|it| (*it).to_owned()).collect())
    }

    fn nothing() -> (String, Vec<String>) {
        ("NXDOMAIN".to_owned(), Vec::new())
    }

    pub fn instances_reach_each_other_by_name(terraform: &Terraform) {
        let mut world = World::new(terraform);
        world.write(BACK, &[("web", ON_BACK), ("db", ON_BACK), ("far", "")]);
        let page = |world: &World| world.fetch("db", "http://web:8080/");
        assert_eq!(page(&world), "page one");
        assert_eq!(world.fetch("db", "http://web.back.berth:8080/"), "page one");
        assert!(world.sh("far", "busybox nslookup web.back.berth || true").contains("NXDOMAIN"));
        assert!(world.does_not_know("db", "far") && world.does_not_know("db", "far.default.berth"));
        let (v4, v6) = (world.address("web", "ipv4_address"), world.address("web", "ipv6_address"));
        let servers = [world.gateway("back", "ipv4_subnet"), world.gateway("back", "ipv6_subnet")];
        assert_eq!(
            world.sh("web", "busybox grep nameserver /etc/resolv.conf"),
            format!("nameserver {}", servers[0])
        );
        for server in &servers {
            for transport in ["+notcp", "+tcp"] {
                let dig = |name: &str, kind: &str| world.dig(server, &[transport, name, kind]);
                assert_eq!(dig("web.back.berth", "A"), fine(&[&v4]));
                assert_eq!(dig("web.back.berth", "AAAA"), fine(&[&v6]));
                assert_eq!(dig("web", "A"), fine(&[&v4]));
                assert_eq!(dig("web.back.berth", "MX"), fine(&[]));
                assert_eq!(dig("gone.back.berth", "A"), nothing());
                assert_eq!(world.dig(server, &[transport, "-x", &v4]), fine(&["web.back.berth."]));
                assert_eq!(world.dig(server, &[transport, "-x", &v6]), fine(&["web.back.berth."]));
            }
        }
        let default = world.gateway("default", "ipv4_subnet");
        assert_eq!(world.dig(&default, &["far.default.berth", "AAAA"]), fine(&[]), "it has no IPv6 there");
        // It needs nobody, and has nothing of the host's.
        let helpers = world.helpers();
        assert_eq!(helpers.len(), 2, "one a network: {helpers:?}");
        for pid in &helpers {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            for line in ["Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
                assert!(status.contains(line), "{status}");
            }
        }
        world.agent.kill().unwrap();
        assert_eq!(world.dig(&servers[0], &["web.back.berth", "A"]), fine(&[&v4]));
        world.agent.restart().unwrap();
        assert_eq!(world.helpers(), helpers, "they are adopted");
        // The name goes with the instance, and comes with the next of the name.
        world.write(BACK, &[("db", ON_BACK), ("far", "")]);
        assert_eq!(world.dig(&servers[0], &["web.back.berth", "A"]), nothing());
        world.write(BACK, &[("db", ON_BACK), ("far", ""), ("web", ON_BACK)]);
        let again = world.address("web", "ipv4_address");
        assert_eq!(world.dig(&servers[0], &["web.back.berth", "A"]), fine(&[&again]));
        assert_eq!(page(&world), "page one");
        // One that is killed is there again.
        command::run(Command::new("kill").args(["-9", &helpers[0].to_string()])).unwrap();
        wait::until("names that are answered for again", Duration::from_secs(30), || {
            let now = world.helpers();
            if now.len() == 2 && now != helpers { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .unwrap();
        assert_eq!(world.dig(&servers[0], &["web.back.berth", "A"]), fine(&[&again]));
        world.project.destroy_ok();
        assert_eq!(world.helpers(), Vec::<i32>::new());
    }

    pub fn a_domain_of_one_s_own_changes_while_instances_run(terraform: &Terraform) {
        let world = World::new(terraform);
        let back =
            |more: &str| format!("resource \"berth_network\" \"back\" {{\n  name = \"back\"\n  {more}\n}}\n");
        world.write(&back("dns_domain = \"Home.Example\""), &[("web", ON_BACK), ("db", ON_BACK)]);
        let (v4, server) = (world.address("web", "ipv4_address"), world.gateway("back", "ipv4_subnet"));
        let pid = world.agent.inspect("web").unwrap()["pid"].clone();
        assert_eq!(world.dig(&server, &["web.home.example", "A"]), fine(&[&v4]));
        assert_eq!(world.dig(&server, &["web.back.berth", "A"]), nothing());
        assert_eq!(world.fetch("db", "http://web.home.example:8080/"), "page one");
        world.write(&back("isolated = true"), &[("web", ON_BACK), ("db", ON_BACK)]);
        assert_eq!(world.dig(&server, &["web.back.berth", "A"]), fine(&[&v4]));
        assert_eq!(world.fetch("db", "http://web:8080/"), "page one");
        // Nobody beyond an isolated network is asked.
        assert_eq!(world.dig(&server, &["web.home.example", "A"]).0, "REFUSED");
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        world.write(&back(""), &[("web", &format!("{ON_BACK}\n  hostname = \"other\"")), ("db", ON_BACK)]);
        assert_eq!(world.dig(&server, &["web.back.berth", "A"]), fine(&[&v4]));
        world.project.destroy_ok();
    }

    pub fn an_instance_on_two_networks_knows_the_names_of_both(terraform: &Terraform) {
        let world = World::new(terraform);
        let both = "networks = {\n    eth0 = { network = \"default\" }\n    eth1 = { network = berth_network.back.id }\n  }";
        world.write(BACK, &[("front", both), ("web", ON_BACK), ("mail", "")]);
        for url in ["http://web:8080/", "http://web.back.berth:8080/", "http://mail:8080/"] {
            assert_eq!(world.fetch("front", url), "page one", "{url}");
        }
        assert!(world.sh("web", "busybox nslookup mail.default.berth || true").contains("NXDOMAIN"));
        let front = world.sh("web", "busybox nslookup front.back.berth");
        let addresses = world.project.attributes("berth_instance.front").unwrap()["addresses"].clone();
        let on_back = addresses["eth1"][0].as_str().unwrap().split('/').next().unwrap().to_owned();
        assert!(front.contains(&on_back), "{front}: {addresses}");
        world.project.destroy_ok();
    }

    pub fn names_of_others_come_and_go_while_an_instance_runs(terraform: &Terraform) {
        let world = World::new(terraform);
        let hosts = |entries: &str| format!("{ON_BACK}\n  extra_hosts = {{ {entries} }}");
        world.write(BACK, &[("web", ON_BACK), ("db", &hosts("\"old.example\" = \"192.0.2.7\""))]);
        let known = |name: &str| {
            let program = format!("import socket; print(socket.getaddrinfo('{name}', 80)[0][4][0])");
            let said =
                world.agent.berth_ok(&["instance", "exec", "db", "--", "python3", "-c", &program]).unwrap();
            said.trim().to_owned()
        };
        assert_eq!(known("old.example"), "192.0.2.7");
        // It knows its own name in both families.
        let own = "print(open('/etc/hosts').read())";
        let said = world.agent.berth_ok(&["instance", "exec", "db", "--", "python3", "-c", own]).unwrap();
        for family in ["ipv4_address", "ipv6_address"] {
            assert!(said.contains(&format!("{}\tdb\n", world.address("db", family))), "{said}");
        }
        let pid = world.agent.inspect("db").unwrap()["pid"].clone();
        let changed = hosts("\"new.example\" = \"2001:DB8::7\", web = \"192.0.2.8\"");
        world.write(BACK, &[("web", ON_BACK), ("db", &changed)]);
        assert_eq!((known("new.example"), known("web")), ("2001:db8::7".to_owned(), "192.0.2.8".to_owned()));
        assert_eq!(world.agent.inspect("db").unwrap()["pid"], pid);
        world.write(BACK, &[("web", ON_BACK), ("db", ON_BACK)]);
        assert!(world.does_not_know("db", "new.example"));
        assert_ne!(known("web"), "192.0.2.8");
        assert_eq!(world.agent.inspect("db").unwrap()["pid"], pid);
        for (bad, words) in [("\"a b\" = \"192.0.2.7\"", ""), ("web = \"192.0.2\"", "is no IP address")] {
            world.compose(BACK, &[("web", ON_BACK), ("db", &hosts(bad))]);
            let refused = world.project.plan().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words), "{error:?}");
            assert!(error.code.contains("extra_hosts"), "{error:?}");
        }
        world.write(BACK, &[]);
        world.project.destroy_ok();
    }
}
