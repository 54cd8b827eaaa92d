//! Real programs from Debian serve real requests.
#![allow(clippy::unwrap_used)]

use berth_acceptance_tests::{Registry, TestAgent, postgres, wait};

fn port(agent: &TestAgent, name: &str) -> u16 {
    let ports = agent.inspect(name).unwrap()["ports"].clone();
    let port = ports.as_object().unwrap().values().next().unwrap()["host_port"].as_u64();
    u16::try_from(port.unwrap()).unwrap()
}

fn launch(agent: &TestAgent, registry: &Registry, image: &str, container_port: u16) {
    agent.berth_ok(&["remote", "add", "local", &registry.address(), "--insecure"]).unwrap();
    // Free a moment ago: another program may take it, and then the launch says so.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (reference, publish) = (format!("local:berth/{image}:1"), format!("{free}:{container_port}"));
    agent.berth_ok(&["instance", "launch", &reference, "--name", image, "--publish", &publish]).unwrap();
}

#[test]
fn a_web_server_serves_its_page() {
    let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
    launch(&agent, &registry, "web", 80);
    assert!(wait::page(port(&agent, "web"), "/").unwrap().contains("Hello from nginx"));
    let logs = agent.berth_ok(&["instance", "logs", "web"]).unwrap();
    assert!(logs.contains("GET / HTTP"), "{logs}");
}

#[test]
fn a_database_keeps_what_it_wrote_over_a_restart() {
    let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
    launch(&agent, &registry, "database", 5432);
    let ask = |sql: &str| {
        let limit = std::time::Duration::from_secs(60);
        wait::until("the database", limit, || postgres::query(port(&agent, "database"), sql)).unwrap()
    };
    ask("CREATE TABLE kept (word text)");
    ask("INSERT INTO kept VALUES ('here')");
    agent.berth_ok(&["instance", "restart", "database"]).unwrap();
    assert_eq!(ask("SELECT word FROM kept"), ["here"]);
}

#[test]
fn an_interpreter_runs_its_program_as_its_user() {
    let (registry, agent) = (Registry::start().unwrap(), TestAgent::start().unwrap());
    launch(&agent, &registry, "interpreter", 8000);
    let answer = wait::page(port(&agent, "interpreter"), "/some/path").unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (answer["path"].as_str(), answer["args"][0].as_str()),
        (Some("/some/path"), Some("from-image"))
    );
    assert_ne!(answer["uid"], 0);
}
