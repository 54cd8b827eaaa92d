//! The workload's output, a line an entry with its time and stream, in files of a bounded size.
//!
//! The format is that of Kubernetes' container runtime interface: `TIME stdout|stderr F|P TEXT`, where P is a part of a line
//! that goes on in the next entry of that stream.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_runtime::logs::CURRENT;
use berth_runtime::spec::LogSpec;

/// One of the workload's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The longest text of an entry, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// The open log of an instance.
pub struct Log {
    spec: LogSpec,
    file: File,
    size: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Log {
    /// Opens the current file and goes on at its end.
    pub fn open(spec: LogSpec) -> io::Result<Self> {
        fs::create_dir_all(&spec.directory)?;
        let file = open(&spec.directory.join(CURRENT))?;
        let size = file.metadata()?.len();
        Ok(Self { spec, file, size, stdout: Vec::new(), stderr: Vec::new() })
    }

    /// Takes what the workload wrote. A disk that is full costs lines, never the workload.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut pending = std::mem::take(self.pending(stream));
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.entry(stream, &rest[..end], false);
            rest = &rest[end + 1..];
        }
        while rest.len() >= MAX_TEXT {
            self.entry(stream, &rest[..MAX_TEXT], true);
            rest = &rest[MAX_TEXT..];
        }
        let rest = rest.to_vec();
        *self.pending(stream) = rest;
    }

    /// Writes what has no newline: the workload has ended.
    pub fn flush(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(self.pending(stream));
            if !rest.is_empty() {
                self.entry(stream, &rest, false);
            }
        }
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn entry(&mut self, stream: Stream, text: &[u8], partial: bool) {
        for (index, chunk) in text.chunks(MAX_TEXT).chain(text.is_empty().then_some(text)).enumerate() {
            let more = partial || (index + 1) * MAX_TEXT < text.len();
            let tag = if more { "P" } else { "F" };
            let mut line = format!("{} {} {tag} ", timestamp(SystemTime::now()), stream.name()).into_bytes();
            line.extend_from_slice(chunk);
            line.push(b'\n');
            let _ = self.append(&line);
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.spec.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..=self.spec.keep).rev() {
            let from = if number == 1 {
                self.path(CURRENT.into())
            } else {
                self.path(format!("{}.log", number - 1))
            };
            match fs::rename(from, self.path(format!("{number}.log"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.spec.keep == 0 {
            fs::remove_file(self.path(CURRENT.into()))?;
        }
        self.file = open(&self.path(CURRENT.into()))?;
        self.size = 0;
        Ok(())
    }

    fn path(&self, name: String) -> PathBuf {
        self.spec.directory.join(name)
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// RFC 3339 in UTC, with nanoseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// The date of a day since 1970-01-01. Years begin in March here, so that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn log(max_bytes: u64, keep: u32) -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(LogSpec { directory: directory.path().into(), max_bytes, keep }).unwrap();
        (directory, log)
    }

    fn texts(directory: &tempfile::TempDir, name: &str) -> Vec<String> {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::new(seconds, 5));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(at(1_795_508_485), "2026-11-24T08:21:25.000000005Z");
    }

    #[test]
    fn lines_of_both_streams_are_kept_apart_until_they_are_whole() {
        let (directory, mut log) = log(1 << 20, 1);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"problem\n");
        log.write(Stream::Stdout, b"o\n\nrest");
        log.flush();
        assert_eq!(
            texts(&directory, CURRENT),
            ["stdout F one", "stderr F problem", "stdout F two", "stdout F ", "stdout F rest"]
        );
    }

    #[test]
    fn a_long_line_is_in_parts() {
        let (directory, mut log) = log(1 << 20, 1);
        log.write(Stream::Stdout, &vec![b'x'; MAX_TEXT + 10]);
        log.write(Stream::Stdout, b"\n");
        let texts = texts(&directory, CURRENT);
        assert_eq!((texts.len(), &texts[0][..9], texts[1].as_str()), (2, "stdout P ", "stdout F xxxxxxxxxx"));
    }

    #[test]
    fn old_files_go_when_there_are_enough() {
        let (directory, mut log) = log(100, 2);
        for number in 0..10 {
            log.write(Stream::Stdout, format!("{number} {}\n", "x".repeat(40)).as_bytes());
        }
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1.log", "2.log", CURRENT]);
        assert!(texts(&directory, CURRENT)[0].starts_with("stdout F 9"));
        assert!(texts(&directory, "1.log")[0].starts_with("stdout F 8"));
    }
}
