//! One configuration as a container and as a virtual machine, side by side: what is the same is asked of both, and what is not
//! is what the guide's table says. Under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

/// What both do alike: under which name the guide has it, what is run in each, and what each says to that.
const SAME: [(&str, &str, &str); 19] = [
    ("`environment`", "echo $KEY, $GREETING, $PATH", "value, , /usr/bin:/bin"),
    ("`working_dir`", "pwd", "/tmp"),
    ("`user`, `supplementary_groups`", "id -u; id -G", "0\n0 44"),
    ("`hostname`", "busybox hostname", "box"),
    ("`ulimits`", "ulimit -n", "512"),
    ("`sysctls`", "cat /proc/sys/net/core/somaxconn", "77"),
    ("`shm_size`", "busybox df -k /dev/shm | busybox awk 'END { print $2 }'", "1024"),
    ("`files`", "cat /etc/note; busybox stat -c %a:%u:%g /etc/note", "a note\n640:0:44"),
    ("`mounts`: a volume", "cat /data/note; busybox stat -c %u /data/note", "of the volume\n0"),
    (
        "`mounts`: memory",
        "busybox dd if=/dev/zero of=/mem/f bs=4k count=512 2>/dev/null || busybox stat -c %s /mem/f",
        "1048576",
    ),
    (
        "`mounts`: read-only",
        "cat /only/note; (echo x > /only/note) 2>/dev/null || echo no",
        "of the volume\nno",
    ),
    ("`extra_hosts`", "busybox grep -c '^192.0.2.9.*db' /etc/hosts", "1"),
    (
        "`security`: capabilities",
        "busybox awk '/^CapBnd/ { print $2 }' /proc/self/status",
        "00000000a80405fb",
    ),
    ("`security`: no new privileges", "busybox awk '/^NoNewPrivs/ { print $2 }' /proc/self/status", "1"),
    ("settings of the kernel, to be read", "(echo 1 > /proc/sys/kernel/sysrq) 2>/dev/null || echo no", "no"),
    ("devices of every instance", "echo x > /dev/null; busybox head -c 2 /dev/zero | busybox wc -c", "2"),
    ("owners and modes", "echo > /own; busybox chown 33:44 /own; busybox stat -c %u:%g /own", "33:44"),
    ("links and renames", "ln -s own /l; busybox mv /own /own2; busybox readlink /l; ls /own2", "own\n/own2"),
    (
        "output, however long",
        "busybox dd if=/dev/zero bs=64k count=20 2>/dev/null | busybox wc -c",
        "1310720",
    ),
];

/// Looks at the instance of this name.
type Look = fn(&cases::World, &str);

/// What both do alike beyond a script.
const SEEN: [(&str, Look); 7] = [
    ("exit codes of commands", cases::exit_codes),
    ("files that are put in and got out", cases::files),
    ("`health_check`: a command", cases::health),
    ("logs", cases::logs),
    ("`ports`", cases::ports),
    ("names and addresses of others", cases::names),
    ("use of memory, processor and network", cases::usage),
];

/// Tells both another thing, and looks at them.
type Tell = fn(&cases::World);

/// What both do alike when they are told another thing.
const TOLD: [(&str, Tell); 1] = [("`health_check`: `http`, `tcp`", cases::ports_are_tried_from_inside)];

/// What differs, by the guide's first column, and how that is shown.
const DIFFERENT: [(&str, Shown); 12] = [
    ("isolation", Shown::Here(cases::kernels_differ)),
    ("time to the first output", Shown::Elsewhere("cargo xtask bench vm")),
    ("`limits.memory`", Shown::Here(cases::memory_is_its_own)),
    ("`limits.cpu`", Shown::Here(cases::processors_are_its_own)),
    ("`limits.pids`", Shown::Refused("limits = { pids = 10 }", "its own kernel's to count")),
    (
        "`devices`: `unix-char`, `cdi`",
        Shown::Refused(
            "devices = { fuse = { type = \"unix-char\", source = \"/dev/fuse\" } }",
            "of no use to the kernel",
        ),
    ),
    (
        "`devices`: `unix-block`",
        Shown::Refused(
            "devices = { d = { type = \"unix-block\", source = \"/dev/loop0\" } }",
            "no block device",
        ),
    ),
    (
        "`devices`: `usb`, `gpu`",
        Shown::Refused("devices = { d = { type = \"usb\", vendor_id = \"1234\" } }", "no USB controller"),
    ),
    (
        "mounts below `/dev`, `/proc`, `/sys`",
        Shown::Refused(
            "mounts = { m = { type = \"tmpfs\", target = \"/dev/m\" } }",
            "its own /dev, /proc and /sys",
        ),
    ),
    ("`security.seccomp`", Shown::Elsewhere("agent/vm: a_guest_that_panics_and_one_that_loses_its_files")),
    (
        "`security`: what is shared with the host",
        Shown::Refused("security = { host_pid = true }", "shares no namespace"),
    ),
    ("`pid`", Shown::Here(cases::a_machine_s_pid_is_qemu_s)),
];

