//! The tar stream of a layer, entry by entry: ustar, GNU and PAX, read strictly.
//!
//! Where two headers disagree, PAX wins over ustar in everything, the size of the body too. What several readers are
//! known to read differently (a PAX path beside a GNU long name, global headers that change entries, sparse files) is
//! refused.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::limits::Limits;
use super::pax::{self, PaxError, Records};

/// The ids an instance has; an id above it cannot be mapped.
pub const MAX_ID: u32 = 65_535;
const BLOCK: usize = 512;
const MODE_BITS: u32 = 0o7777;

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub kind: EntryKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nanos: u32,
    /// Bytes of the body that follows.
    pub size: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    /// Device number as the kernel encodes it on disk.
    Character(u32),
    Block(u32),
    Fifo,
}

/// Why a tar stream was refused. Paths are shown as far as they are text.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream ends in the middle of an entry.
    #[error("the stream ends in the middle of {0:?}")]
    Truncated(String),
    /// The stream could not be read.
    #[error("cannot read the stream")]
    Read(#[source] io::Error),
    /// A header whose checksum is wrong.
    #[error("entry {number} is no tar header: its checksum is wrong")]
    Checksum {
        /// Counted from 1.
        number: u64,
    },
    /// A number that is none.
    #[error("the {field} of {path:?} is not a number in range")]
    Number {
        /// The entry.
        path: String,
        /// Which field.
        field: &'static str,
    },
    /// Malformed PAX records.
    #[error("the PAX header before {path:?} is malformed")]
    Pax {
        /// The entry, or the one before it.
        path: String,
        /// Why.
        #[source]
        source: PaxError,
    },
    /// Headers that contradict each other.
    #[error("{path:?} has headers that contradict each other: {why}")]
    Ambiguous {
        /// The entry.
        path: String,
        /// In what.
        why: &'static str,
    },
    /// A kind of entry that no image may have.
    #[error("{path:?} is a {kind}, which is not supported in images")]
    Unsupported {
        /// The entry.
        path: String,
        /// What it is.
        kind: String,
    },
    /// An owner outside of what an instance can map.
    #[error("{path:?} belongs to {field} {id}: ids above {MAX_ID} are not available in instances")]
    Id {
        /// The entry.
        path: String,
        /// uid or gid.
        field: &'static str,
        /// The id.
        id: i64,
    },
    /// Over one of [`Limits`].
    #[error("{path:?} is over the limit {name} of {limit}")]
    Limit {
        /// The entry.
        path: String,
        /// The limit's name.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
}

/// For messages: text, and not endless.
pub(crate) fn display(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(path);
    if text.chars().count() <= SHOWN {
        return text.into_owned();
    }
    text.chars().take(SHOWN).collect::<String>() + "…"
}

/// Extended headers that were read and wait for their entry.
#[derive(Default)]
struct Extended {
    pax: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// Reads entries from a source. After an entry its body must be read or skipped.
pub(crate) struct TarReader<'l, R> {
    source: R,
    limits: &'l Limits,
    entries: u64,
    last: Vec<u8>,
    /// Whose the entries are matters to an instance, and not in an archive around an image.
    owners: bool,
}

impl<'l, R: Read> TarReader<'l, R> {
    pub(crate) fn new(source: R, limits: &'l Limits) -> Self {
        Self { source, limits, entries: 0, last: Vec::new(), owners: true }
    }

    /// For the tar stream around an image, not a layer.
    pub(crate) fn of_container(source: R, limits: &'l Limits) -> Self {
        Self { owners: false, ..Self::new(source, limits) }
    }

    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// The next entry; `None` at the end of the archive, when the rest of the stream has been read too.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extended = Extended::default();
        loop {
            let Some(header) = self.header()? else {
                if extended.pax.is_some() || extended.long_name.is_some() || extended.long_link.is_some() {
                    return Err(TarError::Truncated(display(&self.last)));
                }
                self.drain()?;
                return Ok(None);
            };
            self.entries += 1;
            if self.entries > self.limits.max_entries {
                return Err(self.limit("max_entries", self.limits.max_entries));
            }
            match header.entry_type() {
                EntryType::XHeader => extended.pax = Some(self.pax(&header)?),
                EntryType::XGlobalHeader => self.global(&header)?,
                EntryType::GNULongName => extended.long_name = Some(self.long(&header)?),
                EntryType::GNULongLink => extended.long_link = Some(self.long(&header)?),
                _ => return self.entry(&header, extended).map(Some),
            }
        }
    }

    pub(crate) fn skip_body(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.skip(entry.size)?;
        self.skip_padding(entry)
    }

    pub(crate) fn skip_padding(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.skip(padding(entry.size))
    }

    /// A small body in memory, and the padding after it.
    pub(crate) fn read_body(&mut self, entry: &Entry) -> Result<Vec<u8>, TarError> {
        let mut body = vec![0; usize::try_from(entry.size).unwrap_or(usize::MAX)];
        self.fill(&mut body)?;
        self.skip_padding(entry)?;
        Ok(body)
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        let copied =
            io::copy(&mut (&mut self.source).take(count), &mut io::sink()).map_err(TarError::Read)?;
        if copied == count { Ok(()) } else { Err(TarError::Truncated(display(&self.last))) }
    }

    fn drain(&mut self) -> Result<(), TarError> {
        io::copy(&mut self.source, &mut io::sink()).map(drop).map_err(TarError::Read)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Truncated(display(&self.last)),
            _ => TarError::Read(error),
        })
    }

    /// One header block; `None` at two blocks of zeros, or where the stream ends between entries.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        for zeros in 0..2 {
            let block = header.as_mut_bytes();
            match self.block(block)? {
                Filled::Nothing => return Ok(None),
                Filled::Whole if block.iter().any(|byte| *byte != 0) => break,
                Filled::Whole if zeros == 1 => return Ok(None),
                Filled::Whole => {}
            }
        }
        if !checksum_holds(&header) {
            return Err(TarError::Checksum { number: self.entries + 1 });
        }
        Ok(Some(header))
    }

    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<Filled, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(Filled::Nothing),
                Ok(0) => return Err(TarError::Truncated(display(&self.last))),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        Ok(Filled::Whole)
    }

    fn special_body(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = self.number(&header.as_old().size, "size")?;
        let size = u64::try_from(size).map_err(|_| self.bad_number("size"))?;
        if size > self.limits.max_header {
            return Err(self.limit("max_header", self.limits.max_header));
        }
        let mut body = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.fill(&mut body)?;
        self.skip(padding(size))?;
        Ok(body)
    }

    fn pax(&mut self, header: &Header) -> Result<Records, TarError> {
        let body = self.special_body(header)?;
        Records::parse(&body).map_err(|source| TarError::Pax { path: display(&self.last), source })
    }

    /// Container tools pass global headers over: one that would change entries is refused, any other is harmless.
    fn global(&mut self, header: &Header) -> Result<(), TarError> {
        let records = self.pax(header)?;
        if records.changes_entries() {
            let why = "a global PAX header changes entries";
            return Err(TarError::Ambiguous { path: display(&self.last), why });
        }
        Ok(())
    }

    fn long(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let body = self.special_body(header)?;
        Ok(until_nul(&body).to_vec())
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry, TarError> {
        let pax = extended.pax.unwrap_or_default();
        let path = self.either(pax.path, extended.long_name, || header_path(header))?;
        self.last = path;
        self.check_length(self.last.len())?;
        if pax.sparse {
            return Err(self.unsupported("sparse file"));
        }
        let link =
            self.either(pax.linkpath, extended.long_link, || until_nul(&header.as_old().linkname).to_vec())?;
        self.check_length(link.len())?;
        let kind = self.kind(header, link)?;
        let size = match pax.size {
            Some(size) => size,
            None => {
                let size = self.number(&header.as_old().size, "size")?;
                u64::try_from(size).map_err(|_| self.bad_number("size"))?
            }
        };
        // The kinds that have no body have none whatever their size field says.
        let size = if kind == EntryKind::File { size } else { 0 };
        if size > self.limits.max_layer_bytes {
            return Err(self.limit("max_layer_bytes", self.limits.max_layer_bytes));
        }
        let xattr_bytes: usize = pax.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if xattr_bytes as u64 > self.limits.max_xattrs {
            return Err(self.limit("max_xattrs", self.limits.max_xattrs));
        }
        let (mtime, mtime_nanos) = match pax.mtime {
            Some(mtime) => mtime,
            None => (self.number(&header.as_old().mtime, "mtime")?, 0),
        };
        let mode = self.number(&header.as_old().mode, "mode")?;
        Ok(Entry {
            kind,
            // The file type in a mode says less than the type flag, and is passed over as everybody does.
            mode: u32::try_from(mode & i64::from(MODE_BITS)).unwrap_or(0),
            uid: self.id(pax.uid, &header.as_old().uid, "uid")?,
            gid: self.id(pax.gid, &header.as_old().gid, "gid")?,
            mtime,
            mtime_nanos,
            size,
            xattrs: pax.xattrs,
            path: self.last.clone(),
        })
    }

    fn kind(&self, header: &Header, link: Vec<u8>) -> Result<EntryKind, TarError> {
        Ok(match header.as_bytes()[156] {
            // The oldest tars mark a directory by the slash at its end.
            0 if self.last.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => EntryKind::File,
            b'1' => EntryKind::Hardlink(link),
            b'2' if link.is_empty() => return Err(self.unsupported("symbolic link to nowhere")),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::Character(self.device(header)?),
            b'4' => EntryKind::Block(self.device(header)?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(self.unsupported("sparse file")),
            other => return Err(self.unsupported(&format!("tar entry of type {:?}", char::from(other)))),
        })
    }

    /// As `new_encode_dev` of the kernel: 12 bits of major, 20 of minor.
    fn device(&self, header: &Header) -> Result<u32, TarError> {
        let bytes = header.as_bytes();
        let major = self.number(&bytes[329..337], "device's major number")?;
        let minor = self.number(&bytes[337..345], "device's minor number")?;
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major @ 0..=0xfff), Ok(minor @ 0..=0xf_ffff)) => {
                Ok((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
            }
            _ => Err(self.bad_number("device number")),
        }
    }

    fn either(
        &self,
        pax: Option<Vec<u8>>,
        gnu: Option<Vec<u8>>,
        header: impl FnOnce() -> Vec<u8>,
    ) -> Result<Vec<u8>, TarError> {
        match (pax, gnu) {
            (Some(pax), Some(_)) => {
                let why = "a PAX record and a GNU header both name it";
                Err(TarError::Ambiguous { path: display(&pax), why })
            }
            (Some(name), None) | (None, Some(name)) => Ok(name),
            (None, None) => Ok(header()),
        }
    }

    fn id(&self, pax: Option<i64>, field: &[u8], name: &'static str) -> Result<u32, TarError> {
        if !self.owners {
            return Ok(0);
        }
        let id = match pax {
            Some(id) => id,
            None => self.number(field, name)?,
        };
        match u32::try_from(id) {
            Ok(id @ 0..=MAX_ID) => Ok(id),
            _ => Err(TarError::Id { path: display(&self.last), field: name, id }),
        }
    }

    fn number(&self, field: &[u8], name: &'static str) -> Result<i64, TarError> {
        pax::header_number(field).ok_or_else(|| self.bad_number(name))
    }

    fn check_length(&self, length: usize) -> Result<(), TarError> {
        if length as u64 > self.limits.max_path {
            return Err(self.limit("max_path", self.limits.max_path));
        }
        Ok(())
    }

    fn bad_number(&self, field: &'static str) -> TarError {
        TarError::Number { path: display(&self.last), field }
    }

    fn unsupported(&self, kind: &str) -> TarError {
        TarError::Unsupported { path: display(&self.last), kind: kind.to_owned() }
    }

    fn limit(&self, name: &'static str, limit: u64) -> TarError {
        TarError::Limit { path: display(&self.last), name, limit }
    }
}

#[derive(PartialEq, Eq)]
enum Filled {
    Nothing,
    Whole,
}

/// Bytes from the end of a body to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The name, with the prefix that only POSIX ustar has.
fn header_path(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    match header.as_ustar().map(|ustar| until_nul(&ustar.prefix)) {
        Some(prefix) if !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// Old tars summed signed bytes.
fn checksum_holds(header: &Header) -> bool {
    let Some(stored) = pax::header_number(&header.as_old().cksum) else { return false };
    let mut unsigned: i64 = 0;
    let mut signed: i64 = 0;
    for (index, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    stored == unsigned || stored == signed
}
