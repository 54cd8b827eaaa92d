//! What a program may do: capabilities, the system call filter, the user.

use berth_runtime::launch::{LaunchError, Stage};
use berth_runtime::spec::ProcessSpec;
use berth_sys::process::install_seccomp;
use caps::{CapSet, Capability};
use nix::unistd::{Gid, Uid};

use crate::Filter;
use crate::failure::{errno_at, launch_error};
use crate::users::User;

/// Docker's default set. All of them count only inside the container's own user namespace.
const ALLOWED: [Capability; 14] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// Gives up all that the program may not have. What is left over takes effect at its exec.
pub fn drop_to(user: &User, filters: &[Filter], process: &ProcessSpec) -> Result<(), LaunchError> {
    let allowed = allowed(process)?;
    for capability in caps::all() {
        if !allowed.contains(&capability) {
            drop_capability(capability)?;
        }
    }
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|_| privileges("capabilities", libc::EPERM))?;
    }
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(errno_at(Stage::Privileges, "no_new_privs"))?;
    }
    // The filter needs a privilege that goes with the user, so it comes first and lets the rest of this through.
    for program in filters.iter().filter(|_| !process.unfiltered) {
        install_seccomp(program).map_err(launch_error(Stage::Privileges, "the system call filter"))?;
    }
    become_user(user).map_err(errno_at(Stage::Privileges, "the user"))
}

/// Those of the spec, or the default ones.
fn allowed(process: &ProcessSpec) -> Result<Vec<Capability>, LaunchError> {
    let Some(names) = &process.capabilities else { return Ok(ALLOWED.to_vec()) };
    names.iter().map(|name| name.parse().map_err(|_| privileges(name, libc::EINVAL))).collect()
}

fn drop_capability(capability: Capability) -> Result<(), LaunchError> {
    match caps::drop(None, CapSet::Bounding, capability) {
        // One that this kernel does not know cannot be had either.
        Err(_) if !caps::runtime::thread_all_supported().contains(&capability) => Ok(()),
        Err(_) => Err(privileges(&capability.to_string(), libc::EPERM)),
        Ok(()) => Ok(()),
    }
}

fn become_user(user: &User) -> nix::Result<()> {
    let mut groups = vec![Gid::from_raw(user.gid)];
    groups.extend(user.supplementary.iter().copied().filter(|gid| *gid != user.gid).map(Gid::from_raw));
    nix::unistd::setgroups(&groups)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

fn privileges(what: &str, errno: i32) -> LaunchError {
    LaunchError { stage: Stage::Privileges, errno, path: what.into() }
}
