//! Agents over `https://` with certificates on both sides, and several of them in one configuration.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    a_host_is_used_over_mutual_tls,
    who_cannot_prove_itself_is_told_what_is_wrong,
    a_host_that_is_down_stops_only_its_own,
);

mod cases {
    use std::fs;
    use std::net::TcpListener;
    use std::path::Path;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    /// One that signs certificates.
    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// Writes NAME.pem, NAME.key and NAME.ca.
        fn write(&self, dir: &Path, name: &str) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.0).unwrap();
            fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
            fs::write(dir.join(format!("{name}.ca")), self.0.pem()).unwrap();
        }
    }

    /// An agent that answers over TLS as well, and a project whose hosts are both of its addresses.
    struct World {
        certificates: tempfile::TempDir,
        address: String,
        agent: TestAgent,
        registry: Registry,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform) -> Self {
            let certificates = tempfile::tempdir().unwrap();
            let (ours, theirs) = (Authority::new(), Authority::new());
            ours.write(certificates.path(), "agent");
            ours.write(certificates.path(), "client");
            theirs.write(certificates.path(), "stranger");
            let file = |name: &str| certificates.path().join(name).display().to_string();
            let config = format!(
                "[tls]\ncertificate = '{}'\nkey = '{}'\nclient_ca = '{}'\n",
                file("agent.pem"),
                file("agent.key"),
                file("agent.ca")
            );
            fs::write(file("agent.toml"), config).unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("https://127.0.0.1:{port}");
            let agent =
                TestAgent::start_with(&["--config", &file("agent.toml"), "--listen", &address]).unwrap();
            let project = Project::new(terraform, &agent).unwrap();
            Self { certificates, address, agent, registry: Registry::start().unwrap(), project }
        }

        /// The entry `remote` of `hosts`, with this authority and this client.
        fn entry(&self, authority: &str, client: &str) -> String {
            let file = |name: &str| self.certificates.path().join(name).display().to_string();
            format!(
                "remote = {{\n      address = \"{}\"\n      ca_certificate = file(\"{}\")\n      \
                 client_certificate = file(\"{}\")\n      client_key = file(\"{}\")\n    }}\n",
                self.address,
                file(&format!("{authority}.ca")),
                file(&format!("{client}.pem")),
                file(&format!("{client}.key"))
            )
        }

        fn write(&self, hosts: &str, resources: &str) {
            let head = "terraform {\n  required_providers {\n    berth = {\n      source = \"berth-run/berth\"\n    }\n  }\n}\n";
            let text =
                format!("{head}provider \"berth\" {{\n  hosts = {{\n    {hosts}\n  }}\n}}\n{resources}");
            self.project.write_file("main.tf", &text).unwrap();
        }

        /// A remote and an instance on the host of this key.
        fn on(&self, key: &str) -> String {
            format!(
                "resource \"berth_remote\" \"{key}\" {{\n  host = \"{key}\"\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_instance\" \"{key}\" {{\n  host = \"{key}\"\n  name = \"web-{key}\"\n  \
                 image = \"${{berth_remote.{key}.name}}:berth/tiny:1\"\n  stop_timeout = \"1s\"\n}}\n",
                self.registry.address()
            )
        }
    }

    pub fn a_host_is_used_over_mutual_tls(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write(&world.entry("client", "client"), &world.on("remote"));
        world.project.apply_settled();
        assert_eq!(world.agent.instances().unwrap(), ["web-remote"]);
        let key = fs::read_to_string(world.certificates.path().join("client.key")).unwrap();
        let secret = key.lines().nth(1).unwrap();
        assert!(!world.project.state_text().contains(secret));
        world.project.destroy_ok();
        assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
    }

    pub fn who_cannot_prove_itself_is_told_what_is_wrong(terraform: &Terraform) {
        let world = World::new(terraform);
        let told = |entry: &str| {
            world.write(entry, &world.on("remote"));
            let applied = world.project.apply().unwrap();
            let error = applied.error().unwrap();
            assert!(error.summary.contains(&world.address), "{error:#?}");
            format!("{} {}", error.summary, error.detail)
        };
        let foreign = told(&world.entry("client", "stranger"));
        assert!(foreign.contains("client_certificate"), "{foreign}");
        let distrusted = told(&world.entry("stranger", "client"));
        assert!(
            distrusted.contains("TLS handshake failed") && distrusted.contains("ca_certificate"),
            "{distrusted}"
        );
        let bare = told(&format!("remote = {{ address = \"{}\" }}", world.address));
        assert!(bare.contains("ca_certificate is not set"), "{bare}");
        assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
    }

    pub fn a_host_that_is_down_stops_only_its_own(terraform: &Terraform) {
        let world = World::new(terraform);
        let mut other = TestAgent::start().unwrap();
        let hosts = |more: &str| {
            format!(
                "{}    other = {{ address = \"{}\"{more} }}",
                world.entry("client", "client"),
                other.address()
            )
        };
        let both = world.on("remote") + &world.on("other");
        world.write(&hosts(""), &both);
        world.project.apply_settled();
        let (strict, forgiving) = (hosts(""), hosts(", unreachable = \"warn\""));
        let address = other.address();
        other.stop().unwrap();
        world.write(&strict, &both);
        let plan = world.project.plan().unwrap();
        let errors: Vec<_> = plan.diagnostics.iter().filter(|it| it.severity == "error").collect();
        assert!(!errors.is_empty() && errors.iter().all(|it| it.summary.contains(&address)), "{errors:#?}");
        // The rest of the configuration is applied all the same.
        let changed = both
            .replace("name = \"web-remote\"\n", "name = \"web-remote\"\n  labels = { changed = \"yes\" }\n");
        world.write(&forgiving, &changed);
        world.project.apply_ok();
        assert_eq!(world.agent.inspect("web-remote").unwrap()["labels"]["changed"], "yes");
        other.restart().unwrap();
        world.project.assert_empty_plan();
        world.project.destroy_ok();
        assert_eq!(other.instances().unwrap(), Vec::<String>::new());
    }
}
