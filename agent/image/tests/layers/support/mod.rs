//! What the tests are made of: tar streams byte by byte, images from them, and the tree as the kernel shows it.

mod image;
mod tar;
mod tree;

pub use image::{Imported, gzip, import, import_archive, import_file, import_with, layout, refused, zstd};
pub use tar::{Layer, pax_records};
pub use tree::{Node, mounted, read_tree};
