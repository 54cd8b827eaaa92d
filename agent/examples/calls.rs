//! Times calls of an agent's API against commands that do the same, in turn, in one run. Prints milliseconds as JSON.
//!
//! ```text
//! calls start ADDRESS IMAGE ROUNDS NETWORK PEERS  from the call to the entrypoint's first instruction
//! calls exec ADDRESS INSTANCE ROUNDS PEERS        /bin/true, from the call to its exit code
//! calls crowd ADDRESS IMAGE COUNT NETWORK         so many started at once: from the first call to the last entrypoint
//! calls stay ADDRESS IMAGE COUNT NETWORK          starts so many, one after the other, and leaves them
//! ```
//!
//! The image's entrypoint prints the time at which it runs. PEERS are commands as a JSON list of lists; what starts something prints
//! the same.

#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_agent::dial::{Certificates, dial};
use berth_proto::agent as wire;
use berth_proto::agent::exec_response::Message as Answer;
use berth_proto::agent::instance_event::Event;
use berth_proto::agent::instance_service_client::InstanceServiceClient;
use futures::future::try_join_all;
use serde_json::{Value, json};
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Client = InstanceServiceClient<Channel>;
type Peers = Vec<Vec<String>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments.as_slice() {
        ["start", address, image, rounds, network, peers] => {
            let peers: Peers = serde_json::from_str(peers)?;
            starts(&mut client(address).await?, image, rounds.parse()?, network, &peers).await?
        }
        ["exec", address, instance, rounds, peers] => {
            let peers: Peers = serde_json::from_str(peers)?;
            execs(&mut client(address).await?, instance, rounds.parse()?, &peers).await?
        }
        ["crowd", address, image, count, network] => {
            crowd(&client(address).await?, image, count.parse()?, network).await?
        }
        ["stay", address, image, count, network] => {
            let mut client = client(address).await?;
            for number in 0..count.parse::<usize>()? {
                create(&mut client, spec(&format!("stay-{number}"), image, network, &["stay"])).await?;
            }
            json!({})
        }
        _ => return Err("usage: calls start | exec | crowd | stay …".into()),
    };
    println!("{figures}");
    Ok(())
}

async fn client(address: &str) -> Result<Client, Failure> {
    let channel = dial(&address.parse()?, &Certificates::from_environment()).await?;
    let mut client = InstanceServiceClient::new(channel);
    // The connection itself comes about at the first call.
    client.list_instances(wire::ListInstancesRequest {}).await?;
    Ok(client)
}

/// Nanoseconds of the clock that the entrypoint reads.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn milliseconds(from: u128, to: u128) -> f64 {
    let nanoseconds = i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(from).unwrap_or(i64::MAX);
    nanoseconds as f64 / 1e6
}

fn spec(name: &str, image: &str, network: &str, arguments: &[&str]) -> wire::InstanceSpec {
    let interface = wire::InstanceNetwork { network: network.to_owned(), ..Default::default() };
    let interfaces = (network != "none").then(|| ("eth0".to_owned(), interface)).into_iter().collect();
    wire::InstanceSpec {
        name: name.to_owned(),
        image: image.to_owned(),
        command: Some(wire::StringList { values: arguments.iter().map(ToString::to_string).collect() }),
        networks: Some(wire::InstanceNetworks { interfaces }),
        restart: Some(wire::RestartPolicy {
            policy: wire::restart_policy::Policy::No.into(),
            ..Default::default()
        }),
        running: true,
        ..Default::default()
    }
}

/// Creates one, and gives its id.
async fn create(client: &mut Client, spec: wire::InstanceSpec) -> Result<String, Failure> {
    let request = wire::CreateInstanceRequest { spec: Some(spec) };
    ended(client.create_instance(request).await?.into_inner()).await
}

async fn ended(mut events: tonic::Streaming<wire::InstanceEvent>) -> Result<String, Failure> {
    let mut id = None;
    while let Some(event) = events.message().await? {
        if let Some(Event::Instance(instance)) = event.event {
            id = Some(instance.id);
        }
    }
    id.ok_or_else(|| "the answer was cut off".into())
}

