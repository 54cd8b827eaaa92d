//! Registries that want to know who asks, from Terraform; and what a registry has. No secret is where it can be seen.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_password_that_is_written_only_logs_in,
    a_credential_helper_logs_in,
    an_identity_token_of_a_docker_config_logs_in,
    what_a_registry_has_is_listed,
    what_is_not_signed_is_refused_on_its_reference,
);

mod cases {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use berth_acceptance_tests::processes::Watch;
    use berth_acceptance_tests::registry::{PASSWORD, USER};
    use berth_acceptance_tests::tokens::TokenServer;
    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};
    use serde_json::json;

    fn remote(registry: &Registry, arguments: &str) -> String {
        format!(
            "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n  \
             {arguments}\n}}\n",
            registry.address()
        )
    }

    const IMAGE: &str =
        "resource \"berth_image\" \"tiny\" {\n  reference = \"${berth_remote.local.name}:berth/tiny:1\"\n}\n";

    /// Applies, and finds the secrets nowhere: in no plan, state, log or process list.
    fn apply_secretly(project: &Project, agent: &TestAgent, secrets: &[&str]) {
        let watch = Watch::begin(secrets);
        let planned = project.run(&["plan", "-no-color", "-input=false", "-out=saved.plan"]).unwrap();
        assert_eq!(planned.code, 0, "{planned:?}");
        let shown = project.run(&["show", "-json", "saved.plan"]).unwrap();
        project.apply_settled();
        assert_eq!(watch.end(), Vec::<String>::new());
        for secret in secrets {
            for (place, text) in [
                ("the plan's output", &planned.stdout),
                ("the plan", &shown.stdout),
                ("the state", &project.state_text()),
                ("the agent's log", &agent.log()),
            ] {
                assert!(!text.contains(secret), "{place} holds {secret}: {text}");
            }
        }
        assert_eq!(agent.images().unwrap().len(), 1);
    }

    pub fn a_password_that_is_written_only_logs_in(terraform: &Terraform) {
        let login = format!("username = \"{USER}\"\n  password_wo = var.password\n  password_wo_version = 1");
        let variable = "variable \"password\" {\n  type = string\n  ephemeral = true\n}\n";
        let tokens = TokenServer::start().unwrap();
        for registry in
            [Registry::start_with_password().unwrap(), Registry::start_with_tokens(&tokens).unwrap()]
        {
            let agent = TestAgent::start().unwrap();
            let project = Project::new(terraform, &agent).unwrap();
            project.write_file("terraform.tfvars", &format!("password = \"{PASSWORD}\"\n")).unwrap();
            project.write(&(variable.to_owned() + &remote(&registry, &login) + IMAGE)).unwrap();
            apply_secretly(&project, &agent, &[PASSWORD]);
        }
        assert!(tokens.issued() > 0);
    }

    /// `docker-credential-tests`, which knows these servers' password and no others'.
    fn helper(dir: &Path, servers: &[String]) {
        let answer = json!({ "ServerURL": "", "Username": USER, "Secret": PASSWORD });
        let script = format!(
            "#!/bin/sh\nread -r server\ncase \"$1 $server\" in\n{}) printf '%s' '{answer}' ;;\n*) echo 'credentials not \
             found in native keychain'; exit 1 ;;\nesac\n",
            servers.iter().map(|server| format!("\"get {server}\"")).collect::<Vec<_>>().join("|")
        );
        let path = dir.join("docker-credential-tests");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    pub fn a_credential_helper_logs_in(terraform: &Terraform) {
        let tokens = TokenServer::start().unwrap();
        let registries =
            [Registry::start_with_password().unwrap(), Registry::start_with_tokens(&tokens).unwrap()];
        let programs = tempfile::tempdir().unwrap();
        helper(programs.path(), &registries.each_ref().map(Registry::host));
        for registry in &registries {
            let agent = TestAgent::start_with_programs(programs.path()).unwrap();
            let project = Project::new(terraform, &agent).unwrap();
            project.write(&(remote(registry, "credential_helper = \"tests\"") + IMAGE)).unwrap();
            apply_secretly(&project, &agent, &[PASSWORD]);
        }
        assert!(tokens.issued() > 0);
        // One that knows nothing of the registry is as good as none.
        helper(programs.path(), &["elsewhere".to_owned()]);
        let agent = TestAgent::start_with_programs(programs.path()).unwrap();
        let project = Project::new(terraform, &agent).unwrap();
        project.write(&(remote(&registries[0], "credential_helper = \"tests\"") + IMAGE)).unwrap();
        let applied = project.apply().unwrap();
        assert_eq!(applied.code, 1);
        let error = applied.error().unwrap();
        assert!(error.code.contains("reference") && error.detail.contains("refuses access"), "{error:#?}");
    }

    pub fn an_identity_token_of_a_docker_config_logs_in(terraform: &Terraform) {
        const TOKEN: &str = "identity-of-tests";
        let tokens = TokenServer::start().unwrap();
        tokens.take_identity_token(TOKEN);
        let (registry, agent) = (Registry::start_with_tokens(&tokens).unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let config = json!({ "auths": { registry.host(): { "identitytoken": TOKEN } } });
        project.write_file("config.json", &config.to_string()).unwrap();
        let path = project.dir().join("config.json");
        let login = format!("docker_config = \"{}\"", path.display());
        project.write(&(remote(&registry, &login) + IMAGE)).unwrap();
        apply_secretly(&project, &agent, &[TOKEN]);
        assert!(tokens.issued() > 0);
    }

    pub fn what_a_registry_has_is_listed(terraform: &Terraform) {
        let tokens = TokenServer::start().unwrap();
        let (registry, agent) = (Registry::start_with_tokens(&tokens).unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let login =
            format!("username = \"{USER}\"\n  password_wo = \"{PASSWORD}\"\n  password_wo_version = 1");
        let lists = "data \"berth_image_tags\" \"tiny\" {\n  repository = \"${berth_remote.local.name}:berth/tiny\"\n}\n\
                     data \"berth_remote_repositories\" \"all\" {\n  remote = berth_remote.local.name\n}\n";
        project.write(&(remote(&registry, &login) + lists)).unwrap();
        project.apply_settled();
        let tags = project.attributes("data.berth_image_tags.tiny").unwrap();
        assert!(tags["tags"].as_array().unwrap().contains(&json!("1")), "{tags}");
        let all = project.attributes("data.berth_remote_repositories.all").unwrap();
        assert!(all["repositories"].as_array().unwrap().contains(&json!("berth/tiny")), "{all}");
        // The same from the command line; and what is not there says so.
        let shown = agent.berth_ok(&["image", "tags", "local:berth/tiny"]).unwrap();
        assert!(shown.lines().any(|line| line == "1"), "{shown}");
        let shown = agent.berth_ok(&["--format", "json", "image", "search", "local"]).unwrap();
        let listed: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert!(listed.iter().any(|name| name == "berth/tiny"), "{listed:?}");
        let missing = agent.berth(&["image", "tags", "local:berth/nothing"]).unwrap();
        assert!(missing.code == 1 && missing.stderr.contains("berth/nothing"), "{missing:?}");
        let nowhere = agent.berth(&["image", "search", "nowhere"]).unwrap();
        assert!(
            nowhere.code == 1 && nowhere.stderr.contains("Make a remote named \"nowhere\""),
            "{nowhere:?}"
        );
    }

    pub fn what_is_not_signed_is_refused_on_its_reference(terraform: &Terraform) {
        let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
        let project = Project::new(terraform, &agent).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        project.write_file("cosign.pub", &key.public_key_pem()).unwrap();
        let verify = "verify = { keys = [file(\"cosign.pub\")] }";
        project.write(&(remote(&registry, verify) + IMAGE)).unwrap();
        let applied = project.apply().unwrap();
        assert_eq!(applied.code, 1);
        let error = applied.error().unwrap();
        let told = format!("{} {}", error.summary, error.detail);
        assert!(error.code.contains("reference") && told.contains("not signed"), "{error:#?}");
        assert_eq!(agent.images().unwrap().len(), 0);
        project.write(&(remote(&registry, "") + IMAGE)).unwrap();
        project.apply_settled();
    }
}
