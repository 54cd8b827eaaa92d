//! What cannot be done: a diagnostic on the right argument, nothing left behind, and the next apply after the mend succeeds.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    what_is_wrong_is_told_on_its_argument,
    a_wrong_password_names_the_registry_and_is_nowhere,
    a_name_that_is_taken_shows_an_import_block,
    a_host_that_is_down_is_named,
);

mod cases {
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};

    fn remote(registry: &Registry) -> String {
        format!(
            "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n",
            registry.address()
        )
    }

    fn instance(arguments: &str) -> String {
        format!(
            "resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  depends_on = [berth_remote.local]\n  {arguments}\n}}\n"
        )
    }

    pub fn what_is_wrong_is_told_on_its_argument(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let ports = format!(
            "image = \"local:berth/tiny:1\"\n  ports = {{ http = {{ container_port = 8080, host_port = {port} }} }}"
        );
        let cases = [
            ("image = \"local:berth/nothing:1\"", "image = "),
            ("image = \"local:berth/tiny:none\"", "image = "),
            ("image = \"elsewhere:berth/tiny:1\"", "image = "),
            ("image = \"127.0.0.1:1/berth/tiny:1\"", "image = "),
            ("image = \"local:berth/UPPER:1\"", "image = "),
            ("image = \"local:berth/tiny:1\"\n  entrypoint = [\"/no/such\"]", "entrypoint"),
            ("image = \"local:berth/tiny:1\"\n  user = \"ghost\"", "user"),
            (ports.as_str(), "ports"),
        ];
        for (arguments, shown) in cases {
            project.write(&(remote(&registry) + &instance(arguments))).unwrap();
            let applied = project.apply().unwrap();
            assert_eq!(applied.code, 1, "{arguments}: {:#?}", applied.output);
            let error = applied.error().unwrap();
            assert!(error.code.contains(shown), "{arguments}: {error:#?}");
            assert_eq!(agent.instances().unwrap(), Vec::<String>::new(), "{arguments}");
        }
        drop(taken);
        project.write(&(remote(&registry) + &instance(&ports))).unwrap();
        project.apply_settled();
    }

    pub fn a_wrong_password_names_the_registry_and_is_nowhere(terraform: &Terraform) {
        let (registry, agent) = (Registry::start_with_password().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let write = |password: &str, version: u32| {
            let remote = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n  \
                 username = \"{}\"\n  password_wo = \"{password}\"\n  password_wo_version = {version}\n}}\n",
                registry.address(),
                berth_acceptance_tests::registry::USER
            );
            project.write(&(remote + &instance("image = \"local:berth/tiny:1\""))).unwrap();
        };
        write("not-the-password", 1);
        let applied = project.apply().unwrap();
        assert_eq!(applied.code, 1);
        let error = applied.error().unwrap();
        let told = format!("{} {}", error.summary, error.detail);
        assert!(told.contains(&registry.host()) && told.contains("refuses access"), "{told}");
        assert_eq!(agent.instances().unwrap(), Vec::<String>::new());
        write(berth_acceptance_tests::registry::PASSWORD, 2);
        project.apply_settled();
        for secret in ["not-the-password", berth_acceptance_tests::registry::PASSWORD] {
            assert!(!project.state_text().contains(secret), "the state holds {secret}");
            assert!(!agent.log().contains(secret), "the agent's log holds {secret}");
        }
    }

    pub fn a_name_that_is_taken_shows_an_import_block(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        agent.berth_ok(&["remote", "add", "other", &registry.address(), "--insecure"]).unwrap();
        agent.berth_ok(&["instance", "launch", "other:berth/tiny:1", "--name", "web"]).unwrap();
        let project = Project::new(terraform, &agent).unwrap();
        project.write(&(remote(&registry) + &instance("image = \"local:berth/tiny:1\""))).unwrap();
        let applied = project.apply().unwrap();
        assert_eq!(applied.code, 1);
        let error = applied.error().unwrap();
        assert!(error.detail.contains("import {") && error.detail.contains("berth_instance"), "{error:#?}");
        assert_eq!(agent.instances().unwrap(), ["web"]);
    }

    pub fn a_host_that_is_down_is_named(terraform: &Terraform) {
        let registry = Registry::start().unwrap();
        let mut agent = TestAgent::start().unwrap();
        let project = Project::new(terraform, &agent).unwrap();
        project.write(&remote(&registry)).unwrap();
        agent.stop().unwrap();
        let applied = project.apply().unwrap();
        assert_eq!(applied.code, 1);
        let error = applied.error().unwrap();
        let told = format!("{} {}", error.summary, error.detail);
        assert!(told.contains("agent.sock"), "{told}");
        agent.restart().unwrap();
        project.apply_settled();
    }
}
