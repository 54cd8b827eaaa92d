//! Random sequences of what users, the kernel and a crash do to instances: after each step the agent, the host and a plain
//! model of both agree, and when all are deleted nothing is left.
//!
//! `cargo xtask soak` runs many more of them than the tests do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use berth_agent::dial::{Certificates, dial};
use berth_proto::agent as wire;
use berth_proto::agent::instance::Status;
use berth_proto::agent::instance_service_client::InstanceServiceClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use tonic::transport::Channel;

use crate::instances::{assert_nothing_left, bridge};
use crate::world::{Agent, Registry};

const NAMES: [&str; 3] = ["one", "two", "three"];
/// Sequences in a run of the tests.
const CASES: u32 = 32;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    Create(usize, bool),
    Update(usize, Change),
    Start(usize),
    Stop(usize),
    Restart(usize),
    Delete(usize),
    /// Its process is killed, by nobody that the agent knows.
    Kill(usize),
    /// The agent is, and another takes over.
    Crash,
}

#[derive(Debug, Clone)]
enum Change {
    Label(u8),
    Environment(u8),
    Memory(u8),
    Mount(bool),
    Running(bool),
    RestartsItself(bool),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0..3u8).prop_map(Change::Label),
        (0..3u8).prop_map(Change::Environment),
        (0..3u8).prop_map(Change::Memory),
        any::<bool>().prop_map(Change::Mount),
        any::<bool>().prop_map(Change::Running),
        any::<bool>().prop_map(Change::RestartsItself),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..NAMES.len();
    prop_oneof![
        4 => (who.clone(), prop::bool::weighted(0.8)).prop_map(|(who, running)| Step::Create(who, running)),
        6 => (who.clone(), change()).prop_map(|(who, change)| Step::Update(who, change)),
        1 => who.clone().prop_map(Step::Start),
        1 => who.clone().prop_map(Step::Stop),
        1 => who.clone().prop_map(Step::Restart),
        1 => who.clone().prop_map(Step::Delete),
        2 => who.prop_map(Step::Kill),
        1 => Just(Step::Crash),
    ]
}

/// What an instance is to be.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    id: String,
    spec: wire::InstanceSpec,
    /// It ended by itself, and nothing starts it again.
    ended: bool,
    /// Of its process; 0 where it has changed, or there is none.
    pid: u32,
}

impl Wanted {
    fn runs(&self) -> bool {
        self.spec.running && !self.ended
    }

    fn status(&self) -> Status {
        match (self.spec.running, self.ended) {
            (false, _) => Status::Stopped,
            (true, true) => Status::Exited,
            (true, false) => Status::Running,
        }
    }

    fn restarts_itself(&self) -> bool {
        self.spec.restart.as_ref().is_none_or(|it| it.policy() == wire::restart_policy::Policy::Always)
    }

