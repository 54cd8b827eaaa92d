//! References, the registry client, import, the object store, the merge and collection.
//!
//! ```text
//! text -> reference -> resolve (registry) -> Store::pull: fetch | inflate | split -> objects, header streams
//!                                                         merge (in memory) -> EROFS -> record
//! ```

pub mod archive;
pub mod config;
pub mod digest;
mod erofs;
#[doc(hidden)]
pub mod fuzzing;
pub mod import;
pub mod merge;
pub mod platform;
pub mod probe;
pub mod reference;
pub mod registry;
pub mod resolve;
pub mod store;
