//! Why a running instance could not be changed, in the words of its arguments.

use berth_engine::ports::runtime::RuntimeError;
use berth_runtime::client::ClientError;
use berth_runtime::launch::Stage;
use berth_runtime::spec::LaunchSpec;
use nix::errno::Errno;

use super::{launch, mounts, unable, writes};

/// What its supervisor says of a change; `spec` is what was to be.
pub(super) fn of(spec: &LaunchSpec, error: ClientError) -> RuntimeError {
    match error {
        // So the kernel says that what is in use cannot be made to fit.
        ClientError::LimitRefused { limit, source } if source.raw_os_error() == Some(Errno::EBUSY as i32) => {
            RuntimeError::LimitExceeded { limit }
        }
        ClientError::LimitRefused { limit, source } => RuntimeError::Limit { limit, source: source.into() },
        ClientError::Update(error) if matches!(error.stage, Stage::Network | Stage::NetworkParent) => {
            let interface = launch::interface_of(&spec.networks, &error);
            RuntimeError::Interface { interface, source: error.into() }
        }
        ClientError::Update(error) => {
            let fault = mounts::fault(&spec.mounts, &error).or_else(|| writes::fault(&error));
            fault.map_or_else(|| unable("change the instance", error), RuntimeError::Mount)
        }
        error => unable("change the instance's limits", error),
    }
}
