//! What the agent asks of a supervisor: the launch spec, the control protocol, spawning and adopting.
