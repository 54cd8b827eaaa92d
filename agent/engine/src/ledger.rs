//! The ledger: what was asked for, and what was given out for it.

mod error;

pub use error::LedgerError;
