//! The initramfs: an uncompressed cpio archive in the "newc" form, which the kernel unpacks without a decompressor.

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// What a guest's pid 1 is given.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Its file's name, without a directory.
    pub name: &'a str,
    /// The file.
    pub content: &'a [u8],
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(b"070701");
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            number(content.len()),
            0,
            0,
            device.0,
            device.1,
            number(name.len() + 1),
            0,
        ];
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The archive of a pid 1 and the modules that it loads, in their order. The same content gives the same bytes.
#[must_use]
pub fn make(init: &[u8], modules: &[Module<'_>]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.add("dev", DIRECTORY, b"", (0, 0));
    // Without it pid 1 begins with no standard streams.
    archive.add("dev/console", CONSOLE, b"", (5, 1));
    archive.add("modules", DIRECTORY, b"", (0, 0));
    let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    archive.add("modules/order", FILE, order.as_bytes(), (0, 0));
    for module in modules {
        archive.add(&format!("modules/{}", module.name), FILE, module.content, (0, 0));
    }
    archive.add("init", PROGRAM, init, (0, 0));
    archive.add("TRAILER!!!", 0, b"", (0, 0));
    archive.bytes
}
