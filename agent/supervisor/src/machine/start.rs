//! The processes of a machine.
//!
//! ```text
//! supervisor -> outer: joins the control group, enters or makes every namespace, and goes
//!            -> pid 1 (cloned by outer): arranges root file system, volumes and binds, hands them out, reaps
//!            -> virtiofsd: the instance's root; sees its own code and what pid 1 has arranged
//!            -> QEMU: nobody in particular; sees its own code, the kernel and the initramfs
//! ```
//!
//! All three are the supervisor's children. They end with pid 1, and pid 1 with the supervisor.

use std::cell::Cell;
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::{LaunchSpec, VmSpec};
use berth_sys::mount::new_filesystem;
use berth_sys::process::{Child, close_on_exec_from, default_signals, enter, open_pidfd, spawn};
use berth_sys::socket::{receive_with_descriptors, send_with_descriptors};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid};
use rustix::mount::MountAttrFlags;

use super::qemu::{self, Inherited};
use super::view::{Place, View, read_only};
use crate::container::attach;
use crate::container::init::{self, Init};
use crate::container::{Prepared, arrange_share};
use crate::failure::{FailurePipe, errno_at, launch_error};
use crate::host::{Host, cgroup_error, inside};

/// Who QEMU is, of the instance's ids: owner of nothing.
const NOBODY: u32 = 65_534;

/// The far ends of the machine's descriptors, and what its programs see.
pub struct Parts {
    /// Two of a kind: each is put in one place.
    views: [View; 2],
    /// The kernel and the initramfs, and the door to the processor where it is used.
    boot: Vec<Place>,
    listener: OwnedFd,
    share: OwnedFd,
    channel: OwnedFd,
    monitor: OwnedFd,
    /// QEMU's, and virtiofsd's.
    consoles: [OwnedFd; 2],
}

/// What was started.
pub struct Processes {
    pub init: Init,
    pub virtiofsd: Child,
    pub qemu: Child,
}

impl Parts {
    /// `channel`, `monitor`: what QEMU is to have of them; `consoles`: what it and virtiofsd print to.
    pub fn open(
        spec: &LaunchSpec,
        vm: &VmSpec,
        host: &Host,
        [channel, monitor]: [OwnedFd; 2],
        consoles: [OwnedFd; 2],
    ) -> Result<Self, LaunchError> {
        let mut boot = vec![
            read_only(&vm.kernel, Path::new(qemu::KERNEL))?,
            read_only(&vm.initramfs, Path::new(qemu::INITRAMFS))?,
        ];
        if vm.kvm {
            let path = Path::new("/dev/kvm");
            let (tree, device) = attach::node(path, NOBODY, host.ground(spec))?;
            host.allow_devices([device])?;
            boot.push(Place { path: path.to_owned(), tree, is_directory: false });
        }
        let sockets = inside(&host.namespaces.network, share_sockets);
        let (listener, share) =
            sockets.and_then(|made| made).map_err(launch_error(Stage::Init, "virtiofsd's socket"))?;
        Ok(Self { views: [View::open()?, View::open()?], boot, listener, share, channel, monitor, consoles })
    }
}

/// A listener, which virtiofsd wants, and the one connection to it. Its name is none of a file system's, and of a network
/// namespace in which there is nobody else.
fn share_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    };
    let socket = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (listener, connection) = (socket()?, socket()?);
    // No name: the kernel gives one that is free.
    bind(&listener, &rustix::net::SocketAddrUnix::new_unnamed())?;
    listen(&listener, 1)?;
    connect(&connection, &getsockname(&listener)?)?;
    Ok((listener, connection))
}

/// What the processes of a start share with the supervisor while it lasts.
struct Start<'a> {
    spec: &'a LaunchSpec,
    vm: &'a VmSpec,
    host: &'a Host,
    parts: &'a Parts,
    /// Taken by the outer process, so that the programs have none of it.
    prepared: Cell<Option<Prepared>>,
    failures: FailurePipe,
}

