//! Tar streams, as strict or as wrong as a test wants them.

/// A layer's tar stream that is being written.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    bytes: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub mtime: u64,
    /// PAX records for the next entry.
    pax: Vec<(String, Vec<u8>)>,
}

impl Layer {
    pub fn new() -> Self {
        Self { mode: 0o644, mtime: 1_700_000_000, ..Self::default() }
    }

    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', path, b"", content.as_ref())
    }

    pub fn dir(mut self, path: impl AsRef<[u8]>) -> Self {
        let mode = std::mem::replace(&mut self.mode, 0o755);
        let mut layer = self.entry(b'5', path, b"", b"");
        layer.mode = mode;
        layer
    }

    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'2', path, target, b"")
    }

    pub fn hardlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(b'1', path, target, b"")
    }

    pub fn fifo(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(b'6', path, b"", b"")
    }

    pub fn whiteout(self, path: impl AsRef<[u8]>) -> Self {
        self.entry(b'0', path, b"", b"")
    }

    pub fn device(self, kind: u8, path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        let mut header = self.header(kind, path.as_ref(), b"", 0);
        header[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
        header[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        self.raw(header, b"")
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub fn mtime(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    /// A PAX record for the next entry.
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// An entry; a path that is too long for its field is put into a PAX record.
    pub fn entry(mut self, kind: u8, path: impl AsRef<[u8]>, link: impl AsRef<[u8]>, body: &[u8]) -> Self {
        let (path, link) = (path.as_ref(), link.as_ref());
        if path.len() > 100 {
            self = self.pax("path", path);
        }
        if link.len() > 100 {
            self = self.pax("linkpath", link);
        }
        let header = self.header(kind, path, link, body.len() as u64);
        self.raw(header, body)
    }

    /// A header whose checksum is made here, and a body that is padded here.
    pub fn raw(mut self, header: [u8; 512], body: &[u8]) -> Self {
        if !self.pax.is_empty() {
            let records = pax_records(&std::mem::take(&mut self.pax));
            let special = self.header(b'x', b"PaxHeaders/x", b"", records.len() as u64);
            self = self.raw(special, &records);
        }
        let mut header = header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn header(&self, kind: u8, path: &[u8], link: &[u8], size: u64) -> [u8; 512] {
        let mut header = [0; 512];
        let shown = path.len().min(100);
        header[..shown].copy_from_slice(&path[..shown]);
        let mut number = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}\0", width = width - 1);
            header[at..at + width].copy_from_slice(text.as_bytes());
        };
        number(100, 8, u64::from(self.mode));
        number(108, 8, u64::from(self.uid));
        number(116, 8, u64::from(self.gid));
        number(124, 12, size);
        number(136, 12, self.mtime);
        header[156] = kind;
        let shown = link.len().min(100);
        header[157..157 + shown].copy_from_slice(&link[..shown]);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    /// The stream, ended as it should be.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
pub fn pax_records(records: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    body
}
