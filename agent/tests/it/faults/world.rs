//! An agent whose instance is changed again and again, and what must hold each time, however it went.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use berth_agent::dial::{Certificates, dial};
use berth_proto::agent as wire;
use berth_proto::agent::instance::Status;
use berth_proto::agent::instance_service_client::InstanceServiceClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;

use super::host::{Counted, Process, left, settled, steady};
use super::trace::Operation;
use crate::instances::bridge;
use crate::world::{Agent, Registry, free_port, oci_layout, tiny};

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent, an instance that is changed, and perhaps one beside it that nothing may touch.
pub struct World {
    pub agent: Agent,
    _registry: Registry,
    runtime: Runtime,
    mark: String,
    port: u16,
    /// Of the instance beside.
    beside: Option<Process>,
}

/// Two images that tell which they are.
fn registry() -> Registry {
    let registry = Registry::start(false);
    let dir = tempfile::tempdir().unwrap();
    for tag in ["1", "2"] {
        let layout = dir.path().join(tag).join("layout");
        tiny(&layout);
        let root = dir.path().join(tag).join("root");
        std::fs::write(root.join("etc/version"), tag).unwrap();
        oci_layout(&layout, &[root]);
        registry.push_layout(&layout, &format!("web:{tag}"));
    }
    registry
}

impl World {
    pub fn new(has_beside: bool) -> Self {
        let registry = registry();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut agent = Agent::start_in(&[("BERTH_LOG", "info,berth_engine::instance::converge=debug")]);
        agent.berth(&["remote", "add", "reg", &registry.address(), "--insecure"]).ok();
        for tag in ["1", "2"] {
            agent.berth(&["image", "pull", &format!("reg:web:{tag}")]).ok();
        }
        let beside = has_beside.then(|| {
            agent.berth(&["instance", "launch", "reg:web:1", "--name", "beside"]).ok();
            let pid = agent.berth(&["instance", "inspect", "beside"]).json()["pid"].as_u64().unwrap();
            Process::of(pid.try_into().unwrap()).unwrap()
        });
        // What only a second start makes is there: the ledger's backup.
        agent.signal(Signal::SIGTERM);
        agent.run(&[]);
        let mark = bridge(&agent).trim_end_matches('0').to_owned();
        Self { agent, _registry: registry, runtime, mark, port: free_port(), beside }
    }

    /// What is wanted after so many changes by an operation.
    fn spec(&self, operation: Operation, times: usize) -> wire::InstanceSpec {
        let odd = times % 2 == 1;
        let text = |content: &str| wire::EnvironmentValue { value: Some(content.to_owned()) };
        let list =
            |words: &[&str]| wire::StringList { values: words.iter().map(|it| (*it).to_owned()).collect() };
        let port = wire::Port { container_port: 80, host_port: self.port.into(), ..wire::Port::default() };
        let mut spec = wire::InstanceSpec {
            name: "web".to_owned(),
            image: "reg:web:1".to_owned(),
            entrypoint: Some(list(&["/bin/httpd", "-f", "-p", "80", "-h", "/etc"])),
            stop_signal: Some("SIGKILL".to_owned()),
            running: true,
            environment: [("KEY".to_owned(), text("0"))].into(),
            ports: [("web".to_owned(), port)].into(),
            limits: Some(wire::Limits { memory_bytes: 64 << 20, ..wire::Limits::default() }),
            ..wire::InstanceSpec::default()
        };
        let content = format!("content {times}");
        let file = wire::InstanceFile {
            content: Some(content.into_bytes().into()),
            ..wire::InstanceFile::default()
        };
        match operation {
            Operation::Create | Operation::Delete => drop(spec.files.insert("/etc/conf".to_owned(), file)),
            Operation::Change => {
                spec.files.insert("/etc/conf".to_owned(), file);
                spec.limits =
                    Some(wire::Limits { memory_bytes: (64 + times as u64) << 20, ..wire::Limits::default() });
                if odd {
                    let mount = wire::Mount {
                        r#type: "tmpfs".into(),
                        target: "/mem".into(),
                        ..wire::Mount::default()
                    };
                    spec.mounts.insert("mem".to_owned(), mount);
                    let second = wire::Port { container_port: 81, ..wire::Port::default() };
                    spec.ports.insert("second".to_owned(), second);
                }
            }
            Operation::Restart => drop(spec.environment.insert("KEY".to_owned(), text(&times.to_string()))),
            Operation::Rebuild => spec.image = format!("reg:web:{}", if odd { 2 } else { 1 }),
            Operation::Stop => spec.running = !odd,
            Operation::Exit => {
                let policy = wire::restart_policy::Policy::No.into();
                spec.restart = Some(wire::RestartPolicy { policy, ..wire::RestartPolicy::default() });
            }
        }
        spec
    }

    async fn client(&self) -> Result<InstanceServiceClient<tonic::transport::Channel>, tonic::Status> {
        let address = self.agent.address().parse().unwrap();
        let channel = dial(&address, &Certificates::default()).await;
        Ok(InstanceServiceClient::new(
            channel.map_err(|error| tonic::Status::unavailable(error.to_string()))?,
        ))
    }

