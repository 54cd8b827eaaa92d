//! The user's wish to stop: Terraform tells the provider with `StopProvider`.

use tokio::sync::watch;

/// Tells an operation that the user wants it to stop.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A signal and what raises it.
    pub(crate) fn pair() -> (watch::Sender<bool>, Self) {
        let (raise, signal) = watch::channel(false);
        (raise, Self(signal))
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is to stop.
    pub async fn cancelled(&self) {
        if self.0.clone().wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could ask for a stop.
            std::future::pending::<()>().await;
        }
    }
}
