//! Tells when devices of the host come and go.

use berth_sys::uevent::Uevents;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// An item for each time; several at once, or while the one before was not taken, are one.
pub(super) fn watch() -> BoxStream<'static, ()> {
    // Deprecated for types that may close their descriptor under it; this one does not.
    #[allow(deprecated)]
    let socket = match Uevents::open().and_then(AsyncFd::new) {
        Ok(socket) => socket,
        Err(error) => {
            // In a container of somebody else's, for one. What is there at a start is found all the same.
            tracing::warn!(%error, "devices that are plugged in later are not noticed");
            return futures::stream::pending().boxed();
        }
    };
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(follow(socket, sender));
    ReceiverStream::new(receiver).boxed()
}

async fn follow(socket: AsyncFd<Uevents>, sender: mpsc::Sender<()>) {
    loop {
        let ready = tokio::select! {
            () = sender.closed() => return,
            ready = socket.readable() => ready,
        };
        let Ok(mut ready) = ready else { return };
        match ready.try_io(|socket| socket.get_ref().drain()) {
            Ok(Ok(true)) => {
                // A full channel is one that will be looked at.
                let _full = sender.try_send(());
            }
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "devices that are plugged in from now on are not noticed");
                return;
            }
        }
    }
}
