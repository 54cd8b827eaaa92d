//! An instance's root file system: the image's EROFS under one overlay.

pub mod rootfs;
