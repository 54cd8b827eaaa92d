//! The agent of one Linux host.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_agent::daemon::main()
}
