//! References, the registry client, import, the object store, the merge and collection.

pub mod config;
pub mod digest;
pub mod platform;
pub mod reference;