/// How a difference is shown.
enum Shown {
    /// By this.
    Here(fn(&cases::World)),
    /// A plan with this argument is refused with these words.
    Refused(&'static str, &'static str),
    /// By that.
    #[expect(dead_code, reason = "for who reads it")]
    Elsewhere(&'static str),
}

under_each_terraform!(what_runs_as_a_container_runs_as_a_machine);

#[test]
fn the_guide_tells_what_is_the_same_and_what_differs() {
    let guide = include_str!("../../docs/guides/virtual-machines.md");
    let rows = |title: &str| -> Vec<&str> {
        let section = guide.split(title).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        rows.map(|row| row.trim_end_matches(" |")).filter(|row| !row.starts_with('|')).collect()
    };
    let same = SAME.iter().map(|(name, ..)| *name).chain(SEEN.iter().map(|(name, _)| *name));
    let same = same.chain(TOLD.iter().map(|(name, _)| *name));
    assert_eq!(rows("## What is the same\n"), same.collect::<Vec<_>>());
    assert_eq!(rows("## What differs\n"), DIFFERENT.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

mod cases {
    use std::cell::Cell;
    use std::fmt::Write;
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};
    use serde_json::Value;

    use super::{DIFFERENT, SAME, SEEN, Shown, TOLD};

    const KINDS: [&str; 2] = ["container", "virtual-machine"];
    const MACHINE: &str = KINDS[1];

    /// All that both are told.
    const ARGUMENTS: &str = r#"
  environment          = { KEY = "value", GREETING = null }
  working_dir          = "/tmp"
  user                 = "0:0"
  supplementary_groups = ["44"]
  hostname             = "box"
  ulimits              = { nofile = { soft = 512, hard = 512 } }
  sysctls              = { "net.core.somaxconn" = "77" }
  shm_size             = "1MiB"
  ports                = { http = { container_port = 8080 } }
  security             = { capabilities_drop = ["CAP_NET_RAW"], no_new_privileges = true }
  stop_timeout         = "5s"
  wait_for             = { condition = "healthy" }
"#;

    /// What is changed while both run: each before and after.
    const CHANGED: [(&str, &str, &str); 6] = [
        ("limits", r#"{ cpu = "1", memory = "320MiB" }"#, r#"{ cpu = "2", memory = "512MiB" }"#),
        (
            "mounts",
            r#"{
    data = { type = "volume", source = berth_volume.data.name, target = "/data" }
    only = { type = "volume", source = berth_volume.data.name, target = "/only", read_only = true }
    mem  = { type = "tmpfs", target = "/mem", size = "1MiB" }
  }"#,
            r#"{
    data = { type = "volume", source = berth_volume.data.name, target = "/data" }
    late = { type = "volume", source = berth_volume.data.name, target = "/late" }
  }"#,
        ),
        (
            "files",
            r#"{ "/etc/note" = { content = "a note\n", mode = "0640", gid = 44 } }"#,
            r#"{ "/etc/note" = { content = "another\n" } }"#,
        ),
        ("extra_hosts", r#"{ db = "192.0.2.9" }"#, r#"{ db = "192.0.2.10" }"#),
        ("labels", r#"{ tier = "front" }"#, r#"{ tier = "back" }"#),
        (
            "networks",
            r#"{ eth0 = { network = "default" } }"#,
            r#"{
    eth0 = { network = "default" }
    eth1 = { network = "default" }
  }"#,
        ),
    ];

    /// What each says when that was changed.
    const AFTER: &str = "cat /late/note /etc/note; busybox grep -c 192.0.2.10 /etc/hosts; ls /mem | busybox wc -l; ls /sys/class/net";

    /// What is asked for their health.
    const BY_COMMAND: &str = "exec = [\"/bin/cat\", \"/www/index.html\"]";

    pub struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
        health: Cell<&'static str>,
    }

    impl World {
        /// Both, with what is changed as it is before or after; `more` is told to the machine's configuration alone.
        fn write(&self, after: bool, more: &str) {
            let mut text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_volume\" \"data\" {{\n  name = \"data\"\n}}\n\
                 resource \"berth_instance\" \"both\" {{\n  for_each = toset({KINDS:?})\n  name = each.key\n  \
                 type = each.key\n  image = \"${{berth_remote.local.name}}:berth/tiny:1\"\n  \
                 health_check = {{\n    {}\n    interval = \"200ms\"\n  }}\n{ARGUMENTS}",
                self.registry.address(),
                self.health.get(),
            );
            for (name, old, new) in CHANGED {
                writeln!(text, "  {name} = {}", if after { new } else { old }).unwrap();
            }
            text += "}\n";
            self.project.write(&(text + more)).unwrap();
        }

        fn instance(&self, kind: &str) -> Value {
            self.agent.inspect(kind).unwrap()
        }

        fn sh(&self, kind: &str, script: &str) -> (i32, String) {
            let command = ["instance", "exec", kind, "--", "/bin/sh", "-c", script];
            let said = self.agent.berth(&command).unwrap();
            (said.code, (said.stdout + &said.stderr).trim().to_owned())
        }

        /// What both say, the container's first.
        fn both(&self, script: &str) -> [String; 2] {
            KINDS.map(|kind| {
                let (code, said) = self.sh(kind, script);
                assert_eq!(code, 0, "{script} in the {kind}: {said}");
                said
            })
        }

        fn page(&self, kind: &str) -> String {
            let port = self.instance(kind)["ports"]["http"]["host_port"].as_u64().unwrap();
            wait::page(u16::try_from(port).unwrap(), "/").unwrap()
        }
    }

