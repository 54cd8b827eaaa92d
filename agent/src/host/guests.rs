//! What virtual machines need of the host: programs, a kernel, something that runs a guest's instructions.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use berth_domain::{Limits, machine};
use berth_engine::ports::host::{CheckItem, Outcome};
use berth_runtime::control::MachineSize;
use berth_runtime::spec::VmSpec;
use berth_vm::accelerator::{self, Accelerator, Choice};
use berth_vm::boot::{self, BootError, BootFiles};

use super::Place;
use super::supervisor::{Finder, is_program};
use crate::daemon::Vm;

/// Where distributions put them; the first that is there is used.
const QEMU: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm"];
const VIRTIOFSD: [&str; 4] =
    ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd", "/usr/bin/virtiofsd"];

/// More processors than this are not given to a machine that asks for no number.
const MAX_CPUS: u32 = 4;

/// QEMU keeps a little of each page that could be plugged in: 6 MiB for these.
const MAX_PLUGGED: u64 = 64 << 30;

/// What QEMU, its translated code and virtiofsd need beside the guest's memory.
const OVERHEAD: u64 = 256 << 20;

/// Why no machine can be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestError {
    #[error("there is no QEMU: looked for {0}")]
    Qemu(String),
    #[error("there is no virtiofsd: looked for {0}")]
    Virtiofsd(String),
    #[error("there is no berth-guest-init beside the supervisor")]
    Init,
    #[error(transparent)]
    Boot(#[from] BootError),
}

impl GuestError {
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Qemu(_) => "Install the package qemu-system-x86, or name the program as vm.qemu in the configuration",
            Self::Virtiofsd(_) => {
                "Install the package virtiofsd or qemu-system-common, or name the program as vm.virtiofsd in the \
                 configuration"
            }
            Self::Init => "Put berth-guest-init beside berth-supervisor",
            Self::Boot(BootError::NoKernel | BootError::Modules(_)) => "Install the package linux-image-cloud-amd64",
            Self::Boot(_) => "Check vm.kernel in the configuration, and the space in the data directory",
        }
        .to_owned()
    }
}

/// The host, as machines see it.
#[derive(Debug, Clone)]
pub(super) struct Guests {
    files: Arc<BootFiles>,
    /// The run directories of instances.
    instances: PathBuf,
    finder: Finder,
    config: Vm,
    accelerator: Arc<OnceLock<Choice>>,
}

impl Guests {
    pub(super) fn new(place: &Place, finder: Finder, config: Vm) -> Self {
        let files = Arc::new(BootFiles::new(place.data.join("vm")));
        Self { files, instances: place.run.join("instances"), finder, config, accelerator: Arc::default() }
    }

    /// A machine with these limits. Blocks: at the first time files are made.
    pub(super) fn spec(&self, limits: &Limits) -> Result<VmSpec, GuestError> {
        let (qemu, virtiofsd) = (self.qemu()?, self.virtiofsd()?);
        let kernel = boot::find_kernel(Path::new("/"), self.config.kernel.as_deref())?;
        let boot = self.files.prepare(&kernel, &self.init()?)?;
        let Choice { accelerator, reason } = self.choice();
        let kvm = *accelerator == Accelerator::Kvm;
        let MachineSize { cpus, memory_bytes } = size(limits);
        let max_memory_bytes = if boot.plugs_memory { pluggable_memory().max(memory_bytes) } else { 0 };
        Ok(VmSpec {
            kernel: boot.kernel,
            initramfs: boot.initramfs,
            qemu,
            virtiofsd,
            kvm,
            kvm_reason: reason.clone(),
            memory_bytes,
            cpus,
            max_memory_bytes,
            max_cpus: u32::try_from(machine::MAX_PLUGGED_CPUS).unwrap_or(u32::MAX).max(cpus),
            has_slots: true,
            // Under translation, on a host that is busy.
            boot_timeout_ms: if kvm { 30_000 } else { 120_000 },
        })
    }

    /// Removes the boot files that neither the configuration nor a machine that runs has a use for. Blocks; called before
    /// anything is started.
    pub(super) fn prune(&self) -> Result<(), GuestError> {
        if !self.files.exist() {
            return Ok(());
        }
        let homes = std::fs::read_dir(&self.instances).into_iter().flatten().flatten();
        let mut keep = Vec::new();
        for home in homes.map(|entry| entry.path()) {
            match super::runtime::launch_spec(&home) {
                Some(spec) => keep.extend(spec.vm.into_iter().flat_map(|vm| [vm.kernel, vm.initramfs])),
                // What it boots from is not known.
                None if home.join("spec.json").exists() => return Ok(()),
                None => {}
            }
        }
        let kernel = boot::find_kernel(Path::new("/"), self.config.kernel.as_deref())?;
        Ok(self.files.prune(&kernel, &self.init()?, &keep)?)
    }

