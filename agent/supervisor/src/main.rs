//! One an instance: starts, watches, logs and restarts its workload, and outlives the agent.
fn main() {}
