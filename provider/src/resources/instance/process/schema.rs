//! These arguments, as documented.

use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

fn text(docs: &str) -> Attribute {
    Attribute::string(docs)
}

/// Adds them.
pub fn add(schema: Schema) -> Schema {
    schema
        .attribute("health_check", health_check())
        .attribute("wait_for", wait_for())
        .attribute(
            "boot",
            Attribute::single(
                "When it comes up after its host was started anew. In place.",
                [
                    ("priority", Attribute::number("The highest come first. Default: 0.")),
                    ("delay", text("How long those of a lower priority wait after it. Default: none.")),
                ],
            ),
        )
        .attribute(
            "secret_environment_wo",
            Attribute::map(
                Type::String,
                "Environment variables that reach the process and nothing else: no state, plan, log or list. They are \
                 sent when `secret_environment_wo_version` changes. Restart.",
            )
            .write_only()
            .sensitive(),
        )
        .attribute(
            "secret_environment_wo_version",
            Attribute::number("A change sends `secret_environment_wo` again. Restart."),
        )
        .attribute("security", security())
        .attribute(
            "ulimits",
            Attribute::nested_map(
                "Limits of each process, by names such as `nofile`. What the agent may not give in full is told as a \
                 warning. Restart.",
                [
                    ("soft", Attribute::number("What is in force; -1 is no limit.").required()),
                    ("hard", Attribute::number("What it can be raised to; -1 is no limit. Default: `soft`.")),
                ],
            ),
        )
        .attribute(
            "sysctls",
            Attribute::map(
                Type::String,
                "Settings of the kernel that are the instance's own: `net.…`, `fs.mqueue.…` and System V's of \
                 `kernel.…`. Restart.",
            ),
        )
        .attribute("shm_size", text("Size of `/dev/shm`, such as `\"256MiB\"`. Default: `64MiB`. Restart."))
        .attribute(
            "supplementary_groups",
            Attribute::list(
                Type::String,
                "Groups of the process beside those that the image's own group file gives its user: names of that \
                 file, or numbers. Restart.",
            ),
        )
}

fn health_check() -> Attribute {
    Attribute::single(
        "How its health is told. What is left out is the image's `HEALTHCHECK`, or else Docker's default. The \
         supervisor checks, so it goes on while the agent is away. In place.",
        [
            ("exec", Attribute::list(Type::String, "A command inside, which is to end with 0.")),
            (
                "http",
                Attribute::single(
                    "A request inside, to be answered with a status from 200 to 399.",
                    [
                        ("port", Attribute::number("Where it listens.").required()),
                        ("path", text("With its query. Default: `/`.")),
                        (
                            "scheme",
                            text("`http` (the default) or `https`, whose certificate is not verified."),
                        ),
                    ],
                ),
            ),
            (
                "tcp",
                Attribute::single(
                    "A connection inside.",
                    [("port", Attribute::number("Where it listens.").required())],
                ),
            ),
            ("interval", text("From the start to the first try, and from one to the next. Default: `30s`.")),
            ("timeout", text("How long one may take. Default: `30s`.")),
            ("retries", Attribute::number("Failures in a row that make it unhealthy. Default: 3.")),
            ("start_period", text("From the start; failures in it do not count. Default: none.")),
            ("disabled", Attribute::bool("No check, whatever the image says.")),
        ],
    )
}

fn wait_for() -> Attribute {
    Attribute::single(
        "What create, and an update that starts its process anew, wait for, within `timeouts`. A wait that fails shows \
         the instance's last log lines. State only.",
        [
            (
                "condition",
                text(
                    "`started` (the default), `healthy`, `address`, `port` (a connection to it comes about), or \
                     `exited`.",
                ),
            ),
            ("port", Attribute::number("Of `port`: a TCP port of the instance.")),
            ("interface", text("Of `address`: the interface's name inside. Default: any.")),
            ("family", text("Of `address`: `ipv4` or `ipv6`. Default: any.")),
            (
                "exit_codes",
                Attribute::list(Type::Number, "Of `exited`: codes that mean success. Default: `[0]`."),
            ),
        ],
    )
}

fn security() -> Attribute {
    let capabilities = |docs: &str| Attribute::set(Type::String, docs);
    Attribute::single(
        "What its processes may do. They are in a user namespace of their own, so that no capability counts on the host, \
         unless it is asked for otherwise. Restart.",
        [
            (
                "capabilities_add",
                capabilities(
                    "Capabilities beside Docker's default ones, with or without `CAP_`; `ALL` is all.",
                ),
            ),
            ("capabilities_drop", capabilities("Default capabilities that it does not get; `ALL` is all.")),
            ("read_only_rootfs", Attribute::bool("Whether its root file system cannot be written.")),
            ("no_new_privileges", Attribute::bool("Whether no program gains privileges by being executed.")),
            (
                "seccomp",
                text(
                    "The filter of system calls: `default`, at least as strict as Docker's, or `unconfined`.",
                ),
            ),
            (
                "user_namespace",
                text(
                    "`auto` (the default): ids of its own, so that its root is nobody on the host. `host`: its root is \
                     the host's root with the capabilities given here; more than the default ones, or \
                     `seccomp = \"unconfined\"`, then need `allow_privileged` in the agent's configuration.",
                ),
            ),
            (
                "privileged",
                Attribute::bool(
                    "Whether nothing is kept from it: the host's user namespace, every capability, system call and \
                     device, and nothing of /proc and /sys hidden or read-only. The agent's configuration must have \
                     `allow_privileged = true`.",
                ),
            ),
            (
                "host_network",
                Attribute::bool(
                    "Whether it uses the host's network as it is, without interfaces of its own; `networks` and \
                     `ports` then have no meaning.",
                ),
            ),
            ("host_pid", Attribute::bool("Whether it sees the host's processes.")),
        ],
    )
}
