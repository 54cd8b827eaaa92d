use std::os::unix::fs::symlink;

use berth_domain::device::{DeviceDraft, check};
use berth_domain::invalid::Findings;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use tempfile::TempDir;

use super::*;

/// A host of the test's own, as far as devices go.
struct Host {
    root: TempDir,
    places: Places,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().canonicalize().unwrap().join(name);
        let places = Places {
            sys: at("sys"),
            dev: at("dev"),
            nvidia: at("nvidia"),
            cdi: vec![at("etc-cdi"), at("run-cdi")],
        };
        Self { root, places }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn node(&self, path: &str, minor: u64) -> PathBuf {
        let path = self.places.dev.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, minor)).unwrap();
        path
    }

    fn plug(&self, port: &str, ids: (&str, &str), (bus, device): (u32, u64)) {
        let at = format!("sys/bus/usb/devices/{port}");
        self.write(&format!("{at}/idVendor"), &format!("{}\n", ids.0));
        self.write(&format!("{at}/idProduct"), &format!("{}\n", ids.1));
        self.write(&format!("{at}/busnum"), &format!("{bus}\n"));
        self.write(&format!("{at}/devnum"), &format!("{device}\n"));
        self.node(&format!("bus/usb/{bus:03}/{device:03}"), device);
    }

    fn card(&self, name: &str, address: &str, ids: (&str, &str), minor: u64) {
        let pci = format!("sys/devices/pci/{address}");
        self.write(&format!("{pci}/vendor"), &format!("{}\n", ids.0));
        self.write(&format!("{pci}/device"), &format!("{}\n", ids.1));
        let at = self.places.sys.join("class/drm").join(name);
        fs::create_dir_all(&at).unwrap();
        symlink(self.root.path().join(pci), at.join("device")).unwrap();
        self.node(&format!("dri/{name}"), minor);
    }

    fn find(&self, draft: DeviceDraft) -> io::Result<Found> {
        let mut findings = Findings::default();
        let devices = check(&[("it".to_owned(), draft)].into(), &[].into(), &mut findings);
        assert!(findings.into_error().is_none());
        find(&self.places, &devices["it"])
    }

    fn targets(&self, draft: DeviceDraft) -> Vec<String> {
        let found = self.find(draft).unwrap();
        found.nodes.iter().map(|node| node.target.display().to_string()).collect()
    }
}

fn draft(kind: &str, vendor: &str, product: &str) -> DeviceDraft {
    let (vendor_id, product_id) = (vendor.to_owned(), product.to_owned());
    DeviceDraft { kind: kind.to_owned(), vendor_id, product_id, ..DeviceDraft::default() }
}

fn cdi(name: &str) -> DeviceDraft {
    DeviceDraft { source: name.to_owned(), ..draft("cdi", "", "") }
}

