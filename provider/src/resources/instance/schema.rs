//! The attributes of `berth_instance`, as documented.

use tfplugin::timeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

use super::contents::{devices, files, mounts, networks, ports};
use crate::resources::access;
use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

/// The schema.
pub fn schema() -> Schema {
    let schema = Schema::new(
        "A container: an OCI image that runs on a host, as an instance that can be changed in place.\n\nWhat a change \
         does is said with each argument. *In place*: the process keeps running. *Restart*: it is stopped and started \
         with the same root file system and addresses. *Rebuild*: a new root file system under the same id, name and \
         addresses. *Replace*: destroy and create.\n\nImport with `[HOSTKEY,]NAME`.",
    )
    .version(VERSION);
    let schema = computed(super::process::schema::add(schedule(process(identity(schema)))));
    schema.attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}

fn text(docs: &str) -> Attribute {
    Attribute::string(docs)
}

fn identity(schema: Schema) -> Schema {
    schema
        .attribute("host", host_attribute())
        .attribute(
            "name",
            text(
                "Its name, unique on its host: up to 63 letters, digits and hyphens. A change restarts; it is in place \
                 if `hostname` is set.",
            )
            .required(),
        )
        .attribute("type", text(
                "What it is: `container` (the default), or `virtual-machine`: the same image under a kernel of its own. A \
                 change replaces.",
            ))
        .attribute(
            "image",
            text(
                "An image's `id` (`berth_image.web.id`), or a reference such as `docker.io/postgres:16`, which is \
                 resolved at create only. What a change does is said by `on_image_change`.",
            )
            .required(),
        )
        .attribute(
            "on_image_change",
            text(
                "What a change of `image` does: `rebuild` (the default), `replace`, or `ignore`. What was written to \
                 the root file system is lost in a rebuild.",
            ),
        )
        .attribute("labels", Attribute::map(Type::String, "Labels. In place."))
        .attribute("description", text("A line for people. In place."))
        .attribute("restart_triggers", Attribute::map(Type::String, "Any change of these restarts it."))
}

fn process(schema: Schema) -> Schema {
    schema
        .attribute(
            "entrypoint",
            Attribute::list(
                Type::String,
                "Overrides the image's entrypoint; the image's command is then dropped, too. `[]` clears it. Restart.",
            ),
        )
        .attribute(
            "command",
            Attribute::list(Type::String, "Overrides the image's command. `[]` clears it. Restart."),
        )
        .attribute(
            "environment",
            Attribute::map(
                Type::String,
                "Environment variables over the image's. A null unsets a variable of the image's. Restart.",
            ),
        )
        .attribute("working_dir", text("Overrides the image's working directory: an absolute path. Restart."))
        .attribute(
            "user",
            text("Overrides the image's user: `user[:group]`, names of the image's own or numbers. Restart."),
        )
        .attribute("hostname", text("Its host name. Default: `name`. Restart."))
        .attribute("stop_signal", text("Overrides the signal that stops it, such as `SIGQUIT`. Restart."))
        .attribute(
            "stop_timeout",
            text("How long it may take to stop before it is killed, such as `\"1m30s\"`. Default: `10s`. Restart."),
        )
}

fn schedule(schema: Schema) -> Schema {
    let policy = text(
        "When to start it again after it ended: `no`, `on-failure` (an exit code other than 0), or `always` (the default).",
    );
    let max_retries = Attribute::number("How often in a row; 0, the default, is without end.");
    let backoff = text("The first delay, doubled at each try up to a minute. Default: `100ms`.");
    let limits = [
        (
            "cpu",
            text(
                "Number of CPUs, such as `\"1.5\"`. A virtual machine has as many processors, rounded up; it is restarted for \
                 more than 16.",
            ),
        ),
        (
            "memory",
            text(
                "Memory, such as `\"512MiB\"`, or a number of bytes. A virtual machine's own: 256 MiB where nothing is said, \
                 96 MiB at the least; it is restarted to have less than 256 MiB where it had more.",
            ),
        ),
        ("pids", Attribute::number("Number of processes and threads. Not of a virtual machine.")),
        ("cpuset", text("Which CPUs, such as `\"0-2,5\"`.")),
        ("swap", text("Swap beside the memory, such as `\"1GiB\"`; `0` is none. Only with `memory`.")),
        (
            "io_weight",
            Attribute::number("Its part of the disks' time, 1 to 10000; what says nothing has 100."),
        ),
    ];
    schema
        .attribute(
            "running",
            Attribute::bool(
                "Whether it is to run. Default: `true`. A stop by hand is drift; that its process ended is not: see \
                 `status`. In place.",
            ),
        )
        .attribute(
            "restart",
            Attribute::single(
                "When to start it again. In place.",
                [("policy", policy), ("max_retries", max_retries), ("backoff", backoff)],
            ),
        )
        .attribute("ports", ports::attribute())
        .attribute("networks", networks::attribute())
        .attribute(
            "extra_hosts",
            Attribute::map(
                Type::String,
                "Names that it knows beside its own and those of its networks, each with an address of either family: lines of its \
                 `/etc/hosts`. In place.",
            ),
        )
        .attribute("ingress", access::attribute("What may reach it, but for the host itself.", "source"))
        .attribute("egress", access::attribute("What it may reach.", "destination"))
        .attribute("mounts", mounts::attribute())
        .attribute("files", files::attribute())
        .attribute("devices", devices::attribute())
        .attribute("limits", Attribute::single("Limits; what is left out is not limited. In place.", limits))
}

fn computed(schema: Schema) -> Schema {
    let text = |docs: &str| Attribute::string(docs).computed().keep();
    let addresses = Type::map(Type::list(Type::String));
    schema
        .attribute("id", text("A UUID made by the agent."))
        .attribute(
            "status",
            text("What it does: `running`, `stopped` (as asked), `exited` (by itself), `restarting`, or `failed`."),
        )
        .attribute("exit_code", Attribute::number("Exit code of its last run, where it ended.").computed().keep())
        .attribute("image_id", text("Digest of the image it runs."))
        .attribute("ipv4_address", text("IPv4 address of its default interface. Kept for its life; on a network of the host's, as its server gives it."))
        .attribute("ipv6_address", text("IPv6 address of its default interface, where it has one."))
        .attribute(
            "addresses",
            Attribute::of(addresses, "Addresses of each interface, in CIDR form.").computed().keep(),
        )
        .attribute(
            "mac_addresses",
            Attribute::map(Type::String, "MAC address of each interface. Kept for its life.").computed().keep(),
        )
        .attribute(
            "effective_labels",
            Attribute::map(Type::String, "Its `labels` together with the provider's `default_labels`.")
                .computed()
                .keep(),
        )
}
