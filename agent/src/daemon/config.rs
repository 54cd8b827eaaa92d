//! What an agent is told: its flags over its configuration file over the defaults.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use berth_vm::accelerator::Accelerator;
use serde::Deserialize;
use thiserror::Error;

use super::args::Args;
use super::images::Images;
use crate::host::RootfsDriver;

const DEFAULT_FILE: &str = "/etc/berth/agent.toml";
const DEFAULT_DATA_DIR: &str = "/var/lib/berth";
const DEFAULT_RUN_DIR: &str = "/run/berth";
const SOCKET: &str = "agent.sock";

/// How many ids an instance has.
const IDS: u32 = 65_536;

/// Everything an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Ledger, images, instances.
    pub data_dir: PathBuf,
    /// Sockets.
    pub run_dir: PathBuf,
    /// Where it answers.
    pub listen: Vec<Listen>,
    /// For `https://`.
    pub tls: Option<Tls>,
    /// The supervisor's program, where it is not found by itself.
    pub supervisor: Option<PathBuf>,
    /// The first id of the instances' ranges.
    pub uid_base: u32,
    /// How many ids there are for all instances.
    pub uid_count: u32,
    /// What of the host instances may bind, with all below it; `None`: anything.
    pub bind_sources: Option<Vec<PathBuf>>,
    /// Where specifications of the Container Device Interface are, the later ones before the earlier.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether instances may be the host's root with more than the default capabilities.
    pub allow_privileged: bool,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What becomes of images.
    pub images: Images,
    /// How root file systems are made.
    pub rootfs_driver: RootfsDriver,
    /// How much is fetched at once.
    pub pull: Pull,
    /// How virtual machines are run.
    pub vm: Vm,
}

/// How virtual machines are run; what is absent is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vm {
    /// An image named vmlinuz-RELEASE, whose modules are in /lib/modules/RELEASE.
    pub kernel: Option<PathBuf>,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
    /// The program that exports root file systems.
    pub virtiofsd: Option<PathBuf>,
    accelerator: Option<AcceleratorName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AcceleratorName {
    Kvm,
    Tcg,
}

impl Vm {
    /// What runs guests' instructions, where that is said.
    #[must_use]
    pub fn accelerator(&self) -> Option<Accelerator> {
        self.accelerator.map(|name| match name {
            AcceleratorName::Kvm => Accelerator::Kvm,
            AcceleratorName::Tcg => Accelerator::Tcg,
        })
    }
}

/// How much is fetched from registries at once, over all pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pull {
    /// Layers, and parts of large layers, at the same time.
    pub connections: NonZeroU32,
    /// Absent: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl Default for Pull {
    fn default() -> Self {
        Self { connections: berth_image::registry::CONNECTIONS, bytes_per_second: None }
    }
}

/// Where an agent answers.
#[derive(Clone, PartialEq, Eq)]
pub enum Listen {
    /// On a unix socket.
    Unix(PathBuf),
    /// On TCP with mutual TLS.
    Https(SocketAddr),
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Https(address) => write!(f, "https://{address}"),
        }
    }
}

/// The files for `https://`; each PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The agent's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of the clients' certificates.
    pub client_ca: PathBuf,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    listen: Option<Vec<String>>,
    tls: Option<Tls>,
    supervisor: Option<PathBuf>,
    uid_base: Option<u32>,
    uid_count: Option<u32>,
    bind_sources: Option<Vec<PathBuf>>,
    cdi_spec_dirs: Option<Vec<PathBuf>>,
    allow_privileged: bool,
    log_format: Option<LogFormat>,
    images: Images,
    rootfs_driver: RootfsDriver,
    pull: Option<Pull>,
    vm: Vm,
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("The configuration file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is malformed, or has a key that nobody knows.
    #[error("The configuration file {} is wrong", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where, and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An address to answer on.
    #[error("\"{text}\" is no address to answer on: write unix:///PATH or https://ADDRESS:PORT")]
    Listen {
        /// As it was written.
        text: String,
    },
    /// `https://` without certificates.
    #[error(
        "https:// needs certificates: give certificate, key and client_ca under [tls] in the configuration"
    )]
    NoCertificates,
    /// A path that may be bound and is none.
    #[error("bind_sources: {} is no absolute path", path.display())]
    BindSource {
        /// As it was written.
        path: PathBuf,
    },
    /// Ids that instances cannot have.
    #[error("uid_base {base} and uid_count {count} leave no instance its {IDS} ids above the host's own")]
    Ids {
        /// The first.
        base: u32,
        /// How many.
        count: u32,
    },
}

