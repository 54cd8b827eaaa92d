//! What another provider's state becomes where a `moved` block hands it over.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(what_docker_ran_is_made_anew, what_was_moved_and_not_read_is_made_anew);

mod cases {
    use std::os::unix::fs::symlink;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, paths, terraform::Diagnostic};
    use serde_json::{Value, json};

    /// A state that Docker's provider left, of a container and its image.
    struct World {
        _registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform) -> Self {
            let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
            let project = Project::new(terraform, &agent).unwrap();
            project
                .write(&format!(
                    "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                     resource \"berth_image\" \"web\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                     resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.web.id\n  \
                     environment = {{ MODE = \"live\" }}\n  stop_timeout = \"1s\"\n}}\n\
                     moved {{\n  from = docker_image.web\n  to = berth_image.web\n}}\n\
                     moved {{\n  from = docker_container.web\n  to = berth_instance.web\n}}\n",
                    registry.address()
                ))
                .unwrap();
            let world = Self { _registry: registry, agent, project };
            world.leave_docker_behind();
            world
        }

        /// Terraform starts Docker's provider to learn its schema, as long as the state holds something of its. Any provider is
        /// good enough for that: what is moved is handed over as the state has it.
        fn leave_docker_behind(&self) {
            let (dir, built) = (self.project.dir(), paths::release());
            symlink(built.join("terraform-provider-berth"), dir.join("terraform-provider-docker")).unwrap();
            let overrides = format!(
                "provider_installation {{\n  dev_overrides {{\n    \"berth-run/berth\" = \"{}\"\n    \
                 \"kreuzwerker/docker\" = \"{}\"\n  }}\n  direct {{}}\n}}\n",
                built.display(),
                dir.display()
            );
            self.project.write_file("cli.tfrc", &overrides).unwrap();
            let resource = |kind: &str, version: u8, attributes: Value| {
                json!({
                    "mode": "managed", "type": kind, "name": "web",
                    "provider": "provider[\"registry.terraform.io/kreuzwerker/docker\"]",
                    "instances": [{ "schema_version": version, "attributes": attributes, "sensitive_attributes": [] }],
                })
            };
            let image = json!({
                "id": "sha256:0abnginx:1.27", "image_id": "sha256:0ab", "name": "nginx:1.27", "keep_locally": false,
                "repo_digest": "nginx@sha256:0ab", "build": [], "platform": "",
            });
            let container = json!({
                "id": "9f31c8", "name": "web", "image": "sha256:0ab", "env": ["MODE=live"], "command": [],
                "labels": [], "memory": 256, "restart": "unless-stopped", "runtime": "runc", "ipc_mode": "private",
                "log_driver": "json-file", "dns": ["192.0.2.53"], "must_run": true, "exit_code": null,
                "volumes": [{
                    "container_path": "/data", "volume_name": "web-data", "host_path": "", "from_container": "",
                    "read_only": false,
                }],
                "ports": [{ "internal": 80, "external": 8080, "ip": "0.0.0.0", "protocol": "tcp" }],
            });
            let state = json!({
                "version": 4, "terraform_version": "1.8.0", "serial": 3, "lineage": "7a2cf0de-0000-4000-8000-000000000001",
                "outputs": {}, "resources": [
                    resource("docker_container", 2, container), resource("docker_image", 0, image),
                ],
            });
            self.project.write_file("terraform.tfstate", &state.to_string()).unwrap();
        }
    }

    fn about<'a>(told: &'a [Diagnostic], words: &str) -> &'a Diagnostic {
        let found = told.iter().find(|it| it.summary.contains(words));
        found.unwrap_or_else(|| panic!("{words:?} is not in {told:#?}"))
    }

    pub fn what_docker_ran_is_made_anew(terraform: &Terraform) {
        let world = World::new(terraform);
        let mut planned = world.project.planned().unwrap();
        planned.sort();
        let made = |address: &str| (address.to_owned(), "create".to_owned());
        let all = ["berth_image.web", "berth_instance.web", "berth_remote.local"];
        assert_eq!(planned, all.map(made));
        let applied = world.project.apply().unwrap();
        assert_eq!(applied.code, 0, "{applied:#?}");
        let told = about(&applied.diagnostics, "The container web stays Docker's");
        assert_eq!(told.severity, "warning");
        for words in ["docker rm -f web", "(web-data)", "the same meaning: dns."] {
            assert!(told.detail.contains(words), "{words:?}: {told:#?}");
        }
        about(&applied.diagnostics, "nginx:1.27 stays in Docker's store");
        let instance = world.agent.inspect("web").unwrap();
        assert_eq!(instance["status"], "running");
        assert_eq!(world.project.attributes("berth_instance.web").unwrap()["id"], instance["id"]);
        // Docker's provider is no longer needed, and the moves say nothing more.
        let state = std::fs::read_to_string(world.project.dir().join("terraform.tfstate")).unwrap();
        assert!(!state.contains("kreuzwerker"), "{state}");
        let plan = world.project.plan().unwrap();
        assert_eq!((plan.code, plan.diagnostics.len()), (0, 0), "{plan:#?}");
        world.project.destroy_ok();
    }

    pub fn what_was_moved_and_not_read_is_made_anew(terraform: &Terraform) {
        let world = World::new(terraform);
        let applied = world
            .project
            .run(&["apply", "-refresh=false", "-auto-approve", "-input=false", "-no-color"])
            .unwrap();
        assert_eq!(applied.code, 0, "{applied:#?}");
        assert_eq!(world.agent.inspect("web").unwrap()["status"], "running");
        world.project.assert_empty_plan();
        world.project.destroy_ok();
    }
}
