//! What an instance shares with its host where it is asked for, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    namespaces_of_the_host_s_are_entered_and_left,
    a_privileged_instance_needs_the_agent_s_leave,
    contradictions_are_refused_on_their_argument,
);

mod cases {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform, agent: TestAgent) -> Self {
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry: Registry::start().unwrap(), agent, project }
        }

        fn write(&self, arguments: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_instance\" \"box\" {{\n  name = \"box\"\n  \
                 image = \"${{berth_remote.local.name}}:berth/tiny:1\"\n  stop_timeout = \"1s\"\n  \
                 entrypoint = [\"/bin/sh\", \"-c\", \"sleep 1000 & echo child $! of $$; exec sleep 1000\"]\n  {arguments}\n}}\n",
                self.registry.address()
            );
            self.project.write(&text).unwrap();
        }

        fn pid(&self) -> u64 {
            self.agent.inspect("box").unwrap()["pid"].as_u64().unwrap()
        }

        /// Which of these namespaces are the host's.
        fn shared(&self) -> Vec<&'static str> {
            let of = |process: &str, name: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).unwrap();
            let pid = self.pid().to_string();
            ["user", "net", "pid", "mnt"]
                .into_iter()
                .filter(|name| of(&pid, name) == of("self", name))
                .collect()
        }

        fn exec(&self, command: &str) -> String {
            self.agent.berth_ok(&["instance", "exec", "box", "--", "/bin/sh", "-c", command]).unwrap()
        }

        /// Of the process beside the workload, on the host: its number is told where that means something.
        fn child(&self) -> PathBuf {
            let pid = self.pid();
            let told = wait::until("what it says", Duration::from_secs(20), || {
                let log =
                    self.agent.berth_ok(&["instance", "logs", "box"]).map_err(|error| error.to_string())?;
                let end = format!(" of {pid}");
                let line = log.lines().rev().find_map(|line| line.strip_suffix(&end)?.rsplit(' ').next());
                line.map(str::to_owned).ok_or(log.clone())
            });
            PathBuf::from(format!("/proc/{}", told.unwrap()))
        }
    }

    /// Whether it does; one that has ended may wait for the host's own pid 1 to take note.
    fn runs(process: &Path) -> bool {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    pub fn namespaces_of_the_host_s_are_entered_and_left(terraform: &Terraform) {
        let world = World::new(terraform, TestAgent::start().unwrap());
        world.write("");
        world.project.apply_settled();
        assert_eq!(world.shared(), Vec::<&str>::new());
        let id = world.agent.inspect("box").unwrap()["id"].clone();
        world.exec("echo mine > /made; busybox chown 33:33 /made");

        world.write("security = { user_namespace = \"host\", host_network = true, host_pid = true }");
        world.project.apply_settled();
        assert_eq!(world.shared(), ["user", "net", "pid"]);
        assert_eq!(world.agent.inspect("box").unwrap()["id"], id);
        let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
        assert!(status.contains("Uid:\t0\t0\t0\t0"), "{status}");
        // Docker's default capabilities, and its filter: root of the host's, but not all of it.
        assert!(status.contains("CapEff:\t00000000a80425fb") && status.contains("Seccomp:\t2"), "{status}");
        assert_eq!(world.exec("cat /made; busybox stat -c '%u %g' /made").trim(), "mine\n33 33");
        assert_eq!(world.exec("kill -0 1 && echo sees").trim(), "sees");
        let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap();
        assert_eq!(
            world.exec("busybox wc -l < /proc/net/dev").trim(),
            interfaces.lines().count().to_string()
        );
        let child = world.child();
        assert!(runs(&child), "{child:?}");

        world.write("security = { host_pid = true, host_network = true }");
        world.project.apply_settled();
        assert_eq!(world.shared(), ["net", "pid"]);
        assert!(!runs(&child), "what ran beside the workload is left");
        assert_eq!(world.exec("cat /made; busybox stat -c '%u %g' /made").trim(), "mine\n33 33");
        let child = world.child();
        assert!(runs(&child), "{child:?}");
        // Nobody on the host, whose processes it sees.
        let refused =
            world.exec("kill -0 1 || echo refused; echo x > /proc/sys/kernel/hostname || echo kept");
        assert_eq!(refused.trim(), "refused\nkept");

        world.write("");
        world.project.apply_settled();
        assert_eq!(world.shared(), Vec::<&str>::new());
        assert!(!runs(&child), "what ran beside the workload is left");
        assert_eq!(world.exec("cat /made; busybox stat -c '%u %g' /made").trim(), "mine\n33 33");
    }

    pub fn a_privileged_instance_needs_the_agent_s_leave(terraform: &Terraform) {
        let world = World::new(terraform, TestAgent::start().unwrap());
        for (arguments, field) in [
            ("privileged = true", "privileged"),
            ("user_namespace = \"host\", capabilities_add = [\"SYS_ADMIN\"]", "capabilities_add"),
            ("user_namespace = \"host\", seccomp = \"unconfined\"", "seccomp"),
        ] {
            world.write(&format!("security = {{ {arguments} }}"));
            let refused = world.project.apply().unwrap();
            assert_eq!(refused.code, 1, "{:#?}", refused.output);
            let error = refused.error().unwrap();
            assert!(error.code.contains("security") && error.detail.contains(field), "{error:#?}");
            assert!(error.detail.contains("allow_privileged"), "{error:#?}");
        }
        drop(world);

        let config = tempfile::NamedTempFile::new().unwrap();
        fs::write(config.path(), "allow_privileged = true\n").unwrap();
        let agent = TestAgent::start_with(&["--config", config.path().to_str().unwrap()]).unwrap();
        let world = World::new(terraform, agent);
        world.write("security = { privileged = true }");
        world.project.apply_settled();
        assert_eq!(world.shared(), ["user"]);
        let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
        assert!(status.contains("Seccomp:\t0"), "{status}");
        let all = fs::read_to_string("/proc/self/status").unwrap();
        let effective =
            |status: &str| status.lines().find(|line| line.starts_with("CapEff")).unwrap().to_owned();
        assert_eq!(effective(&status), effective(&all));
        let told = world.exec("busybox mkdir /m && busybox mount -t tmpfs none /m && echo mounted; busybox ls /dev/kmsg; busybox head -c 1 /dev/kmsg >/dev/null && echo read");
        assert_eq!(told.trim(), "mounted\n/dev/kmsg\nread");
    }

    pub fn contradictions_are_refused_on_their_argument(terraform: &Terraform) {
        let world = World::new(terraform, TestAgent::start().unwrap());
        for (arguments, attribute) in [
            ("security = { host_network = true }\n  ports = { http = { container_port = 80 } }", "ports"),
            ("security = { host_network = true }\n  networks = { eth0 = {} }", "networks"),
            ("security = { user_namespace = \"other\" }", "security"),
            ("security = { privileged = true, seccomp = \"default\" }", "security"),
        ] {
            world.write(arguments);
            let refused = world.project.plan().unwrap();
            assert_eq!(refused.code, 1, "{arguments}: {:#?}", refused.output);
            let error = refused.error().unwrap();
            assert!(error.code.contains(attribute), "{arguments}: {error:#?}");
        }
    }
}
