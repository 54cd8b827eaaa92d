//! Each argument of an instance, changed alone: what its page says of a change is what happens, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(each_argument_does_what_its_page_says);

/// What is shown here by other cases, as `cargo xtask docs` names them.
const ELSEWHERE: [&str; 7] = [
    "host",
    "running",
    "secret_environment_wo",
    "secret_environment_wo_version",
    "timeouts",
    "type",
    "wait_for",
];

/// Each step adds one argument to those before, or says it otherwise.
const STEPS: [(&str, &str); 37] = [
    ("description", "\"a box\""),
    ("labels", "{ tier = \"front\" }"),
    ("restart", "{ policy = \"on-failure\", max_retries = 3 }"),
    ("boot", "{ priority = 3 }"),
    ("limits", "{ memory = \"64MiB\", cpu = \"0.5\", pids = 50 }"),
    ("mounts", "{ mem = { type = \"tmpfs\", target = \"/mem\", size = \"1MiB\" } }"),
    ("devices", "{ fuse = { type = \"unix-char\", source = \"/dev/fuse\" } }"),
    ("networks", "{ eth0 = { network = \"default\" }, eth1 = { network = \"default\" } }"),
    ("extra_hosts", "{ db = \"192.0.2.9\" }"),
    ("ports", "{ http = { container_port = 8080 } }"),
    ("ingress", "[{ protocol = \"tcp\", ports = [\"8080\"] }]"),
    ("egress", "[]"),
    ("files", "{ \"/etc/box\" = { content = \"box\" } }"),
    ("health_check", "{ exec = [\"/bin/sh\", \"-c\", \"true\"], interval = \"100ms\" }"),
    ("on_image_change", "\"rebuild\""),
    ("hostname", "\"box\""),
    ("hostname", "\"crate\""),
    ("name", "\"crate\""),
    ("environment", "{ KEY = \"value\" }"),
    ("command", "[\"argument\"]"),
    ("working_dir", "\"/etc\""),
    ("user", "\"0:0\""),
    ("supplementary_groups", "[\"44\"]"),
    ("restart_triggers", "{ one = \"1\" }"),
    ("ulimits", "{ nofile = { soft = 512, hard = 1024 } }"),
    ("sysctls", "{ \"net.core.somaxconn\" = \"77\" }"),
    ("shm_size", "\"1MiB\""),
    ("entrypoint", "[\"/bin/sh\", \"-c\", \"exec busybox sleep 1000\"]"),
    ("security", "{ no_new_privileges = true }"),
    ("stop_timeout", "\"1s\""),
    ("stop_signal", "\"SIGTERM\""),
    ("labels", "{ tier = \"back\" }"),
    ("files", "{ \"/etc/box\" = { content = \"crate\" } }"),
    ("environment", "{ KEY = \"other\" }"),
    ("limits", "{ memory = \"96MiB\", cpuset = \"0\" }"),
    ("image", "\"${berth_remote.local.name}:berth/tiny:2\""),
    ("labels", "null"),
];

mod cases {
    use std::collections::{BTreeMap, BTreeSet};

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};
    use serde_json::Value;

    use super::{ELSEWHERE, STEPS};

    const PAGE: &str = include_str!("../../docs/resources/instance.md");

    #[derive(Debug, PartialEq, Eq, Clone, Copy)]
    enum Effect {
        InPlace,
        Restart,
        Rebuild,
    }

    /// What the page of the resource says of each argument that can be set.
    fn said() -> BTreeMap<&'static str, &'static str> {
        let page = PAGE.split("## Identity").next().unwrap();
        let line = |line: &'static str| {
            let (name, rest) = line.strip_prefix("- `")?.split_once("` (")?;
            let (kind, text) = rest.split_once(") ")?;
            (!kind.contains("computed")).then_some((name, text))
        };
        page.lines().filter_map(line).collect()
    }

    fn effect(name: &str, text: &str, has_hostname: bool) -> Effect {
        match name {
            "image" => Effect::Rebuild,
            // "A change restarts; it is in place if `hostname` is set."
            "name" if has_hostname => Effect::InPlace,
            _ if text.contains("In place") => Effect::InPlace,
            _ if text.ends_with("Restart.") || text == "Any change of these restarts it." => Effect::Restart,
            "on_image_change" => Effect::InPlace,
            _ => panic!("the page does not say what a change of {name} does: {text}"),
        }
    }

    struct World {
        agent: TestAgent,
        registry: Registry,
        project: Project,
        arguments: BTreeMap<&'static str, String>,
    }

    impl World {
        fn write(&self) {
            let lines: Vec<_> =
                self.arguments.iter().map(|(name, value)| format!("  {name} = {value}")).collect();
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_instance\" \"box\" {{\n{}\n}}\n",
                self.registry.address(),
                lines.join("\n")
            );
            self.project.write(&text).unwrap();
        }

        fn name(&self) -> &str {
            self.arguments["name"].trim_matches('"')
        }

        fn instance(&self) -> Value {
            self.agent.inspect(self.name()).unwrap()
        }

        fn sh(&self, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", self.name(), "--", "/bin/sh", "-c", script]);
            said.unwrap().trim().to_owned()
        }
    }

    pub fn each_argument_does_what_its_page_says(terraform: &Terraform) {
        let said = said();
        let covered: BTreeSet<&str> = STEPS.iter().map(|(name, _)| *name).chain(ELSEWHERE).collect();
        assert_eq!(said.keys().copied().collect::<BTreeSet<_>>(), covered);
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        // A program that heeds no signal is not waited for.
        let first = [
            ("name", "\"box\""),
            ("image", "\"${berth_remote.local.name}:berth/tiny:1\""),
            ("stop_signal", "\"SIGKILL\""),
        ];
        let arguments = first.map(|(name, value)| (name, value.to_owned())).into();
        let mut world = World { agent, registry, project, arguments };
        world.write();
        world.project.apply_settled();
        world.sh("echo here > /marker");
        for (name, value) in STEPS {
            let effect = effect(name, said[name], world.arguments.contains_key("hostname"));
            let before = world.instance();
            world.arguments.insert(name, value.to_owned());
            world.write();
            if effect != Effect::InPlace {
                let planned = format!("{:?}", world.project.plan().unwrap().output);
                let word = if effect == Effect::Restart { "will be restarted" } else { "will be rebuilt" };
                assert!(planned.contains(word), "a change of {name}: {planned}");
            }
            world.project.apply_settled();
            let after = world.instance();
            let process = |instance: &Value| (instance["pid"].clone(), instance["started_at"].clone());
            assert_eq!(before["id"], after["id"], "{name} = {value}");
            assert_eq!(process(&before) == process(&after), effect == Effect::InPlace, "{name} = {value}");
            let marker = world.sh("cat /marker 2>/dev/null; true");
            assert_eq!(marker == "here", effect != Effect::Rebuild, "{name} = {value}");
            if effect == Effect::Rebuild {
                world.sh("echo here > /marker");
            }
        }
    }
}