impl Config {
    /// Reads the file, where there is one, and puts the flags over it.
    ///
    /// # Errors
    /// The file cannot be read or holds what nobody knows, or a value cannot be used.
    pub fn load(args: &Args) -> Result<Self, FileError> {
        let path = args.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && args.config.is_none() => File::default(),
            Err(source) => return Err(FileError::Read { path, source }),
        };
        Self::merge(args, file)
    }

    fn merge(args: &Args, file: File) -> Result<Self, FileError> {
        let data_dir = args.data_dir.clone().or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let run_dir = args.run_dir.clone().or(file.run_dir).unwrap_or_else(|| DEFAULT_RUN_DIR.into());
        let written = if args.listen.is_empty() { file.listen } else { Some(args.listen.clone()) };
        let listen = match written {
            Some(written) => written.iter().map(|text| listen(text)).collect::<Result<Vec<_>, _>>()?,
            None => vec![Listen::Unix(run_dir.join(SOCKET))],
        };
        if file.tls.is_none() && listen.iter().any(|listen| matches!(listen, Listen::Https(_))) {
            return Err(FileError::NoCertificates);
        }
        let base = file.uid_base.unwrap_or(1_000_000_000);
        let count = file.uid_count.unwrap_or(IDS * 8192);
        if base < IDS || count < IDS || base.checked_add(count).is_none_or(|end| end == u32::MAX) {
            return Err(FileError::Ids { base, count });
        }
        let bind_sources = file.bind_sources;
        if let Some(path) = bind_sources.iter().flatten().find(|path| !path.is_absolute()) {
            return Err(FileError::BindSource { path: path.clone() });
        }
        Ok(Self {
            data_dir,
            run_dir,
            listen,
            tls: file.tls,
            supervisor: file.supervisor,
            uid_base: base,
            uid_count: count,
            bind_sources,
            cdi_spec_dirs: file
                .cdi_spec_dirs
                .unwrap_or_else(|| crate::host::CDI_SPEC_DIRS.map(PathBuf::from).into()),
            allow_privileged: file.allow_privileged,
            log_format: file.log_format.unwrap_or_default(),
            images: file.images,
            rootfs_driver: file.rootfs_driver,
            pull: file.pull.unwrap_or_default(),
            vm: file.vm,
        })
    }
}

fn parse(path: &Path, text: &str) -> Result<File, FileError> {
    toml::from_str(text).map_err(|source| FileError::Parse { path: path.into(), source: Box::new(source) })
}

