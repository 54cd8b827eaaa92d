//! A stored layer as the tar stream it was: header stream and objects put together again, each object checked.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::objects::Objects;
use crate::digest::Digest;
use crate::import::split::{Part, SplitReader};
use crate::import::verity::Verity;

/// Reads a layer's tar stream.
pub(super) struct LayerReader {
    parts: SplitReader,
    objects: PathBuf,
    current: Current,
}

enum Current {
    Literal { bytes: Vec<u8>, position: usize },
    Object(Box<Body>),
    End,
}

struct Body {
    object: Digest,
    file: File,
    left: u64,
    verity: Verity,
}

/// An object that is not what its name says, carried by an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the object {0} of the image store is damaged or missing")]
pub(super) struct DamagedObject(pub(super) Digest);

impl DamagedObject {
    fn error(object: Digest) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(object))
    }

    /// Which object it was, if it was one.
    pub(super) fn of(error: &io::Error) -> Option<Digest> {
        error.get_ref()?.downcast_ref::<Self>().map(|damaged| damaged.0)
    }
}

impl LayerReader {
    pub(super) fn open(stream: &Path, objects: &Path) -> io::Result<Self> {
        let parts = SplitReader::open(stream)?;
        Ok(Self {
            parts,
            objects: objects.to_owned(),
            current: Current::Literal { bytes: Vec::new(), position: 0 },
        })
    }

    /// The next part; an object's end is where it turns out whether it is what it is called.
    fn advance(&mut self) -> io::Result<()> {
        self.current = match self.parts.part()? {
            Part::Literal(bytes) => Current::Literal { bytes, position: 0 },
            Part::External(object, size) => {
                let file = File::open(self.objects.join(Objects::name(&object)));
                let file = file.map_err(|_| DamagedObject::error(object))?;
                if file.metadata()?.len() != size {
                    return Err(DamagedObject::error(object));
                }
                Current::Object(Box::new(Body { object, file, left: size, verity: Verity::new() }))
            }
            Part::End => Current::End,
        };
        Ok(())
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.current {
                Current::End => return Ok(0),
                Current::Literal { bytes, position } if *position < bytes.len() => {
                    let count = buffer.len().min(bytes.len() - *position);
                    buffer[..count].copy_from_slice(&bytes[*position..*position + count]);
                    *position += count;
                    return Ok(count);
                }
                Current::Object(body) if body.left > 0 => return body.read(buffer),
                Current::Object(body) => {
                    let verity = std::mem::replace(&mut body.verity, Verity::new());
                    if verity.finish() != body.object {
                        return Err(DamagedObject::error(body.object));
                    }
                    self.advance()?;
                }
                Current::Literal { .. } => self.advance()?,
            }
        }
    }
}

impl Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        match self.file.read(&mut buffer[..wanted])? {
            0 => Err(DamagedObject::error(self.object)),
            count => {
                self.verity.update(&buffer[..count]);
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Bytes of a layer's tar stream; only its header stream is read.
pub(super) fn tar_size(stream: &Path) -> io::Result<u64> {
    SplitReader::open(stream)?.tar_size()
}
