//! What instances may send, and what may reach them, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    an_instance_with_every_capability_is_nobody_but_itself,
    lists_say_who_reaches_an_instance_and_change_while_it_runs,
    what_leaves_an_instance_or_a_network_is_restricted,
    a_rule_that_cannot_be_is_refused_at_its_argument,
);

mod cases {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Stdio};
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, agent, wait};
    use serde_json::Value;

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

        /// An instance of each name with arguments, beside `others`. Each answers on port 8000, and has Python.
        fn write(&self, others: &str, instances: &[(&str, &str)]) {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"python\" {{\n  reference = \"${{berth_remote.local.name}}:berth/interpreter:1\"\n}}\n\
                 {others}\n",
                self.registry.address()
            );
            for (name, arguments) in instances {
                text.push_str(&format!(
                    "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  image = berth_image.python.id\n  \
                     stop_timeout = \"1s\"\n  {arguments}\n}}\n"
                ));
            }
            self.project.write(&text).unwrap();
        }

        /// What a Python program says in an instance.
        fn python(&self, name: &str, program: &str) -> String {
            let said =
                self.agent.berth_ok(&["instance", "exec", name, "--", "python3", "-c", program]).unwrap();
            said.trim().to_owned()
        }

        fn address(&self, name: &str) -> String {
            self.agent.inspect(name).unwrap()["ipv4_address"].as_str().unwrap().to_owned()
        }

        /// Whether a connection of an instance's to this address comes about.
        fn reaches(&self, from: &str, host: &str, port: u16) -> bool {
            let program = format!(
                "import socket\ntry:\n  socket.create_connection(('{host}', {port}), 2).close(); print('yes')\n\
                 except OSError as error: print('no', error)"
            );
            self.python(from, &program) == "yes"
        }

        /// Waits until it is so; a server may have just been started.
        fn comes_to_reach(&self, from: &str, host: &str, port: u16) {
            wait::until(&format!("{from} reaching {host}:{port}"), Duration::from_secs(20), || {
                if self.reaches(from, host, port) { Ok(()) } else { Err("it does not".to_owned()) }
            })
            .unwrap();
        }

        /// What was dropped at the one interface of each of these, as `berth instance inspect` and `stats` have it.
        fn dropped(&self, name: &str) -> Value {
            let inspected = self.agent.inspect(name).unwrap()["dropped"].clone();
            let stats = self.agent.berth_ok(&["--format", "json", "instance", "stats", name]).unwrap();
            let stats: Value = serde_json::from_str(&stats).unwrap();
            assert_eq!(stats[0]["dropped"], inspected);
            let [dropped] = inspected.as_object().unwrap().values().collect::<Vec<_>>()[..] else {
                panic!("{inspected}")
            };
            dropped.clone()
        }

        /// How often each has tried to be another.
        fn refused(&self, names: [&str; 2]) -> [u64; 2] {
            names.map(|name| self.dropped(name)["spoofed"].as_u64().unwrap())
        }
    }

    const ALL: &str = "ffffffffffff";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn ipv4(text: &str) -> String {
        hex(&text.parse::<std::net::Ipv4Addr>().unwrap().octets())
    }

    /// An ARP answer: `address` is at `sender`.
    fn arp(ether: &str, sender: &str, address: &str) -> String {
        format!("{ALL}{ether}08060001080006040002{sender}{}{ALL}{}", ipv4(address), ipv4("255.255.255.255"))
    }

    /// An IPv4 packet of UDP to all.
    fn udp(ether: &str, source: &str, from: u16, to: u16) -> String {
        let [before, after] = ["4500001c000000004011", &format!("{}ffffffff", ipv4(source))];
        let words = format!("{before}{after}");
        let words =
            (0..words.len() / 4).map(|at| u32::from_str_radix(&words[at * 4..at * 4 + 4], 16).unwrap());
        let sum = words.sum::<u32>();
        let sum = !((sum & 0xffff) + (sum >> 16)) & 0xffff;
        format!("{ALL}{ether}0800{before}{sum:04x}{after}{from:04x}{to:04x}00080000")
    }

    /// A router advertisement.
    fn router(ether: &str) -> String {
        let (source, all) = ("fe800000000000000000000000000bad", "ff020000000000000000000000000001");
        format!("333300000001{ether}86dd6000000000103aff{source}{all}86000000400007080000000000000000")
    }

    /// Prints all frames that come until one says that it is the last.
    const LISTEN: &str = "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n\
                          s.bind(('eth0', 0))\ns.settimeout(60)\nprint('ready')\nf = b''\nwhile b'THE LAST' not in f:\n  \
                          f, a = s.recvfrom(65535)\n  if a[2] != 4: print(f.hex())\n";

    /// A listener in an instance; ended when it is dropped.
    struct Listener(Child);

    impl Listener {
        fn start(world: &World, name: &str) -> (Self, impl Iterator<Item = String>) {
            let mut command = agent::berth(&world.agent.address());
            command.args(["instance", "exec", name, "--", "python3", "-u", "-c", LISTEN]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            assert_eq!(lines.next().as_deref(), Some("ready"));
            (Self(child), lines)
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    const CAPABLE: &str = "user = \"root\"\n  security = {\n    capabilities_add = [\"ALL\"]\n    seccomp = \"unconfined\"\n  }";

    pub fn an_instance_with_every_capability_is_nobody_but_itself(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("", &[("hostile", CAPABLE), ("other", CAPABLE)]);
        world.project.apply_settled();
        let (address, theirs) = (world.address("hostile"), world.address("other"));
        world.comes_to_reach("hostile", &theirs, 8000);
        world.comes_to_reach("other", &address, 8000);
        let both = ["hostile", "other"];
        assert_eq!(world.refused(both), [0, 0]);
        let mac = |name: &str| {
            world.agent.inspect(name).unwrap()["mac_addresses"]["eth0"].as_str().unwrap().replace(':', "")
        };
        let (own, foreign) = (mac("hostile"), mac("other"));
        let gateway = world.python("hostile", "print(open('/proc/net/route').read().split()[13])");
        let gateway =
            std::net::Ipv4Addr::from(u32::from_str_radix(&gateway, 16).unwrap().swap_bytes()).to_string();
        let attempts = [
            udp(&foreign, &address, 1000, 1000),
            arp(&own, &foreign, &address),
            arp(&own, &own, &gateway),
            arp(&own, &own, &theirs),
            udp(&own, &theirs, 1000, 1000),
            udp(&own, "8.8.8.8", 1000, 1000),
            udp(&own, &address, 67, 68),
            router(&own),
        ];
        let (_listener, heard) = Listener::start(&world, "other");
        let marked = |frame: &String| format!("{frame:0<120}{}", hex(b"SPOOFED"));
        let frames: Vec<_> = attempts.iter().map(marked).collect();
        world.python(
            "hostile",
            &format!(
                "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('eth0', 0))\n\
                 for f in '{}'.split(): s.send(bytes.fromhex(f).ljust(60, b'\\0'))\n\
                 socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'THE LAST', ('{theirs}', 9))",
                frames.join(" ")
            ),
        );
        let heard: Vec<_> = heard.collect();
        assert!(heard.iter().any(|frame| frame.contains(&hex(b"THE LAST"))), "{heard:?}");
        assert!(!heard.iter().any(|frame| frame.contains(&hex(b"SPOOFED"))), "{heard:?}");
        // Of IPv6 nothing leaves an instance on a network without it, and that is no attempt that counts.
        assert_eq!(world.refused(both), [attempts.len() as u64 - 1, 0]);
        // It may give itself another name; nobody hears of it.
        let script = "import fcntl, socket, struct\ns = socket.socket()\n\
                      fcntl.ioctl(s, 0x8916, struct.pack('16sHH4s8x', b'eth0', 2, 0, socket.inet_aton(%r)))";
        world.python("hostile", &script.replace("%r", &format!("'{gateway}'")));
        assert!(!world.reaches("hostile", &theirs, 8000));
        world.comes_to_reach("other", &gateway, port_of_the_host(&gateway));
        world.project.destroy_ok();
        assert!(
            world
                .agent
                .mark()
                .leftovers()
                .unwrap()
                .iter()
                .all(|left| left.contains("berthd") || left.starts_with("lock"))
        );
    }

    const NET: &str = "resource \"berth_network\" \"net\" {\n  name = \"net\"\n}\n";
    const ON_NET: &str = "networks = { eth0 = { network = berth_network.net.id } }";
    const FRONT: &str = "networks = { eth0 = { network = berth_network.net.id } }\n  labels = { tier = \"front\", a = \"b\" }";

    fn on_net(arguments: &str) -> String {
        format!("{ON_NET}\n  {arguments}")
    }

    pub fn lists_say_who_reaches_an_instance_and_change_while_it_runs(terraform: &Terraform) {
        let world = World::new(terraform);
        let front_alone = on_net(
            "ports = { http = { container_port = 8000 } }\n  \
             ingress = [{ protocol = \"tcp\", ports = [\"7999-8000\"], labels = { tier = \"front\" } }]",
        );
        world.write(NET, &[("web", &front_alone), ("front", FRONT), ("back", ON_NET)]);
        world.project.apply_settled();
        let (web, pid) = (world.address("web"), world.agent.inspect("web").unwrap()["pid"].clone());
        world.comes_to_reach("front", &web, 8000);
        assert!(!world.reaches("back", &web, 8000));
        let dropped = world.dropped("web");
        assert!(
            dropped["ingress"].as_u64().unwrap() > 0 && dropped["spoofed"] == 0 && dropped["egress"] == 0,
            "{dropped}"
        );
        assert_eq!(world.dropped("back")["egress"], 0);
        // The host is not held back, and what a list says nothing of is as ever.
        let port = world.agent.inspect("web").unwrap()["ports"]["http"]["host_port"].as_u64().unwrap();
        wait::page(u16::try_from(port).unwrap(), "/").unwrap();
        assert!(world.reaches("web", &world.address("back"), 8000));
        // Who comes to have the label is let in, and who no longer has it is not.
        world.write(NET, &[("web", &front_alone), ("front", ON_NET), ("back", ON_NET), ("late", FRONT)]);
        world.project.apply_settled();
        assert!(world.reaches("late", &web, 8000));
        assert!(!world.reaches("front", &web, 8000));
        for (rule, front, back) in [
            (format!("{{ cidr = \"{}\" }}", world.address("back")), false, true),
            ("{ network = berth_network.net.name, ports = [\"8000\"] }".to_owned(), true, true),
            ("{ network = \"default\" }".to_owned(), false, false),
            ("{ protocol = \"udp\" }".to_owned(), false, false),
            ("{ protocol = \"udp\" }, {}".to_owned(), true, true),
        ] {
            let web = on_net(&format!("ingress = [{rule}]"));
            world.write(NET, &[("web", &web), ("front", ON_NET), ("back", ON_NET)]);
            world.project.apply_settled();
            assert_eq!(world.reaches("front", &world.address("web"), 8000), front, "{rule}");
            assert_eq!(world.reaches("back", &world.address("web"), 8000), back, "{rule}");
        }
        assert_eq!(world.agent.inspect("web").unwrap()["pid"], pid);
        world.project.destroy_ok();
    }

    pub fn what_leaves_an_instance_or_a_network_is_restricted(terraform: &Terraform) {
        let mut world = World::new(terraform);
        world.write(NET, &[("web", &on_net("egress = []")), ("other", ON_NET)]);
        world.project.apply_settled();
        let (web, other) = (world.address("web"), world.address("other"));
        let gateway = world.python("web", "print(open('/proc/net/route').read().split()[13])");
        let gateway =
            std::net::Ipv4Addr::from(u32::from_str_radix(&gateway, 16).unwrap().swap_bytes()).to_string();
        let port = port_of_the_host(&gateway);
        world.comes_to_reach("other", &web, 8000);
        assert!(!world.reaches("web", &other, 8000));
        assert!(!world.reaches("web", &gateway, port));
        assert!(world.reaches("other", &gateway, port));
        // Another agent finds it so, and so do those who come then.
        world.agent.restart().unwrap();
        world.project.assert_empty_plan();
        assert!(!world.reaches("web", &other, 8000));
        let net = |arguments: &str| NET.replace("name =", &format!("{arguments}\n  name ="));
        world.write(&net("egress = [{ protocol = \"udp\" }]"), &[("web", ON_NET), ("other", ON_NET)]);
        world.project.apply_settled();
        assert!(world.reaches("web", &other, 8000), "neighbours are inside");
        assert!(!world.reaches("web", &gateway, port));
        let to_host =
            net(&format!("egress = [{{ protocol = \"tcp\", ports = [\"{port}\"], cidr = \"{gateway}\" }}]"));
        world.write(&to_host, &[("web", ON_NET), ("other", ON_NET)]);
        world.project.apply_settled();
        assert!(world.reaches("web", &gateway, port));
        assert!(!world.reaches("web", &gateway, port_of_the_host(&gateway)));
        world.project.destroy_ok();
    }

    pub fn a_rule_that_cannot_be_is_refused_at_its_argument(terraform: &Terraform) {
        let world = World::new(terraform);
        for (rule, words) in [
            ("{ ports = [\"90-80\"] }", "ends before"),
            ("{ protocol = \"sctp\" }", "not a protocol"),
            ("{ protocol = \"icmp\", ports = [\"1\"] }", "Only TCP and UDP"),
            ("{ cidr = \"10.0.0.1/8\" }", "beyond its prefix"),
            ("{ cidr = \"10.0.0.0/8\", network = \"default\" }", "one of cidr, network and labels"),
            ("{ network = \"nowhere\" }", "no network \"nowhere\""),
        ] {
            let net = NET.replace("name =", &format!("egress = [{rule}]\n  name ="));
            for (networks, arguments) in [("", format!("ingress = [{rule}]")), (&net, String::new())] {
                world.write(networks, &[("web", &arguments)]);
                let refused = world.project.apply().unwrap();
                let error = refused.error().unwrap();
                assert!(error.summary.contains(words) || error.detail.contains(words), "{rule}: {error:?}");
                assert!(error.code.contains("gress"), "{rule}: {error:?}");
            }
        }
        world.write("", &[]);
        world.project.apply_settled();
    }

    /// A port on which somebody listens at this address of the host's until the test ends.
    fn port_of_the_host(address: &str) -> u16 {
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        port
    }
}
