//! What Terraform itself does only after long waits, or when it is told to: renewals, deferrals, interrupts and kills.

use std::fs;

use berth_proto::tfplugin6::{
    ClientCapabilities, close_ephemeral_resource, configure_provider, deferred::Reason, invoke_action,
    invoke_action::event::Type as Event, open_ephemeral_resource, plan_action, plan_resource_change,
    provider_client::ProviderClient, read_data_source, renew_ephemeral_resource, stop_provider,
};
use tfplugin::Value;
use tonic::transport::Channel;

use crate::{
    cases::{dynamic, object, provider},
    plugin::{Plugin, command},
};

/// A configured plugin with a directory of notes.
struct Keeper {
    dir: tempfile::TempDir,
    plugin: Plugin,
    provider: ProviderClient<Channel>,
}

impl Keeper {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes");
        fs::create_dir(&notes).unwrap();
        let plugin = Plugin::start(None);
        let mut provider = provider(plugin.plain().await.unwrap());
        let config = object(&[("directory", Value::string(notes.to_str().unwrap()))]);
        let configure = configure_provider::Request { config: dynamic(&config), ..Default::default() };
        assert!(provider.configure_provider(configure).await.unwrap().into_inner().diagnostics.is_empty());
        Self { dir, plugin, provider }
    }

    fn note(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("notes").join(name), text).unwrap();
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.dir.path().join("journal")).unwrap_or_default()
    }
}

fn may_defer() -> Option<ClientCapabilities> {
    Some(ClientCapabilities { deferral_allowed: true, ..Default::default() })
}

#[tokio::test]
async fn an_ephemeral_is_renewed_until_it_is_closed() {
    let mut keeper = Keeper::start().await;
    keeper.note("a", "text");
    let type_name = "keeper_note".to_owned();
    let config = object(&[("name", Value::string("a")), ("renew", Value::bool(true))]);
    let open = open_ephemeral_resource::Request {
        type_name: type_name.clone(),
        config: dynamic(&config),
        ..Default::default()
    };
    let opened = keeper.provider.open_ephemeral_resource(open).await.unwrap().into_inner();
    assert!(opened.diagnostics.is_empty() && opened.renew_at.is_some(), "{opened:?}");
    let renew =
        renew_ephemeral_resource::Request { type_name: type_name.clone(), private: opened.private.clone() };
    let renewed = keeper.provider.renew_ephemeral_resource(renew).await.unwrap().into_inner();
    assert!(renewed.renew_at.is_some() && renewed.renew_at != opened.renew_at, "{renewed:?}");
    let close = close_ephemeral_resource::Request { type_name, private: renewed.private };
    let closed = keeper.provider.close_ephemeral_resource(close).await.unwrap().into_inner();
    assert!(closed.diagnostics.is_empty(), "{closed:?}");
    assert_eq!(keeper.journal(), "open a\nrenew a\nclose a\n");
}

#[tokio::test]
async fn what_cannot_be_done_yet_waits_where_terraform_can_wait() {
    let mut keeper = Keeper::start().await;
    let none = || dynamic(&object(&[("name", Value::string("none"))]));
    let prerequisite = i32::from(Reason::AbsentPrereq);
    let read = |client_capabilities| read_data_source::Request {
        type_name: "keeper_note".to_owned(),
        config: none(),
        client_capabilities,
        ..Default::default()
    };
    let waits = keeper.provider.read_data_source(read(may_defer())).await.unwrap().into_inner();
    assert_eq!(waits.deferred.map(|it| it.reason), Some(prerequisite));
    assert!(waits.diagnostics.is_empty(), "{waits:?}");
    let fails = keeper.provider.read_data_source(read(None)).await.unwrap().into_inner();
    assert_eq!((fails.deferred, fails.diagnostics.len()), (None, 1));

    let open = |client_capabilities| open_ephemeral_resource::Request {
        type_name: "keeper_note".to_owned(),
        config: none(),
        client_capabilities,
    };
    let waits = keeper.provider.open_ephemeral_resource(open(may_defer())).await.unwrap().into_inner();
    assert_eq!(waits.deferred.map(|it| it.reason), Some(prerequisite));
    let fails = keeper.provider.open_ephemeral_resource(open(None)).await.unwrap().into_inner();
    assert_eq!((fails.deferred, fails.diagnostics.len()), (None, 1));

    let unknown = || dynamic(&object(&[("name", Value::Unknown), ("times", Value::number(1_i64))]));
    let plan = plan_action::Request {
        action_type: "keeper_stamp".to_owned(),
        config: unknown(),
        client_capabilities: may_defer(),
    };
    let waits = keeper.provider.plan_action(plan).await.unwrap().into_inner();
    assert_eq!(waits.deferred.map(|it| it.reason), Some(i32::from(Reason::ResourceConfigUnknown)));

    let note = || dynamic(&object(&[("name", Value::Unknown)]));
    let plan = plan_resource_change::Request {
        type_name: "keeper_note".to_owned(),
        proposed_new_state: note(),
        config: note(),
        client_capabilities: may_defer(),
        ..Default::default()
    };
    let waits = keeper.provider.plan_resource_change(plan).await.unwrap().into_inner();
    assert_eq!(waits.deferred.map(|it| it.reason), Some(i32::from(Reason::ResourceConfigUnknown)));
}

#[tokio::test]
async fn an_interrupt_ends_an_action_that_waits() {
    let mut keeper = Keeper::start().await;
    keeper.note("a", "");
    let config =
        object(&[("name", Value::string("a")), ("times", Value::number(2_i64)), ("wait", Value::bool(true))]);
    let invoke = invoke_action::Request {
        action_type: "keeper_stamp".to_owned(),
        config: dynamic(&config),
        ..Default::default()
    };
    let mut events = keeper.provider.invoke_action(invoke).await.unwrap().into_inner();
    let mut said = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        match event.r#type.unwrap() {
            Event::Progress(progress) => said.push(progress.message),
            Event::Completed(completed) => {
                said.extend(completed.diagnostics.into_iter().map(|it| it.summary));
            }
        }
        if said.len() == 2 {
            keeper.provider.stop_provider(stop_provider::Request {}).await.unwrap();
        }
    }
    assert_eq!(said, ["stamp 1 of 2", "stamp 2 of 2", "It was interrupted"]);
    drop(keeper.plugin);
}

#[tokio::test]
async fn a_plugin_that_is_killed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command();
    command.env("TMPDIR", dir.path());
    let plugin = Plugin::start_with(command, None);
    assert!(plugin.plain().await.is_ok());
    let left = || fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left(), 0, "nothing is there while it runs, so that nothing can be left");
    let socket = plugin.socket.clone();
    drop(plugin);
    assert_eq!((left(), socket.exists()), (0, false));
}
