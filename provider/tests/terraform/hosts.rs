//! Many hosts, hosts that are down, and hosts that are not known yet.

use crate::fake::{FakeAgent, digest};
use crate::instance::web;
use crate::run::Workspace;

fn on(key: &str) -> String {
    format!(
        "resource \"berth_instance\" \"{key}\" {{\n  host = \"{key}\"\n  name = \"web\"\n  image = \"{}\"\n}}\n",
        digest("one")
    )
}

fn hosts(entries: &[(&str, String, &str)]) -> String {
    let entries: String = entries
        .iter()
        .map(|(key, address, extra)| format!("    {key} = {{ address = {address}, {extra} }}\n"))
        .collect();
    format!("provider \"berth\" {{\n  hosts = {{\n{entries}  }}\n}}\n")
}

fn quoted(agent: &FakeAgent) -> String {
    format!("\"{}\"", agent.address())
}

#[test]
fn a_host_that_is_down_fails_only_its_own_resources() {
    let (one, mut two) = (FakeAgent::start(), FakeAgent::start());
    let workspace = Workspace::bare();
    let head = |extra| hosts(&[("one", quoted(&one), ""), ("two", quoted(&two), extra)]);
    workspace.write(&format!("{}{}{}", head(""), on("one"), on("two")));
    workspace.apply().ok().says("2 added");
    workspace.plans_empty();
    let forgiving = head("unreachable = \"warn\"");
    two.go_down();

    let address = two.address();
    let said = workspace.plan().fails().says(&format!("The host two ({address}) cannot be reached"));
    said.says("There is no such socket").says("Start berthd there").says_not("The host one");

    workspace.write(&format!("{forgiving}{}{}", on("one"), on("two")));
    workspace.plans_empty().says(&format!("Warning: The host two ({address}) cannot be reached"));
    let labelled = on("one").replace("name =", "labels = { a = \"b\" }\n  name =");
    workspace.write(&format!("{forgiving}{labelled}{}", on("two")));
    workspace.apply().ok().says("1 changed");

    two.listen();
    workspace.plans_empty().says_not("cannot be reached");
}

#[test]
fn registries_alone_are_planned_while_their_host_is_down() {
    let mut agent = FakeAgent::start();
    let reference = "docker.io/library/web:1";
    agent.state().tags.insert(reference.to_owned(), (digest("index-one"), digest("one")));
    let workspace = Workspace::bare();
    let with = |key: &str| {
        format!(
            "{}resource \"berth_remote\" \"hub\" {{\n  host = \"one\"\n  name = \"hub\"\n  address = \"https://docker.io\"\n}}\n\
             resource \"berth_image\" \"web\" {{\n  host = \"one\"\n  reference = \"{reference}\"\n}}\n\
             output \"repository\" {{\n  value = provider::berth::parse_reference(\"{reference}\").{key}\n}}\n",
            hosts(&[("one", quoted(&agent), "unreachable = \"warn\"")])
        )
    };
    let (first, second) = (with("repository"), with("tag"));
    workspace.write(&first);
    workspace.apply().ok();
    agent.go_down();
    workspace.plans_empty().says("Warning: The host one");
    // What asks no host is done without any.
    workspace.write(&second);
    workspace.apply().ok().says("repository = \"1\"");
}

#[test]
fn an_address_may_be_unknown_until_apply() {
    let agent = FakeAgent::start();
    let workspace = Workspace::bare();
    let with = |salt: &str| {
        let made = format!(
            "resource \"terraform_data\" \"machine\" {{\n  input = \"{}\"\n  triggers_replace = \"{salt}\"\n}}\n",
            agent.address()
        );
        let address = "terraform_data.machine.output".to_owned();
        format!("{made}{}{}", hosts(&[("one", address, "")]), on("one"))
    };
    workspace.write(&with("a"));
    workspace.apply().ok().says("2 added");
    workspace.plans_empty();
    // The machine is made anew: its address is unknown again, and the instance keeps its state meanwhile.
    workspace.write(&with("b"));
    workspace.apply().ok().says("1 added, 0 changed, 1 destroyed");
    workspace.plans_empty();
}

#[test]
fn another_agent_under_the_same_key_is_noticed() {
    let agent = FakeAgent::start();
    let workspace = Workspace::new(&agent, &web(""));
    workspace.apply().ok();
    agent.state().agent_id = "another".to_owned();
    agent.state().instances.clear();
    workspace.plans_changes().says("Warning: Another agent answers at unix://").says("1 to add");
    workspace.apply().ok();
    workspace.plans_empty();
}

#[test]
fn another_host_replaces_and_another_name_for_it_does_not() {
    let (one, two) = (FakeAgent::start(), FakeAgent::start());
    let workspace = Workspace::bare();
    let entries = [("one", quoted(&one), ""), ("again", quoted(&one), ""), ("two", quoted(&two), "")];
    let moved = |key: &str| {
        format!("{}{}", hosts(&entries), on("one").replace("host = \"one\"", &format!("host = \"{key}\"")))
    };
    workspace.write(&moved("one"));
    workspace.apply().ok();
    workspace.write(&moved("again"));
    workspace.plans_changes().says_not("forces replacement");
    workspace.write(&moved("two"));
    workspace.plans_changes().says("forces replacement");
    workspace.apply().ok();
    assert_eq!((one.state().instances.len(), two.state().instances.len()), (0, 1));
}

#[test]
fn a_host_is_imported_from_by_its_key() {
    let agent = FakeAgent::start();
    let workspace = Workspace::bare();
    let configuration = format!("{}{}", hosts(&[("one", quoted(&agent), "")]), on("one"));
    workspace.write(&configuration);
    workspace.apply().ok();
    let second = Workspace::bare();
    second.write(&configuration);
    second.import("berth_instance.one", "one,web").ok();
    second.plans_empty();
}

#[test]
fn the_host_is_told() {
    let agent = FakeAgent::start();
    let mut workspace = Workspace::bare();
    workspace.write(
        "data \"berth_host\" \"this\" {}\noutput \"cpus\" {\n  value = data.berth_host.this.cpus\n}\n",
    );
    workspace.set("BERTH_HOST", agent.address());
    workspace.apply().ok().says("cpus = 4");
    let attributes = workspace.attributes("data.berth_host.this");
    assert_eq!(attributes["id"], agent.state().agent_id.as_str());
    assert_eq!(attributes["architecture"], "amd64");
}

#[test]
fn malformed_provider_arguments_are_told_on_their_arguments() {
    let workspace = Workspace::bare();
    workspace.write(
        "provider \"berth\" {\n  host = \"nodes\"\n  hosts = { one = { address = \"http://one\" } }\n  wait_for_host = \"5\"\n}\n\
         data \"berth_host\" \"this\" {}\n",
    );
    let said = workspace.plan().fails().says("\"nodes\" is no agent's address");
    said.says("\"http://one\" is no agent's address").says("Write \"5s\" if seconds are meant.");
}
