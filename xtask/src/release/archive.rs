//! The two forms that a release is packed in: a zip for Terraform, a compressed tar for hosts.

use std::io::{self, Write as _};

use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc, GzBuilder};

/// A file in an archive.
pub struct Entry {
    name: String,
    mode: u16,
    content: Vec<u8>,
}

impl Entry {
    /// One that is run.
    pub fn program(name: String, content: Vec<u8>) -> Self {
        Self { name, mode: 0o755, content }
    }

    /// One that is read.
    pub fn text(name: String, content: Vec<u8>) -> Self {
        Self { name, mode: 0o644, content }
    }
}

/// Midnight of the first day that a zip can tell, which stands for no time.
const NO_TIME: [u8; 4] = [0, 0, 0x21, 0];

/// A zip of few and small files: none of the fields is wider than 32 bits.
pub fn zip(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = number(archive.len())?;
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
        deflated.write_all(&entry.content)?;
        let deflated = deflated.finish()?;
        let mut crc = Crc::new();
        crc.update(&entry.content);
        // What both of its headers say: version 2.0, no flags, deflated.
        let mut common = vec![20, 0, 0, 0, 8, 0];
        common.extend(NO_TIME);
        common.extend(crc.sum().to_le_bytes());
        common.extend(number(deflated.len())?);
        common.extend(number(entry.content.len())?);
        common.extend(short(entry.name.len())?);
        common.extend([0, 0]);

        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(entry.name.as_bytes());
        archive.extend(deflated);

        // Made on Unix, so that the mode counts.
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(common);
        // No comment, the first disk, no text.
        directory.extend([0; 6]);
        directory.extend((u32::from(0o100_000 | entry.mode) << 16).to_le_bytes());
        directory.extend(at);
        directory.extend(entry.name.as_bytes());
    }
    let (start, length) = (number(archive.len())?, number(directory.len())?);
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(short(entries.len())?);
    archive.extend(short(entries.len())?);
    archive.extend(length);
    archive.extend(start);
    archive.extend([0, 0]);
    Ok(archive)
}

fn number(length: usize) -> io::Result<[u8; 4]> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(io::Error::other)
}

fn short(length: usize) -> io::Result<[u8; 2]> {
    u16::try_from(length).map(u16::to_le_bytes).map_err(io::Error::other)
}

/// A tar of root's files and no directories: unpacked into `/` it changes nothing but what it brings.
pub fn tar_gz(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let compressed: GzEncoder<Vec<u8>> = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(compressed);
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode.into());
        header.set_size(entry.content.len().try_into().map_err(io::Error::other)?);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, &entry.name, entry.content.as_slice())?;
    }
    archive.into_inner()?.finish()
}
