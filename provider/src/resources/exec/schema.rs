//! The attributes of `berth_exec`, as documented.

use tfplugin::value::Type;
use tfplugin::{Attribute, Schema, timeouts};

use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// The schema.
pub fn schema() -> Schema {
    let text = |docs: &str| Attribute::string(docs);
    Schema::new(
        "A command that is run inside a running instance when this is created, and again when an argument that replaces \
         it changes. It works on every Terraform and OpenTofu.",
    )
    .attribute("host", host_attribute())
    .attribute("instance", text("The instance's `id`. A change replaces.").required().requires_replace())
    .attribute(
        "command",
        Attribute::list(Type::String, "The program and its arguments; no shell is between. A change replaces.")
            .required()
            .requires_replace(),
    )
    .attribute(
        "user",
        text("Whom it runs as: `user[:group]`. Default: the instance's user. A change replaces.").requires_replace(),
    )
    .attribute(
        "environment_wo",
        Attribute::map(Type::String, "Environment variables over the instance's. They are kept nowhere.")
            .write_only()
            .sensitive(),
    )
    .attribute(
        "triggers",
        Attribute::map(Type::String, "Any change of these replaces it, so that it runs again.").requires_replace(),
    )
    .attribute(
        "destroy_command",
        Attribute::list(
            Type::String,
            "A command that is run when this is destroyed, if the instance runs then. In place.",
        ),
    )
    .attribute(
        "fail_on_nonzero",
        Attribute::bool("Whether an exit code other than 0 is an error. Default: `true`. In place."),
    )
    .attribute(
        "record_output",
        Attribute::bool("Whether the state keeps the last 64 KiB of each output. Default: `false`. A change replaces.")
            .requires_replace(),
    )
    .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
    .attribute("id", text("A name for this run.").computed().keep())
    .attribute(
        "exit_code",
        Attribute::number("Its exit code; 128 + n where signal n ended it.").computed().keep(),
    )
    .attribute("stdout", text("What it wrote, with `record_output`.").computed().keep().sensitive())
    .attribute("stderr", text("What it wrote, with `record_output`.").computed().keep().sensitive())
}
