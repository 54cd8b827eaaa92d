//! Answers that come piece by piece.

use std::future::Future;
use std::pin::Pin;

use berth_engine::{EngineError, Progress};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How many answers wait for a caller that reads slowly.
const WAITING: usize = 64;

/// Answers with an operation's progress and then with how it ended. The operation is the engine's: it goes on where
/// the caller goes away.
pub(super) fn follow<T, A>(
    operation: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    mut progress: mpsc::Receiver<Progress>,
    show: impl Fn(Progress) -> Option<A> + Send + 'static,
    done: impl FnOnce(T) -> A + Send + 'static,
) -> Answers<A>
where
    T: Send + 'static,
    A: Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tokio::pin!(operation);
        let ended = loop {
            tokio::select! {
                biased;
                Some(progress) = progress.recv() => {
                    // A caller that is slow or gone misses some progress; the operation does not wait for it.
                    if let Some(answer) = show(progress) {
                        let _lossy = sender.try_send(Ok(answer));
                    }
                }
                ended = &mut operation => break ended,
            }
        };
        let last = ended.map(done).map_err(|error| status::failed(&error));
        // Nobody reads any more: there is nobody to tell.
        let _gone = sender.send(last).await;
    });
    Box::pin(ReceiverStream::new(receiver))
}
