//! A panic in a provider's own code is one operation's error, and not the provider's end.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures::FutureExt as _;

use crate::diagnostics::{Diagnostic, Diagnostics};

/// Waits for the work. What it held is either its own or made to be left at any time, so that nothing is seen half done.
pub(super) async fn guard<T>(work: impl Future<Output = Result<T, Diagnostics>>) -> Result<T, Diagnostics> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(told(&*panic)))
}

/// As [`guard`], for work that does not wait.
pub(super) fn guard_now<T>(work: impl FnOnce() -> Result<T, Diagnostics>) -> Result<T, Diagnostics> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(told(&*panic)))
}

fn told(panic: &(dyn Any + Send)) -> Diagnostics {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Diagnostic::error("The provider made a mistake")
        .detail(format!(
            "It stopped this operation half-way: {}. Please report it.",
            text.unwrap_or("no reason given")
        ))
        .into()
}