fn listen(text: &str) -> Result<Listen, FileError> {
    let bad = || FileError::Listen { text: text.to_owned() };
    if let Some(path) = text.strip_prefix("unix://") {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(Listen::Unix(path)) } else { Err(bad()) };
    }
    let address = text.strip_prefix("https://").ok_or_else(bad)?;
    address.trim_end_matches('/').parse().map(Listen::Https).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, args: &[&str]) -> Result<Config, String> {
        use clap::Parser;
        let args = Args::parse_from([&["berthd"], args].concat());
        let file = parse(Path::new("/x/agent.toml"), text).map_err(|error| match error {
            FileError::Parse { source, .. } => source.to_string(),
            other => other.to_string(),
        })?;
        Config::merge(&args, file).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_socket_follows_the_run_directory() {
        let config =
            load("data_dir = '/a'\nrun_dir = '/b'\nuid_base = 2000000000", &["--run-dir", "/c"]).unwrap();
        assert_eq!((config.data_dir, config.run_dir), ("/a".into(), "/c".into()));
        assert_eq!(config.listen, [Listen::Unix("/c/agent.sock".into())]);
        assert_eq!(config.uid_base, 2_000_000_000);
        let images =
            load("[images]\nkeep_unused_for = '72h'\nkeep_unused_bytes = '20GiB'\nmax_layers = 50", &[]);
        let images = images.unwrap().images;
        assert_eq!(images.unused().keep_for.as_secs(), 72 * 3600);
        assert_eq!(images.unused().keep_bytes, Some(20 << 30));
        assert_eq!((images.limits().max_layers, images.limits().max_path), (50, 4095));
        // Not above what the kernel and the writer take, and no ratio to divide by that is none.
        let bounded = load("[images]\nmax_path = 9999\nmax_depth = 9999\nmax_ratio = 0", &[]).unwrap();
        let limits = bounded.images.limits();
        assert_eq!((limits.max_path, limits.max_depth, limits.max_ratio), (4095, 1024, 1));
        assert!(load("[images]\nkeep_unused_for = '-1h'", &[]).is_err());
        assert!(load("[images]\nkeep_unused_bytes = '20G'", &[]).unwrap_err().contains("GiB"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        let error = load("uid_bse = 5", &[]).unwrap_err();
        assert!(error.contains("uid_bse") && error.contains("uid_base"), "{error}");
        assert!(load("[tls]\ncertificat = 'x'", &[]).unwrap_err().contains("certificat"));
    }

    #[test]
    fn pulls_are_bounded_and_never_to_nothing() {
        assert_eq!(load("", &[]).unwrap().pull, Pull::default());
        let pull = load("[pull]\nconnections = 2\nbytes_per_second = 1000000", &[]).unwrap().pull;
        assert_eq!(
            (pull.connections.get(), pull.bytes_per_second.map(NonZeroU64::get)),
            (2, Some(1_000_000))
        );
        for bad in ["connections = 0", "bytes_per_second = 0", "connections = -1", "connection = 1"] {
            load(&format!("[pull]\n{bad}"), &[]).unwrap_err();
        }
    }

    #[test]
    fn a_kernel_and_an_accelerator_for_machines_may_be_named() {
        let vm = load("[vm]\nkernel = '/boot/vmlinuz-6.1'\naccelerator = 'kvm'", &[]).unwrap().vm;
        assert_eq!(
            (vm.kernel.clone(), vm.accelerator()),
            (Some("/boot/vmlinuz-6.1".into()), Some(Accelerator::Kvm))
        );
        assert_eq!(load("", &[]).unwrap().vm.accelerator(), None);
        assert!(load("[vm]\naccelerator = 'hvf'", &[]).unwrap_err().contains("tcg"));
    }

    #[test]
    fn what_cannot_be_answered_on_is_refused() {
        for bad in ["tcp://1.2.3.4:5", "unix://relative", "https://host", "http://127.0.0.1:1", ""] {
            assert!(load("", &["--listen", bad]).unwrap_err().contains("no address"), "{bad}");
        }
        assert!(load("", &["--listen", "https://127.0.0.1:8443"]).unwrap_err().contains("client_ca"));
    }

    #[test]
    fn what_may_be_bound_is_everything_unless_it_is_said() {
        assert_eq!(load("", &[]).unwrap().bind_sources, None);
        let config = load("bind_sources = ['/srv', '/home']", &[]).unwrap();
        assert_eq!(config.bind_sources, Some(vec!["/srv".into(), "/home".into()]));
        assert_eq!(load("bind_sources = []", &[]).unwrap().bind_sources, Some(vec![]));
        assert!(load("bind_sources = ['srv']", &[]).unwrap_err().contains("bind_sources"));
    }

    #[test]
    fn ids_of_the_host_are_never_given_to_instances() {
        assert!(load("uid_base = 1000", &[]).unwrap_err().contains("uid_base 1000"));
        assert!(load("uid_base = 4294900000\nuid_count = 67295", &[]).is_err());
        assert!(load("uid_count = 100", &[]).is_err());
    }
}