/// Starts all three, and waits until their programs were executed.
pub fn start(spec: &LaunchSpec, vm: &VmSpec, host: &Host, parts: &Parts) -> Result<Processes, LaunchError> {
    let at = |stage| launch_error(stage, &spec.id);
    let prepared = Prepared::open(&host.rootfs, spec, host.ground(spec))?;
    let failures = FailurePipe::new().map_err(at(Stage::Init))?;
    let start = Start { spec, vm, host, parts, prepared: Cell::new(Some(prepared)), failures };
    let (reader, writer) = io::pipe().map_err(at(Stage::Init))?;
    let cgroup = host.cgroup.open().map_err(|error| cgroup_error(&error))?;
    let outer = spawn(CloneFlags::empty(), cgroup.as_ref().map(AsFd::as_fd), || match start.all(&writer) {
        Ok(()) => 0,
        Err(error) => {
            start.failures.send(&error);
            1
        }
    })
    .map_err(at(Stage::Init))?;
    drop(writer);
    nix::sys::wait::waitpid(outer.pid, None).map_err(errno_at(Stage::Init, &spec.id))?;
    let pids = init::read_pids(reader.into());
    let result = match (start.failures.wait(Stage::Init), pids.as_slice()) {
        (Ok(()), &[init, virtiofsd, qemu]) => {
            let child = |pid| Ok(Child { pid, pidfd: open_pidfd(pid).map_err(at(Stage::Init))? });
            let mounts =
                start.prepared.take().map(Prepared::settle).transpose().map(Option::unwrap_or_default);
            mounts.and_then(|mounts| {
                let pidfd = open_pidfd(init).map_err(at(Stage::Init))?;
                let init = Init { pid: init, pidfd, namespaces: init::ALL, mounts };
                Ok(Processes { init, virtiofsd: child(virtiofsd)?, qemu: child(qemu)? })
            })
        }
        (failed, _) => {
            let unknown = LaunchError { stage: Stage::Init, errno: 0, path: (&spec.id).into() };
            Err(failed.err().unwrap_or(unknown))
        }
    };
    if result.is_err() {
        give_up(&pids);
    }
    result
}

/// All are children that nobody has waited for yet; pid 1 is the first.
fn give_up(pids: &[nix::unistd::Pid]) {
    if let Some(init) = pids.first() {
        let _ = nix::sys::signal::kill(*init, Signal::SIGKILL);
    }
    for pid in pids.iter().rev() {
        let _ = nix::sys::wait::waitpid(*pid, None);
    }
}

