//! Bridges, rules and ports against the kernel, each test in network namespaces of its own. They vanish with the test,
//! however it ends, and nothing of the machine's own network is touched.

#[cfg(test)]
mod access;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod check;
#[cfg(test)]
mod coexistence;
#[cfg(test)]
mod firewall;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod spoofing;
#[cfg(test)]
mod world;
