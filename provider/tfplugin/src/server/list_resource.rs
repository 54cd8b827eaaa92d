//! `ListResource`: what there is of a kind.

use std::sync::Arc;

use berth_proto::tfplugin6::list_resource as list;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    Server,
    convert::{decode, diagnostics, encode, identity},
    guard::guard,
    service::Events,
};
use crate::{
    context::Context,
    diagnostics::Diagnostics,
    list::{Listed, Query},
    plan::{fill_defaults, state},
    provider::{Kinds, Provider},
    value::Value,
};

/// How many things may wait for Terraform.
const WAITING: usize = 64;

impl<P: Provider> Server<P> {
    /// Begins it. Who stops to listen stops it.
    pub(super) fn list_resource(&self, request: &list::Request) -> Events<list::Event> {
        let (out, listed) = mpsc::channel(WAITING);
        let prepared = self.list(&request.type_name).and_then(|kind| {
            let config = decode(request.config.as_ref(), kind.ty())?;
            Ok((fill_defaults(&kind.schema().attributes, config), self.context(&[], false)?))
        });
        // No limit of its own is no limit.
        let limit = u64::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
        let query = Query { whole: request.include_resource_object, limit };
        let (kinds, name) = (Arc::clone(&self.kinds), request.type_name.clone());
        tokio::spawn(async move {
            let work = async {
                match prepared {
                    Ok((config, cx)) => run::<P>(&kinds, &name, cx, config, query, out.clone()).await,
                    Err(told) => told,
                }
            };
            let told = tokio::select! {
                told = work => told,
                () = out.closed() => return,
            };
            if !told.is_empty() {
                // Nobody listens any more: then nobody misses it.
                let _ = out.send(Listed::Told(told)).await;
            }
        });
        let (kinds, name) = (Arc::clone(&self.kinds), request.type_name.clone());
        let event = move |listed| Ok(event::<P>(&kinds, &name, query.whole, listed));
        Box::pin(ReceiverStream::new(listed).map(event))
    }
}

async fn run<P: Provider>(
    kinds: &Kinds<P::Client>,
    name: &str,
    mut cx: Context<P::Client>,
    config: Value,
    query: Query,
    out: mpsc::Sender<Listed>,
) -> Diagnostics {
    let done = match super::list::<P>(kinds, name) {
        Ok(kind) => guard(kind.list(&mut cx, config, query, out)).await,
        Err(told) => Err(told),
    };
    cx.told.append(done.err().unwrap_or_default());
    cx.told
}

fn event<P: Provider>(kinds: &Kinds<P::Client>, name: &str, whole: bool, listed: Listed) -> list::Event {
    let (display_name, found) = match listed {
        Listed::Thing(display_name, found) => (display_name, found),
        Listed::Told(told) => return list::Event { diagnostic: diagnostics(told), ..list::Event::default() },
    };
    // It is there, or the server would not have been made.
    let Some(resource) = kinds.resources.get(name) else { return list::Event::default() };
    let found = state(&resource.schema().attributes, &Value::Null, found, &mut Diagnostics::new());
    list::Event {
        identity: resource.identity().and_then(|schema| identity(&schema.of(&found))),
        resource_object: whole.then(|| encode(&found)).flatten(),
        display_name,
        diagnostic: Vec::new(),
    }
}
