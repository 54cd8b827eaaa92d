//! `cargo xtask release`: what registries of providers and hosts are given, in `target/dist`.
//!
//! ```text
//! terraform-provider-berth_VERSION_OS_ARCH.zip     the provider
//! terraform-provider-berth_VERSION_manifest.json   which protocol it speaks
//! terraform-provider-berth_VERSION_SHA256SUMS      of these, and .sig where a key was named
//! berth_VERSION_OS_ARCH.tar.gz                     an agent's programs, by their places below /
//! berth_VERSION_SHA256SUMS                         likewise
//! mirror/                                          for `filesystem_mirror`: `terraform init` with no registry
//! ```
//!
//! The same programs make the same bytes: no time, owner or order of a directory gets in.

mod archive;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::archive::Entry;
use crate::Outcome;
use crate::build::{self, Provider, Target};
use crate::step::{self, StepError, command, file, find, programs, root, target, timed};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The registries that a mirror stands in for: Terraform's and OpenTofu's.
const REGISTRIES: [&str; 2] = ["registry.terraform.io", "registry.opentofu.org"];

/// An agent's programs and where they are installed; `berthd` looks for those that it starts in the last of these places.
const PROGRAMS: [(&str, &str); 6] = [
    ("berth", "usr/bin"),
    ("berthd", "usr/bin"),
    ("berth-bridge", "usr/libexec/berth"),
    ("berth-guest-init", "usr/libexec/berth"),
    ("berth-supervisor", "usr/libexec/berth"),
    ("berth-tls-probe", "usr/libexec/berth"),
];

/// Whose signature, and where gpg keeps its keys if not at its usual place.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    key: &'a str,
    home: Option<&'a Path>,
}

/// Builds everything and makes the release, signed if a key is named.
pub fn run(sign_key: Option<&str>) -> Outcome {
    build::run()?;
    make(&place(), sign_key.map(|key| Signer { key, home: None }))
}

/// Where releases are made.
pub fn place() -> PathBuf {
    target().join("dist")
}

/// The mirror in a release.
pub fn mirror(place: &Path) -> PathBuf {
    place.join("mirror")
}

/// Makes the release of what is built, and says what is in it and what is not.
pub fn make(place: &Path, signer: Option<Signer<'_>>) -> Outcome {
    timed(&format!("Make the release in {}", place.display()), || {
        let release = Release::new(place)?;
        let mut files = Vec::new();
        for target in Target::ALL {
            match build::provider(target)? {
                Provider::Built(program) => files.push(release.provider(&program, target)?),
                Provider::Missing(what) => println!("    {} is left out: {what}", target.platform()),
            }
        }
        release.mirror(&files)?;
        files.push(release.manifest()?);
        let agent = release.agent(&programs(), Target::here())?;
        let sums = [release.sums("terraform-provider-berth", &files)?, release.sums("berth", &[agent])?];
        match signer {
            Some(signer) => sums.iter().try_for_each(|sums| signer.sign(sums)),
            None => {
                println!("    unsigned: a registry of providers takes what --sign-key KEY has signed");
                Ok(())
            }
        }
    })
}

/// A directory that a release is made in.
struct Release {
    place: PathBuf,
}

impl Release {
    fn new(place: &Path) -> Result<Self, StepError> {
        if place.exists() {
            fs::remove_dir_all(place).map_err(file("remove", place))?;
        }
        fs::create_dir_all(place).map_err(file("make", place))?;
        Ok(Self { place: place.to_owned() })
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, StepError> {
        let path = self.place.join(name);
        fs::write(&path, content).map_err(file("write", &path))?;
        println!("    {name}: {} bytes", content.len());
        Ok(path)
    }

    /// The provider as registries serve it.
    fn provider(&self, program: &Path, target: Target) -> Result<PathBuf, StepError> {
        let content = read(program)?;
        if let Some(version) = needed_libc(&content) {
            println!("    the provider for {} needs glibc {version} or newer", target.platform());
        }
        let entries = [
            Entry::program(format!("terraform-provider-berth_v{VERSION}"), content),
            Entry::text("LICENSE".to_owned(), read(&root().join("LICENSE"))?),
        ];
        let zip = archive::zip(&entries).map_err(file("pack", program))?;
        self.write(&format!("terraform-provider-berth_{VERSION}_{}.zip", target.platform()), &zip)
    }

    /// The packed layout of a mirror on a disk.
    fn mirror(&self, zips: &[PathBuf]) -> Outcome {
        for registry in REGISTRIES {
            let directory = mirror(&self.place).join(registry).join("berth-run/berth");
            fs::create_dir_all(&directory).map_err(file("make", &directory))?;
            for zip in zips {
                let to = directory.join(zip.file_name().unwrap_or_default());
                fs::copy(zip, &to).map_err(file("write", &to))?;
            }
        }
        Ok(())
    }

    fn manifest(&self) -> Result<PathBuf, StepError> {
        let manifest = json!({ "version": 1, "metadata": { "protocol_versions": ["6.0"] } });
        let name = format!("terraform-provider-berth_{VERSION}_manifest.json");
        self.write(&name, format!("{manifest:#}\n").as_bytes())
    }

    /// What a host is given.
    fn agent(&self, programs: &Path, target: Target) -> Result<PathBuf, StepError> {
        let mut entries = Vec::new();
        for (program, directory) in PROGRAMS {
            entries.push(Entry::program(format!("{directory}/{program}"), read(&programs.join(program))?));
        }
        let text = |to: &str, from: &str| Ok(Entry::text(to.to_owned(), read(&root().join(from))?));
        entries.push(text("usr/lib/systemd/system/berthd.service", "agent/berthd.service")?);
        entries.push(text("usr/share/doc/berth/LICENSE", "LICENSE")?);
        let tar = archive::tar_gz(&entries).map_err(file("pack", programs))?;
        self.write(&format!("berth_{VERSION}_{}.tar.gz", target.platform()), &tar)
    }

    /// As `sha256sum` writes them.
    fn sums(&self, of: &str, files: &[PathBuf]) -> Result<PathBuf, StepError> {
        let mut text = String::new();
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(read(path)?))));
        }
        self.write(&format!("{of}_{VERSION}_SHA256SUMS"), text.as_bytes())
    }
}

impl Signer<'_> {
    /// A detached binary signature beside the file, as registries want it.
    fn sign(self, path: &Path) -> Outcome {
        let gpg = find("gpg").ok_or_else(|| StepError::Rule("install the package gpg".into()))?;
        let signature = format!("{}.sig", path.display());
        let mut gpg = command(&gpg.to_string_lossy(), &["--batch", "--yes", "--local-user", self.key]);
        if let Some(home) = self.home {
            gpg.arg("--homedir").arg(home);
        }
        step::output(gpg.args(["--output", &signature, "--detach-sign"]).arg(path))?;
        println!("    signed by {}: {signature}", self.key);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StepError> {
    fs::read(path).map_err(file("read", path))
}

/// The newest version of glibc that a program has symbols of: a host with an older one cannot run it.
fn needed_libc(program: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let after = |at: usize| program.get(at + MARK.len()..at + MARK.len() + 3);
    let minor = |digits: &[u8]| {
        let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    marks.filter_map(|(at, _)| after(at).map(minor)).max().map(|minor| format!("2.{minor}"))
}
