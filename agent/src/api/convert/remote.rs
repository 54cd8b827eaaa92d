//! Remotes.

use berth_domain::{Password, PasswordChange, RemoteDraft};
use berth_engine::view::RemoteView;
use berth_proto::agent as wire;
use tonic::Status;

use crate::api::instances::incomplete;

/// What is asked for, and the password beside it.
pub(in crate::api) fn draft(
    spec: Option<wire::RemoteSpec>,
) -> Result<(RemoteDraft, Option<Password>), Status> {
    let spec = spec.ok_or_else(|| incomplete("spec"))?;
    let draft = RemoteDraft {
        name: spec.name,
        address: spec.address,
        username: spec.username,
        insecure: spec.insecure,
        ca_certificate: spec.ca_certificate,
        credential_helper: spec.credential_helper,
        docker_config: spec.docker_config,
    };
    Ok((draft, spec.password.map(Password::new)))
}

/// What an update does with the password.
pub(in crate::api) fn password_change(password: Option<Password>, clear: bool) -> PasswordChange {
    match password {
        Some(password) => PasswordChange::Set(password),
        None if clear => PasswordChange::Clear,
        None => PasswordChange::Keep,
    }
}

/// As the wire has it; the password never is.
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
        }),
        has_password: view.has_password,
    }
}
