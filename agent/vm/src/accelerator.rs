//! What runs a guest's instructions, and why it is that.

use std::io;
use std::path::Path;
use std::time::Duration;

/// What QEMU is told to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translation: on any host, tens of times slower.
    Tcg,
}

/// A choice with its reason, as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is used.
    pub accelerator: Accelerator,
    /// Why.
    pub reason: String,
}

/// A KVM that needs longer than this for the probe's instructions emulates them: no ordinary kernel boots on it.
const LONGEST: Duration = Duration::from_millis(20);

/// Decides by running a few instructions, unless the configuration has decided. Blocks for as long as the probe takes.
#[must_use]
pub fn choose(configured: Option<Accelerator>) -> Choice {
    match configured {
        Some(accelerator) => Choice { accelerator, reason: "the configuration says so".to_owned() },
        None => judge(berth_sys::kvm::probe(Path::new("/dev/kvm"))),
    }
}

fn judge(probed: io::Result<Duration>) -> Choice {
    let tcg = |reason: String| Choice { accelerator: Accelerator::Tcg, reason };
    match probed {
        Ok(took) if took <= LONGEST => {
            Choice { accelerator: Accelerator::Kvm, reason: "KVM runs a guest's instructions".to_owned() }
        }
        Ok(took) => tcg(format!(
            "KVM is here, but took {} ms for what a processor does in less than one",
            took.as_millis()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => tcg(
            "there is no /dev/kvm: switch virtualization on in the firmware, or load kvm_intel or kvm_amd"
                .to_owned(),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tcg("the agent may not open /dev/kvm: give it the group kvm".to_owned())
        }
        Err(error) => tcg(format!("KVM does not run a guest: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_used_only_where_it_is_of_use_and_the_reason_is_told() {
        assert_eq!(judge(Ok(Duration::from_micros(90))).accelerator, Accelerator::Kvm);
        for (probed, reason) in [
            (Ok(Duration::from_millis(320)), "took 320 ms"),
            (Err(io::ErrorKind::NotFound.into()), "there is no /dev/kvm"),
            (Err(io::ErrorKind::PermissionDenied.into()), "the group kvm"),
            (Err(io::Error::from_raw_os_error(38)), "does not run a guest"),
        ] {
            let choice = judge(probed);
            assert_eq!(choice.accelerator, Accelerator::Tcg);
            assert!(choice.reason.contains(reason), "{}", choice.reason);
        }
        assert_eq!(choose(Some(Accelerator::Kvm)).reason, "the configuration says so");
    }
}