    /// Asks for it and waits for its end, or for the agent's.
    fn operate(&self, operation: Operation, times: usize) -> Result<(), tonic::Status> {
        self.runtime.block_on(async {
            let mut client = self.client().await?;
            let id = self.get(&mut client).await?.map(|instance| instance.id);
            let spec = Some(self.spec(operation, times));
            let events = match (operation, id) {
                (Operation::Delete, Some(id)) => {
                    client.delete_instance(wire::DeleteInstanceRequest { id, force: true }).await
                }
                (_, None) => client.create_instance(wire::CreateInstanceRequest { spec }).await,
                (_, Some(id)) => client.update_instance(wire::UpdateInstanceRequest { id, spec }).await,
            };
            let mut events = events?.into_inner();
            while events.message().await?.is_some() {}
            Ok(())
        })
    }

    async fn get(
        &self,
        client: &mut InstanceServiceClient<tonic::transport::Channel>,
    ) -> Result<Option<wire::Instance>, tonic::Status> {
        let list = client.list_instances(wire::ListInstancesRequest {}).await?.into_inner();
        let is_it = |instance: &wire::Instance| instance.spec.as_ref().is_some_and(|spec| spec.name == "web");
        Ok(list.instances.into_iter().find(is_it))
    }

    fn try_instance(&self) -> Result<Option<wire::Instance>, tonic::Status> {
        self.runtime.block_on(async {
            let mut client = self.client().await?;
            self.get(&mut client).await
        })
    }

    fn instance(&self) -> Option<wire::Instance> {
        self.try_instance().unwrap()
    }

    /// Waits until the instance is what the ledger says that it is to be.
    #[allow(clippy::disallowed_methods, reason = "nothing tells when the host agrees")]
    fn comes_to_rest(&self, what: &str) -> Option<wire::Instance> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let instance = self.instance();
            let Err(why) = instance.as_ref().map_or(Ok(()), |instance| self.is_as_wanted(instance)) else {
                return instance;
            };
            assert!(Instant::now() < deadline, "{what}: {why}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.agent.dir.path().join("log")).unwrap()
    }

    fn is_as_wanted(&self, instance: &wire::Instance) -> Result<(), String> {
        let spec = instance.spec.as_ref().unwrap();
        if instance.status() == Status::Exited {
            return if instance.pid == 0 { Ok(()) } else { Err("it ended and runs".to_owned()) };
        }
        let wanted = if spec.running { Status::Running } else { Status::Stopped };
        if instance.status() != wanted {
            return Err(format!("{:?}, {wanted:?} is wanted: {}", instance.status(), instance.status_detail));
        }
        if !spec.running {
            return if instance.pid == 0 { Ok(()) } else { Err("it is stopped and runs".to_owned()) };
        }
        let equal = |what: &str, found: &str, wanted: &str| {
            if found == wanted { Ok(()) } else { Err(format!("{what} is {found:?}, {wanted:?} is wanted")) }
        };
        let proc = Path::new("/proc").join(instance.pid.to_string());
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let environment = read(&proc.join("environ"))?;
        let key = environment.split('\0').find_map(|variable| variable.strip_prefix("KEY="));
        equal(
            "the variable",
            key.unwrap_or_default(),
            spec.environment["KEY"].value.as_deref().unwrap_or_default(),
        )?;
        let mounted = read(&proc.join("mountinfo"))?.contains(" /mem ");
        equal("the mount", &mounted.to_string(), &spec.mounts.contains_key("mem").to_string())?;
        let group = Path::new("/sys/fs/cgroup/memory").join(&self.mark).join(&instance.id);
        let limit = read(&group.join("memory.limit_in_bytes"))?;
        equal("the limit", limit.trim(), &spec.limits.as_ref().unwrap().memory_bytes.to_string())?;
        let version = self.page("version")?;
        equal("the image", &version, if spec.image.ends_with(":2") { "2" } else { "1" })?;
        if spec.files.contains_key("/etc/conf") {
            let conf = self.page("conf")?;
            let digest = &spec.files["/etc/conf"].sha256;
            equal("the file", &sha256(&conf), digest)?;
        }
        Ok(())
    }

