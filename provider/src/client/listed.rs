//! What there is on a host: listed once, at the first read, and looked up in the list until the first change.
//!
//! ```text
//! unasked --first read--> listed --first change--> asked one by one
//! ```
//!
//! A plan reads all resources of a host: one call for all of them, and not one for each. What is not in the list is asked for
//! by itself, so that the agent says what it has to say of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_proto::agent as wire;
use tokio::sync::OnceCell;

use super::hosts::Connection;
use super::{Answer, By};

/// Things by their ids.
type List<T> = OnceCell<HashMap<String, T>>;

/// The lists of one host.
#[derive(Default)]
pub struct Listed {
    changed: AtomicBool,
    remotes: List<wire::Remote>,
    pins: List<wire::Pin>,
    instances: List<wire::Instance>,
}

impl Listed {
    /// The thing of this id in a list; none also where there is no list.
    async fn find<T: Clone>(
        &self,
        list: &List<T>,
        id: &str,
        ask: impl Future<Output = Answer<HashMap<String, T>>>,
    ) -> Option<T> {
        if self.changed.load(Ordering::Acquire) {
            return None;
        }
        // What stands against a list stands against the question by itself, too, or is of no account.
        let found = list.get_or_try_init(|| ask).await.ok()?.get(id).cloned();
        found.filter(|_| !self.changed.load(Ordering::Acquire))
    }
}

impl Connection {
    /// For a change of anything on the host: the lists are of no use from here on.
    pub fn changes(&self) {
        self.listed.changed.store(true, Ordering::Release);
    }

    /// Reads a remote.
    pub async fn remote(&self, id: String) -> Answer<wire::Remote> {
        let ask = async {
            let all = self.agent.remotes().await?;
            Ok(all.into_iter().map(|it| (it.id.clone(), it)).collect())
        };
        match self.listed.find(&self.listed.remotes, &id, ask).await {
            Some(found) => Ok(found),
            None => self.agent.remote(By::Id(id)).await,
        }
    }

    /// Reads a pin.
    pub async fn pin(&self, id: String) -> Answer<wire::Pin> {
        let ask = async {
            let all = self.agent.pins().await?;
            Ok(all.into_iter().map(|it| (it.id.clone(), it)).collect())
        };
        match self.listed.find(&self.listed.pins, &id, ask).await {
            Some(found) => Ok(found),
            None => self.agent.pin(id).await,
        }
    }

    /// Reads an instance.
    pub async fn instance(&self, id: String) -> Answer<wire::Instance> {
        let ask = async {
            let all = self.agent.instances().await?;
            Ok(all.into_iter().map(|it| (it.id.clone(), it)).collect())
        };
        match self.listed.find(&self.listed.instances, &id, ask).await {
            Some(found) => Ok(found),
            None => self.agent.instance(By::Id(id)).await,
        }
    }
}