    /// What the change does to the process is what the planner of changes promises.
    fn change(&mut self, change: &Change) {
        let before = self.spec.clone();
        match change {
            Change::Label(value) => drop(self.spec.labels.insert("label".into(), value.to_string())),
            Change::Environment(value) => {
                let value = wire::EnvironmentValue { value: Some(value.to_string()) };
                self.spec.environment.insert("KEY".into(), value);
            }
            Change::Memory(value) => {
                let memory_bytes = (64 + u64::from(*value)) << 20;
                self.spec.limits = Some(wire::Limits { memory_bytes, ..wire::Limits::default() });
            }
            Change::Mount(true) => {
                let (kind, target) = ("tmpfs".to_owned(), "/mem".to_owned());
                let mount = wire::Mount { r#type: kind, target, ..wire::Mount::default() };
                self.spec.mounts.insert("mem".into(), mount);
            }
            Change::Mount(false) => drop(self.spec.mounts.remove("mem")),
            Change::Running(running) => self.spec.running = *running,
            Change::RestartsItself(itself) => {
                let policy = match itself {
                    true => wire::restart_policy::Policy::Always,
                    false => wire::restart_policy::Policy::No,
                };
                self.spec.restart =
                    Some(wire::RestartPolicy { policy: policy.into(), ..wire::RestartPolicy::default() });
            }
        }
        let anew = before.environment != self.spec.environment || (self.spec.running && !before.running);
        if anew {
            self.starts_anew();
        } else if !self.spec.running && before.running {
            self.pid = 0;
            self.ended = false;
        }
    }

    fn starts_anew(&mut self) {
        self.pid = 0;
        self.ended = false;
    }
}

struct World {
    agent: Agent,
    bridge: String,
    client: InstanceServiceClient<Channel>,
    wanted: BTreeMap<&'static str, Wanted>,
}

type Checked = Result<(), TestCaseError>;

async fn client(agent: &Agent) -> InstanceServiceClient<Channel> {
    let address = agent.address().parse().unwrap();
    InstanceServiceClient::new(dial(&address, &Certificates::default()).await.unwrap())
}

/// The last of the events is the instance.
async fn last(mut events: tonic::Streaming<wire::InstanceEvent>) -> Result<wire::Instance, tonic::Status> {
    let mut found = None;
    while let Some(event) = events.message().await? {
        if let Some(wire::instance_event::Event::Instance(instance)) = event.event {
            found = Some(instance);
        }
    }
    found.ok_or_else(|| tonic::Status::internal("no instance at the end"))
}

impl World {
    async fn new(registry: &Registry) -> Self {
        let agent = Agent::start();
        agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
        // Pulled once, and kept while instances come and go.
        agent.berth(&["image", "pull", "reg:tiny:1"]).ok();
        let (bridge, client) = (bridge(&agent), client(&agent).await);
        Self { agent, bridge, client, wanted: BTreeMap::new() }
    }

    async fn take(&mut self, step: &Step) -> Checked {
        let failed = |status: tonic::Status| TestCaseError::fail(format!("{step:?}: {status}"));
        match step {
            Step::Create(who, running) => return self.create(NAMES[*who], *running).await,
            Step::Crash => {
                self.agent.signal(Signal::SIGKILL);
                self.agent.run(&[]);
                self.client = client(&self.agent).await;
                return Ok(());
            }
            _ => {}
        }
        let (Step::Update(who, _)
        | Step::Start(who)
        | Step::Stop(who)
        | Step::Restart(who)
        | Step::Delete(who)
        | Step::Kill(who)) = step
        else {
            return Ok(());
        };
        let Some(wanted) = self.wanted.get_mut(NAMES[*who]) else { return Ok(()) };
        let id = wanted.id.clone();
        let events = match step {
            Step::Update(_, change) => {
                wanted.change(change);
                let spec = Some(wanted.spec.clone());
                self.client.update_instance(wire::UpdateInstanceRequest { id, spec }).await
            }
            Step::Start(_) => {
                if !wanted.runs() {
                    wanted.starts_anew();
                }
                wanted.spec.running = true;
                self.client.start_instance(wire::StartInstanceRequest { id }).await
            }
            Step::Stop(_) => {
                wanted.starts_anew();
                wanted.spec.running = false;
                self.client.stop_instance(wire::StopInstanceRequest { id, force: true }).await
            }
            Step::Restart(_) => {
                wanted.starts_anew();
                wanted.spec.running = true;
                self.client.restart_instance(wire::RestartInstanceRequest { id, force: true }).await
            }
            Step::Delete(_) => {
                self.wanted.remove(NAMES[*who]);
                self.client.delete_instance(wire::DeleteInstanceRequest { id, force: true }).await
            }
            _ => {
                if wanted.runs() {
                    let pid = Pid::from_raw(i32::try_from(wanted.pid).unwrap());
                    kill(pid, Signal::SIGKILL).unwrap();
                    wanted.pid = 0;
                    wanted.ended = !wanted.restarts_itself();
                }
                return Ok(());
            }
        };
        let is_delete = matches!(step, Step::Delete(_));
        match last(events.map_err(failed)?.into_inner()).await {
            Err(status) if !is_delete => Err(failed(status)),
            _ => Ok(()),
        }
    }

