//! What happened, to whoever watches.

use berth_domain::Timestamp;
use tokio::sync::broadcast;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An instance.
    Instance,
    /// An image or a pin.
    Image,
    /// A remote.
    Remote,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The agent.
    Agent,
}

impl Subject {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Image => "image",
            Self::Remote => "remote",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Agent => "agent",
        }
    }
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the word it stands for")]
pub enum Action {
    Created,
    Started,
    Stopped,
    Exited,
    Restarted,
    Updated,
    Deleted,
    Pulled,
    Unpinned,
    Failed,
}

impl Action {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Restarted => "restarted",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Pulled => "pulled",
            Self::Unpinned => "unpinned",
            Self::Failed => "failed",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what.
    pub subject: Subject,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What.
    pub action: Action,
    /// For people; may be empty.
    pub message: String,
}

/// Spreads events. A watcher that does not read loses the oldest; nobody waits for it.
#[derive(Debug, Clone)]
pub struct EventBus(broadcast::Sender<Event>);

impl EventBus {
    const KEPT: usize = 1024;

    /// A bus with nobody on it.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::channel(Self::KEPT).0)
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }

    /// Tells everyone.
    pub fn emit(
        &self,
        subject: Subject,
        id: &dyn ToString,
        name: &str,
        action: Action,
        message: impl Into<String>,
    ) {
        let event = Event {
            time: Timestamp::now(),
            subject,
            id: id.to_string(),
            name: name.to_owned(),
            action,
            message: message.into(),
        };
        // Nobody watching is fine.
        let _watchers = self.0.send(event);
    }
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}