    pub fn what_runs_as_a_container_runs_as_a_machine(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let world = World { registry, agent, project, health: Cell::new(BY_COMMAND) };
        world.write(false, "");
        world.project.apply_settled();
        assert_eq!(world.sh(KINDS[0], "echo of the volume > /data/note").0, 0);
        for (name, script, expected) in SAME {
            for kind in KINDS {
                assert_eq!(world.sh(kind, script), (0, expected.to_owned()), "{name} in the {kind}");
            }
        }
        for (_, seen) in SEEN {
            KINDS.into_iter().for_each(|kind| seen(&world, kind));
        }
        they_are_changed_while_they_run(&world);
        for (_, told) in TOLD {
            told(&world);
        }
        for (_, shown) in &DIFFERENT {
            if let Shown::Here(show) = shown {
                show(&world);
            }
        }
        what_a_machine_cannot_have_is_refused(&world);
        world.write(true, "");
        world.project.destroy_ok();
        let mut agent = world.agent;
        let mark = agent.mark().clone();
        agent.stop().unwrap();
        assert_eq!(mark.leftovers().unwrap(), Vec::<String>::new());
    }

    fn they_are_changed_while_they_run(world: &World) {
        let processes = || {
            KINDS.map(|kind| (world.instance(kind)["pid"].clone(), world.instance(kind)["restarts"].clone()))
        };
        let before = processes();
        world.write(true, "");
        let planned = format!("{:?}", world.project.plan().unwrap().output);
        assert!(!planned.contains("will be restarted"), "{planned}");
        world.project.apply_settled();
        assert_eq!(processes(), before);
        let expected = "of the volume\nanother\n1\n0\neth0\neth1\nlo".to_owned();
        assert_eq!(world.both(AFTER), [expected.clone(), expected]);
        KINDS.into_iter().for_each(|kind| assert_eq!(world.page(kind), "page one\n"));
    }

    fn what_a_machine_cannot_have_is_refused(world: &World) {
        let mut more = String::new();
        let mut words = Vec::new();
        for (index, (_, shown)) in DIFFERENT.iter().enumerate() {
            if let Shown::Refused(argument, word) = shown {
                words.push(*word);
                writeln!(
                    more,
                    "resource \"berth_instance\" \"refused{index}\" {{\n  name = \"refused{index}\"\n  \
                     type = \"{MACHINE}\"\n  image = \"${{berth_remote.local.name}}:berth/tiny:1\"\n  {argument}\n}}"
                )
                .unwrap();
            }
        }
        world.write(true, &more);
        let refused = world.project.plan().unwrap();
        assert_eq!(refused.code, 1, "{:#?}", refused.output);
        let said: Vec<_> =
            refused.diagnostics.iter().map(|it| format!("{} {}", it.summary, it.detail)).collect();
        assert_eq!(said.len(), words.len(), "{said:#?}");
        for word in words {
            assert!(said.iter().any(|said| said.contains(word)), "no {word:?} in {said:#?}");
        }
    }

    pub fn exit_codes(world: &World, kind: &str) {
        assert_eq!(world.sh(kind, "exit 7").0, 7);
        assert_eq!(world.sh(kind, "kill -9 $$").0, 137);
    }

