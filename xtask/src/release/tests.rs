//! A release as those who are given it see it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use berth_acceptance_tests::{Terraform, command, under_each_terraform};

use super::{Release, Signer, VERSION, archive, make, mirror};
use crate::build::Target;
use crate::step::programs;

under_each_terraform!(a_release_is_installed_by_init);

const KEY: &str = "releases@example.org";

/// A throwaway key in a directory of its own; gpg's agent, which it starts, ends with it.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.gpg(&["--passphrase", "", "--quick-generate-key", KEY, "rsa2048", "sign", "1d"]);
        keys
    }

    fn gpg(&self, args: &[&str]) {
        let mut gpg = Command::new("gpg");
        command::run(gpg.args(["--batch", "--homedir"]).arg(self.0.path()).args(args)).unwrap();
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut conf = Command::new("gpgconf");
        let _ = command::run(conf.arg("--homedir").arg(self.0.path()).args(["--kill", "gpg-agent"]));
    }
}

#[test]
fn a_release_is_whole_signed_and_the_same_each_time() {
    let (keys, place) = (Keys::new(), tempfile::tempdir().unwrap());
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    make(&first, Some(Signer { key: KEY, home: Some(keys.0.path()) })).unwrap();
    for of in ["terraform-provider-berth", "berth"] {
        let sums = format!("{of}_{VERSION}_SHA256SUMS");
        let check = command::run(Command::new("sha256sum").args(["--check", &sums]).current_dir(&first));
        assert!(check.unwrap().contains(": OK"), "{sums} names nothing");
        let sums = first.join(sums).display().to_string();
        keys.gpg(&["--verify", &format!("{sums}.sig"), &sums]);
    }
    let platform = Target::here().platform();
    let zip = format!("terraform-provider-berth_{VERSION}_{platform}.zip");
    let sums =
        fs::read_to_string(first.join(format!("terraform-provider-berth_{VERSION}_SHA256SUMS"))).unwrap();
    assert!(sums.contains(&zip) && sums.contains("_manifest.json"), "{sums}");

    make(&second, None).unwrap();
    let agent = format!("berth_{VERSION}_{platform}.tar.gz");
    for name in [&zip, &agent] {
        let read = |place: &Path| fs::read(place.join(name)).unwrap();
        assert!(read(&first) == read(&second), "{name} differs from one release to the next");
    }
    let root = place.path().join("root");
    fs::create_dir(&root).unwrap();
    command::run(Command::new("tar").arg("-xzf").arg(second.join(&agent)).arg("-C").arg(&root)).unwrap();
    let said = command::run(Command::new(root.join("usr/bin/berth")).arg("--version")).unwrap();
    assert!(said.contains(VERSION), "{said}");
    for file in ["usr/libexec/berth/berth-supervisor", "usr/lib/systemd/system/berthd.service"] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
}

#[test]
fn a_zip_is_what_other_programs_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("of.zip");
    let long = "a line of many\n".repeat(10_000);
    let entries = [
        archive::Entry::program("run".into(), long.clone().into_bytes()),
        archive::Entry::text("empty".into(), Vec::new()),
    ];
    fs::write(&path, archive::zip(&entries).unwrap()).unwrap();
    let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                  print([(i.filename, oct(i.external_attr >> 16), i.file_size) for i in z.infolist()])";
    let said = command::run(Command::new("python3").args(["-c", script]).arg(&path)).unwrap();
    let wanted = format!("[('run', '0o100755', {}), ('empty', '0o100644', 0)]\n", long.len());
    assert_eq!(said, wanted);
}

mod cases {
    use super::*;

    pub fn a_release_is_installed_by_init(terraform: &Terraform) {
        let place = tempfile::tempdir().unwrap();
        let dist = place.path().join("dist");
        let (release, here) = (Release::new(&dist).unwrap(), Target::here());
        let zip = release.provider(&programs().join("terraform-provider-berth"), here).unwrap();
        release.mirror(&[zip]).unwrap();
        let project = place.path().join("project");
        fs::create_dir(&project).unwrap();
        let config = place.path().join("cli.tfrc");
        let text = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            mirror(&dist).display()
        );
        fs::write(&config, text).unwrap();
        let main = format!(
            "terraform {{\n  required_providers {{\n    berth = {{\n      source = \"berth-run/berth\"\n      \
             version = \"{VERSION}\"\n    }}\n  }}\n}}\n\n\
             output \"tag\" {{\n  value = provider::berth::parse_reference(\"docker.io/nginx:1\").tag\n}}\n"
        );
        fs::write(project.join("main.tf"), main).unwrap();
        let run = |args: &[&str]| {
            command::run(terraform.command(&project, &config, args).env("HOME", place.path())).unwrap()
        };
        let said = run(&["init", "-input=false", "-no-color"]);
        assert!(said.contains(&format!("Installed berth-run/berth v{VERSION}")), "{said}");
        let said = run(&["apply", "-auto-approve", "-input=false", "-no-color"]);
        assert!(said.contains("tag = \"1\""), "{said}");
        let lock = fs::read_to_string(project.join(".terraform.lock.hcl")).unwrap();
        assert!(lock.contains("h1:"), "{lock}");
    }
}
