//! What an operation has beside its values.

use std::sync::Arc;

use crate::{
    cancel::Cancel,
    deferral::{Deferral, Reason},
    diagnostics::{Diagnostic, Diagnostics},
    private::Private,
    value::{Model, Path, Value},
};

/// What an operation of a resource or a data source has beside its values.
#[derive(Debug)]
pub struct Context<C> {
    client: Arc<C>,
    cancel: Cancel,
    /// The resource's private state: what is changed here is kept, even where the operation fails.
    pub private: Private,
    pub(crate) told: Diagnostics,
    pub(crate) kept: Option<Value>,
    pub(crate) deferral: Deferral,
}

impl<C> Context<C> {
    pub(crate) fn new(client: Arc<C>, cancel: Cancel, private: Private, deferral: Deferral) -> Self {
        Self { client, cancel, private, told: Diagnostics::new(), kept: None, deferral }
    }

    /// What [`Provider::configure`](crate::Provider::configure) made.
    pub fn client(&self) -> &Arc<C> {
        &self.client
    }

    /// Whether the user wants it to stop.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Tells the user something that is no failure.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        self.told.push(diagnostic);
    }

    /// Asks that this waits for a later apply, and says whether that can be: what the operation answers is then of no account.
    /// It can be while planning, with a Terraform that was told so: in the read of a resource or a data source, an import, the
    /// opening of an ephemeral resource, and the plan of an action.
    pub fn defer(&mut self, reason: Reason) -> bool {
        self.deferral.ask(reason)
    }

    /// Has this state kept if the operation fails from here on.
    ///
    /// A create that has made something says so as soon as it has: then Terraform knows it, and destroys it with the next
    /// apply. What is unknown in it becomes null. The last one counts; without any, a failed create keeps nothing, and a
    /// failed update or delete keeps the state from before.
    pub fn keep<M: Model + Clone>(&mut self, state: &M) {
        self.kept = Some(state.clone().into_value());
    }
}

/// A plan that a resource may still change. It is pure: it does no I/O, and may be asked twice with the same.
#[derive(Debug)]
pub struct Plan<'a, M, C> {
    /// What the configuration says. Unknown values are possible; write-only attributes have their value here only.
    pub config: M,
    /// What there is; `None` for one that is to be made.
    pub prior: Option<M>,
    /// What there will be: the configuration, what was kept, and unknown for what is to be computed.
    ///
    /// An attribute that the configuration sets may only be that or what it was. One that is planned as known is applied as that.
    pub planned: M,
    /// What was kept in private, to be changed: the apply gets it.
    pub private: &'a mut Private,
    /// What [`Provider::configure`](crate::Provider::configure) made.
    pub client: &'a C,
    pub(crate) replace: Vec<Path>,
    pub(crate) told: Diagnostics,
    pub(crate) deferral: Deferral,
}

impl<M, C> Plan<'_, M, C> {
    /// Asks that this waits for a later apply, and says whether that can be: Terraform has to be told so.
    pub fn defer(&mut self, reason: Reason) -> bool {
        self.deferral.ask(reason)
    }

    /// Makes it a new one, because of this attribute. Terraform does so only where the attribute's value changes.
    pub fn replace(&mut self, because_of: impl Into<Path>) {
        self.replace.push(because_of.into());
    }

    /// Tells the user something that is no failure.
    pub fn warn(&mut self, diagnostic: Diagnostic) {
        self.told.push(diagnostic);
    }
}
