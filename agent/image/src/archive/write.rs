//! An OCI layout as a tar stream, always the same bytes for the same image.

use std::io::{self, Read, Write};

use super::container::blob_name;
use crate::digest::Digest;

/// Writes one.
pub(crate) struct Writer<W: Write> {
    tar: tar::Builder<W>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { tar: tar::Builder::new(writer) }
    }

    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.append(name, bytes.len() as u64, bytes)
    }

    pub(crate) fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.file(&blob_name(digest), bytes)
    }

    /// A blob that is read while it is written. The size must be right: a header stands before it.
    pub(crate) fn stream(&mut self, digest: &Digest, size: u64, reader: &mut impl Read) -> io::Result<()> {
        let mut counted = Counted { reader, count: 0 };
        self.append(&blob_name(digest), size, &mut counted)?;
        // Nothing may be left either; and a reader that checks what it read does so at its end.
        if counted.count != size || counted.read(&mut [0])? != 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a blob has another size than was said",
            ));
        }
        Ok(())
    }

    fn append(&mut self, name: &str, size: u64, reader: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, name, reader.take(size))
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.tar.into_inner()?.flush()
    }
}

struct Counted<'r, R> {
    reader: &'r mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_size_that_its_header_says() {
        let digest = Digest::of(b"blob");
        let write = |size: u64| Writer::new(io::sink()).stream(&digest, size, &mut &b"blob"[..]);
        write(4).unwrap();
        for size in [3, 5] {
            let error = write(size).unwrap_err();
            assert!(error.to_string().contains("another size"), "{size}: {error}");
        }
    }
}
