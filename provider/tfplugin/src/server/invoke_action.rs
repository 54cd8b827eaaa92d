//! `InvokeAction`: does something, and tells how far it has come.

use std::sync::Arc;

use berth_proto::tfplugin6::invoke_action::{self as invoke, event};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    Server,
    convert::{decode, diagnostics},
    guard::guard,
    service::Events,
};
use crate::{
    action::Progress,
    context::Context,
    diagnostics::Diagnostics,
    plan::fill_defaults,
    provider::{Kinds, Provider},
    value::Value,
};

/// How many events may wait for Terraform.
const WAITING: usize = 16;

type Out = mpsc::Sender<Result<invoke::Event, Status>>;

impl<P: Provider> Server<P> {
    /// Begins it; its events end with its completion. Who stops to listen stops it.
    pub(super) fn invoke_action(&self, request: &invoke::Request) -> Events<invoke::Event> {
        let (out, events) = mpsc::channel(WAITING);
        let prepared = self.action(&request.action_type).and_then(|kind| {
            let config = decode(request.config.as_ref(), kind.ty())?;
            Ok((fill_defaults(&kind.schema().attributes, config), self.context(&[], false)?))
        });
        let (kinds, name) = (Arc::clone(&self.kinds), request.action_type.clone());
        tokio::spawn(async move {
            let work = async {
                match prepared {
                    Ok((config, cx)) => invoke::<P>(&kinds, &name, cx, config, &out).await,
                    Err(told) => told,
                }
            };
            let told = tokio::select! {
                told = work => told,
                () = out.closed() => return,
            };
            let completed = event::Completed { diagnostics: diagnostics(told) };
            let event = invoke::Event { r#type: Some(event::Type::Completed(completed)) };
            // Nobody listens any more: then nobody misses it.
            let _ = out.send(Ok(event)).await;
        });
        Box::pin(tokio_stream::wrappers::ReceiverStream::new(events))
    }
}

async fn invoke<P: Provider>(
    kinds: &Kinds<P::Client>,
    name: &str,
    mut cx: Context<P::Client>,
    config: Value,
    out: &Out,
) -> Diagnostics {
    let kind = match super::action::<P>(kinds, name) {
        Ok(kind) => kind,
        Err(told) => return told,
    };
    let (tell, mut lines) = mpsc::channel(1);
    let work = async {
        let progress = Progress(tell);
        guard(kind.invoke(&mut cx, config, &progress)).await
    };
    let pass_on = async {
        while let Some(message) = lines.recv().await {
            let progress = event::Type::Progress(event::Progress { message });
            // The stream's end ends this work, too.
            let _ = out.send(Ok(invoke::Event { r#type: Some(progress) })).await;
        }
    };
    // The lines end with the work, which holds their sender.
    let (done, ()) = tokio::join!(work, pass_on);
    cx.told.append(done.err().unwrap_or_default());
    cx.told
}