    /// Through the published port.
    fn page(&self, name: &str) -> Result<String, String> {
        let asked = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(format!("GET /{name} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(|error: std::io::Error| format!("its port: {error}"))?;
        answer.split_once("\r\n\r\n").map(|(_, page)| page.to_owned()).ok_or(answer)
    }

    /// While no agent runs: the other instance, and this one where nothing but its end could end it.
    pub fn outlives_the_agent(&self, operation: Operation, before: &Before, what: &str) {
        let this = before.process.filter(|_| operation == Operation::Change);
        for process in self.beside.into_iter().chain(this) {
            assert!(process.runs(), "{operation:?}, killed after {what}: a workload went with the agent");
        }
    }

    fn is_beside_untouched(&self, what: &str) {
        if let Some(process) = self.beside {
            let now = self.agent.berth(&["instance", "inspect", "beside"]).json();
            assert_eq!((&now["pid"], &now["status"]), (&process.pid.into(), &"running".into()), "{what}");
            assert!(process.runs(), "{what}: another process has its number");
        }
    }

    /// Nothing is there that is not in the baseline, and all that is.
    fn has_only(&self, baseline: &Counted, what: &str) {
        let left = left(baseline, &self.agent, &self.mark);
        assert!(left.is_empty(), "{what}: {left:#?}\n{}", self.log());
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The instance before an operation.
pub struct Before {
    instance: Option<wire::Instance>,
    process: Option<Process>,
}

/// Of an instance in a state, all that the host has.
pub type Baselines = BTreeMap<String, Counted>;

/// What tells of how much the host has for it.
fn shape(instance: Option<&wire::Instance>) -> String {
    instance.map_or("none".to_owned(), |instance| {
        let mounts = instance.spec.as_ref().map_or(0, |spec| spec.mounts.len());
        format!("{:?} with {mounts} mounts", instance.status())
    })
}

impl World {
    /// Makes it as it is to be before the operation.
    pub fn prepare(&self, operation: Operation, what: &str) -> Before {
        let instance = self.instance();
        match (operation, &instance) {
            (Operation::Create, Some(_)) => self.operate(Operation::Delete, 0).unwrap(),
            (Operation::Create, None) => {}
            (_, None) => self.operate(operation, 0).unwrap(),
            (Operation::Exit, Some(instance)) if instance.pid == 0 => {
                drop(self.agent.berth(&["instance", "start", "web"]).ok());
            }
            _ => {}
        }
        let instance = self.comes_to_rest(what);
        if let Some(instance) = &instance {
            self.is_let_alone(instance);
        }
        let process = instance.as_ref().and_then(|instance| Process::of(instance.pid));
        Before { instance, process }
    }

    /// Returns once nothing else is under way: an instance has one request after the other, and this one changes nothing.
    fn is_let_alone(&self, instance: &wire::Instance) {
        let (id, spec) = (instance.id.clone(), instance.spec.clone());
        self.runtime.block_on(async {
            let mut client = self.client().await.unwrap();
            let events = client.update_instance(wire::UpdateInstanceRequest { id, spec }).await;
            let mut events = events.unwrap().into_inner();
            while events.message().await.unwrap().is_some() {}
        });
    }

    /// Does it, until it is done or the agent is killed.
    pub fn perform(&self, operation: Operation, times: usize) -> Result<(), tonic::Status> {
        if operation != Operation::Exit {
            return self.operate(operation, times);
        }
        let pid = self.instance().unwrap().pid;
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        self.seen_to_end()
    }

    #[allow(clippy::disallowed_methods, reason = "when the agent has noted an end, only its status tells")]
    fn seen_to_end(&self) -> Result<(), tonic::Status> {
        let deadline = Instant::now() + PATIENCE;
        while self.try_instance()?.is_none_or(|instance| instance.status() != Status::Exited) {
            assert!(Instant::now() < deadline, "its end is not seen\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What there is in each shape that the operation leads to, once all of it was done without a kill.
    pub fn baselines(&self, operation: Operation) -> Baselines {
        let mut baselines = Baselines::new();
        let mut note = |instance: Option<&wire::Instance>| {
            let shape = shape(instance);
            let mut now = steady(&self.agent, &self.mark);
            if let Some(before) = baselines.get(&shape) {
                now = settled(before, now);
            }
            baselines.insert(shape, now);
        };
        // What the first of all instances makes for those to come is there from then on.
        self.operate(Operation::Create, 0).unwrap();
        self.operate(Operation::Delete, 0).unwrap();
        note(None);
        for times in [0, 1, 2] {
            let before = self.prepare(operation, "at first");
            note(before.instance.as_ref());
            self.perform(operation, times).unwrap();
            let instance = self.comes_to_rest("at first");
            note(instance.as_ref());
        }
        baselines
    }

    /// What must hold with the agent after the one that was killed.
    pub fn is_whole(&self, operation: Operation, before: &Before, baselines: &Baselines, what: &str) -> bool {
        let after = self.comes_to_rest(what);
        self.is_beside_untouched(what);
        let generation = |of: &Option<wire::Instance>| of.as_ref().map(|it| (it.id.clone(), it.generation));
        let (was, is) = (generation(&before.instance), generation(&after));
        let is_done = was != is || operation == Operation::Exit;
        if let (Some((_, was)), Some((_, is))) = (was, is) {
            assert!(is <= was + 1, "{what}: it went back\n{}", self.log());
        }
        if let Some(process) = before.process.filter(|_| !is_done || operation == Operation::Change) {
            let kept = after.as_ref().map(|instance| instance.pid) == Some(process.pid) && process.runs();
            assert!(kept, "{what}: its process is another");
        }
        // What the reconciler had begun was in the ledger.
        assert!(is_done || what.contains("after : "), "{what}: it was given up\n{}", self.log());
        let shape = shape(after.as_ref());
        let baseline = baselines.get(&shape).unwrap_or_else(|| panic!("{what}: {shape}"));
        self.has_only(baseline, what);
        is_done
    }
}
