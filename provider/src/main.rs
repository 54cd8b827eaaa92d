//! The Terraform provider for Berth.

use std::process::ExitCode;

use terraform_provider_berth::provider::BerthProvider;

fn main() -> ExitCode {
    tfplugin::run(BerthProvider, "registry.terraform.io/berth-run/berth")
}
