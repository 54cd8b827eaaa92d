//! The examples as users take them: applied, planned empty, destroyed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use berth_acceptance_tests::{
    Project, Registry, Terraform, TestAgent, command::Output, under_each_terraform,
};
use serde_json::Value;

under_each_terraform!(lookups, commands, networks, web_application);

/// Copies what is in a directory, and in those in it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&there).unwrap();
            copy(&path, &there);
        } else {
            fs::copy(&path, &there).unwrap();
        }
    }
}

/// An example's directory, with its variables set.
struct Example {
    registry: Registry,
    agent: TestAgent,
    project: Project,
}

impl Example {
    fn new(terraform: &Terraform, name: &str) -> Self {
        Self::with(terraform, name, "")
    }

    /// One that has more variables.
    fn with(terraform: &Terraform, name: &str, more: &str) -> Self {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/terraform").join(name);
        copy(&from, project.dir());
        let variables =
            format!("host = \"{}\"\nregistry = \"{}\"\n{more}", agent.address(), registry.address());
        project.write_file("terraform.tfvars", &variables).unwrap();
        Self { registry, agent, project }
    }

    /// Applies it twice and takes it down, so that nothing is left.
    fn lives(self, meanwhile: impl FnOnce(&Self)) {
        self.project.apply_settled();
        meanwhile(&self);
        self.project.destroy_ok();
        assert_eq!(self.agent.instances().unwrap(), Vec::<String>::new());
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

#[test]
fn actions() {
    let example = Example::new(&Terraform::from_library().unwrap(), "actions");
    example.lives(|it| {
        let page = ["instance", "exec", "web", "--", "cat", "/www/index.html"];
        assert_eq!(it.agent.berth_ok(&page).unwrap(), "migrated\n");
        for action in ["berth_instance_restart.web", "berth_image_pull.next", "berth_image_prune.unused"] {
            let said = it.invoke(action);
            assert_eq!(said.code, 0, "{said:#?}");
        }
        let restarted = it.agent.inspect("web").unwrap();
        assert_eq!(restarted["status"], "running");
    });
}

#[test]
fn query() {
    let example = Example::new(&Terraform::from_library().unwrap(), "query");
    example.lives(|it| {
        let launch = ["instance", "launch", "hub:berth/tiny:1", "--name", "web"];
        it.agent.berth_ok(&launch).unwrap();
        let said = it.project.run(&["query", "-no-color"]).unwrap();
        assert_eq!(said.code, 0, "{said:#?}");
        assert!(said.stdout.contains("hub"), "{said:#?}");
        it.agent.berth_ok(&["instance", "rm", "--force", "web"]).unwrap();
    });
}

mod cases {
    use berth_acceptance_tests::lan::{Door, Lan};
    use berth_acceptance_tests::{Terraform, wait};
    use serde_json::json;

    use super::Example;

    pub fn lookups(terraform: &Terraform) {
        Example::new(terraform, "lookups").lives(|it| {
            assert_eq!(it.output("tag"), "1");
            assert_eq!(it.output("front"), json!(["web"]));
            assert_eq!((it.output("has_web"), it.output("volume_is_used")), (json!(true), json!(false)));
            assert!(it.output("tags").as_array().unwrap().contains(&json!("1")));
            assert!(it.output("subnet").as_str().unwrap().ends_with("/24"));
            let variables = it.agent.berth_ok(&["instance", "exec", "web", "--", "cat", "/www/env"]).unwrap();
            assert!(variables.contains("GREETING=hello from a file\n"), "{variables}");
            assert!(variables.contains("MODE=test\n"), "{variables}");
        });
    }

    pub fn networks(terraform: &Terraform) {
        let mut lan = Lan::new(Door::Bridge).unwrap();
        lan.serve("192.0.2.50", "192.0.2.59").unwrap();
        let parent = format!("parent = \"{}\"\n", lan.parent());
        Example::with(terraform, "networks", &parent).lives(|it| {
            let address = it.output("address").as_str().unwrap().to_owned();
            assert!(address.starts_with("192.0.2.5"), "{address}");
            let page = lan.inside(&["curl", "-sS", "--max-time", "5", &format!("http://{address}:8080/")]);
            assert_eq!(page.unwrap(), "page one\n");
        });
    }

    pub fn web_application(terraform: &Terraform) {
        let variables = "image = \"hub:berth/tiny:1\"\ndatabase_image = \"hub:berth/database:1\"\n\
                         database_path = \"/var/lib/postgresql\"\ndatabase_password = \"hush-hush\"\nkeep_data = false\n";
        let example = Example::with(terraform, "web-application", variables);
        example.agent.berth_ok(&["remote", "add", "hub", &example.registry.address(), "--insecure"]).unwrap();
        let tested = example.project.run(&["test", "-no-color"]).unwrap();
        assert_eq!(tested.code, 0, "{tested:#?}");
        assert!(tested.stdout.contains("5 passed, 0 failed"), "{tested:#?}");
        assert_eq!(example.agent.instances().unwrap(), Vec::<String>::new(), "the tests left something");
        example.lives(|it| {
            let port = u16::try_from(it.output("port").as_u64().unwrap()).unwrap();
            let page = wait::page(port, "/env").unwrap();
            let database = it.output("database_address").as_str().unwrap().to_owned();
            assert!(page.contains(&format!("DATABASE_HOST={database}\n")), "{page}");
            assert!(page.contains("DATABASE_PASSWORD=hush-hush\n"), "{page}");
            assert!(!it.project.state_text().contains("hush-hush"));
            // By the private network, and by no other way.
            let connect = [
                "instance", "exec", "shop", "--", "busybox", "nc", "-w", "5", &database, "5432", "-e", "true",
            ];
            it.agent.berth_ok(&connect).unwrap();
            let inspected = it.agent.inspect("shop-database").unwrap();
            assert_eq!(inspected["addresses"].as_object().unwrap().len(), 1, "{inspected}");
        });
    }

    pub fn commands(terraform: &Terraform) {
        Example::new(terraform, "commands").lives(|it| {
            let remotes = it.agent.berth_ok(&["remote", "ls"]).unwrap();
            assert!(remotes.contains("mirror.example"), "{remotes}");
            let page = it.agent.berth_ok(&["instance", "exec", "vault", "--", "cat", "/www/index.html"]);
            assert_eq!(page.unwrap(), "version 2\n");
        });
    }
}
