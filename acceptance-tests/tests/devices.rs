//! Devices of the host, plugged in and out while the instance runs, under each Terraform.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::under_each_terraform;

under_each_terraform!(
    what_may_be_done_with_a_device_changes_in_place,
    a_device_on_the_bus_comes_and_goes_with_its_plug,
    a_device_is_what_its_specification_says,
);

mod cases {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use berth_acceptance_tests::{Project, Registry, Terraform, TestAgent, wait};
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};

    struct World {
        registry: Registry,
        agent: TestAgent,
        project: Project,
    }

    impl World {
        fn new(terraform: &Terraform, agent: TestAgent) -> Self {
            let project = Project::new(terraform, &agent).unwrap();
            Self { registry: Registry::start().unwrap(), agent, project }
        }

        fn write(&self, devices: &str) {
            let text = format!(
                "resource \"berth_remote\" \"local\" {{\n  name = \"local\"\n  address = \"{}\"\n  insecure = true\n}}\n\
                 resource \"berth_instance\" \"box\" {{\n  name = \"box\"\n  \
                 image = \"${{berth_remote.local.name}}:berth/tiny:1\"\n  stop_timeout = \"1s\"\n  \
                 devices = {{ {devices} }}\n}}\n",
                self.registry.address()
            );
            self.project.write(&text).unwrap();
        }

        fn pid(&self) -> u64 {
            self.agent.inspect("box").unwrap()["pid"].as_u64().unwrap()
        }

        fn exec(&self, command: &str) -> String {
            self.agent.berth_ok(&["instance", "exec", "box", "--", "/bin/sh", "-c", command]).unwrap()
        }

        /// What the instance comes to say by itself.
        fn comes_to_say(&self, command: &str, wanted: &str) {
            let said = wait::until(wanted, Duration::from_secs(20), || {
                let said = self.exec(command);
                if said.trim() == wanted { Ok(()) } else { Err(said) }
            });
            said.unwrap();
        }
    }

    pub fn what_may_be_done_with_a_device_changes_in_place(terraform: &Terraform) {
        let world = World::new(terraform, TestAgent::start().unwrap());
        let write = |more: &str| {
            world.write(&format!("fuse = {{ type = \"unix-char\", source = \"/dev/fuse\"{more} }}"));
        };
        // The shell itself says what it may not open.
        let told = || {
            world.exec("(exec 3< /dev/fuse) 2>/dev/null && echo reads; (exec 3> /dev/fuse) 2>/dev/null && echo writes; true")
        };
        write("");
        world.project.apply_settled();
        assert_eq!(told(), "reads\nwrites\n");
        let pid = world.pid();
        for (permissions, wanted) in [("r", "reads\n"), ("mw", "writes\n"), ("wr", "reads\nwrites\n")] {
            write(&format!(", permissions = \"{permissions}\""));
            world.project.apply_settled();
            assert_eq!((told().as_str(), world.pid()), (wanted, pid), "{permissions}");
        }
        write(", permissions = \"rx\"");
        let refused = world.project.plan().unwrap();
        assert!(refused.error().unwrap().code.contains("permissions"), "{:#?}", refused.output);
    }

    /// A bus of the agent's own: this kernel has none. A second /sys is whole, as the kernel wants it before it lets a user
    /// namespace have one.
    const BUS: &str = "\
        mount -t tmpfs tmpfs /sys/bus
        mkdir -p /sys/bus/usb/devices
        mount -t tmpfs tmpfs /mnt
        for node in null zero full random urandom tty ptmx fuse; do cp -a /dev/$node /mnt/; done
        for link in fd stdin stdout stderr; do cp -a /dev/$link /mnt/; done
        mkdir -p /mnt/pts /mnt/bus/usb/001 /mnt/sysfs
        mount -t sysfs sysfs /mnt/sysfs
        mount --rbind /dev/pts /mnt/pts
        mount --move /mnt /dev";

    /// The kernel tells everybody of a device: what has changed they find out.
    fn tell() {
        fs::write("/sys/class/mem/null/uevent", "change").unwrap();
    }

    struct Plug {
        port: PathBuf,
        node: PathBuf,
    }

    impl Plug {
        /// Under this number of the bus; what is read from it has no end, or is an error.
        fn new(root: &Path, number: u32, minor: u64) -> Self {
            let port = root.join(format!("sys/bus/usb/devices/1-{number}"));
            let node = root.join(format!("dev/bus/usb/001/{number:03}"));
            mknod(&node, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, minor)).unwrap();
            fs::create_dir(&port).unwrap();
            for (file, text) in [("busnum", "1"), ("devnum", &number.to_string()), ("idProduct", "ea60")] {
                fs::write(port.join(file), format!("{text}\n")).unwrap();
            }
            fs::write(port.join("idVendor"), "10c4\n").unwrap();
            tell();
            Self { port, node }
        }

        fn pull(self) {
            fs::remove_file(self.node).unwrap();
            fs::remove_dir_all(self.port).unwrap();
            tell();
        }
    }

    pub fn a_device_on_the_bus_comes_and_goes_with_its_plug(terraform: &Terraform) {
        let world = World::new(terraform, TestAgent::start_after(BUS, &[]).unwrap());
        let root = world.agent.root().unwrap();
        world.write(
            "radio = { type = \"usb\", vendor_id = \"10C4\", required = false, mode = \"0606\", gid = 20 }",
        );
        world.project.apply_settled();
        let pid = world.pid();
        let list = "busybox find /dev/bus -type c 2>/dev/null; true";
        assert_eq!(world.exec(list), "");

        let plug = Plug::new(&root, 5, 5);
        world.comes_to_say(list, "/dev/bus/usb/001/005");
        let seen = world.exec("busybox stat -c %a:%u:%g /dev/bus/usb/001/005; busybox head -c 2 /dev/bus/usb/001/005 | busybox wc -c");
        assert_eq!(seen, "606:0:20\n2\n");
        plug.pull();
        world.comes_to_say(list, "");
        let plug = Plug::new(&root, 6, 5);
        world.comes_to_say(list, "/dev/bus/usb/001/006");

        // At a place of its own, which says nothing of the bus; and it is told apart from what comes under the same path.
        world.write("radio = { type = \"usb\", vendor_id = \"10c4\", product_id = \"ea60\", target = \"/dev/radio\" }");
        world.project.apply_settled();
        assert_eq!(
            world.exec("busybox stat -c %t:%T /dev/radio; busybox find /dev/bus -type c | busybox wc -l"),
            "1:5\n0\n"
        );
        plug.pull();
        world.comes_to_say("busybox find /dev/radio -type c | busybox wc -l", "0");
        let other = Plug::new(&root, 6, 7);
        world.comes_to_say("busybox stat -c %t:%T /dev/radio", "1:7");

        // What is asked for and is not there is refused; all else goes on.
        world.write("radio = { type = \"usb\", vendor_id = \"dead\" }");
        let refused = world.project.apply().unwrap();
        assert_eq!(refused.code, 1, "{:#?}", refused.output);
        let error = refused.error().unwrap();
        assert!(error.summary.contains("radio") && error.detail.contains("lsusb"), "{error:#?}");
        assert_eq!(world.exec("busybox stat -c %t:%T /dev/radio"), "1:7\n");
        other.pull();
        world.comes_to_say("busybox find /dev/radio -type c | busybox wc -l", "0");
        assert_eq!(world.pid(), pid);
    }

    const SPECIFICATION: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.example/card
