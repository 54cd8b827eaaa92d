//! The agent: its API, the engine's ports made from the host crates, and the command line.
