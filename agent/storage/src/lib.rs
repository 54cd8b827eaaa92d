//! An instance's root file system: the image's EROFS under one overlay; and volumes.

pub mod owners;
pub mod probe;
pub mod rootfs;
pub mod volume;