    /// Probed once: it takes a while where it is of no use.
    fn choice(&self) -> &Choice {
        self.accelerator.get_or_init(|| accelerator::choose(self.config.accelerator()))
    }

    fn qemu(&self) -> Result<PathBuf, GuestError> {
        program(self.config.qemu.as_ref(), &QEMU).map_err(GuestError::Qemu)
    }

    fn virtiofsd(&self) -> Result<PathBuf, GuestError> {
        program(self.config.virtiofsd.as_ref(), &VIRTIOFSD).map_err(GuestError::Virtiofsd)
    }

    fn init(&self) -> Result<PathBuf, GuestError> {
        let beside = self.finder.find().map(|supervisor| supervisor.with_file_name("berth-guest-init"));
        beside.filter(|path| is_program(path)).ok_or(GuestError::Init)
    }

    /// What is there and what is missing. A host without is limited to containers.
    pub(super) fn checks(&self) -> Vec<CheckItem> {
        let item = |name: &str, found: Result<PathBuf, GuestError>| match found {
            Ok(path) => check(name, Outcome::Ok, path.display().to_string(), String::new()),
            Err(error) => check(name, Outcome::Limited, error.to_string(), error.advice()),
        };
        let kernel = boot::find_kernel(Path::new("/"), self.config.kernel.as_deref());
        let Choice { accelerator, reason } = self.choice();
        let (outcome, name) = match accelerator {
            Accelerator::Kvm => (Outcome::Ok, "KVM"),
            Accelerator::Tcg => (Outcome::Limited, "QEMU's translation, tens of times slower"),
        };
        let fix = "Run the agent where KVM is: on hardware, or in a machine with nested virtualization";
        vec![
            item("vm qemu", self.qemu()),
            item("vm virtiofsd", self.virtiofsd()),
            item("vm init", self.init()),
            item("vm kernel", kernel.map(|kernel| kernel.image).map_err(GuestError::from)),
            check("vm accelerator", outcome, format!("{name}: {reason}"), fix.to_owned()),
        ]
    }
}

/// What a machine with these limits has.
pub(super) fn size(limits: &Limits) -> MachineSize {
    let here = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let cpus = machine::cpus(limits).map_or(here.min(MAX_CPUS), |n| u32::try_from(n).unwrap_or(u32::MAX));
    MachineSize { cpus, memory_bytes: limits.memory_bytes.unwrap_or(machine::DEFAULT_MEMORY) }
}

/// How long a guest may take to make of itself what it is told. What it uses it cannot give back, however long it tries.
pub(super) fn patience_ms(vm: &VmSpec) -> u64 {
    vm.boot_timeout_ms / 4
}

/// What a guest can be given while it runs: no more than there is.
fn pluggable_memory() -> u64 {
    nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total()).min(MAX_PLUGGED)
}

/// What runs a machine's instructions, and why it is that.
pub(super) fn accelerator(vm: &VmSpec) -> String {
    let name = if vm.kvm { "KVM" } else { "QEMU's translation" };
    if vm.kvm_reason.is_empty() { name.to_owned() } else { format!("{name}: {}", vm.kvm_reason) }
}

/// What a control group allows for a machine whose guest has this much.
pub(super) fn with_overhead(memory: u64) -> u64 {
    memory.saturating_add(OVERHEAD)
}

fn check(name: &str, outcome: Outcome, found: String, fix: String) -> CheckItem {
    let fix = if outcome == Outcome::Ok { String::new() } else { fix };
    CheckItem { name: name.to_owned(), outcome, found, fix }
}

/// The configured program or the first that is there; or else the places that were looked at.
fn program(configured: Option<&PathBuf>, places: &[&str]) -> Result<PathBuf, String> {
    let mut places =
        configured.map_or_else(|| places.iter().map(PathBuf::from).collect(), |path| vec![path.clone()]);
    match places.iter().position(|path| is_program(path)) {
        Some(index) => Ok(places.swap_remove(index)),
        None => Err(places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")),
    }
}