#[test]
fn usb_devices_are_found_by_what_they_say_that_they_are() {
    let host = Host::new();
    let radio = || draft("usb", "10c4", "");
    assert_eq!(host.find(radio()).unwrap_err().kind(), io::ErrorKind::NotFound);
    host.plug("1-1", ("10c4", "ea60"), (1, 12));
    host.plug("1-1.2", ("10c4", "8a2a"), (1, 3));
    host.plug("2-1", ("1d6b", "0002"), (2, 1));
    // An interface, and one that is just going.
    host.write("sys/bus/usb/devices/1-1:1.0/bInterfaceNumber", "00\n");
    host.write("sys/bus/usb/devices/1-4/idVendor", "10c4\n");
    assert_eq!(host.targets(radio()), ["/dev/bus/usb/001/003", "/dev/bus/usb/001/012"]);
    assert_eq!(host.targets(draft("usb", "10C4", "EA60")), ["/dev/bus/usb/001/012"]);
    let placed = DeviceDraft { target: "/dev/radio".into(), ..radio() };
    let found = host.find(placed).unwrap();
    assert_eq!(found.nodes[0].target, Path::new("/dev/radio"));
    assert_eq!((found.nodes.len(), found.nodes[0].number), (1, (1, 3)));
    fs::remove_file(host.places.dev.join("bus/usb/001/003")).unwrap();
    assert_eq!(host.targets(radio()), ["/dev/bus/usb/001/012"]);
    assert_eq!(host.find(draft("usb", "dead", "")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn all_nodes_of_a_graphics_processor_go_with_it() {
    let host = Host::new();
    host.card("card0", "0000:00:02.0", ("0x8086", "0x46a6"), 10);
    host.card("renderD128", "0000:00:02.0", ("0x8086", "0x46a6"), 11);
    host.card("card1", "0000:01:00.0", ("0x10de", "0x2684"), 12);
    host.card("renderD129", "0000:01:00.0", ("0x10de", "0x2684"), 13);
    // A connector is no node.
    fs::create_dir_all(host.places.sys.join("class/drm/card0-HDMI-A-1")).unwrap();
    for (name, minor) in [("nvidiactl", 1), ("nvidia-uvm", 2), ("nvidia3", 3), ("nvidia0", 4)] {
        host.node(name, minor);
    }
    host.write("nvidia/0000:01:00.0/information", "Model: \t\t RTX\nDevice Minor: \t 3\n");
    let intel = ["/dev/dri/card0", "/dev/dri/renderD128"];
    let nvidia =
        ["/dev/dri/card1", "/dev/dri/renderD129", "/dev/nvidia-uvm", "/dev/nvidia3", "/dev/nvidiactl"];
    assert_eq!(host.targets(draft("gpu", "8086", "")), intel);
    assert_eq!(host.targets(draft("gpu", "10de", "2684")), nvidia);
    assert_eq!(host.targets(draft("gpu", "", "")).len(), intel.len() + nvidia.len());
    let link = host.places.dev.join("by-path");
    symlink(host.places.dev.join("dri/renderD128"), &link).unwrap();
    let by_node = DeviceDraft { source: link.display().to_string(), ..draft("gpu", "", "") };
    assert_eq!(host.targets(by_node), intel);
    assert_eq!(host.find(draft("gpu", "1002", "")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

const VENDOR: &str = r#"
cdiVersion: "0.6.0"
kind: vendor.com/net-card
containerEdits:
  env: ["VENDOR_DRIVER=yes"]
devices:
  - name: "a"
    containerEdits:
      env: ["CARD=a=1"]
      additionalGids: [44]
      deviceNodes:
        - {path: /dev/card-a, hostPath: NODE, permissions: rw, fileMode: 438, uid: 7, gid: 8}
      mounts:
        - {hostPath: LIBRARY, containerPath: /usr/lib/card.so, options: [ro, nosuid, bind]}
  - name: "b"
    containerEdits:
      hooks: [{hookName: createContainer, path: /usr/bin/hook, args: [hook]}]
"#;

#[test]
fn a_cdi_device_is_what_its_specification_says() {
    let host = Host::new();
    let node = host.node("vendor0", 7);
    host.write("library.so", "code");
    let library = host.root.path().canonicalize().unwrap().join("library.so");
    let text = VENDOR.replace("NODE", &node.display().to_string());
    let text = text.replace("LIBRARY", &library.display().to_string());
    host.write("etc-cdi/vendor.yaml", &text);
    host.write("etc-cdi/broken.json", "{\"kind\": ");
    let found = host.find(cdi("vendor.com/net-card=a")).unwrap();
    let expected = Node {
        path: node.clone(),
        target: "/dev/card-a".into(),
        block: false,
        number: (1, 7),
        uid: Some(7),
        gid: Some(8),
        mode: Some(0o666),
        permissions: Some("rw".into()),
    };
    assert_eq!(found.nodes, [expected]);
    assert_eq!(found.binds, [Bind { path: library, target: "/usr/lib/card.so".into(), read_only: true }]);
    let variables = [("VENDOR_DRIVER", "yes"), ("CARD", "a=1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!((found.environment.as_slice(), found.groups.as_slice()), (&variables[..], &[44][..]));

    let error = host.find(cdi("vendor.com/net-card=b")).unwrap_err();
    assert!(error.to_string().contains("createContainer"), "{error}");
    let error = host.find(cdi("vendor.com/net-card=c")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("broken.json"), "{error}");

    // What was made at this boot counts, and two of one place contradict each other.
    let newer = r#"{"cdiVersion": "0.5.0", "kind": "vendor.com/net-card", "devices": [
        {"name": "a", "containerEdits": {"env": ["NEW=1"]}}]}"#;
    host.write("run-cdi/vendor.json", newer);
    let found = host.find(cdi("vendor.com/net-card=a")).unwrap();
    assert_eq!((found.nodes.len(), found.environment.len()), (0, 1));
    host.write("run-cdi/vendor-again.json", newer);
    let error = host.find(cdi("vendor.com/net-card=a")).unwrap_err();
    assert!(error.to_string().contains("both"), "{error}");
}
