//! Processes, namespaces and privileges. All of it is for single-threaded programs: the supervisor and its children.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// linux/sched.h; the constant of libc overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A run of ids inside a user namespace, starting at 0, and where it starts on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The host's id for 0 inside.
    pub host_base: u32,
    /// How many ids there are.
    pub count: u32,
}

/// A process that was cloned, and a descriptor that stays its own when its number is used again.
#[derive(Debug)]
pub struct Child {
    /// Its number as the caller sees it.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Clones the calling process with `flags` (`CLONE_PARENT` among them, if wished) and runs `body` in the child, which
/// never returns from it. On cgroup v2, `cgroup` is where the child begins.
///
/// # Errors
/// What `clone3` says.
pub fn spawn(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = libc::clone_args {
        flags: u64::from(flags.bits().cast_unsigned()) | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: if flags.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?;
    }
    // SAFETY: the caller is single-threaded, so the child's copy of memory is consistent; no memory is shared (no
    // CLONE_VM), and the structure outlives the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<libc::clone_args>())
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = body();
            // SAFETY: ends the child at once; what the parent registered to run at exit is the parent's.
            unsafe { libc::_exit(code) }
        }
        pid => {
            // SAFETY: the kernel has made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?), pidfd })
        }
    }
}

/// A user namespace and a network namespace that it owns, kept alive by descriptors alone.
#[derive(Debug)]
pub struct Namespaces {
    /// The user namespace; `None` is the caller's.
    pub user: Option<OwnedFd>,
    /// The network namespace.
    pub network: OwnedFd,
}

/// Makes a user namespace with the given map, if there is one, and a network namespace owned by it, or else by the
/// caller's. Without `own_network` the network namespace is the caller's.
///
/// # Errors
/// What cloning, writing the maps or opening the descriptors says.
pub fn make_namespaces(map: Option<IdMap>, own_network: bool) -> io::Result<Namespaces> {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWUSER, map.is_some());
    flags.set(CloneFlags::CLONE_NEWNET, own_network);
    // The child only holds them until the descriptors are open; it ends with its parent too.
    let child = spawn(flags, None, || {
        if nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
            nix::unistd::pause();
        }
        1
    })?;
    let made = open_namespaces(child.pid, map);
    signal_pidfd(child.pidfd.as_fd(), Signal::SIGKILL)?;
    nix::sys::wait::waitpid(child.pid, None)?;
    made
}

fn open_namespaces(pid: Pid, map: Option<IdMap>) -> io::Result<Namespaces> {
    let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from);
    if let Some(map) = map {
        let line = format!("0 {} {}", map.host_base, map.count);
        for file in ["uid_map", "gid_map"] {
            let mut file = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}"))?;
            file.write_all(line.as_bytes())?;
        }
    }
    Ok(Namespaces { user: map.map(|_| open("user")).transpose()?, network: open("net")? })
}

/// Enters namespaces: of a namespace's descriptor, or all that `flags` name of a process by its pidfd.
///
/// # Errors
/// What `setns` says.
pub fn enter(fd: BorrowedFd<'_>, flags: CloneFlags) -> io::Result<()> {
    Ok(nix::sched::setns(fd, flags)?)
}

/// A descriptor for a process that need not be a child.
///
/// # Errors
/// What `pidfd_open` says.
pub fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
}

/// Signals a process by its pidfd: never another that was given its number.
///
/// # Errors
/// What `pidfd_send_signal` says; ESRCH when it has ended.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: the information pointer may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as i32,
            std::ptr::null::<u8>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Installs a seccomp program. Without `no_new_privs` the caller must hold CAP_SYS_ADMIN in its user namespace.
///
/// # Errors
/// What `seccomp` says.
pub fn install_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&header))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives back what the allocator holds and nobody uses: what a start needs is more than what follows it.
pub fn give_back_unused_memory() {
    // SAFETY: takes an integer; the allocator knows what is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Closes every descriptor, standard ones too. For a child that was cloned and never returns to code that owns one.
pub fn close_all() {
    // SAFETY: what is closed under its owner is not used again, by this function's contract. It fails only for a range
    // of the wrong order.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
}

/// Marks every descriptor from `first` on to be closed at exec, so that none reaches a workload by oversight.
///
/// # Errors
/// What `close_range` says.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: marks descriptors; none is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the signals that this process ignores back to their defaults: what is ignored stays so across an exec.
///
/// # Errors
/// What `sigaction` says.
pub fn default_signals() -> io::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) }?;
    Ok(())
}

/// Ignores SIGPIPE: a write to a reader who is gone is an error to be seen, not an end.
///
/// # Errors
/// What `sigaction` says.
pub fn ignore_broken_pipes() -> io::Result<()> {
    // SAFETY: ignoring runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) }?;
    Ok(())
}

/// Makes the descriptor the controlling terminal of the calling session leader.
///
/// # Errors
/// What the ioctl says.
pub fn take_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a descriptor and an integer.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tells a terminal's programs how large it is.
///
/// # Errors
/// What the ioctl says.
pub fn resize_terminal(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure outlives the call, and the kernel only reads it.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor whose number was inherited, such as the one a program was told on its command line.
///
/// # Errors
/// EBADF where it is not open.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    nix::fcntl::fcntl(
        // SAFETY: borrowed for this call only, which fails if it is not open.
        unsafe { BorrowedFd::borrow_raw(number) },
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )?;
    // SAFETY: it is open, and the caller says that it was given to it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
