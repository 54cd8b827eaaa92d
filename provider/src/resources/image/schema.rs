//! The attributes of `berth_image`, as documented.

use tfplugin::timeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

/// The schema.
pub fn schema() -> Schema {
    let text = |docs: &str| Attribute::string(docs).computed().keep();
    let layers = Type::list(Type::object([
        ("digest", Type::String),
        ("diff_id", Type::String),
        ("size", Type::Number),
    ]));
    let schema = arguments(
        Schema::new(
            "A pin on an image of a host: the host pulls it and keeps it as long as the pin is there, and longer while \
             instances use it.\n\nA plan asks the registry what the tag means by now: a moved tag shows as a new `id`. \
             A registry that is down is a warning and no change.\n\nImport with `[HOSTKEY,]REFERENCE`.",
        )
        .version(VERSION),
    );
    schema
        .attribute("id", text("Digest of the image: of the platform's manifest."))
        .attribute("reference_resolved", text("What was pulled: `host/repository@digest`."))
        .attribute("size", Attribute::number("Bytes of its layers, as the registry holds them.").computed().keep())
        .attribute(
            "layers",
            Attribute::of(
                layers,
                "Its layers, the lowest first, each with its `digest`, the `diff_id` of its content, and its `size` in bytes.",
            )
            .computed()
            .keep(),
        )
        .attribute("created", text("When it was made, as the image says: RFC 3339."))
        .attribute("config", config())
        .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}

fn arguments(schema: Schema) -> Schema {
    let reference = "What to pull: `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`, such as `docker.io/postgres:16`, \
                     or `hub:postgres:16` with a `berth_remote` named `hub`. Needed where there is no `archive`. In place.";
    schema
        .attribute("host", host_attribute())
        .attribute("reference", Attribute::string(reference))
        .attribute(
            "archive",
            Attribute::string(
                "Path, on the machine that runs Terraform, of an OCI archive or of what `docker save` writes, compressed or \
                 not: the image is taken from it instead of a registry, and `reference` is what it is called, and which image \
                 of several. The file may be absent while nothing changes. In place.",
            ),
        )
        .attribute(
            "archive_sha256",
            Attribute::string(
                "SHA-256 of the archive, so that a change of its content shows: `filesha256(\"image.tar\")`. In place.",
            ),
        )
        .attribute(
            "platform",
            Attribute::string(
                "The platform, such as `linux/amd64` or `linux/arm64/v8`. Default: the host's. A change replaces.",
            )
            .optional_computed()
            .keep(),
        )
        .attribute(
            "keep_on_destroy",
            Attribute::bool("Whether a destroy leaves the image pinned on the host. Default: `false`. In place."),
        )
}

fn config() -> Attribute {
    let text = |docs: &str| Attribute::string(docs).computed().keep();
    let list = |docs: &str| Attribute::list(Type::String, docs).computed().keep();
    let map = |docs: &str| Attribute::map(Type::String, docs).computed().keep();
    let retries = Attribute::number("Failures in a row before it counts as unhealthy.").computed().keep();
    let health_check = Attribute::single(
        "How the image says to check it, where it does.",
        [
            ("test", list("The check, with Docker's word `CMD` or `CMD-SHELL` first.")),
            ("interval", text("Time between checks.")),
            ("timeout", text("Time that a check may take.")),
            ("start_period", text("Time in which failures do not count.")),
            ("retries", retries),
        ],
    );
    Attribute::single(
        "What the image asks for. An instance's own arguments go over it.",
        [
            ("entrypoint", list("Its entrypoint.")),
            ("command", list("Its command.")),
            ("environment", map("Its environment variables.")),
            ("exposed_ports", list("Ports it means to listen on, such as `80/tcp`.")),
            ("volumes", list("Paths it means to be kept.")),
            ("user", text("The user it runs as.")),
            ("working_dir", text("Its working directory.")),
            ("stop_signal", text("The signal that stops it.")),
            ("labels", map("Its labels.")),
            ("health_check", health_check.computed().keep()),
        ],
    )
    .computed()
    .keep()
}
