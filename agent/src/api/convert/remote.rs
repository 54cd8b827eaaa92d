//! Remotes.

use berth_domain::{Password, PasswordChange, RemoteDraft, RemoteSecretChanges, RemoteSecrets};
use berth_engine::view::RemoteView;
use berth_proto::agent as wire;
use tonic::Status;

use crate::api::instances::incomplete;

/// What is asked for, and the secrets beside it.
pub(in crate::api) fn draft(spec: Option<wire::RemoteSpec>) -> Result<(RemoteDraft, RemoteSecrets), Status> {
    let spec = spec.ok_or_else(|| incomplete("spec"))?;
    let draft = RemoteDraft {
        name: spec.name,
        address: spec.address,
        username: spec.username,
        insecure: spec.insecure,
        ca_certificate: spec.ca_certificate,
        credential_helper: spec.credential_helper,
        docker_config: spec.docker_config,
        client_certificate: spec.client_certificate,
        mirrors: spec.mirrors,
        verify_keys: spec.verify_keys,
    };
    let secrets = RemoteSecrets {
        password: spec.password.map(Password::new),
        client_key: spec.client_key.map(Password::new),
    };
    Ok((draft, secrets))
}

/// What an update does with the secrets.
pub(in crate::api) fn changes(
    secrets: RemoteSecrets,
    clear_password: bool,
    clear_client_key: bool,
) -> RemoteSecretChanges {
    RemoteSecretChanges {
        password: change(secrets.password, clear_password),
        client_key: change(secrets.client_key, clear_client_key),
    }
}

fn change(secret: Option<Password>, clear: bool) -> PasswordChange {
    match secret {
        Some(password) => PasswordChange::Set(password),
        None if clear => PasswordChange::Clear,
        None => PasswordChange::Keep,
    }
}

/// As the wire has it; the secrets never are.
pub(in crate::api) fn show(view: RemoteView) -> wire::Remote {
    let spec = view.spec;
    wire::Remote {
        id: view.id.to_string(),
        spec: Some(wire::RemoteSpec {
            name: spec.name.to_string(),
            address: spec.address,
            username: spec.username,
            password: None,
            insecure: spec.insecure,
            ca_certificate: spec.ca_certificate,
            credential_helper: spec.credential_helper,
            docker_config: spec.docker_config,
            client_certificate: spec.client_certificate,
            client_key: None,
            mirrors: spec.mirrors,
            verify_keys: spec.verify_keys,
        }),
        has_password: view.has_password,
        has_client_key: view.has_client_key,
    }
}
