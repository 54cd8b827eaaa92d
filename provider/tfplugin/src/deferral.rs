//! Operations that have to wait for a later apply, for a Terraform that can do that (`-allow-deferral`).

/// Why an operation has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The resource's own configuration is not known well enough.
    ConfigUnknown,
    /// The provider's configuration is not known well enough.
    ProviderConfigUnknown,
    /// Something that it needs does not exist yet.
    AbsentPrerequisite,
}

/// Whether an operation may wait, and whether it asks to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deferral {
    pub allowed: bool,
    pub asked: Option<Reason>,
}

impl Deferral {
    pub fn new(allowed: bool) -> Self {
        Self { allowed, asked: None }
    }

    /// Asks to wait, and says whether that can be.
    pub fn ask(&mut self, reason: Reason) -> bool {
        if self.allowed {
            self.asked = Some(reason);
        }
        self.allowed
    }
}
