//! What users of other providers have waited for, where no other suite shows it, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_change_keeps_what_the_instance_is_known_by,
    a_create_that_fails_half_way_is_gone_on_from,
    a_tag_and_its_digest_are_one_image_and_cost_one_head,
    what_an_image_says_of_itself_makes_no_diff,
    many_with_dependencies_are_destroyed,
);

mod cases {
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};
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

        /// These resources beside the remote `hub`.
        fn write(&self, resources: &str) {
            let remote = format!(
                "resource \"berth_remote\" \"hub\" {{\n  name = \"hub\"\n  address = \"{}\"\n  insecure = true\n}}\n",
                self.registry.address()
            );
            self.project.write(&(remote + resources)).unwrap();
        }

        fn state(&self) -> Value {
            self.project.attributes("berth_instance.web").unwrap()
        }

        fn pid(&self, name: &str) -> Value {
            self.agent.inspect(name).unwrap()["pid"].clone()
        }

        fn sh(&self, name: &str, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", name, "--", "sh", "-c", script]).unwrap();
            said.trim().to_owned()
        }
    }

    const VOLUME: &str = "resource \"berth_volume\" \"data\" {\n  name = \"data\"\n}\n";
    const ON_DATA: &str = "mounts = { data = { source = berth_volume.data.id, target = \"/data\" } }";

    fn web(name: &str, arguments: &str) -> String {
        format!(
            "resource \"berth_instance\" \"web\" {{\n  name = \"{name}\"\n  image = \"${{berth_remote.hub.name}}:berth/tiny:1\"\n  \
             {arguments}\n}}\n"
        )
    }

    /// What others know it by.
    fn known_by(state: &Value) -> [Value; 5] {
        ["id", "ipv4_address", "addresses", "mac_addresses", "ports"].map(|name| state[name].clone())
    }

    pub fn a_change_keeps_what_the_instance_is_known_by(terraform: &Terraform) {
        const PORT: &str = "stop_timeout = \"1s\"\n  ports = { http = { container_port = 8080 } }";
        const MEMORY: &str = "limits = { memory = \"64MiB\" }";
        let world = World::new(terraform);
        let apply = |name: &str, arguments: &[&str]| {
            world.write(&format!("{VOLUME}{}", web(name, &[&[PORT][..], arguments].concat().join("\n  "))));
            let planned = world.project.planned().unwrap();
            world.project.apply_settled();
            planned
        };
        apply("web", &[]);
        let (before, pid) = (known_by(&world.state()), world.pid("web"));
        world.sh("web", "echo kept > /file");
        let update = [("berth_instance.web".to_owned(), "update".to_owned())];
        // Memory and a disk come while the process runs.
        for arguments in [[MEMORY, ""], [MEMORY, ON_DATA]] {
            assert_eq!(apply("web", &arguments), update, "{arguments:?}");
            assert_eq!((known_by(&world.state()), world.pid("web")), (before.clone(), pid.clone()));
        }
        assert_eq!(world.sh("web", "busybox grep -c ' /data ' /proc/mounts"), "1");
        // Another configuration and another name restart it.
        for (name, arguments) in
            [("web", ["environment = { A = \"b\" }", ON_DATA]), ("site", [MEMORY, ON_DATA])]
        {
            assert_eq!(apply(name, &arguments), update, "{name} {arguments:?}");
            assert_eq!(known_by(&world.state()), before, "{name} {arguments:?}");
            assert_eq!(world.sh(name, "cat /file"), "kept");
        }
        assert_ne!(world.pid("site"), pid);
        assert_eq!(world.agent.instances().unwrap(), ["site"]);
        // Stopped, it publishes nothing, and its port is kept for it.
        apply("site", &["running = false"]);
        assert_eq!(known_by(&world.state()), before);
        assert_eq!(apply("site", &[]), update);
        assert_eq!(known_by(&world.state()), before);
    }

    pub fn a_create_that_fails_half_way_is_gone_on_from(terraform: &Terraform) {
        const RUN: &str = "entrypoint = [\"/bin/sh\", \"-c\", \"trap 'echo stopped >> /data/log; exit 0' TERM; \
                           echo started >> /data/log; while :; do sleep 0.1; done\"]\n  stop_timeout = \"60s\"";
        const FAIL: &str = "entrypoint = [\"/bin/sh\", \"-c\", \"echo failed >> /data/log; exit 3\"]\n  \
                            restart = { policy = \"no\" }\n  wait_for = { condition = \"port\", port = 8080 }";
        let world = World::new(terraform);
        world.write(&format!("{VOLUME}{}", web("web", &format!("{ON_DATA}\n  {FAIL}"))));
        let failed = world.project.apply().unwrap();
        assert_eq!(failed.code, 1, "{:#?}", failed.output);
        // What was made is in the state, and nothing of it beside the state.
        let first = world.state();
        assert_eq!(first["id"], world.agent.inspect("web").unwrap()["id"]);
        let of = |state: &Value| (state["ipv4_address"].clone(), state["mac_addresses"].clone());
        world.write(&format!("{VOLUME}{}", web("web", &format!("{ON_DATA}\n  {RUN}"))));
        let replace = [("berth_instance.web".to_owned(), "delete+create".to_owned())];
        assert_eq!(world.project.planned().unwrap(), replace);
        world.project.apply_settled();
        let second = world.state();
        assert_ne!(second["id"], first["id"]);
        assert_eq!((of(&second), &second["name"]), (of(&first), &first["name"]));
        // A program is asked to end, and has the time that it takes, before another is in its place.
        let log = |lines: usize| {
            let all = format!("n=0; until [ $(busybox wc -l < /data/log) = {lines} ] || [ $n = 100 ]");
            world.sh("web", &format!("{all}; do n=$((n+1)); sleep 0.1; done; cat /data/log"))
        };
        assert_eq!(log(2), "failed\nstarted");
        world.project.run(&["taint", "berth_instance.web"]).unwrap();
        world.project.apply_settled();
        assert_eq!(of(&world.state()), of(&first));
        assert_eq!(log(4), "failed\nstarted\nstopped\nstarted");
    }

    pub fn a_tag_and_its_digest_are_one_image_and_cost_one_head(terraform: &Terraform) {
        let world = World::new(terraform);
        let write = |reference: &str| {
            world.write(&format!(
                "resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.hub.name}}:{reference}\"\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  stop_timeout = \"1s\"\n}}\n"
            ));
        };
        write("berth/tiny:1");
        world.project.apply_settled();
        let image = world.project.attributes("berth_image.tiny").unwrap();
        let digest = image["id"].as_str().unwrap();
        assert!(
            image["reference_resolved"].as_str().unwrap().ends_with(&format!("berth/tiny@{digest}")),
            "{image}"
        );
        // To see whether the tag has moved the registry is asked for its head alone.
        let asked = world.registry.log().len();
        world.project.assert_empty_plan();
        let log = world.registry.log();
        let asked =
            log[asked..].lines().filter(|line| line.contains("/manifests/") && line.contains(" HTTP/1.1"));
        let asked: Vec<&str> = asked.collect();
        assert!(asked.len() == 1 && asked[0].contains("\"HEAD /v2/berth/tiny/manifests/1 "), "{asked:#?}");
        // The same image by its digest, with the tag and without.
        let (before, pid) = (world.state()["id"].clone(), world.pid("web"));
        for reference in [format!("berth/tiny:1@{digest}"), format!("berth/tiny@{digest}")] {
            write(&reference);
            let planned = world.project.planned().unwrap();
            assert!(planned.iter().all(|(_, actions)| actions == "update"), "{reference}: {planned:?}");
            world.project.apply_settled();
            assert_eq!((world.state()["id"].clone(), world.pid("web")), (before.clone(), pid.clone()));
            assert_eq!(world.project.attributes("berth_image.tiny").unwrap()["id"], digest);
        }
    }

    pub fn what_an_image_says_of_itself_makes_no_diff(terraform: &Terraform) {
        let world = World::new(terraform);
        let instance = "resource \"berth_instance\" \"web\" {\n  name = \"web\"\n  \
                        image = \"${berth_remote.hub.name}:berth/interpreter:1\"\n}\n";
        world.write(instance);
        world.project.apply_settled();
        let effective = world.agent.inspect("web").unwrap()["effective"].clone();
        assert_eq!(
            (&effective["user"], &effective["working_dir"]),
            (&"app".into(), &"/srv".into()),
            "{effective}"
        );
        let arguments =
            ["entrypoint", "command", "environment", "user", "working_dir", "ports", "stop_signal"];
        let as_in_state = |when: &str| {
            let state = world.state();
            for argument in arguments {
                assert_eq!(state[argument], Value::Null, "{argument} {when}");
            }
        };
        as_in_state("after the apply");
        for args in [
            ["state", "rm", "berth_instance.web"].as_slice(),
            &["import", "-input=false", "-no-color", "berth_instance.web", "web"],
        ] {
            let said = world.project.run(args).unwrap();
            assert_eq!(said.code, 0, "{said:#?}");
        }
        as_in_state("after the import");
        world.project.assert_empty_plan();
    }

    pub fn many_with_dependencies_are_destroyed(terraform: &Terraform) {
        let world = World::new(terraform);
        let many = "resource \"berth_network\" \"net\" {\n  count = 2\n  name = \"net-${count.index}\"\n}\n\
                    resource \"berth_volume\" \"data\" {\n  count = 3\n  name = \"data-${count.index}\"\n}\n\
                    resource \"berth_image\" \"tiny\" {\n  reference = \"${berth_remote.hub.name}:berth/tiny:1\"\n}\n\
                    resource \"berth_instance\" \"web\" {\n  count = 6\n  name = \"web-${count.index}\"\n  \
                    image = berth_image.tiny.id\n  stop_signal = \"SIGKILL\"\n  \
                    networks = { eth0 = { network = berth_network.net[count.index % 2].id } }\n  \
                    mounts = { data = { source = berth_volume.data[count.index % 3].id, target = \"/data\" } }\n}\n\
                    resource \"berth_exec\" \"seed\" {\n  count = 3\n  instance = berth_instance.web[count.index].id\n  \
                    command = [\"/bin/sh\", \"-c\", \"echo seed >> /data/seed\"]\n  \
                    destroy_command = [\"/bin/sh\", \"-c\", \"echo over >> /data/seed\"]\n}\n";
        for _ in 0..3 {
            world.write(many);
            world.project.apply_ok();
            world.project.destroy_ok();
            assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
            assert_eq!(world.agent.images().unwrap(), Vec::<Value>::new());
            let volumes = world.agent.berth_ok(&["--format", "json", "volume", "ls"]).unwrap();
            let networks = world.agent.berth_ok(&["network", "ls"]).unwrap();
            assert!(volumes.trim() == "[]" && !networks.contains("net-"), "{volumes} {networks}");
        }
    }
}
