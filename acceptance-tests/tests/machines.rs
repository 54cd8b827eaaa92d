//! The same instance as a container and as a virtual machine, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(one_word_makes_it_a_machine);

mod cases {
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};
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

        fn write(&self, kind: &str, arguments: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_volume\" \"data\" {{\n  name = \"data\"\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  type = \"{kind}\"\n  \
                 image = \"${{berth_remote.local.name}}:berth/tiny:1\"\n  \
                 mounts = {{ data = {{ type = \"volume\", source = berth_volume.data.name, target = \"/data\" }} }}\n  \
                 ports = {{ http = {{ container_port = 8080 }} }}\n  stop_timeout = \"5s\"\n  {arguments}\n}}\n",
                self.registry.address()
            );
            self.project.write(&text).unwrap();
        }

        fn instance(&self) -> Value {
            self.agent.inspect("web").unwrap()
        }

        fn page(&self, path: &str) -> String {
            let port = self.instance()["ports"]["http"]["host_port"].as_u64().unwrap();
            wait::page(u16::try_from(port).unwrap(), path).unwrap()
        }

        fn inside(&self, script: &str) -> (i32, String) {
            let command = ["instance", "exec", "web", "--", "/bin/sh", "-c", script];
            let output = self.agent.berth(&command).unwrap();
            (output.code, output.stdout)
        }
    }

    pub fn one_word_makes_it_a_machine(terraform: &Terraform) {
        let mut world = World::new(terraform);
        world.write("container", "");
        world.project.apply_settled();
        let container = world.instance();
        assert_eq!(world.page("/"), "page one\n");
        assert_eq!(world.inside("echo of the container > /data/note").0, 0);
        let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(world.inside("busybox uname -r").1, host);

        // The same with one word changed: another instance, which serves the same page and finds the same volume.
        world.write("virtual-machine", "wait_for = { condition = \"port\", port = 8080 }");
        world.project.apply_settled();
        let machine = world.instance();
        assert_ne!(container["id"], machine["id"]);
        assert_eq!(machine["type"], "virtual-machine");
        assert_eq!(world.page("/"), "page one\n");
        assert!(world.page("/env").contains("GREETING=hello from the image"));
        assert_eq!(world.inside("busybox cat /data/note"), (0, "of the container\n".to_owned()));
        assert_ne!(world.inside("busybox uname -r").1, host, "its kernel is its own");
        assert_eq!(world.inside("exit 7").0, 7);

        // The agent dies, and finds it again.
        world.agent.kill().unwrap();
        world.agent.restart().unwrap();
        assert_eq!(world.instance()["pid"], machine["pid"]);
        assert_eq!(world.page("/"), "page one\n");
        world.project.assert_empty_plan();

        // What a machine has plugged in comes with a restart, on the same root file system.
        world.write("virtual-machine", "limits = { memory = \"160MiB\", cpu = \"1\" }");
        let planned = world.project.plan().unwrap();
        assert!(format!("{:?}", planned.output).contains("will be restarted"), "{:#?}", planned.output);
        world.project.apply_settled();
        let restarted = world.instance();
        assert_eq!(
            (&restarted["id"], &restarted["ipv4_address"]),
            (&machine["id"], &machine["ipv4_address"])
        );
        assert_ne!(restarted["pid"], machine["pid"]);
        assert_eq!(world.page("/started"), "start\nstart\n");

        // What it cannot have is refused before anything is done.
        world.write("virtual-machine", "limits = { memory = \"32MiB\", pids = 10 }");
        let refused = world.project.plan().unwrap();
        assert_eq!(refused.code, 1, "{:#?}", refused.output);

        world.write("virtual-machine", "limits = { memory = \"160MiB\", cpu = \"1\" }");
        world.project.destroy_ok();
        assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
        let mut agent = world.agent;
        let mark = agent.mark().clone();
        agent.stop().unwrap();
        assert_eq!(mark.leftovers().unwrap(), Vec::<String>::new());
    }
}