containerEdits:
  env: ["VENDOR=yes"]
devices:
  - name: "0"
    containerEdits:
      additionalGids: [4242]
      deviceNodes:
        - { path: /dev/card, hostPath: /dev/full, permissions: rw }
      mounts:
        - { hostPath: HERE/library, containerPath: /usr/lib/vendor/library, options: [ro, bind] }
  - name: "hooked"
    containerEdits:
      hooks: [{ hookName: createContainer, path: /bin/true }]
"#;

    pub fn a_device_is_what_its_specification_says(terraform: &Terraform) {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().canonicalize().unwrap();
        fs::write(here.join("library"), "code\n").unwrap();
        let text = SPECIFICATION.replace("HERE", here.to_str().unwrap());
        fs::write(here.join("vendor.yaml"), text).unwrap();
        let config = here.join("agent.toml");
        fs::write(&config, format!("cdi_spec_dirs = [{here:?}]\n")).unwrap();
        let agent = TestAgent::start_with(&["--config", config.to_str().unwrap()]).unwrap();
        let world = World::new(terraform, agent);
        let look = "cat /usr/lib/vendor/library; (echo x > /dev/card) 2>&1 | busybox grep -o 'No space left'; \
                    (echo x > /usr/lib/vendor/library) 2>/dev/null || echo refused; true";
        world.write("");
        world.project.apply_settled();
        let pid = world.pid();
        world.write("card = { type = \"cdi\", source = \"vendor.example/card=0\" }");
        world.project.apply_settled();
        assert_eq!((world.exec(look).as_str(), world.pid()), ("code\nNo space left\nrefused\n", pid));
        // What only a new process can have it has after a start.
        world.agent.berth_ok(&["instance", "restart", "box"]).unwrap();
        let process = format!("/proc/{}", world.pid());
        let environment = fs::read(format!("{process}/environ")).unwrap();
        assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"VENDOR=yes"));
        assert_eq!(world.exec("busybox id -G; echo $VENDOR"), "0 4242\nyes\n");
        assert_eq!(world.exec(look), "code\nNo space left\nrefused\n");

        for (name, said) in [("hooked", "hook"), ("none", "no specification")] {
            world.write(&format!("card = {{ type = \"cdi\", source = \"vendor.example/card={name}\" }}"));
            let refused = world.project.apply().unwrap();
            let error = refused.error().unwrap();
            assert!(error.code.contains("devices") && error.detail.contains(said), "{error:#?}");
        }
        world.write("");
        world.project.apply_settled();
        assert_eq!(
            world.exec(
                "cat /usr/lib/vendor/library 2>/dev/null; busybox find /dev/card -type c | busybox wc -l"
            ),
            "0\n"
        );
    }
}
