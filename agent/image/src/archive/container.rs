//! The tar stream around an image: what is where in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::ArchiveError;
use crate::digest::Digest;
use crate::import::compressed::ChunkSource;
use crate::import::limits::Limits;
use crate::import::tar::{EntryKind, TarReader, display};

const CHUNK: u64 = 256 * 1024;
/// Links in a row that are followed from one name to the next.
const MAX_LINKS: usize = 8;

/// A part of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    offset: u64,
    pub size: u64,
}

enum Found {
    File(Member),
    /// The name that is meant.
    Link(String),
}

/// An archive that was looked through once.
pub(crate) struct Container {
    file: Arc<File>,
    members: HashMap<String, Found>,
}

/// Counts what is read, so that a body's place is known.
struct Counted<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Container {
    /// Looks through a tar file that is not compressed.
    pub(crate) fn open(file: File, limits: &Limits) -> Result<Self, ArchiveError> {
        let file = Arc::new(file);
        let mut members = HashMap::new();
        let source =
            Counted { reader: BufReader::with_capacity(CHUNK as usize, ReadAt::new(&file)), position: 0 };
        let mut tar = TarReader::of_container(source, limits);
        while let Some(entry) = tar.next_entry().map_err(ArchiveError::Tar)? {
            let Some(name) = normal(&entry.path) else { continue };
            let offset = tar.source_mut().position;
            let found = match &entry.kind {
                EntryKind::File => Found::File(Member { offset, size: entry.size }),
                EntryKind::Hardlink(target) => match normal(target) {
                    Some(target) => Found::Link(target),
                    None => continue,
                },
                EntryKind::Symlink(target) => match relative(&name, target) {
                    Some(target) => Found::Link(target),
                    None => continue,
                },
                _ => continue,
            };
            tar.skip_body(&entry).map_err(ArchiveError::Tar)?;
            members.insert(name, found);
        }
        Ok(Self { file, members })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_ok()
    }

    pub(super) fn member(&self, name: &str) -> Result<Member, ArchiveError> {
        let mut current = name;
        for _ in 0..=MAX_LINKS {
            match self.members.get(current) {
                Some(Found::File(member)) => return Ok(*member),
                Some(Found::Link(target)) => current = target,
                None => break,
            }
        }
        Err(ArchiveError::Missing(name.to_owned()))
    }

    /// A small part, whole.
    pub(super) fn read(
        &self,
        name: &str,
        limit_name: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let member = self.member(name)?;
        if member.size > limit {
            return Err(ArchiveError::TooLarge { name: name.to_owned(), limit_name, limit });
        }
        let mut bytes = vec![0; usize::try_from(member.size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, member.offset).map_err(ArchiveError::Read)?;
        Ok(bytes)
    }

    /// A part as a reader.
    pub(super) fn reader(&self, member: Member) -> impl Read + '_ {
        ReadAt { file: &self.file, offset: member.offset, end: member.offset + member.size }
    }

    /// A part as an import takes it.
    pub(crate) fn chunks(&self, member: Member) -> FileChunks {
        FileChunks { file: Arc::clone(&self.file), offset: member.offset, end: member.offset + member.size }
    }

    /// The blob of an OCI layout, checked.
    pub(super) fn blob(
        &self,
        digest: &Digest,
        limit_name: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let name = blob_name(digest);
        let bytes = self.read(&name, limit_name, limit)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(ArchiveError::DigestMismatch { name, expected: *digest, actual });
        }
        Ok(bytes)
    }
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A name without what does not matter in it; `None` for what no part of an image is called.
fn normal(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    join(Vec::new(), text)
}

/// Where a symbolic link of an archive leads.
fn relative(name: &str, target: &[u8]) -> Option<String> {
    let mut base: Vec<&str> = name.split('/').collect();
    base.pop();
    join(base, std::str::from_utf8(target).ok()?)
}

fn join<'t>(mut parts: Vec<&'t str>, text: &'t str) -> Option<String> {
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Reads a stretch of a shared file.
struct ReadAt<'f> {
    file: &'f File,
    offset: u64,
    end: u64,
}

impl<'f> ReadAt<'f> {
    fn new(file: &'f File) -> Self {
        Self { file, offset: 0, end: u64::MAX }
    }
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A stretch of a shared file, chunk by chunk.
pub(crate) struct FileChunks {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl ChunkSource for FileChunks {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let wanted = CHUNK.min(self.end - self.offset);
        if wanted == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; wanted as usize];
        let count = self.file.read_at(&mut chunk, self.offset)?;
        if count == 0 {
            return Ok(None);
        }
        chunk.truncate(count);
        self.offset += count as u64;
        Ok(Some(Bytes::from(chunk)))
    }
}

/// For messages.
pub(super) fn shown(name: &str) -> String {
    display(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_archive() {
        assert_eq!(normal(b"./blobs//sha256/x").as_deref(), Some("blobs/sha256/x"));
        assert_eq!(normal(b"../../etc/passwd"), None);
        assert_eq!(normal(b"a/../index.json").as_deref(), Some("index.json"));
        assert_eq!(relative("a/layer.tar", b"../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(relative("layer.tar", b"../etc/passwd"), None);
        assert_eq!(normal(&[0xff]), None);
    }
}
