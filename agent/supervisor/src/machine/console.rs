//! What a machine's programs and its guest's kernel print: the end of it, and the word of a panic.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// So much of what was printed last is kept, in bytes.
const MAX_TAIL: usize = 2048;

/// So many lines of it are told.
const MAX_LINES: usize = 8;

/// What the kernel prints before the reason of a panic.
const PANIC: &[u8] = b"Kernel panic - not syncing: ";

/// The longest reason that is kept.
const MAX_PANIC: usize = 200;

/// A pipe that is written by what is trusted with nothing.
#[derive(Default)]
pub struct Console {
    file: Option<File>,
    tail: Vec<u8>,
    /// Up to the end of its line. More is printed after a panic than the tail holds.
    panic: Option<Vec<u8>>,
}

impl Console {
    /// It, and the end to be written.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        let reader = OwnedFd::from(reader);
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((Self { file: Some(reader.into()), ..Self::default() }, writer.into()))
    }

    /// Until all who write it have gone.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Takes some of what is there; says whether there was any.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let Some(file) = &mut self.file else { return false };
        match file.read(&mut buffer) {
            Ok(length @ 1..) => {
                self.take(&buffer[..length]);
                return true;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(0) | Err(_) => self.file = None,
        }
        false
    }

    fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        match &mut self.panic {
            Some(reason) => extend_line(reason, bytes),
            None => {
                let at = self.tail.windows(PANIC.len()).position(|window| window == PANIC);
                self.panic = at.map(|at| {
                    let mut reason = Vec::new();
                    extend_line(&mut reason, &self.tail[at + PANIC.len()..]);
                    reason
                });
            }
        }
        let surplus = self.tail.len().saturating_sub(MAX_TAIL);
        self.tail.drain(..surplus);
    }

    /// The last lines, with what introduces them; nothing where nothing was printed.
    pub fn last_words(&self, whose: &str) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(MAX_LINES)..].join("; ");
        if last.is_empty() { String::new() } else { format!(". {whose} says: {last}") }
    }

    /// Why the guest's kernel has panicked, if it has.
    pub fn panic(&self) -> Option<String> {
        self.panic.as_ref().map(|reason| String::from_utf8_lossy(reason).trim().to_owned())
    }
}

/// Adds what is left of the line that was begun.
fn extend_line(line: &mut Vec<u8>, bytes: &[u8]) {
    if line.ends_with(b"\n") {
        return;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    let room = MAX_PANIC.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..end.min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_however_it_is_cut_and_whatever_follows() {
        let mut console = Console::default();
        for byte in b"[ 1.0] Kernel panic - not syncing: sysrq triggered crash\r\n[ 1.1] CPU: 0\r\n" {
            console.take(&[*byte]);
        }
        console.take(&[b'x'; 9000]);
        assert_eq!(console.panic().unwrap(), "sysrq triggered crash");
        assert_eq!(console.tail.len(), MAX_TAIL);
        assert_eq!(console.last_words("It").len(), ". It says: ".len() + MAX_TAIL);
        let mut endless = Console::default();
        endless.take(b"Kernel panic - not syncing: ");
        endless.take(&[b'y'; 9000]);
        assert_eq!(endless.panic().unwrap().len(), MAX_PANIC);
        assert_eq!((Console::default().panic(), Console::default().last_words("It")), (None, String::new()));
    }
}
