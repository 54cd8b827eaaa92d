//! What an instance's process may use and do, how its health is told and waited for, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    limits_and_health_change_in_place,
    health_is_asked_for_over_tls,
    a_wait_that_fails_shows_the_last_words,
    a_secret_reaches_the_process_and_nothing_else,
    security_and_settings_of_the_kernel_restart,
    commands_run_inside_and_instances_are_read,
);

mod cases {
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, tls_server, wait};
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

        fn write(&self, arguments: &str) {
            self.write_of("tiny", arguments);
        }

        fn write_of(&self, image: &str, arguments: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  \
                 image = \"${{berth_remote.local.name}}:berth/{image}:1\"\n  \
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

    const CHECK: &str =
        "health_check = { http = { port = 8080, path = \"/\", scheme = \"http\" }, interval = \"100ms\" }";

    pub fn limits_and_health_change_in_place(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write(&format!("wait_for = {{ condition = \"healthy\" }}\n  {CHECK}"));
        world.project.apply_settled();
        let before = world.instance();
        assert_eq!(before["health"], "healthy");
        world.write(
            "limits = { cpu = \"0.5\", cpuset = \"0\", memory = \"64MiB\", swap = \"0\", pids = 100, io_weight = 50 }\n  \
             boot = { priority = 3, delay = \"1s\" }\n  health_check = { tcp = { port = 9 }, interval = \"100ms\" }",
        );
        world.project.apply_settled();
        let after = world.instance();
        assert_eq!((&before["pid"], &before["started_at"]), (&after["pid"], &after["started_at"]));
        assert_eq!(after["spec"]["limits"]["cpuset"], "0");
        world.write("limits = { memory = \"6MiB\", cpuset = \"4000\" }");
        let refused = world.project.apply().unwrap();
        assert_eq!(refused.code, 1, "{:#?}", refused.output);
        assert!(refused.error().unwrap().code.contains("limits"), "{:#?}", refused.error());
        assert_eq!(world.instance()["pid"], before["pid"], "it does not go on as it was");
        world.write("");
        world.project.apply_settled();
        assert_eq!(world.instance()["pid"], before["pid"]);
    }

    pub fn health_is_asked_for_over_tls(terraform: &Terraform) {
        let world = World::new(terraform);
        tls_server::write(world.project.dir()).unwrap();
        let write = |path: &str, more: &str| {
            let check = format!("port = {}, path = \"{path}\", scheme = \"https\"", tls_server::PORT);
            world.write_of(
                "interpreter",
                &format!(
                    "entrypoint = {:?}\n  command = []\n  {}\n  wait_for = {{ condition = \"healthy\" }}\n  \
                     health_check = {{ http = {{ {check} }}, interval = \"100ms\", retries = 2{more} }}",
                    tls_server::COMMAND,
                    tls_server::FILES,
                ),
            );
        };
        // It takes a while until it listens.
        write("/well", ", start_period = \"30s\"");
        world.project.apply_settled();
        let before = world.instance();
        assert_eq!(before["health"], "healthy");
        write("/ill", "");
        world.project.apply_settled();
        let ill = wait::until("its being unhealthy", Duration::from_secs(20), || {
            let seen = world.instance();
            if seen["health"] == "unhealthy" { Ok(seen) } else { Err(seen.to_string()) }
        });
        assert_eq!(ill.unwrap()["pid"], before["pid"]);
        world.write_of("interpreter", "health_check = { http = { port = 8443, scheme = \"ftp\" } }");
        let refused = world.project.plan().unwrap();
        assert!(refused.error().unwrap().code.contains("health_check"), "{:#?}", refused.output);
    }

    pub fn a_wait_that_fails_shows_the_last_words(terraform: &Terraform) {
        let world = World::new(terraform);
        let entrypoint = "entrypoint = [\"/bin/sh\", \"-c\", \"echo the last words; exit 3\"]";
        world.write(&format!(
            "{entrypoint}\n  restart = {{ policy = \"no\" }}\n  wait_for = {{ condition = \"port\", port = 8080 }}"
        ));
        let failed = world.project.apply().unwrap();
        assert_eq!(failed.code, 1, "{:#?}", failed.output);
        let error = failed.error().unwrap();
        let told = format!("{error:?}");
        assert!(told.contains("ended with code 3") && told.contains("the last words"), "{error:#?}");
        assert!(error.code.contains("wait_for"), "{error:#?}");
        world.write(&format!(
            "{entrypoint}\n  restart = {{ policy = \"no\" }}\n  wait_for = {{ condition = \"exited\", exit_codes = [3] }}"
        ));
        world.project.apply_settled();
        let state = world.project.attributes("berth_instance.web").unwrap();
        assert_eq!((&state["status"], &state["exit_code"]), (&"exited".into(), &3.into()));
        // What came while it was waited for is in the state, and no drift.
        let refreshed = world.project.run(&["plan", "-refresh-only", "-input=false", "-no-color"]).unwrap();
        assert!(refreshed.stdout.contains("found no differences"), "{refreshed:#?}");
    }

    pub fn a_secret_reaches_the_process_and_nothing_else(terraform: &Terraform) {
        let world = World::new(terraform);
        let secret = |value: &str, version: u32| {
            format!(
                "secret_environment_wo = {{ KEY = \"{value}\" }}\n  secret_environment_wo_version = {version}\n  \
                 environment = {{ GREETING = null }}"
            )
        };
        world.write(&secret("hunter2", 1));
        world.project.apply_settled();
        let shown = world.page("/env");
        assert!(shown.contains("KEY=hunter2\n") && !shown.contains("GREETING"), "{shown}");
        let pid = world.instance()["pid"].clone();
        assert!(!world.project.state_text().contains("hunter2"), "the state has it");
        assert!(!world.instance().to_string().contains("hunter2"), "the agent tells it");
        // Without another version nothing is another.
        world.write(&secret("other", 1));
        world.project.apply_settled();
        assert_eq!(world.instance()["pid"], pid);
        world.write(&secret("other", 2));
        let planned = world.project.plan().unwrap();
        assert!(format!("{:?}", planned.output).contains("will be restarted"), "{:#?}", planned.output);
        world.project.apply_settled();
        assert!(world.page("/env").contains("KEY=other\n"));
        world.write("");
        world.project.apply_settled();
        assert!(!world.page("/env").contains("KEY="));
    }

    pub fn security_and_settings_of_the_kernel_restart(terraform: &Terraform) {
        let world = World::new(terraform);
        world.write("");
        world.project.apply_settled();
        let before = world.instance();
        world.write(
            "entrypoint = [\"/bin/sh\", \"-c\", \"busybox grep -E 'CapEff|NoNewPrivs|Groups' /proc/self/status; \
             busybox cat /proc/sys/net/core/somaxconn; ulimit -n; busybox touch /x || echo read-only; busybox df -k \
             /dev/shm; exec sleep 1000\"]\n  \
             security = { capabilities_add = [\"net_admin\"], capabilities_drop = [\"ALL\"], read_only_rootfs = true, \
             no_new_privileges = true }\n  sysctls = { \"net.core.somaxconn\" = \"77\" }\n  shm_size = \"1MiB\"\n  \
             ulimits = { nofile = { soft = 99 } }\n  supplementary_groups = [\"4321\"]",
        );
        world.project.apply_settled();
        let after = world.instance();
        assert_eq!((&before["id"], &before["ipv4_address"]), (&after["id"], &after["ipv4_address"]));
        assert_ne!(before["pid"], after["pid"]);
        let wanted = [
            "CapEff:\t0000000000001000",
            "NoNewPrivs:\t1",
            "4321",
            "\n77\n",
            "\n99\n",
            "read-only",
            " 1024 ",
        ];
        let log = wait::until("the end of what it tells", Duration::from_secs(20), || {
            let log =
                world.agent.berth_ok(&["instance", "logs", "web"]).map_err(|error| error.to_string())?;
            if log.contains("/dev/shm") { Ok(log) } else { Err(log) }
        });
        let log = log.unwrap();
        for wanted in wanted {
            assert!(log.contains(wanted), "no {wanted:?} in {log}");
        }
    }

    pub fn commands_run_inside_and_instances_are_read(terraform: &Terraform) {
        let world = World::new(terraform);
        let more = |version: u32, code: u32| {
            format!(
                "labels = {{ tier = \"front\" }}\n  health_check = {{ tcp = {{ port = 8080 }}, interval = \"200ms\" }}\n  \
                 wait_for = {{ condition = \"healthy\" }}\n}}\n\
                 resource \"berth_exec\" \"seed\" {{\n  instance = berth_instance.web.id\n  command = [\"/bin/sh\", \"-c\", \"echo                  $WORD-{version} | busybox tee -a /www/seed; exit {code}\"]\n  environment_wo = {{ WORD = \"sown\" }}\n  record_output =                  true\n}}\n\
                 data \"berth_instance\" \"web\" {{\n  name = berth_instance.web.name\n}}\n\
                 data \"berth_instances\" \"front\" {{\n  labels = berth_instance.web.labels\n}}\n\
                 data \"berth_instance_logs\" \"web\" {{\n  instance = berth_instance.web.id\n  tail = 1\n"
            )
        };
        world.write(&more(1, 0));
        world.project.apply_settled();
        assert_eq!(world.page("/seed"), "sown-1\n");
        let ran = world.project.attributes("berth_exec.seed").unwrap();
        assert_eq!((&ran["exit_code"], &ran["stdout"]), (&0.into(), &"sown-1\n".into()));
        let read = world.project.attributes("data.berth_instance.web").unwrap();
        assert_eq!(read["health"], "healthy", "{read}");
        assert_eq!((&read["status"], &read["pid"]), (&"running".into(), &world.instance()["pid"]));
        let front = world.project.attributes("data.berth_instances.front").unwrap();
        assert_eq!(front["instances"][0]["name"], "web");
        let log = world.project.attributes("data.berth_instance_logs.web").unwrap();
        assert_eq!(log["lines"][0]["text"], "serving as 0");
        world.write(&more(2, 7));
        let failed = world.project.apply().unwrap();
        let told = format!("{:?}", failed.error().unwrap());
        assert!(told.contains("ended with code 7") && told.contains("sown-2"), "{told}");
        assert!(!world.project.state_text().contains("\"WORD\""), "the state has its environment");
    }
}