/// When the entrypoint of one ran.
async fn ran(client: &mut Client, id: &str) -> Result<u128, Failure> {
    let request = wire::GetLogsRequest { instance_id: id.to_owned(), follow: true, ..Default::default() };
    let mut lines = client.get_logs(request).await?.into_inner();
    let line = lines.message().await?.ok_or("it said nothing")?;
    Ok(std::str::from_utf8(&line.data)?.parse()?)
}

async fn delete(client: &mut Client, id: String) -> Result<(), Failure> {
    let request = wire::DeleteInstanceRequest { id, force: true };
    ended(client.delete_instance(request).await?.into_inner()).await.map(drop)
}

async fn starts(
    client: &mut Client,
    image: &str,
    rounds: usize,
    network: &str,
    peers: &Peers,
) -> Result<Value, Failure> {
    let (mut ours, mut answered, mut theirs) = (Vec::new(), Vec::new(), vec![Vec::new(); peers.len()]);
    // The first of all is none of them: it makes what the others find.
    for round in 0..=rounds {
        let begun = now();
        let id = create(client, spec(&format!("start-{round}"), image, network, &[])).await?;
        let answer = now();
        if round > 0 {
            ours.push(milliseconds(begun, ran(client, &id).await?));
            answered.push(milliseconds(begun, answer));
        }
        delete(client, id).await?;
        for (peer, times) in peers.iter().zip(&mut theirs) {
            let begun = now();
            let said = run(peer)?;
            if round > 0 {
                times.push(milliseconds(begun, said.trim().parse()?));
            }
        }
    }
    Ok(json!({ "ours": ours, "answered": answered, "peers": theirs }))
}

/// Runs a command to its end. A container's root is given its standard streams: they are pipes, and nobody else's.
fn run(command: &[String]) -> Result<String, Failure> {
    let (program, arguments) = command.split_first().ok_or("a peer is no command")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::piped()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn execs(client: &mut Client, id: &str, rounds: usize, peers: &Peers) -> Result<Value, Failure> {
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
    for _ in 0..rounds {
        let begun = now();
        let start = wire::ExecStart {
            instance_id: id.to_owned(),
            argv: vec!["/bin/true".into()],
            ..Default::default()
        };
        let start = wire::ExecRequest { message: Some(wire::exec_request::Message::Start(start)) };
        let mut answers = client.exec(tokio_stream::iter([start])).await?.into_inner();
        let mut code = None;
        while let Some(answer) = answers.message().await? {
            if let Some(Answer::ExitCode(ended)) = answer.message {
                code = Some(ended);
            }
        }
        if code != Some(0) {
            return Err(format!("/bin/true ended with {code:?}").into());
        }
        ours.push(milliseconds(begun, now()));
        for (peer, times) in peers.iter().zip(&mut theirs) {
            let begun = now();
            run(peer)?;
            times.push(milliseconds(begun, now()));
        }
    }
    Ok(json!({ "ours": ours, "peers": theirs }))
}

async fn crowd(client: &Client, image: &str, count: usize, network: &str) -> Result<Value, Failure> {
    let begun = now();
    let all = (0..count).map(|number| {
        let (mut client, spec) = (client.clone(), spec(&format!("crowd-{number}"), image, network, &[]));
        async move {
            let id = create(&mut client, spec).await?;
            Ok::<_, Failure>((id, now()))
        }
    });
    let all = try_join_all(all).await?;
    let answered = all.iter().map(|(_, at)| *at).max().unwrap_or(begun);
    let (mut client, mut last) = (client.clone(), begun);
    for (id, _) in all {
        last = last.max(ran(&mut client, &id).await?);
        delete(&mut client, id).await?;
    }
    Ok(json!({ "ours": milliseconds(begun, last), "answered": milliseconds(begun, answered) }))
}
