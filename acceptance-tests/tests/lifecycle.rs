//! An instance from its creation to its end, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_page_is_served_and_everything_goes_again,
    what_changes_in_place_keeps_the_process,
    environment_and_command_restart_the_same_instance,
    a_new_image_rebuilds_the_same_instance,
    what_is_imported_plans_empty,
    drift_shows_in_the_plan,
    an_agent_that_is_killed_loses_nothing,
    an_apply_goes_on_when_the_agent_is_back,
);

mod cases {
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};
    use serde_json::Value;

    /// A registry, an agent and a configuration with an instance `web` of the tiny image, with `arguments` in its block.
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

        fn write(&self, tag: &str, arguments: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:{tag}\"\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  \
                 ports = {{ http = {{ container_port = 8080 }} }}\n  stop_timeout = \"1s\"\n  {arguments}\n}}\n",
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
    }

    pub fn a_page_is_served_and_everything_goes_again(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        assert_eq!(world.page("/"), "page one\n");
        assert!(world.page("/env").contains("GREETING=hello from the image"));
        world.project.destroy_ok();
        assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
        assert_eq!(world.agent.images().unwrap(), Vec::<Value>::new());
        let mut agent = world.agent;
        let mark = agent.mark().clone();
        agent.stop().unwrap();
        assert_eq!(mark.leftovers().unwrap(), Vec::<String>::new());
    }

    pub fn what_changes_in_place_keeps_the_process(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        let before = world.instance();
        world.write("1", "labels = { tier = \"front\" }\n  restart = { policy = \"on-failure\" }\n  limits = { memory = \"64MiB\" }");
        world.project.apply_settled();
        let after = world.instance();
        assert_eq!((&before["id"], &before["pid"]), (&after["id"], &after["pid"]));
        assert_eq!(after["labels"]["tier"], "front");
    }

    pub fn environment_and_command_restart_the_same_instance(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        let before = world.instance();
        assert_eq!(world.page("/started"), "start\n");
        world.write("1", "environment = { GREETING = \"hello from the plan\" }\n  command = [\"from-plan\"]");
        world.project.apply_settled();
        let after = world.instance();
        assert_eq!((&before["id"], &before["ipv4_address"]), (&after["id"], &after["ipv4_address"]));
        assert_ne!(before["pid"], after["pid"]);
        assert!(world.page("/env").contains("GREETING=hello from the plan"));
        assert_eq!(world.page("/args"), "from-plan\n");
        // The file system is the one that it had.
        assert_eq!(world.page("/started"), "start\nstart\n");
    }

    pub fn a_new_image_rebuilds_the_same_instance(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        let before = world.instance();
        world.write("2", "");
        world.project.apply_settled();
        let after = world.instance();
        assert_eq!(world.page("/"), "page two\n");
        assert_eq!(world.page("/started"), "start\n");
        assert_eq!((&before["id"], &before["ipv4_address"]), (&after["id"], &after["ipv4_address"]));
        assert_ne!(before["image_id"], after["image_id"]);
    }

    pub fn what_is_imported_plans_empty(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "environment = { A = \"b\" }");
        world.project.apply_settled();
        for address in ["berth_instance.web", "berth_remote.local", "berth_image.tiny"] {
            assert_eq!(world.project.run(&["state", "rm", address]).unwrap().code, 0, "{address}");
        }
        for (address, id) in [
            ("berth_remote.local", "local"),
            ("berth_image.tiny", "local:berth/tiny:1"),
            ("berth_instance.web", "web"),
        ] {
            let imported = world.project.run(&["import", "-input=false", "-no-color", address, id]).unwrap();
            assert_eq!(imported.code, 0, "{imported:#?}");
        }
        world.project.assert_empty_plan();
    }

    pub fn drift_shows_in_the_plan(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        world.agent.berth_ok(&["instance", "stop", "web"]).unwrap();
        let web = |actions: &str| vec![("berth_instance.web".to_owned(), actions.to_owned())];
        assert_eq!(world.project.planned().unwrap(), web("update"));
        world.project.apply_settled();
        assert_eq!(world.page("/"), "page one\n");
        world.agent.berth_ok(&["instance", "rm", "--force", "web"]).unwrap();
        assert_eq!(world.project.planned().unwrap(), web("create"));
        world.project.apply_settled();
        assert_eq!(world.page("/"), "page one\n");
    }

    pub fn an_agent_that_is_killed_loses_nothing(terraform: &Terraform) {
        let mut world = World::new(terraform);
        world.write("1", "");
        world.project.apply_settled();
        let before = world.instance();
        let port = u16::try_from(before["ports"]["http"]["host_port"].as_u64().unwrap()).unwrap();
        world.agent.kill().unwrap();
        assert_eq!(wait::page(port, "/").unwrap(), "page one\n");
        world.agent.restart().unwrap();
        let after = world.instance();
        assert_eq!((&before["pid"], &before["restarts"]), (&after["pid"], &after["restarts"]));
        world.project.assert_empty_plan();
        assert_eq!(world.page("/"), "page one\n");
    }

    pub fn an_apply_goes_on_when_the_agent_is_back(terraform: &Terraform) {
        let mut world = World::new(terraform);
        let (mut ids, mut pid) = (Vec::new(), Value::Null);
        // A create, and then an update, which wait until the instance is well when the agent is killed.
        for file in ["/first", "/second"] {
            let check = format!("exec = [\"cat\", \"{file}\"], interval = \"100ms\", retries = 10000");
            let waits =
                "wait_for = { condition = \"healthy\" }\n  timeouts = { create = \"1m\", update = \"1m\" }";
            world.write(
                "1",
                &format!("environment = {{ FILE = \"{file}\" }}\n  health_check = {{ {check} }}\n  {waits}"),
            );
            let World { agent, project, .. } = &mut world;
            std::thread::scope(|scope| {
                let apply = scope.spawn(|| project.apply_ok());
                let runs = || match agent.inspect("web") {
                    Ok(web) if web["status"] == "running" && web["pid"] != pid => Ok(()),
                    other => Err(format!("{other:?}")),
                };
                wait::until("the instance that is waited for", Duration::from_secs(30), runs).unwrap();
                agent.kill().unwrap();
                agent.restart().unwrap();
                assert!(!apply.is_finished());
                agent.berth_ok(&["instance", "exec", "web", "--", "busybox", "touch", file]).unwrap();
                apply.join().unwrap();
            });
            world.project.assert_empty_plan();
            let web = world.instance();
            ids.push(web["id"].clone());
            pid = web["pid"].clone();
        }
        assert_eq!(ids[0], ids[1]);
    }
}
