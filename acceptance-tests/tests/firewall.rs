//! What instances may send, and what may reach them, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(an_instance_with_every_capability_is_nobody_but_itself,);

mod cases {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, agent, command, wait};

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

        /// How often each of the host's ends of interfaces has refused something.
        fn refused(&self) -> Vec<u64> {
            let table = format!("berth{}", self.agent.mark().prefix);
            let mut nft = Command::new("nft");
            let listed = command::json(nft.args(["-j", "list", "set", "bridge", &table, "refused"])).unwrap();
            let elements =
                listed["nftables"].as_array().unwrap().iter().filter_map(|it| it["set"]["elem"].as_array());
            elements.flatten().map(|it| it["elem"]["counter"]["packets"].as_u64().unwrap()).collect()
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
        assert_eq!(world.refused(), [0, 0]);
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
        let mut refused = world.refused();
        refused.sort_unstable();
        assert_eq!(refused, [0, attempts.len() as u64 - 1]);
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

    /// A port on which somebody listens at this address of the host's until the test ends.
    fn port_of_the_host(address: &str) -> u16 {
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        port
    }
}
