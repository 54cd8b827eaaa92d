//! What is put into an instance while it runs: volumes, binds, memory and files, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    mounts_come_and_go_and_the_process_stays,
    a_volume_in_use_outlives_its_users_and_is_renamed_in_place,
    a_volume_with_a_size_is_full_when_it_is_and_grows,
    files_are_written_live_and_a_secret_is_in_no_state,
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

        /// The instance `web` with `arguments`, beside `others`.
        fn write(&self, others: &str, arguments: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_image\" \"tiny\" {{\n  reference = \"${{berth_remote.local.name}}:berth/tiny:1\"\n}}\n\
                 {others}\n\
                 resource \"berth_instance\" \"web\" {{\n  name = \"web\"\n  image = berth_image.tiny.id\n  \
                 stop_timeout = \"1s\"\n  {arguments}\n}}\n",
                self.registry.address()
            );
            self.project.write(&text).unwrap();
        }

        fn process(&self) -> (Value, Value) {
            let instance = self.agent.inspect("web").unwrap();
            (instance["pid"].clone(), instance["started_at"].clone())
        }

        fn sh(&self, script: &str) -> String {
            let said = self.agent.berth_ok(&["instance", "exec", "web", "--", "sh", "-c", script]).unwrap();
            said.trim().to_owned()
        }
    }

    fn sha256(bytes: &[u8]) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const VOLUME: &str = "resource \"berth_volume\" \"data\" {\n  name = \"data\"\n  mode = \"0750\"\n}\n";

    pub fn mounts_come_and_go_and_the_process_stays(terraform: &Terraform) {
        let world = World::new(terraform);
        std::fs::create_dir(world.project.dir().join("host")).unwrap();
        std::fs::write(world.project.dir().join("host/file"), "from the host\n").unwrap();
        world.write(VOLUME, "");
        world.project.apply_settled();
        let before = world.process();
        let mounts = "mounts = {\n\
            data = { source = berth_volume.data.name, target = \"/srv/data\" }\n\
            host = { type = \"bind\", source = \"${abspath(path.module)}/host\", target = \"/srv/host/\", read_only = true }\n\
            mem  = { type = \"tmpfs\", target = \"/srv/mem\", size = \"1024KiB\", mode = \"700\", uid = 33 }\n}";
        world.write(VOLUME, mounts);
        world.project.apply_settled();
        assert_eq!(world.process(), before);
        let said = world
            .sh("echo kept > /srv/data/file; cat /srv/host/file; echo x > /srv/host/file || echo refused");
        assert_eq!(said, "from the host\nrefused");
        assert_eq!(world.sh("busybox stat -c %a:%u /srv/mem /srv/data"), "700:33\n750:0");
        // What a person unmounted through the agent's own words is no drift; what he changed is.
        world.write(VOLUME, &mounts.replace("read_only = true", "read_only = false"));
        world.project.apply_settled();
        assert_eq!(world.sh("echo more >> /srv/host/file; cat /srv/host/file"), "from the host\nmore");
        world.write(VOLUME, "");
        world.project.apply_settled();
        assert_eq!(world.process(), before);
        assert_eq!(world.sh("busybox ls /srv/data /srv/host /srv/mem | busybox grep -c file || true"), "0");
        world.write(
            VOLUME,
            "mounts = { bad = { type = \"bind\", source = \"/nowhere-berth\", target = \"/x\" } }",
        );
        let refused = world.project.apply().unwrap();
        let error = format!("{:?}", refused.error().unwrap());
        assert!(error.contains("/nowhere-berth"), "{error}");
        assert_eq!(world.process(), before);
        world.write(VOLUME, "");
        world.project.apply_settled();
        world.project.destroy_ok();
    }

    pub fn a_volume_in_use_outlives_its_users_and_is_renamed_in_place(terraform: &Terraform) {
        let world = World::new(terraform);
        let mounted = "mounts = { data = { source = berth_volume.data.name, target = \"/srv/data\" } }";
        world.write(VOLUME, mounted);
        world.project.apply_settled();
        let before = world.process();
        world.sh("echo kept > /srv/data/file");
        let refused = world.agent.berth(&["volume", "rm", "data"]).unwrap();
        assert!(refused.stderr.contains("used by the instance \"web\""), "{refused:?}");
        let renamed = VOLUME.replace("\"data\"\n  mode", "\"archive\"\n  mode");
        world.write(&renamed, mounted);
        world.project.apply_settled();
        assert_eq!((world.process(), world.sh("cat /srv/data/file")), (before, "kept".to_owned()));
        world.write(&renamed, &format!("{mounted}\n  restart_triggers = {{ a = \"b\" }}"));
        world.project.apply_settled();
        assert_eq!(world.sh("cat /srv/data/file"), "kept");
        world.project.destroy_ok();
        assert_eq!(world.agent.berth_ok(&["--format", "json", "volume", "ls"]).unwrap().trim(), "[]");
    }

    /// Whether the kernel lets this machine's root grow a file system that is mounted: CAP_SYS_RESOURCE.
    fn grows_mounted() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        u64::from_str_radix(effective.trim(), 16).unwrap() & (1 << 24) != 0
    }

    pub fn a_volume_with_a_size_is_full_when_it_is_and_grows(terraform: &Terraform) {
        let mut world = World::new(terraform);
        let sized = |size: &str| VOLUME.replace("mode", &format!("size = \"{size}\"\n  uid = 33\n  mode"));
        let running = "mounts = { data = { source = berth_volume.data.name, target = \"/srv/data\" } }";
        let fill = "busybox dd if=/dev/zero of=/srv/data/big bs=1M count=40 2>&1 || true";
        world.write(&sized("32MiB"), running);
        world.project.apply_settled();
        assert_eq!(world.sh("busybox stat -c %a:%u /srv/data; busybox ls /srv/data"), "750:33");
        let told = world.sh(fill);
        assert!(told.contains("No space left on device"), "{told}");
        world.sh("busybox rm /srv/data/big; echo kept > /srv/data/file");
        let shown = world.agent.berth_ok(&["volume", "inspect", "data"]).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["size"], 32 << 20, "{shown}");
        assert!(world.agent.berth_ok(&["volume", "ls"]).unwrap().contains("32.0 MiB"));
        // Another instance has the same file system, whoever the agent was that started the first.
        world.agent.kill().unwrap();
        world.agent.restart().unwrap();
        let image = format!("{}/berth/tiny:1", world.registry.host());
        world
            .agent
            .berth_ok(&["instance", "launch", &image, "--name", "other", "--volume", "data:/d"])
            .unwrap();
        let said = world.agent.berth_ok(&[
            "instance",
            "exec",
            "other",
            "--",
            "sh",
            "-c",
            "cat /d/file; echo too > /d/two",
        ]);
        assert_eq!((said.unwrap().trim(), world.sh("cat /srv/data/two").as_str()), ("kept", "too"));
        world.agent.berth_ok(&["instance", "rm", "--force", "other"]).unwrap();
        world.write(&sized("32768KiB"), running);
        world.project.assert_empty_plan();
        for (volume, words) in
            [(sized("31MiB"), "cannot become smaller"), (VOLUME.to_owned(), "cannot lose its size")]
        {
            world.write(&volume, running);
            let refused = world.project.plan().unwrap();
            let error = refused.error().unwrap();
            assert!(error.summary.contains(words), "{error:?}");
        }
        let before = world.process();
        world.write(&sized("96MiB"), running);
        if grows_mounted() {
            world.project.apply_settled();
        } else {
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.detail.contains("SYS_RESOURCE") && error.code.contains("size"), "{error:?}");
            world.write(&sized("32MiB"), &format!("{running}\n  running = false"));
            world.project.apply_settled();
            world.write(&sized("96MiB"), running);
            world.project.apply_settled();
        }
        assert_eq!(grows_mounted(), world.process() == before);
        let told = world.sh(fill);
        assert!(told.contains("40+0 records out"), "{told}");
        assert_eq!(world.sh("cat /srv/data/file; busybox ls /srv/data"), "kept\nbig\nfile\ntwo");
        world.project.destroy_ok();
        assert_eq!(world.agent.berth_ok(&["--format", "json", "volume", "ls"]).unwrap().trim(), "[]");
    }

    pub fn files_are_written_live_and_a_secret_is_in_no_state(terraform: &Terraform) {
        const SECRET: &str = "hunter2-never-shown";
        let world = World::new(terraform);
        world.project.write_file("page.txt", "from a file\n").unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        std::fs::write(world.project.dir().join("blob"), &bytes).unwrap();
        // The first thing that the program does is to look at it.
        let entrypoint =
            "[\"/bin/sh\", \"-c\", \"busybox sha256sum < /etc/app/blob >> /sums; exec /bin/serve\"]";
        let files = |content: &str, version: u32, on_change: &str| {
            format!(
                "files = {{\n\
                 \"/etc/app/conf\" = {{ content = \"{content}\", mode = \"600\", on_change = \"{on_change}\" }}\n\
                 \"/etc/app/secret\" = {{ content_wo = \"{SECRET}\", content_wo_version = {version}, uid = 33 }}\n\
                 \"/etc/app/blob\" = {{ content_base64 = filebase64(\"blob\") }}\n\
                 \"/etc/app/page\" = {{ source = \"page.txt\", source_sha256 = filesha256(\"page.txt\") }}\n}}\n\
                 entrypoint = {entrypoint}"
            )
        };
        world.write("", &files("one", 1, "none"));
        world.project.apply_settled();
        let before = world.process();
        let said = world.sh("cd /etc/app; cat conf secret page; busybox stat -c %a:%u conf secret");
        assert_eq!(said, format!("one{SECRET}from a file\n600:0\n644:33"));
        assert_eq!(world.sh("cat /sums"), format!("{}  -", sha256(&bytes)));
        assert!(!world.project.state_text().contains(SECRET) && !world.agent.log().contains(SECRET));
        assert!(!world.agent.inspect("web").unwrap().to_string().contains(SECRET));
        world.sh("echo by hand > /etc/app/page");
        world.project.assert_empty_plan();
        world.write("", &files("two", 2, "none"));
        world.project.apply_settled();
        assert_eq!(world.process(), before);
        assert_eq!(world.sh("cat /etc/app/conf /etc/app/page"), "twoby hand");
        world.write("", &files("three", 2, "restart"));
        world.project.apply_settled();
        assert_ne!(world.process(), before);
        assert_eq!(world.sh("cat /etc/app/conf /etc/app/page"), "threeby hand");
        world.write("", "");
        world.project.apply_settled();
        assert_eq!(world.sh("busybox ls /etc/app | busybox wc -l"), "0");
    }
}