    async fn create(&mut self, name: &'static str, running: bool) -> Checked {
        let spec = wire::InstanceSpec {
            name: name.to_owned(),
            image: "reg:tiny:1".to_owned(),
            stop_signal: Some("SIGKILL".to_owned()),
            running,
            ..wire::InstanceSpec::default()
        };
        let request = wire::CreateInstanceRequest { spec: Some(spec.clone()) };
        let created = match self.client.create_instance(request).await {
            Ok(events) => last(events.into_inner()).await,
            Err(status) => Err(status),
        };
        let is_taken = self.wanted.contains_key(name);
        match created {
            Ok(instance) => {
                prop_assert!(!is_taken, "two are named {name}");
                self.wanted.insert(name, Wanted { id: instance.id, spec, ended: false, pid: 0 });
            }
            Err(status) => {
                prop_assert!(is_taken && status.code() == tonic::Code::AlreadyExists, "{name}: {status}");
            }
        }
        Ok(())
    }

    /// All agree, if need be after what happens by itself has happened.
    #[allow(clippy::disallowed_methods, reason = "nothing tells when the host agrees")]
    async fn agrees(&mut self) -> Checked {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.agrees_now().await {
                Err(TestCaseError::Fail(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }

    async fn agrees_now(&mut self) -> Checked {
        let list = self.client.list_instances(wire::ListInstancesRequest {}).await;
        let list = list.map_err(|status| TestCaseError::fail(status.to_string()))?.into_inner().instances;
        let mut names: Vec<_> =
            list.iter().filter_map(|it| it.spec.as_ref()).map(|spec| spec.name.as_str()).collect();
        names.sort_unstable();
        let mut wanted: Vec<_> = self.wanted.keys().copied().collect();
        wanted.sort_unstable();
        prop_assert_eq!(names, wanted);
        for instance in list {
            let spec = instance.spec.clone().unwrap_or_default();
            let Some(wanted) = self.wanted.get_mut(spec.name.as_str()) else { continue };
            prop_assert_eq!(&instance.id, &wanted.id);
            prop_assert_eq!(instance.status(), wanted.status(), "{}", instance.status_detail);
            prop_assert_eq!(&spec.labels, &wanted.spec.labels);
            prop_assert_eq!(spec.running, wanted.spec.running);
            if wanted.runs() {
                runs_as(&instance, wanted)?;
                // What was started anew is kept to from now on.
                prop_assert!(wanted.pid == 0 || wanted.pid == instance.pid, "its process is another");
                wanted.pid = instance.pid;
            } else {
                prop_assert_eq!(instance.pid, 0);
            }
        }
        Ok(())
    }
}

/// The process is what the spec says.
fn runs_as(instance: &wire::Instance, wanted: &Wanted) -> Checked {
    let read = |file: &str| {
        let text = std::fs::read(format!("/proc/{}/{file}", instance.pid));
        text.map_err(|error| TestCaseError::fail(format!("{file} of {}: {error}", instance.pid)))
    };
    let environment = read("environ")?;
    let key = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"KEY="));
    let wanted_key = wanted.spec.environment.get("KEY").and_then(|value| value.value.as_deref());
    prop_assert_eq!(key, wanted_key.map(str::as_bytes));
    let mounts = String::from_utf8(read("mountinfo")?).unwrap();
    prop_assert_eq!(mounts.contains(" /mem "), wanted.spec.mounts.contains_key("mem"));
    Ok(())
}

#[test]
fn whatever_is_done_the_agent_and_the_host_agree() {
    let cases = std::env::var("BERTH_SOAK").ok().map_or(CASES, |text| text.parse().unwrap());
    let config = Config {
        cases,
        max_shrink_iters: 10,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Config::default()
    };
    let registry = Registry::start(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ran = TestRunner::new(config).run(&prop::collection::vec(step(), 1..10), |steps| {
        runtime.block_on(async {
            let mut world = World::new(&registry).await;
            for step in &steps {
                world.take(step).await?;
                world.agrees().await.map_err(|error| TestCaseError::fail(format!("{step:?}: {error}")))?;
            }
            for name in NAMES {
                world.agent.berth(&["instance", "rm", "--force", name]);
            }
            assert_nothing_left(&world.agent, &world.bridge);
            // A stop would wait for this connection, which nobody drives while it waits.
            world.agent.signal(Signal::SIGKILL);
            Ok(())
        })
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}
