//! `berth remote`

use crate::world::Agent;

#[test]
fn a_remote_is_added_listed_and_removed() {
    let agent = Agent::start();
    let args = ["remote", "add", "hub", "https://docker.io", "--username", "me", "--password-stdin"];
    agent.berth_with(&args, b"s3cret\n").ok();
    let list = agent.json(&["remote", "ls"]);
    assert_eq!(list[0]["name"], "hub");
    assert_eq!((&list[0]["username"], &list[0]["has_password"]), (&"me".into(), &true.into()));
    assert!(!list.to_string().contains("s3cret"));
    agent.berth(&["remote", "rm", "hub"]).ok();
    assert_eq!(agent.json(&["remote", "ls"]).as_array().unwrap().len(), 0);
    agent.berth(&["remote", "rm", "hub"]).fails(1, &["There is no remote hub"]);
}

#[test]
fn a_taken_name_and_a_bad_address_name_their_argument() {
    let agent = Agent::start();
    agent.berth(&["remote", "add", "a", "https://one.example"]).ok();
    let id = agent.json(&["remote", "ls"])[0]["id"].as_str().unwrap().to_owned();
    agent.berth(&["remote", "add", "a", "https://two.example"]).fails(1, &["(name)", &id]);
    agent.berth(&["remote", "add", "b", "http://plain.example"]).fails(1, &["(address)", "insecure"]);
    agent.berth(&["remote", "add", "B!", "https://x.example"]).fails(1, &["(name)", "lower-case"]);
    assert_eq!(agent.json(&["remote", "ls"]).as_array().unwrap().len(), 1);
}
