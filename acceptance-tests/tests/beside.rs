//! What the provider has beside its resources: data sources, functions, ephemerals, actions, lists and identity.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    what_there_is_is_looked_up,
    what_is_looked_up_and_not_there_is_said,
    what_a_command_says_is_in_no_state,
    a_command_that_fails_says_why,
    generated_configuration_plans_empty,
);

/// What only the newer Terraform has.
mod from_library {
    macro_rules! later {
        ($($case:ident),+ $(,)?) => {$(
            #[test]
            fn $case() {
                super::cases::$case(&berth_acceptance_tests::Terraform::from_library().unwrap());
            }
        )+};
    }
    later!(
        an_action_restarts,
        an_action_runs_a_command,
        an_action_pulls,
        an_action_prunes,
        what_there_is_is_listed,
        an_identity_names_what_is_imported,
    );
}

mod cases {
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, command::Output};
    use serde_json::{Value, json};

    /// A registry, an agent, and a configuration of a remote, an image and an instance that runs it.
    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform) -> Self {
            Self::with(terraform, TestAgent::start().unwrap())
        }

        fn with(terraform: &Terraform, agent: TestAgent) -> Self {
            let registry = Registry::start().unwrap();
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry, agent, project }
        }

        fn resources(&self) -> String {
            format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  \
                 labels = {{ tier = \"front\" }}\n  ports = {{ http = {{ container_port = 8080 }} }}\n  \
                 stop_timeout = \"1s\"\n}}\n",
                self.registry.address()
            )
        }

        fn write(&self, more: &str) {
            self.project.write(&(self.resources() + more)).unwrap();
        }

        fn instance(&self) -> Value {
            self.agent.inspect("web").unwrap()
        }

        fn output(&self, name: &str) -> Value {
            let said = self.project.run(&["output", "-json", name]).unwrap();
            serde_json::from_str(&said.stdout).unwrap()
        }

        fn invoke(&self, action: &str) -> Output {
            let invoke = format!("-invoke=action.{action}");
            self.project.run(&["apply", "-auto-approve", "-input=false", "-no-color", &invoke]).unwrap()
        }
    }

    #[track_caller]
    fn says(output: &Output, words: &str) {
        let text = output.stdout.clone() + &output.stderr;
        let flat: Vec<&str> = text.split_whitespace().filter(|word| !"│╷╵".contains(word)).collect();
        assert!(flat.join(" ").contains(words), "{words:?} is not in:\n{text}");
    }

    pub fn what_there_is_is_looked_up(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write(
            "data \"berth_image\" \"now\" {\n  reference = \"${berth_remote.local.name}:berth/tiny:1\"\n}\n\
             data \"berth_instance\" \"web\" {\n  name = berth_instance.web.name\n}\n\
             data \"berth_instances\" \"front\" {\n  labels = { tier = \"front\" }\n  depends_on = [berth_instance.web]\n}\n\
             data \"berth_instances\" \"back\" {\n  labels = { tier = \"back\" }\n  depends_on = [berth_instance.web]\n}\n\
             output \"image\" {\n  value = data.berth_image.now\n}\n\
             output \"front\" {\n  value = [for it in data.berth_instances.front.instances : it.name]\n}\n\
             output \"back\" {\n  value = length(data.berth_instances.back.instances)\n}\n\
             output \"web\" {\n  value = data.berth_instance.web\n}\n\
             output \"size\" {\n  value = provider::berth::parse_size(\"1.5GiB\")\n}\n\
             output \"parts\" {\n  value = provider::berth::parse_reference(\"docker.io/nginx@${data.berth_image.now.id}\")\n}\n\
             output \"variables\" {\n  value = provider::berth::parse_env_file(\"A=1 # one\\nexport B='two words'\\n\")\n}\n",
        );
        world.project.apply_settled();
        let instance = world.instance();
        let web = world.output("web");
        for name in ["id", "status", "ipv4_address", "image_id"] {
            assert_eq!(web[name], instance[name], "{name}");
        }
        assert_eq!((&web["pid"], &web["restarts"]), (&instance["pid"], &instance["restarts"]));
        assert_eq!(web["argv"], json!(["/bin/serve", "from-image"]));
        assert_eq!(web["labels"], json!({ "tier": "front" }));
        let image = world.output("image");
        assert_eq!(image["id"], instance["image_id"]);
        assert!(
            image["reference_resolved"].as_str().unwrap().ends_with(image["id"].as_str().unwrap()),
            "{image}"
        );
        assert_eq!((world.output("front"), world.output("back")), (json!(["web"]), json!(0)));
        assert_eq!(world.output("size"), 1_610_612_736);
        assert_eq!(
            world.output("parts"),
            json!({ "registry": "docker.io", "remote": null, "repository": "library/nginx", "tag": null, "digest": image["id"] })
        );
        assert_eq!(world.output("variables"), json!({ "A": "1", "B": "two words" }));
    }

    pub fn what_is_looked_up_and_not_there_is_said(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        let says = |more: &str, words: &str| {
            world.write(more);
            let plan = world.project.plan().unwrap();
            let error = plan.error().unwrap();
            assert!(format!("{} {}", error.summary, error.detail).contains(words), "{more}: {error:#?}");
        };
        says("data \"berth_instance\" \"it\" {\n  name = \"none\"\n}\n", "none");
        says("data \"berth_instance\" \"it\" {}\n", "either the instance's name or its id");
        says(
            "data \"berth_instance\" \"it\" {\n  name = \"a\"\n  id = \"b\"\n}\n",
            "Both name and id are set",
        );
        says("data \"berth_image\" \"it\" {\n  reference = \"nginx\"\n}\n", "docker.io/nginx");
        says("data \"berth_image\" \"it\" {\n  reference = \"local:berth/none:1\"\n}\n", "berth/none");
        says("output \"it\" {\n  value = provider::berth::parse_size(\"512M\")\n}\n", "512MiB");
        says(
            "output \"it\" {\n  value = provider::berth::parse_reference(\"nginx\")\n}\n",
            "docker.io/nginx",
        );
        says(
            "output \"it\" {\n  value = provider::berth::parse_env_file(\"A=1\\nHOME\")\n}\n",
            "Line 2 holds no equals sign",
        );
    }

    /// A token that a command makes is the password of a remote.
    fn token(command: &str) -> String {
        format!(
            "ephemeral \"berth_instance_exec\" \"token\" {{\n  instance = berth_instance.web.id\n  command = {command}\n  \
             environment = {{ TOKEN = \"hush-hush\" }}\n}}\n\
             resource \"berth_remote\" \"hub\" {{\n  name = \"hub\"\n  address = \"https://hub.invalid\"\n  username = \"me\"\n  \
             password_wo = ephemeral.berth_instance_exec.token.stdout\n  password_wo_version = 1\n}}\n"
        )
    }

    pub fn what_a_command_says_is_in_no_state(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        world.write(&token("[\"sh\", \"-c\", \"printf %s $TOKEN; id -u >&2\"]"));
        world.project.apply_settled();
        assert!(world.project.attributes("berth_remote.hub").unwrap()["id"].is_string());
        let state = world.project.state_text();
        assert!(state.contains("hub.invalid") && !state.contains("hush-hush"), "{state}");
        assert!(!world.agent.log().contains("hush-hush"));
    }

    pub fn a_command_that_fails_says_why(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        let says = |command: &str, words: &str| {
            world.write(&token(command));
            let plan = world.project.plan().unwrap();
            let error = plan.error().unwrap();
            let told = format!("{} {} {}", error.summary, error.detail, error.code);
            assert!(told.contains(words), "{command}: {error:#?}");
            assert!(!told.contains("hush-hush"), "{told}");
        };
        says(
            "[\"sh\", \"-c\", \"echo no luck >&2; exit 3\"]",
            "sh ended with exit code 3 Its last words on standard error:\nno luck",
        );
        says("[\"no-such-program\"]", "no-such-program");
        says("[]", "The command is empty");
        says("[\"sh\", \"-c\", \"printf '\\\\377'\"]", "is not UTF-8");
        world.agent.berth_ok(&["instance", "stop", "web"]).unwrap();
        says("[\"true\"]", "web");
    }

    pub fn generated_configuration_plans_empty(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        for address in ["berth_instance.web", "berth_remote.local", "berth_image.tiny"] {
            assert_eq!(world.project.run(&["state", "rm", address]).unwrap().code, 0, "{address}");
        }
        let import = |to: &str, id: &str| format!("import {{\n  to = {to}\n  id = \"{id}\"\n}}\n");
        world
            .project
            .write(
                &(import("berth_instance.web", "web")
                    + &import("berth_remote.local", "local")
                    + &import("berth_image.tiny", "local:berth/tiny:1")),
            )
            .unwrap();
        let planned = world
            .project
            .run(&["plan", "-input=false", "-no-color", "-generate-config-out=made.tf"])
            .unwrap();
        assert_eq!(planned.code, 0, "{planned:#?}");
        says(&planned, "3 to import, 0 to add, 0 to change, 0 to destroy");
        world.project.apply_settled();
    }

    pub fn an_action_restarts(terraform: &Terraform) {
        let world = World::new(terraform);
        let action = |instance: &str| {
            format!(
                "action \"berth_instance_restart\" \"web\" {{\n  config {{\n    instance = {instance}\n  }}\n}}\n"
            )
        };
        world.write(&action("berth_instance.web.id"));
        world.project.apply_settled();
        let before = world.instance();
        let said = world.invoke("berth_instance_restart.web");
        assert_eq!(said.code, 0, "{said:#?}");
        let after = world.instance();
        assert_ne!(before["pid"], after["pid"]);
        assert_eq!((&before["id"], &after["status"]), (&after["id"], &json!("running")));
        world.project.assert_empty_plan();
        world.write(&action("\"00000000-0000-4000-8000-000000000000\""));
        let said = world.invoke("berth_instance_restart.web");
        assert_eq!(said.code, 1, "{said:#?}");
    }

    pub fn an_action_runs_a_command(terraform: &Terraform) {
        let world = World::new(terraform);
        // As a migration that follows each new version.
        let text = world.resources().replace(
            "  stop_timeout = \"1s\"\n",
            "  stop_timeout = \"1s\"\n  lifecycle {\n    action_trigger {\n      events = [after_create, after_update]\n      \
             actions = [action.berth_instance_exec.migrate]\n    }\n  }\n",
        );
        let action = |command: &str| {
            format!(
                "action \"berth_instance_exec\" \"migrate\" {{\n  config {{\n    instance = berth_instance.web.id\n    \
                 command = {command}\n  }}\n}}\n"
            )
        };
        let steps = "[\"sh\", \"-c\", \"echo step one; echo step two; echo done > /www/migrated\"]";
        world.project.write(&(text.clone() + &action(steps))).unwrap();
        let applied = world.project.run(&["apply", "-auto-approve", "-input=false", "-no-color"]).unwrap();
        assert_eq!(applied.code, 0, "{applied:#?}");
        says(&applied, "step one");
        says(&applied, "step two");
        assert_eq!(
            world.agent.berth_ok(&["instance", "exec", "web", "--", "cat", "/www/migrated"]).unwrap(),
            "done\n"
        );
        world.project.write(&(text + &action("[\"sh\", \"-c\", \"echo no luck >&2; exit 3\"]"))).unwrap();
        let said = world.invoke("berth_instance_exec.migrate");
        assert_eq!(said.code, 1, "{said:#?}");
        says(&said, "sh ended with exit code 3");
        says(&said, "no luck");
    }

    pub fn an_action_pulls(terraform: &Terraform) {
        let world = World::new(terraform);
        let action = |tag: &str| {
            format!(
                "action \"berth_image_pull\" \"next\" {{\n  config {{\n    reference = \"local:berth/tiny:{tag}\"\n  }}\n}}\n"
            )
        };
        world.write(&action("2"));
        world.project.apply_settled();
        assert_eq!(world.agent.images().unwrap().len(), 1);
        let said = world.invoke("berth_image_pull.next");
        assert_eq!(said.code, 0, "{said:#?}");
        says(&said, "local:berth/tiny:2 is sha256:");
        assert_eq!(world.agent.images().unwrap().len(), 2);
        world.write(&action("none"));
        let said = world.invoke("berth_image_pull.next");
        assert_eq!(said.code, 1, "{said:#?}");
        says(&said, "berth/tiny:none");
    }

    pub fn an_action_prunes(terraform: &Terraform) {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), "[images]\nkeep_unused_for = '1h'\n").unwrap();
        let agent = TestAgent::start_with(&["--config", config.path().to_str().unwrap()]).unwrap();
        let world = World::with(terraform, agent);
        let action = |dry_run: bool| {
            format!(
                "action \"berth_image_prune\" \"it\" {{\n  config {{\n    dry_run = {dry_run}\n  }}\n}}\n"
            )
        };
        world.write(&action(true));
        world.project.apply_settled();
        let unused = world.agent.berth_ok(&["image", "pull", "local:berth/tiny:2"]).unwrap();
        world.agent.berth_ok(&["image", "rm", "local:berth/tiny:2"]).unwrap();
        let found = world.agent.berth_ok(&["--format", "json", "image", "prune", "--dry-run"]).unwrap();
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["images"].as_array().unwrap().len(), 1, "{found} {unused}");
        let id = found["images"][0]["id"].as_str().unwrap().to_owned();
        // What is only looked at stays, and is found again.
        for _ in 0..2 {
            let said = world.invoke("berth_image_prune.it");
            assert_eq!(said.code, 0, "{said:#?}");
            says(&said, &format!("would remove {id}"));
            says(&said, "would remove one image;");
        }
        world.write(&action(false));
        let said = world.invoke("berth_image_prune.it");
        assert_eq!(said.code, 0, "{said:#?}");
        says(&said, &format!("removed {id}"));
        // What an instance runs and a resource pins is still there.
        let said = world.invoke("berth_image_prune.it");
        says(&said, "no image is unused");
        assert_eq!(world.instance()["status"], "running");
        world.project.assert_empty_plan();
    }

    /// What `terraform query` finds: display names and identities.
    fn query(world: &World, kind: &str, config: &str) -> Vec<Value> {
        let list = format!(
            "list \"{kind}\" \"all\" {{\n  provider = berth\n  include_resource = true\n  config {{\n    {config}\n  }}\n}}\n"
        );
        world.project.write_file("all.tfquery.hcl", &list).unwrap();
        let said = world.project.run(&["query", "-no-color", "-json"]).unwrap();
        assert_eq!(said.code, 0, "{said:#?}");
        let events = said.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|event| event["type"] == "list_resource_found")
            .map(|event| event["list_resource_found"].clone())
            .collect()
    }

    pub fn what_there_is_is_listed(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        world.agent.berth_ok(&["instance", "launch", "local:berth/tiny:2", "--name", "by-hand"]).unwrap();
        let names = |kind: &str, config: &str| -> Vec<String> {
            let found = query(&world, kind, config);
            found.iter().map(|it| it["display_name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("berth_instance", ""), ["by-hand", "web"]);
        assert_eq!(names("berth_instance", "labels = { tier = \"front\" }"), ["web"]);
        assert_eq!(names("berth_remote", ""), ["local"]);
        assert_eq!(names("berth_image", ""), ["local:berth/tiny:1"]);
        let found = query(&world, "berth_instance", "labels = { tier = \"front\" }");
        let id = world.instance()["id"].clone();
        assert_eq!(found[0]["identity"]["id"], id, "{found:#?}");
        assert_eq!(found[0]["resource_object"]["ports"]["http"]["container_port"], "8080", "{found:#?}");
    }

    pub fn an_identity_names_what_is_imported(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        let id =
            |address: &str| world.project.attributes(address).unwrap()["id"].as_str().unwrap().to_owned();
        let (instance, remote) = (id("berth_instance.web"), id("berth_remote.local"));
        for address in ["berth_instance.web", "berth_remote.local", "berth_image.tiny"] {
            assert_eq!(world.project.run(&["state", "rm", address]).unwrap().code, 0, "{address}");
        }
        let import =
            |to: &str, identity: &str| format!("import {{\n  to = {to}\n  identity = {{ {identity} }}\n}}\n");
        world.write(
            &(import("berth_instance.web", &format!("id = \"{instance}\""))
                + &import("berth_remote.local", &format!("id = \"{remote}\""))
                + &import("berth_image.tiny", "reference = \"local:berth/tiny:1\"")),
        );
        let planned = world.project.run(&["plan", "-input=false", "-no-color"]).unwrap();
        says(&planned, "3 to import, 0 to add, 0 to change, 0 to destroy");
        world.project.apply_settled();
        assert_eq!(id("berth_instance.web"), instance);
    }
}
