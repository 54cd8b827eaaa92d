//! Where the supervisor's program is.

use std::path::{Path, PathBuf};

const NAME: &str = "berth-supervisor";
const TLS_PROBE: &str = "berth-tls-probe";
const VARIABLE: &str = "BERTH_SUPERVISOR";
const INSTALLED: &str = "/usr/libexec/berth";

/// Looks for the supervisor's program anew each time: it may be installed while the agent runs.
#[derive(Debug, Clone)]
pub(super) struct Finder {
    configured: Option<PathBuf>,
}

impl Finder {
    pub(super) fn new(configured: Option<PathBuf>) -> Self {
        Self { configured }
    }

    /// The program; what is configured is never passed over.
    pub(super) fn find(&self) -> Option<PathBuf> {
        let said = self.configured.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        if let Some(path) = said {
            return is_program(&path).then_some(path);
        }
        self.candidates().into_iter().find(|path| is_program(path))
    }

    /// Another program, which is installed beside it.
    pub(super) fn find_beside(&self, name: &str) -> Option<PathBuf> {
        let mut places = vec![Path::new(INSTALLED).join(name)];
        places.extend(self.find().map(|supervisor| supervisor.with_file_name(name)));
        places.into_iter().rev().find(|path| is_program(path))
    }

    /// The program for health checks over TLS.
    pub(super) fn tls_probe(&self) -> PathBuf {
        self.find_beside(TLS_PROBE).unwrap_or_else(|| Path::new(INSTALLED).join(TLS_PROBE))
    }

    /// What to do where there is none.
    pub(super) fn advice(&self) -> String {
        match self.configured.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from)) {
            Some(path) => format!("Put the program {NAME} at {}, or name another place", path.display()),
            None => format!(
                "Put the program {NAME} beside berthd or into {INSTALLED}, or give its path as supervisor in the \
                 configuration or in {VARIABLE}"
            ),
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(NAME)));
        beside.into_iter().chain([Path::new(INSTALLED).join(NAME)]).collect()
    }
}

pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether a program needs no library of the host: it has no interpreter. Only 64-bit little-endian ELF is known.
pub(super) fn is_static(program: &[u8]) -> Option<bool> {
    const INTERPRETER: u32 = 3;
    let half = |at: usize| Some(u16::from_le_bytes(program.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(program.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_le_bytes(program.get(at..at + 8)?.try_into().ok()?));
    if program.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (usize::try_from(long(32)?).ok()?, usize::from(half(54)?), half(56)?);
    for index in 0..usize::from(count) {
        if word(table.checked_add(index * size)?)? == INTERPRETER {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        let dynamic = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&dynamic), Some(false));
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn what_is_configured_is_never_passed_over() {
        let finder = Finder::new(Some("/nowhere/berth-supervisor".into()));
        assert_eq!(finder.find(), None);
        assert!(finder.advice().contains("/nowhere/"));
        assert_eq!(Finder::new(Some("/bin/sh".into())).find(), Some("/bin/sh".into()));
    }
}
