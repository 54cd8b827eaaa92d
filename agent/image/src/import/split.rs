//! The header stream of a layer: its tar stream with the larger files taken out and named instead.
//!
//! ```text
//! stream := zstd( MAGIC record* END )
//! record := LITERAL length:u32 bytes | EXTERNAL object:[u8; 32] size:u64
//! END    := 2 tar_bytes:u64
//! ```
//!
//! All numbers are little-endian. With the objects put back where they are named it is the layer's tar stream byte for
//! byte, so that a layer can be given out again with its exact diffID.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"berthS\x00\x01";
const LITERAL: u8 = 0;
const EXTERNAL: u8 = 1;
const END: u8 = 2;
const LITERAL_MAX: usize = 64 * 1024;
/// Headers are nearly all zeros: the fastest level packs them to a fiftieth.
const LEVEL: i32 = 1;

/// Writes a header stream.
pub(crate) struct SplitWriter {
    encoder: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    literal: Vec<u8>,
    tar_bytes: u64,
}

impl SplitWriter {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.write_all(MAGIC)?;
        Ok(Self { encoder, literal: Vec::with_capacity(LITERAL_MAX), tar_bytes: 0 })
    }

    pub(crate) fn literal(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.tar_bytes += bytes.len() as u64;
        while self.literal.len() + bytes.len() >= LITERAL_MAX {
            let (head, rest) = bytes.split_at(LITERAL_MAX - self.literal.len());
            self.literal.extend_from_slice(head);
            self.flush_literal()?;
            bytes = rest;
        }
        self.literal.extend_from_slice(bytes);
        Ok(())
    }

    fn flush_literal(&mut self) -> io::Result<()> {
        if self.literal.is_empty() {
            return Ok(());
        }
        self.encoder.write_all(&[LITERAL])?;
        self.encoder.write_all(&u32::try_from(self.literal.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.encoder.write_all(&self.literal)?;
        self.literal.clear();
        Ok(())
    }

    pub(crate) fn external(&mut self, object: &Digest, size: u64) -> io::Result<()> {
        self.flush_literal()?;
        self.tar_bytes += size;
        self.encoder.write_all(&[EXTERNAL])?;
        self.encoder.write_all(object.as_bytes())?;
        self.encoder.write_all(&size.to_le_bytes())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush_literal()?;
        self.encoder.write_all(&[END])?;
        self.encoder.write_all(&self.tar_bytes.to_le_bytes())?;
        self.encoder.finish()?.flush()
    }
}

/// Reads from one side and records what was read.
pub(crate) struct Tee<R> {
    reader: R,
    writer: SplitWriter,
}

impl<R: Read> Tee<R> {
    pub(crate) fn new(reader: R, writer: SplitWriter) -> Self {
        Self { reader, writer }
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut R, &mut SplitWriter) {
        (&mut self.reader, &mut self.writer)
    }

    pub(crate) fn into_parts(self) -> (R, SplitWriter) {
        (self.reader, self.writer)
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.writer.literal(&buffer[..count])?;
        Ok(count)
    }
}

/// Reads a header stream: literals as a reader, objects where the tar reader expects a body.
pub(crate) struct SplitReader {
    decoder: zstd::stream::read::Decoder<'static, BufReader<File>>,
    literal: Vec<u8>,
    position: usize,
    tar_bytes: u64,
    ended: bool,
}

/// A piece of a layer's tar stream.
pub(crate) enum Part {
    /// Bytes of it.
    Literal(Vec<u8>),
    /// An object, which stands for so many bytes.
    External(Digest, u64),
    End,
}

enum Record {
    Literal,
    External(Digest, u64),
    End,
}

impl SplitReader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::new(File::open(path)?)?;
        let mut magic = [0; MAGIC.len()];
        decoder.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it is no header stream of this version"));
        }
        Ok(Self { decoder, literal: Vec::new(), position: 0, tar_bytes: 0, ended: false })
    }

    /// The object that stands here instead of a body of this size.
    pub(crate) fn external(&mut self, size: u64) -> io::Result<Digest> {
        if self.position < self.literal.len() {
            return Err(damaged("it has bytes where it should name an object"));
        }
        match self.record()? {
            Record::External(object, found) if found == size => Ok(object),
            _ => Err(damaged("it does not name the object of a file")),
        }
    }

    /// All objects that the rest of the stream names.
    pub(crate) fn objects(mut self, mut each: impl FnMut(Digest, u64)) -> io::Result<()> {
        loop {
            match self.record()? {
                Record::Literal => {}
                Record::External(object, size) => each(object, size),
                Record::End => return Ok(()),
            }
        }
    }

    /// The next piece, for whoever puts the tar stream together again.
    pub(crate) fn part(&mut self) -> io::Result<Part> {
        Ok(match self.record()? {
            Record::Literal => {
                self.position = self.literal.len();
                Part::Literal(self.literal.clone())
            }
            Record::External(object, size) => Part::External(object, size),
            Record::End => Part::End,
        })
    }

    /// Bytes of the tar stream, read to its end.
    pub(crate) fn tar_size(mut self) -> io::Result<u64> {
        while !matches!(self.record()?, Record::End) {}
        Ok(self.tar_bytes)
    }

    fn record(&mut self) -> io::Result<Record> {
        if self.ended {
            return Ok(Record::End);
        }
        let mut tag = [0];
        self.decoder.read_exact(&mut tag)?;
        match tag[0] {
            LITERAL => {
                let mut length = [0; 4];
                self.decoder.read_exact(&mut length)?;
                let length = u32::from_le_bytes(length) as usize;
                if length > LITERAL_MAX {
                    return Err(damaged("one of its records is too long"));
                }
                self.literal.resize(length, 0);
                self.position = 0;
                self.decoder.read_exact(&mut self.literal)?;
                self.tar_bytes += length as u64;
                Ok(Record::Literal)
            }
            EXTERNAL => {
                let mut object = [0; 32];
                self.decoder.read_exact(&mut object)?;
                let size = self.number()?;
                self.tar_bytes += size;
                Ok(Record::External(Digest::from_bytes(object), size))
            }
            END => {
                self.ended = true;
                if self.number()? != self.tar_bytes {
                    return Err(damaged("it is not whole"));
                }
                Ok(Record::End)
            }
            _ => Err(damaged("it has a record of an unknown kind")),
        }
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = [0; 8];
        self.decoder.read_exact(&mut number)?;
        Ok(u64::from_le_bytes(number))
    }
}

