//! The attributes of `berth_remote`, as documented.

use tfplugin::timeouts;
use tfplugin::{Attribute, Schema};

use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

/// The schema.
pub fn schema() -> Schema {
    let text = |docs: &str| Attribute::string(docs);
    let docs = "A registry that a host knows by name, for references such as `hub:postgres:16`, with what it takes to \
                log in there.\n\nImport with `[HOSTKEY,]NAME`.";
    Schema::new(docs)
        .version(VERSION)
        .attribute("host", host_attribute())
        .attribute(
            "name",
            text("What stands before the colon of a reference. Unique on its host. A change replaces.").required(),
        )
        .attribute(
            "address",
            text("Where it is: `https://host[:port][/path]`, or `http://` with `insecure = true`. In place.").required(),
        )
        .attribute("username", text("Who to log in as; with `password_wo`. In place."))
        .attribute(
            "password_wo",
            text("The password. Write-only: it is never in the state. See `password_wo_version`.").write_only().sensitive(),
        )
        .attribute(
            "password_wo_version",
            Attribute::number("Change it to send `password_wo` again: Terraform cannot see that it changed."),
        )
        .attribute(
            "insecure",
            Attribute::bool(
                "Whether plain HTTP, or a certificate that nobody vouches for, will do. Default: `false`. In place.",
            ),
        )
        .attribute(
            "ca_certificate",
            text("Certificate of the authority that signed the registry's, as PEM text. In place."),
        )
        .attribute(
            "credential_helper",
            text("A credential helper on the host: `pass` for the program `docker-credential-pass`. In place."),
        )
        .attribute(
            "docker_config",
            text("Path of a Docker `config.json` on the host that holds the credentials. In place."),
        )
        .attribute("id", text("A UUID made by the agent.").computed().keep())
        .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}
