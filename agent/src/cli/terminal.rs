//! The terminal that `berth` runs on.

use std::io;

use berth_proto::agent::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::error::CliError;

/// A terminal that passes every key on; as it was before when dropped.
pub(super) struct Raw(Termios);

impl Raw {
    pub(super) fn enter() -> Result<Self, CliError> {
        let failed = |errno: nix::Error| CliError::Terminal(errno.into());
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _gone = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// The size of the terminal; a usual one where there is none.
pub(super) fn size() -> TerminalSize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            TerminalSize { rows: size.ws_row.into(), columns: size.ws_col.into() }
        }
        _ => TerminalSize { rows: 24, columns: 80 },
    }
}
