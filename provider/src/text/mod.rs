//! What users write as text: sizes, durations, CPU shares, names and image references.
//! Pure; each parser names what is wrong and what to write instead.

pub mod cidr;
pub mod cpu;
pub mod duration;
pub mod env_file;
pub mod environment;
pub mod mode;
pub mod name;
pub mod port;
pub mod reference;
pub mod size;