impl Read for SplitReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.literal.len() {
            match self.record()? {
                Record::Literal => {}
                Record::End => return Ok(0),
                Record::External(..) => return Err(damaged("it names an object where bytes should be")),
            }
        }
        let count = buffer.len().min(self.literal.len() - self.position);
        buffer[..count].copy_from_slice(&self.literal[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader of a stream of these bytes.
    fn stream(parts: &[&[u8]]) -> io::Result<SplitReader> {
        let file = tempfile::NamedTempFile::new()?;
        zstd::stream::copy_encode(&*parts.concat(), &file, LEVEL)?;
        SplitReader::open(file.path())
    }

    fn literal(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&[LITERAL], &length.to_le_bytes()[..], bytes].concat()
    }

    fn end(tar_bytes: u64) -> Vec<u8> {
        [&[END], &tar_bytes.to_le_bytes()[..]].concat()
    }

    #[test]
    fn a_whole_stream_is_read() {
        let external = [&[EXTERNAL], &[7; 32][..], &5u64.to_le_bytes()[..]].concat();
        let mut reader = stream(&[MAGIC, &literal(b"abc"), &external, &end(8)]).unwrap();
        let mut bytes = [0; 3];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!((&bytes, reader.external(5).unwrap()), (b"abc", Digest::from_bytes([7; 32])));
        assert_eq!(reader.tar_size().unwrap(), 8);
    }

    #[test]
    fn a_damaged_stream_says_so() {
        let why = |result: io::Result<u64>| result.unwrap_err().to_string();
        let of_another_version = stream(&[b"berthS\x00\x02", &end(0)]).map(|_| 0);
        assert!(why(of_another_version).contains("no header stream of this version"));
        let too_long = stream(&[MAGIC, &literal(&[0; LITERAL_MAX + 1]), &end(LITERAL_MAX as u64 + 1)]);
        assert!(why(too_long.and_then(SplitReader::tar_size)).contains("too long"));
        let short = stream(&[MAGIC, &literal(b"abc"), &end(4)]);
        assert!(why(short.and_then(SplitReader::tar_size)).contains("not whole"));
        let external = [&[EXTERNAL], &[7; 32][..], &5u64.to_le_bytes()[..]].concat();
        let mut early = stream(&[MAGIC, &literal(b"abc"), &external, &end(8)]).unwrap();
        early.read_exact(&mut [0; 2]).unwrap();
        assert!(why(early.external(5).map(|_| 0)).contains("bytes where it should name an object"));
        let mut other = stream(&[MAGIC, &external, &end(5)]).unwrap();
        assert!(why(other.external(6).map(|_| 0)).contains("does not name the object"));
    }
}