impl Start<'_> {
    /// In the outer process: its children become the supervisor's.
    fn all(&self, pids: &io::PipeWriter) -> Result<(), LaunchError> {
        let at = |stage| launch_error(stage, &self.spec.id);
        init::join_cgroup(self.host)?;
        let namespaces = &self.host.namespaces;
        enter(namespaces.network.as_fd(), CloneFlags::CLONE_NEWNET).map_err(at(Stage::Namespaces))?;
        // A machine always has one: QEMU and virtiofsd are nobody on the host.
        let user = namespaces.user.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        user.and_then(|user| enter(user.as_fd(), CloneFlags::CLONE_NEWUSER))
            .map_err(at(Stage::Namespaces))?;
        init::become_root().map_err(errno_at(Stage::Namespaces, &self.spec.id))?;
        nix::sched::unshare(init::FRESH).map_err(errno_at(Stage::Namespaces, &self.spec.id))?;
        let (here, there) = UnixStream::pair().map_err(at(Stage::Init))?;
        let prepared = self.prepared.take();
        let pid_1 = || self.settle(|| self.init(prepared.as_ref(), &there));
        let child = spawn(CloneFlags::CLONE_PARENT, None, pid_1).map_err(at(Stage::Init))?;
        init::write_pid(pids, child.pid);
        drop((prepared, there));
        // Where it fails, it says why itself.
        let Ok((1.., trees)) = receive_with_descriptors(here.as_fd(), &mut [0]) else { return Ok(()) };
        let Some(tree) = trees.into_iter().next() else { return Ok(()) };
        let shared = Place { path: qemu::SHARED.into(), tree, is_directory: true };
        for program in [&(|| self.share(&shared)) as &dyn Fn() -> _, &|| self.machine()] {
            let child = spawn(CloneFlags::CLONE_PARENT, None, || self.settle(program));
            init::write_pid(pids, child.map_err(at(Stage::Exec))?.pid);
        }
        Ok(())
    }

    /// In a child: what it comes back with is why it failed.
    fn settle(&self, body: impl FnOnce() -> Result<i32, LaunchError>) -> i32 {
        body().unwrap_or_else(|error| {
            self.failures.send(&error);
            127
        })
    }

    fn init(&self, prepared: Option<&Prepared>, ready: &UnixStream) -> Result<i32, LaunchError> {
        let Self { spec, .. } = self;
        let at = || errno_at(Stage::Init, &spec.id);
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(at())?;
        // The others keep sight of the host until they have what they need of it.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(at())?;
        berth_sys::mount::make_all_private().map_err(launch_error(Stage::Mount, "/"))?;
        let Some(prepared) = prepared else { return Ok(1) };
        let tree = arrange_share(prepared, &spec.kernel)?;
        send_with_descriptors(ready.as_fd(), &[1], &[tree.as_fd()])
            .map_err(launch_error(Stage::Init, &spec.id))?;
        Ok(init::stay())
    }

    fn share(&self, shared: &Place) -> Result<i32, LaunchError> {
        let plain = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        unshare_mounts(&self.spec.id)?;
        // It reaches files by its own descriptors, which only /proc lets it open again.
        let proc = new_filesystem("proc", &[], plain).map_err(launch_error(Stage::Mount, "/proc"))?;
        let proc = Place { path: "/proc".into(), tree: proc, is_directory: true };
        self.parts.views[0].enter(&[&proc, shared])?;
        // It holds a descriptor of every file that the guest knows of.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(errno_at(Stage::Rlimit, "virtiofsd"))?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(errno_at(Stage::Rlimit, "virtiofsd"))?;
        let listener = self.parts.listener.as_fd();
        let arguments = qemu::share_arguments(listener.as_raw_fd());
        self.execute(&self.vm.virtiofsd, &arguments, &self.parts.consoles[1], &[listener])
    }

    fn machine(&self) -> Result<i32, LaunchError> {
        let privileges = || errno_at(Stage::Privileges, &self.vm.qemu);
        unshare_mounts(&self.spec.id)?;
        self.parts.views[1].enter(&self.parts.boot.iter().collect::<Vec<_>>())?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        nix::unistd::setresgid(gid, gid, gid).map_err(privileges())?;
        nix::unistd::setresuid(uid, uid, uid).map_err(privileges())?;
        nix::sys::prctl::set_no_new_privs().map_err(privileges())?;
        let taps = self.host.taps.iter();
        let taps = taps.map(|tap| (tap.fd.as_raw_fd(), tap.slot, tap.spec.mac.clone())).collect();
        let Parts { channel, share, monitor, .. } = self.parts;
        let inherited = Inherited {
            monitor: monitor.as_raw_fd(),
            channel: channel.as_raw_fd(),
            share: share.as_raw_fd(),
            taps,
        };
        let arguments = qemu::arguments(self.vm, &self.spec.id, &inherited);
        let mut kept = vec![channel.as_fd(), share.as_fd(), monitor.as_fd()];
        kept.extend(self.host.taps.iter().map(|tap| tap.fd.as_fd()));
        self.execute(&self.vm.qemu, &arguments, &self.parts.consoles[0], &kept)
    }

    /// Becomes a program that keeps these descriptors; comes back only with the reason why not.
    fn execute(
        &self,
        program: &Path,
        arguments: &[String],
        console: &OwnedFd,
        kept: &[BorrowedFd<'_>],
    ) -> Result<i32, LaunchError> {
        let at = || launch_error(Stage::Boot, program);
        let null = std::fs::File::open("/dev/null").map_err(at())?;
        let failed = || errno_at(Stage::Boot, program);
        nix::unistd::dup2_stdin(&null).map_err(failed())?;
        nix::unistd::dup2_stdout(console).map_err(failed())?;
        nix::unistd::dup2_stderr(console).map_err(failed())?;
        close_on_exec_from(3).map_err(at())?;
        for fd in kept {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map_err(failed())?;
        }
        default_signals().map_err(at())?;
        SigSet::empty().thread_set_mask().map_err(failed())?;
        let c_string = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| at()(io::ErrorKind::InvalidInput.into()))
        };
        let file = c_string(program.as_os_str())?;
        let mut argv = vec![file.clone()];
        for argument in arguments {
            argv.push(c_string(argument.as_ref())?);
        }
        let environment: [CString; 0] = [];
        let Err(errno) = nix::unistd::execve(&file, &argv, &environment);
        // The console is where its own words would be.
        let _ = io::stderr().write_all(format!("{}: {errno}\n", program.display()).as_bytes());
        Err(failed()(errno))
    }
}

fn unshare_mounts(id: &str) -> Result<(), LaunchError> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(errno_at(Stage::Namespaces, id))
}
