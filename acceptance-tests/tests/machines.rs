//! The same instance as a container and as a virtual machine, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(one_word_makes_it_a_machine, real_programs_run_as_machines);

/// By instructions that are translated, which takes so long that once must do.
#[test]
fn a_database_makes_its_cluster_in_a_machine() {
    cases::a_database_makes_its_cluster_in_a_machine();
}

/// What a host lacks is told with what to do, and no one else is touched; a machine that is lost is started again.
#[test]
fn what_fails_has_a_reason_and_the_rest_is_untouched() {
    cases::what_fails_has_a_reason_and_the_rest_is_untouched();
}

mod cases {
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, postgres, tls_server, wait};
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

        fn write_all(&self, resources: &str) {
            let address = self.registry.address();
            let remote = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{address}\"\n  insecure = true\n}}\n"
            );
            self.project.write(&(remote + resources)).unwrap();
        }

        /// The instance `web` of a kind and a tag of the tiny image, and a container beside it on the same bridge, with
        /// the same volume.
        fn write(&self, kind: &str, tag: &str, arguments: &str) {
            self.write_on(kind, tag, arguments, "");
        }

        /// As [`Self::write`]; `networks` are of both.
        fn write_on(&self, kind: &str, tag: &str, arguments: &str, networks: &str) {
            let instance = |name: &str, kind: &str, tag: &str, arguments: &str| {
                format!(
                    "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  type = \"{kind}\"\n  \
                     image = \"${{berth_remote.local.name}}:berth/tiny:{tag}\"\n  on_image_change = \"rebuild\"\n  \
                     mounts = {{ data = {{ type = \"volume\", source = berth_volume.data.name, target = \"/data\" }} }}\n  \
                     stop_timeout = \"5s\"\n  {networks}\n  {arguments}\n}}\n"
                )
            };
            let arguments = format!("ports = {{ http = {{ container_port = 8080 }} }}\n  {arguments}");
            let volume = "resource \"berth_volume\" \"data\" {\n  name = \"data\"\n}\n\
                          resource \"berth_network\" \"back\" {\n  name = \"back\"\n}\n";
            let instances =
                instance("web", kind, tag, &arguments) + &instance("beside", "container", "1", "");
            self.write_all(&(volume.to_owned() + &instances));
        }

        fn instance(&self, name: &str) -> Value {
            self.agent.inspect(name).unwrap()
        }

        fn port(&self, name: &str) -> u16 {
            let port = self.instance(name)["ports"]["http"]["host_port"].as_u64().unwrap();
            u16::try_from(port).unwrap()
        }

        fn page(&self, path: &str) -> String {
            wait::page(self.port("web"), path).unwrap()
        }

        fn inside(&self, name: &str, script: &str) -> (i32, String) {
            let command = ["instance", "exec", name, "--", "/bin/sh", "-c", script];
            let output = self.agent.berth(&command).unwrap();
            (output.code, output.stdout)
        }

        /// What `name` is served by `other`, which it finds by its name.
        fn asks(&self, name: &str, other: &str) -> (i32, String) {
            let ask = format!(
                "address=$(busybox nslookup {other}.default.berth | busybox awk '/^Address/ {{ found = $NF }} END {{ print found }}'); \
                 printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 10 $address 8080 | busybox tail -n 1"
            );
            self.inside(name, &ask)
        }
    }

    const SERVES: &str = "wait_for = { condition = \"port\", port = 8080 }";
    const TWO: &str = "networks = {\n    eth0 = { network = \"default\" }\n    eth1 = { network = berth_network.back.name }\n  }";
    const LIMITED: &str = "limits = { memory = \"128MiB\", cpu = \"1\" }";

    pub fn one_word_makes_it_a_machine(terraform: &Terraform) {
        let mut world = World::new(terraform);
        world.write("container", "1", "");
        world.project.apply_settled();
        let container = world.instance("web");
        assert_eq!(world.page("/"), "page one\n");
        assert_eq!(world.inside("web", "echo of the container > /data/note").0, 0);
        let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(world.inside("web", "busybox uname -r").1, host);

        // The same with one word changed: another instance, which serves the same page and finds the same volume.
        world.write("virtual-machine", "1", SERVES);
        world.project.apply_settled();
        let machine = world.instance("web");
        assert_ne!(container["id"], machine["id"]);
        assert_eq!(machine["type"], "virtual-machine");
        assert!(machine["accelerator"].as_str().unwrap().contains(": "), "{}", machine["accelerator"]);
        assert!(container["accelerator"].is_null());
        assert_eq!(world.page("/"), "page one\n");
        assert!(world.page("/env").contains("GREETING=hello from the image"));
        assert_eq!(world.inside("web", "busybox cat /data/note"), (0, "of the container\n".to_owned()));
        assert_ne!(world.inside("web", "busybox uname -r").1, host, "its kernel is its own");
        assert_eq!(world.inside("web", "exit 7").0, 7);
        it_shares_a_bridge_and_a_volume_with_a_container(&world);

        // Another interface is plugged in; the agent dies, and finds it again.
        world.write_on("virtual-machine", "1", SERVES, TWO);
        world.project.apply_settled();
        it_is_reached_on_both(&world);
        world.agent.kill().unwrap();
        world.agent.restart().unwrap();
        assert_eq!(world.instance("web")["pid"], machine["pid"]);
        it_is_reached_on_both(&world);
        world.project.assert_empty_plan();
        // It is pulled out again.
        world.write("virtual-machine", "1", SERVES);
        world.project.apply_settled();
        assert_eq!(world.inside("web", "busybox ls /sys/class/net"), (0, "eth0\nlo\n".to_owned()));
        assert_eq!(world.page("/"), "page one\n");
        let after = world.instance("web");
        assert_eq!((&after["pid"], &after["restarts"]), (&machine["pid"], &0.into()));

        it_boots_again_and_is_rebuilt(&world, &machine);
        world.project.destroy_ok();
        assert_eq!(world.agent.instances().unwrap(), Vec::<String>::new());
        let mut agent = world.agent;
        let mark = agent.mark().clone();
        agent.stop().unwrap();
        assert_eq!(mark.leftovers().unwrap(), Vec::<String>::new());
    }

    fn it_is_reached_on_both(world: &World) {
        let ask = |interface: &str| {
            let address = world.instance("web")["addresses"][interface][0].as_str().unwrap().to_owned();
            let address = address.split('/').next().unwrap();
            let ask = format!(
                "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 10 {address} 8080 | busybox tail -n 1"
            );
            world.inside("beside", &ask)
        };
        let page = (0, "page one\n".to_owned());
        assert_eq!((ask("eth0"), ask("eth1")), (page.clone(), page));
        assert_eq!(world.page("/"), "page one\n");
    }

    fn it_shares_a_bridge_and_a_volume_with_a_container(world: &World) {
        assert_eq!(world.asks("web", "beside"), (0, "page one\n".to_owned()));
        assert_eq!(world.asks("beside", "web"), (0, "page one\n".to_owned()));
        assert_eq!(world.inside("web", "echo of the machine >> /data/note").0, 0);
        let both = (0, "of the container\nof the machine\n".to_owned());
        assert_eq!(world.inside("beside", "busybox cat /data/note"), both);
    }

    fn it_boots_again_and_is_rebuilt(world: &World, before: &Value) {
        // What a machine has plugged in comes with a restart, on the same root file system.
        world.write("virtual-machine", "1", LIMITED);
        let planned = world.project.plan().unwrap();
        assert!(format!("{:?}", planned.output).contains("will be restarted"), "{:#?}", planned.output);
        world.project.apply_settled();
        let restarted = world.instance("web");
        let same = |instance: &Value| (instance["id"].clone(), instance["ipv4_address"].clone());
        assert_eq!(same(&restarted), same(before));
        assert_ne!(restarted["pid"], before["pid"]);
        assert_eq!(world.page("/started"), "start\nstart\n");

        // What it cannot have is refused before anything is done.
        world.write("virtual-machine", "1", "limits = { memory = \"32MiB\", pids = 10 }");
        let refused = world.project.plan().unwrap();
        assert_eq!(refused.code, 1, "{:#?}", refused.output);

        // Another image is another root file system of the same machine.
        world.write("virtual-machine", "2", LIMITED);
        world.project.apply_settled();
        assert_eq!((world.page("/"), world.page("/started")), ("page two\n".into(), "start\n".into()));
        assert_eq!(same(&world.instance("web")), same(before));

        // It ends with the code of its program.
        let ends = "entrypoint = [\"/bin/sh\", \"-c\", \"exit 9\"]\n  restart = { policy = \"no\" }\n  \
                    wait_for = { condition = \"exited\", exit_codes = [9] }";
        world.write("virtual-machine", "2", &format!("{LIMITED}\n  {ends}"));
        world.project.apply_settled();
        assert_eq!(world.project.attributes("berth_instance.web").unwrap()["exit_code"], 9);
    }

    const MACHINE: &str = "virtual-machine";
    const CLUSTER: &str = "mounts = { data = { type = \"volume\", source = berth_volume.cluster.name, \
                           target = \"/var/lib/postgresql\" } }";

    /// An image as it is, with its port published.
    fn program(name: &str, kind: &str, image: &str, port: u16, arguments: &str) -> String {
        format!(
            "resource \"berth_instance\" \"{name}\" {{\n  name = \"{name}\"\n  type = \"{kind}\"\n  \
             image = \"${{berth_remote.local.name}}:berth/{image}:1\"\n  \
             ports = {{ http = {{ container_port = {port} }} }}\n  {arguments}\n}}\n"
        )
    }

    /// Three programs; the database is of a kind of the caller's, and what is called the interpreter has an image and arguments
    /// of the caller's.
    fn programs(database: &str, image: &str, arguments: &str) -> String {
        let volume = "resource \"berth_volume\" \"cluster\" {\n  name = \"cluster\"\n}\n";
        let web = program("web", MACHINE, "web", 80, "");
        let database = program("database", database, "database", 5432, CLUSTER);
        let interpreter = program("interpreter", MACHINE, image, 8000, arguments);
        [volume, &web, &database, &interpreter].concat()
    }

    fn ask(world: &World, sql: &str) -> Vec<String> {
        let limit = Duration::from_secs(300);
        wait::until("the database", limit, || postgres::query(world.port("database"), sql)).unwrap()
    }

    pub fn a_database_makes_its_cluster_in_a_machine() {
        let world = World::new(&Terraform::from_path().unwrap());
        world.write_all(&program("database", MACHINE, "database", 5432, ""));
        world.project.apply_settled();
        ask(&world, "CREATE TABLE kept (word text)");
        ask(&world, "INSERT INTO kept VALUES ('here')");
        world.agent.berth_ok(&["instance", "restart", "database"]).unwrap();
        assert_eq!(ask(&world, "SELECT word FROM kept"), ["here"]);
        world.project.assert_empty_plan();
        world.project.destroy_ok();
    }

    pub fn real_programs_run_as_machines(terraform: &Terraform) {
        let mut world = World::new(terraform);
        tls_server::write(world.project.dir()).unwrap();
        world.write_all(&programs("container", "interpreter", &asked_over_tls("/well")));
        world.project.apply_settled();
        ask(&world, "CREATE TABLE kept (word text)");
        ask(&world, "INSERT INTO kept VALUES ('here')");
        // It goes on as a machine, on what the container has left.
        world.write_all(&programs(MACHINE, "interpreter", &asked_over_tls("/well")));
        world.project.apply_settled();
        assert_eq!(world.instance("database")["type"], MACHINE);
        assert_eq!(ask(&world, "SELECT word FROM kept"), ["here"]);

        assert!(world.page("/").contains("Hello from nginx"));
        let logs = world.agent.berth_ok(&["instance", "logs", "web"]).unwrap();
        assert!(logs.contains("GET / HTTP"), "{logs}");
        let answer = wait::page(world.port("interpreter"), "/some/path").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["path"], &answer["args"][0]), (&"/some/path".into(), &"from-image".into()));
        assert_eq!((&answer["uid"], &answer["greeting"]), (&1000.into(), &"hello".into()));
        let script = "import os, sys; print(os.getuid()); sys.exit(11)";
        let exec = ["instance", "exec", "interpreter", "--", "/usr/bin/python3", "-c", script];
        let said = world.agent.berth(&exec).unwrap();
        assert_eq!((said.code, said.stdout.as_str()), (11, "1000\n"));

        // The agent dies, and finds all of them again.
        let pids = |world: &World| {
            ["web", "database", "interpreter"].map(|name| world.instance(name)["pid"].clone())
        };
        let before = pids(&world);
        world.agent.kill().unwrap();
        world.agent.restart().unwrap();
        assert_eq!(pids(&world), before);
        assert!(world.page("/").contains("Hello from nginx"));
        world.agent.berth_ok(&["instance", "restart", "database"]).unwrap();
        assert_eq!(ask(&world, "SELECT word FROM kept"), ["here"]);
        world.project.assert_empty_plan();
        health_is_asked_for_over_tls(&world);
        they_are_rebuilt_and_end_with_codes(&world);
        world.project.destroy_ok();
    }

    fn asked_over_tls(path: &str) -> String {
        let check = format!("port = {}, path = \"{path}\", scheme = \"https\"", tls_server::PORT);
        let files = tls_server::FILES;
        format!("{files}\n  health_check = {{ http = {{ {check} }}, interval = \"500ms\", retries = 2 }}")
    }

    /// From inside, by a program of the host's: the server listens on the loopback alone.
    fn health_is_asked_for_over_tls(world: &World) {
        let is = |wanted: &str| {
            let seen = wait::until("the health of the interpreter", Duration::from_secs(60), || {
                let seen = world.instance("interpreter")["health"].clone();
                if seen == wanted { Ok(()) } else { Err(seen.to_string()) }
            });
            seen.unwrap();
        };
        is("unhealthy");
        let start = format!(
            "import subprocess; subprocess.Popen({:?}, stderr=subprocess.DEVNULL)",
            tls_server::COMMAND
        );
        let exec = ["instance", "exec", "interpreter", "--", tls_server::COMMAND[0], "-c", &start];
        world.agent.berth_ok(&exec).unwrap();
        is("healthy");
        world.write_all(&programs(MACHINE, "interpreter", &asked_over_tls("/ill")));
        world.project.apply_settled();
        is("unhealthy");
    }

    fn they_are_rebuilt_and_end_with_codes(world: &World) {
        let same = || {
            let seen = world.instance("interpreter");
            (seen["id"].clone(), seen["ipv4_address"].clone())
        };
        let before = same();
        // Another image in the same place, whose program ends with a code of its own.
        let ends = "entrypoint = [\"/usr/sbin/nginx\", \"-c\", \"/no/such\"]\n  \
                    restart = { policy = \"no\" }\n  wait_for = { condition = \"exited\", exit_codes = [1] }";
        world.write_all(&programs(MACHINE, "web", ends));
        world.project.apply_settled();
        assert_eq!(same(), before);
        assert_eq!(world.project.attributes("berth_instance.interpreter").unwrap()["exit_code"], 1);
    }

    /// A `vm` section for what is not there, what is told of it, and the advice.
    fn lacks(directory: &std::path::Path) -> [(String, &'static str, &'static str); 4] {
        // A kernel without modules.
        let odd = directory.join("vmlinuz-berth-tests");
        std::fs::write(&odd, "no kernel").unwrap();
        [
            (
                "qemu = \"/no/such/qemu\"".to_owned(),
                "there is no QEMU: looked for /no/such/qemu",
                "qemu-system-x86",
            ),
            (
                "virtiofsd = \"/no/such/virtiofsd\"".to_owned(),
                "there is no virtiofsd: looked for /no/such/virtiofsd",
                "qemu-system-common",
            ),
            ("kernel = \"/no/such/vmlinuz-1\"".to_owned(), "/no/such/vmlinuz-1", "vm.kernel"),
            (format!("kernel = {odd:?}"), "/lib/modules/berth-tests", "vm.kernel"),
        ]
    }

    pub fn what_fails_has_a_reason_and_the_rest_is_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("agent.toml");
        std::fs::write(&config, "").unwrap();
        let registry = Registry::start().unwrap();
        let mut agent = TestAgent::start_with(&["--config", config.to_str().unwrap()]).unwrap();
        agent.berth_ok(&["remote", "add", "local", &registry.address(), "--insecure"]).unwrap();
        let launch = ["instance", "launch", "local:berth/tiny:1", "--name"];
        agent.berth_ok(&[&launch[..], &["beside"]].concat()).unwrap();
        let beside = agent.inspect("beside").unwrap()["pid"].clone();
        let machine = [&launch[..], &["web", "--type", "virtual-machine"]].concat();
        for (section, reason, advice) in lacks(directory.path()) {
            std::fs::write(&config, format!("[vm]\n{section}\n")).unwrap();
            agent.restart().unwrap();
            let refused = agent.berth(&machine).unwrap();
            assert_eq!(refused.code, 1, "{refused:?}");
            assert!(refused.stderr.contains(reason) && refused.stderr.contains(advice), "{refused:?}");
            assert_eq!(agent.instances().unwrap(), ["beside"]);
        }
        std::fs::write(&config, "").unwrap();
        agent.restart().unwrap();
        agent.berth_ok(&machine).unwrap();
        let before = agent.inspect("web").unwrap();
        let pid = before["pid"].as_i64().unwrap().to_string();
        berth_acceptance_tests::command::run(std::process::Command::new("kill").args(["-9", &pid])).unwrap();
        let mut told = String::new();
        let again = wait::until("the machine's second start", Duration::from_secs(60), || {
            let seen = agent.inspect("web").map_err(|error| error.to_string())?;
            if seen["status"] == "restarting" {
                told = seen["status_detail"].to_string();
            }
            let is_again = seen["status"] == "running" && seen["restarts"] == 1;
            if is_again { Ok(seen) } else { Err(seen.to_string()) }
        });
        assert_ne!(again.unwrap()["pid"], before["pid"]);
        assert!(told.contains("it has ended without a word of its workload"), "{told}");
        assert_eq!(agent.inspect("beside").unwrap()["pid"], beside);
    }
}
