//! Their parts, as Terraform has them.

use crate::attr::{Attr, List, Set, model};

model! {
    /// How an instance's health is asked for.
    pub struct HealthCheckModel {
        /// A command inside.
        exec: List<String>,
        /// A request inside.
        http: Attr<HttpModel>,
        /// A connection inside.
        tcp: Attr<TcpModel>,
        /// A duration.
        interval: Attr<String>,
        /// A duration.
        timeout: Attr<String>,
        /// In a row.
        retries: Attr<i64>,
        /// A duration.
        start_period: Attr<String>,
        /// No check.
        disabled: Attr<bool>,
    }
}

model! {
    /// A request.
    pub struct HttpModel {
        /// Where it listens.
        port: Attr<i64>,
        /// Null is `/`.
        path: Attr<String>,
        /// `http`, which null is, too, or `https`.
        scheme: Attr<String>,
    }
}

model! {
    /// A connection.
    pub struct TcpModel {
        /// Where it listens.
        port: Attr<i64>,
    }
}

model! {
    /// What an apply waits for.
    pub struct WaitModel {
        /// Null is `started`.
        condition: Attr<String>,
        /// Of `port`.
        port: Attr<i64>,
        /// Of `address`.
        interface: Attr<String>,
        /// Of `address`.
        family: Attr<String>,
        /// Of `exited`; null is 0 alone.
        exit_codes: List<i64>,
    }
}

model! {
    /// When it comes up after its host.
    pub struct BootModel {
        /// The highest come first.
        priority: Attr<i64>,
        /// A duration.
        delay: Attr<String>,
    }
}

model! {
    /// What its processes may do.
    pub struct SecurityModel {
        /// Beside the default ones.
        capabilities_add: Set<String>,
        /// Of the default ones.
        capabilities_drop: Set<String>,
        /// The root file system cannot be written.
        read_only_rootfs: Attr<bool>,
        /// No program gains privileges by exec.
        no_new_privileges: Attr<bool>,
        /// `default` or `unconfined`.
        seccomp: Attr<String>,
        /// `auto` or `host`.
        user_namespace: Attr<String>,
        /// Nothing is kept from it.
        privileged: Attr<bool>,
        /// It is in the host's network namespace.
        host_network: Attr<bool>,
        /// It is in the host's pid namespace.
        host_pid: Attr<bool>,
    }
}

model! {
    /// A limit of each process.
    pub struct UlimitModel {
        /// -1 is none.
        soft: Attr<i64>,
        /// Null is the soft one.
        hard: Attr<i64>,
    }
}
