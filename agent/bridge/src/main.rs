//! One a bridge: answers for the names of the instances that are on it, gives addresses to who is on it and is no instance
//! where that is asked for, relays ports of `[::1]`, and outlives the agent.
//!
//! It begins as root in the host's network namespace, gives up all privileges and has from then on what the agent hands to
//! it: sockets, and what to answer. It is single-threaded and static.
//!
//! ```text
//! control (the agent's words) -> server (one task a socket) -> answer  names it knows: pure
//!                                                            -> forward names that the host's resolvers know
//!                                                            -> relay   ports of [::1]
//!                                                            -> dhcp    addresses: what is given is kept in a file
//! ```

mod answer;
mod control;
mod dhcp;
mod forward;
mod relay;
mod server;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use nix::unistd::{Gid, Uid};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "berth-bridge is started by berthd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Says where this is no socket at all.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    // Fails only where this is a session leader already.
    let _ = nix::unistd::setsid();
    give_up_privileges()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, control::serve(listener))
}

/// What others send is read from here on: whoever could turn this process against the host would have nothing with it.
fn give_up_privileges() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    Ok(nix::unistd::setresuid(user, user, user)?)
}
