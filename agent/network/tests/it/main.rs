//! Bridges, rules and ports against the kernel, each test in network namespaces of its own. They vanish with the test,
//! however it ends, and nothing of the machine's own network is touched.

mod bridge;
mod check;
mod firewall;
mod forwarding;
mod isolation;
mod ports;
mod world;
