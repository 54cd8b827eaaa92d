//! `berth_remote` as Terraform has it.

use serde::{Deserialize, Serialize};
use tfplugin::timeouts::Timeouts;

use crate::attr::{Attr, List, model};

model! {
    /// A registry: arguments first, then what is computed.
    pub struct RemoteModel {
        /// The host's key or address; null is the default host.
        host: Attr<String>,
        /// What stands before the colon of a reference.
        name: Attr<String>,
        /// Where it is.
        address: Attr<String>,
        /// Who we are there.
        username: Attr<String>,
        /// Only ever in the configuration.
        password_wo: Attr<String>,
        /// A change sends the password again.
        password_wo_version: Attr<i64>,
        /// Plain HTTP, or a certificate that nobody vouches for.
        insecure: Attr<bool>,
        /// PEM text.
        ca_certificate: Attr<String>,
        /// A docker-credential helper on the host.
        credential_helper: Attr<String>,
        /// A path on the host.
        docker_config: Attr<String>,
        /// PEM text.
        client_certificate: Attr<String>,
        /// Only ever in the configuration.
        client_key_wo: Attr<String>,
        /// A change sends the key again.
        client_key_wo_version: Attr<i64>,
        /// Tried first for what a digest names.
        mirrors: List<String>,
        /// Who must have signed what is pulled.
        verify: Attr<VerifyModel>,
        /// How long operations may take.
        timeouts: Attr<Timeouts>,
        /// A UUID made by the agent.
        id: Attr<String>,
    }
}

model! {
    /// Who must have signed what is pulled.
    pub struct VerifyModel {
        /// PEM texts.
        keys: List<String>,
    }
}

/// What the provider remembers of a remote beside the state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RemotePrivate {
    /// Whether we gave it a password.
    pub has_password: bool,
    /// Whether we gave it a client certificate's key.
    pub has_client_key: bool,
}