    pub fn files(world: &World, kind: &str) {
        let path = world.project.dir().join("note");
        std::fs::write(&path, "put in\n").unwrap();
        let path = path.to_str().unwrap();
        world.agent.berth_ok(&["instance", "push", path, &format!("{kind}:/put/note")]).unwrap();
        assert_eq!(world.sh(kind, "cat /put/note; echo more >> /put/note"), (0, "put in".to_owned()));
        let got = world.agent.berth_ok(&["instance", "pull", &format!("{kind}:/put/note"), "-"]).unwrap();
        assert_eq!(got, "put in\nmore\n");
    }

    pub fn health(world: &World, kind: &str) {
        let health = &world.instance(kind)["health"];
        assert!(health.to_string().contains("\"healthy\""), "{health}");
    }

    /// At ports of the loopback alone, where nobody is reached from outside.
    pub fn ports_are_tried_from_inside(world: &World) {
        let before = KINDS.map(|kind| world.instance(kind)["pid"].clone());
        world.both("busybox httpd -p 127.0.0.1:8081 -h /www");
        let are = |health: &'static str, wanted: &str| {
            world.health.set(health);
            world.write(true, "");
            world.project.apply_ok();
            for kind in KINDS {
                let seen = wait::until("the health of the instance", Duration::from_secs(20), || {
                    let seen = world.instance(kind)["health"].clone();
                    if seen == wanted { Ok(()) } else { Err(seen.to_string()) }
                });
                seen.unwrap_or_else(|error| panic!("{health} of the {kind}: {error}"));
            }
        };
        are("http = { port = 8081, path = \"/index.html\" }", "healthy");
        are("http = { port = 8081, path = \"/none\" }", "unhealthy");
        are("tcp = { port = 8081 }", "healthy");
        world.both(
            "for p in /proc/[0-9]*; do busybox grep -q '[1]27.0.0.1:8081' $p/cmdline && kill ${p#/proc/}; done; true",
        );
        are("tcp = { port = 8081 }", "unhealthy");
        assert_eq!(KINDS.map(|kind| world.instance(kind)["pid"].clone()), before);
    }

    pub fn logs(world: &World, kind: &str) {
        let logs = world.agent.berth_ok(&["instance", "logs", kind]).unwrap();
        assert!(logs.contains("serving as 0"), "{logs}");
    }

    pub fn ports(world: &World, kind: &str) {
        assert_eq!(world.page(kind), "page one\n");
    }

    /// Each finds the other by its name, and is served by it.
    pub fn names(world: &World, kind: &str) {
        let other = KINDS.into_iter().find(|other| *other != kind).unwrap();
        let address = world.instance(other)["ipv4_address"].as_str().unwrap().to_owned();
        let ask = format!(
            "busybox nslookup {other}.default.berth | busybox grep -o {address} | busybox head -n 1; \
             printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 10 {address} 8080 | busybox tail -n 1"
        );
        assert_eq!(world.sh(kind, &ask), (0, format!("{address}\npage one")));
    }

    pub fn usage(world: &World, kind: &str) {
        let stats = world.agent.berth_ok(&["--format", "json", "instance", "stats", kind]).unwrap();
        let stats: Value = serde_json::from_str(&stats).unwrap();
        let stats = stats.as_array().map_or(&stats, |all| &all[0]);
        for number in ["cpu_ns", "memory_bytes", "received_bytes", "sent_bytes"] {
            assert!(stats[number].as_u64().is_some_and(|number| number > 0), "{number} in {stats}");
        }
    }

    pub fn kernels_differ(world: &World) {
        let [container, machine] = world.both("busybox uname -r");
        assert_ne!(container, machine);
        let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(container, host.trim());
    }

    /// After the change, to what it was changed to.
    pub fn memory_is_its_own(world: &World) {
        let total = || {
            let said = world.sh(MACHINE, "busybox awk '/^MemTotal/ { print $2 }' /proc/meminfo").1;
            said.parse::<u64>().unwrap() / 1024
        };
        let seen = wait::until("the memory", Duration::from_secs(10), || match total() {
            mib @ 430..512 => Ok(mib),
            other => Err(other.to_string()),
        });
        seen.unwrap();
    }

    pub fn processors_are_its_own(world: &World) {
        assert_eq!(world.sh(MACHINE, "busybox grep -c ^processor /proc/cpuinfo"), (0, "2".to_owned()));
    }

    pub fn a_machine_s_pid_is_qemu_s(world: &World) {
        let names = KINDS.map(|kind| {
            let pid = world.instance(kind)["pid"].clone();
            std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim().to_owned()
        });
        assert_eq!(names[0], "httpd");
        assert!(names[1].starts_with("qemu"), "{names:?}");
    }
}
