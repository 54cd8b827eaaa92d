//! What names a thing beside its state (Terraform 1.12): for `import` blocks and `terraform query`.

use tfplugin::value::Type;
use tfplugin::{IdentitySchema, Value};

use crate::attr::Attr;

const HOST: &str = "Key or address of its host; absent for the provider's default host.";

/// Of what has an id of the agent's.
pub fn by_id() -> IdentitySchema {
    IdentitySchema::new().optional("host", Type::String, HOST).required(
        "id",
        Type::String,
        "Its id, a UUID made by the agent.",
    )
}

/// Of a run of a command.
pub fn of_run() -> IdentitySchema {
    IdentitySchema::new().optional("host", Type::String, HOST).required(
        "id",
        Type::String,
        "The run's own name: of the instance, and of when it was.",
    )
}

/// Of a pinned image.
pub fn of_image() -> IdentitySchema {
    IdentitySchema::new()
        .optional("host", Type::String, HOST)
        .required("reference", Type::String, "What is pinned, as its reference was written.")
        .optional("platform", Type::String, "The platform, such as `linux/amd64`; absent for the host's.")
}

/// One attribute of an identity.
pub fn part(identity: &Value, name: &str) -> Attr<String> {
    identity.attribute(name).known().and_then(|value| value.as_str()).map(str::to_owned).into()
}
