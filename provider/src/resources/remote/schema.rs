//! The attributes of `berth_remote`, as documented.

use tfplugin::timeouts;
use tfplugin::value::Type;
use tfplugin::{Attribute, Schema};

use crate::resources::session::{DEFAULT_TIMEOUT, host_attribute};

/// Version of the state's form; raise it with an upgrade.
const VERSION: i64 = 0;

fn verify() -> Attribute {
    let keys =
        "Public keys as PEM text: ECDSA on P-256 or P-384, RSA, or Ed25519. One of them must have signed.";
    Attribute::single(
        "Takes only images that are signed: cosign's signatures, made with a key, of the image or of the index that \
         names it, are checked before a layer is fetched. In place.",
        [("keys", Attribute::list(Type::String, keys).required())],
    )
}

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
                "Whether plain HTTP will do: for `address` and for `mirrors`. Default: `false`. In place.",
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
            text(
                "Path of a Docker `config.json` on the host that holds the credentials, identity tokens and helpers too. \
                 In place.",
            ),
        )
        .attribute(
            "client_certificate",
            text("Certificate to show to the registry, as PEM text with its chain; with `client_key_wo`. In place."),
        )
        .attribute(
            "client_key_wo",
            text("Key of the client certificate, as PEM text. Write-only: it is never in the state.")
                .write_only()
                .sensitive(),
        )
        .attribute(
            "client_key_wo_version",
            Attribute::number("Change it to send `client_key_wo` again: Terraform cannot see that it changed."),
        )
        .attribute(
            "mirrors",
            Attribute::list(
                Type::String,
                "Addresses that are tried first, in this order, for what a digest names: the registry itself says what \
                 a tag means. They get no password and no client certificate of the registry's; a helper or a Docker \
                 config may have their own. In place.",
            ),
        )
        .attribute("verify", verify())
        .attribute("id", text("A UUID made by the agent.").computed().keep())
        .attribute("timeouts", timeouts::attribute(DEFAULT_TIMEOUT))
}
