//! The attributes of `berth_volume`, as documented.

use tfplugin::timeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

/// The schema.
pub fn schema() -> Schema {
    let text = |docs: &str| Attribute::string(docs);
    let docs = "A volume: a directory on a host that outlives instances and can be mounted by many. Each of them sees \
                its files with the ids that it has itself. Where it is empty when it is mounted for the first time, it \
                is filled with what the instance's image has at that place.\n\nIt is destroyed, with all that is in it, \
                only when no instance has it among its mounts. Import with `[HOSTKEY,]NAME`.";
    Schema::new(docs)
        .version(VERSION)
        .attribute("host", host_attribute())
        .attribute(
            "name",
            text(
                "Its name, unique on its host: up to 63 letters, digits, hyphens, underscores and dots. In place: \
                 instances that have it mounted go on.",
            )
            .required(),
        )
        .attribute("labels", Attribute::map(Type::String, "Labels. In place."))
        .attribute(
            "uid",
            Attribute::number(
                "Who owns its root, as instances see it. In place. Left out, it is what the image says at the first \
                 mount, or root, and later what it was.",
            ),
        )
        .attribute("gid", Attribute::number("The group of its root, likewise. In place."))
        .attribute("mode", text("The permissions of its root, likewise, such as `\"0750\"`. In place."))
        .attribute(
            "size",
            text(
                "How much it has room for, with what its file system needs itself, such as `\"10GiB\"`, or a number of bytes: \
                 16 MiB at the least. It takes the host's room only as it is filled. In place: it grows; while instances \
                 have it mounted, that needs an agent with the capability SYS_RESOURCE. A smaller one is an error, and so \
                 is adding it to a volume that was made without, or taking it out. Default: what room the host has.",
            ),
        )
        .attribute(
            "keep_on_destroy",
            Attribute::bool("Whether a destroy leaves it on the host. Default: `false`. In place."),
        )
        .attribute("id", text("A UUID made by the agent.").computed().keep())
        .attribute(
            "effective_labels",
            Attribute::map(Type::String, "Its `labels` together with the provider's `default_labels`.")
                .computed()
                .keep(),
        )
        .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}
