//! Remotes and networks.

use std::sync::Arc;

use berth_domain::{
    Invalid, Invalids, RemoteDraft, RemoteId, RemoteSecretChanges, RemoteSecrets, RemoteSpec,
};

use super::{Engine, Inner};
use crate::error::{EngineError, Kind};
use crate::event::{Action, Subject};
use crate::ports::images::Remote;
use crate::view::{By, RemoteView};

fn view(remote: &Remote) -> RemoteView {
    RemoteView {
        id: remote.id,
        spec: remote.spec.clone(),
        has_password: remote.secrets.password.is_some(),
        has_client_key: remote.secrets.client_key.is_some(),
    }
}

/// A certificate without its key, or a key without its certificate, is a mistake.
fn whole(spec: RemoteSpec, secrets: &RemoteSecrets) -> Result<RemoteSpec, EngineError> {
    let (summary, advice) = match (&spec.client_certificate, &secrets.client_key) {
        (Some(_), None) => ("There is a client certificate and no key for it", "Give client_key_wo too"),
        (None, Some(_)) => ("There is a key and no client certificate", "Give client_certificate too"),
        _ => return Ok(spec),
    };
    Err(Invalids::from(Invalid::new(&["client_certificate"], summary, advice)).into())
}

impl Inner {
    /// All remotes, as the image port needs them.
    pub(super) async fn remotes(&self) -> Result<Arc<[Remote]>, EngineError> {
        Ok(self.ledger.remotes().await?.into())
    }

    async fn save_remote(&self, remote: Remote, action: Action) -> Result<RemoteView, EngineError> {
        let name = remote.spec.name.to_string();
        let taken = |other: &&Remote| other.spec.name == remote.spec.name && other.id != remote.id;
        if let Some(other) = self.ledger.remotes().await?.iter().find(taken) {
            return Err(EngineError::NameTaken { kind: Kind::Remote, name, existing: other.id.to_string() });
        }
        let view = view(&remote);
        self.ledger.save_remote(remote).await?;
        self.bus.emit(Subject::Remote, &view.id, &name, action, "");
        Ok(view)
    }
}

impl Engine {
    /// Makes a remote.
    ///
    /// # Errors
    /// The draft is invalid or the name taken.
    pub async fn create_remote(
        &self,
        draft: &RemoteDraft,
        secrets: RemoteSecrets,
    ) -> Result<RemoteView, EngineError> {
        let spec = whole(draft.validate()?, &secrets)?;
        let remote = Remote { id: RemoteId::random(), spec, secrets };
        self.run(|inner| async move {
            let _turn = inner.naming.lock().await;
            inner.save_remote(remote, Action::Created).await
        })
        .await
    }

    /// One remote.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_remote(&self, by: By<RemoteId>) -> Result<RemoteView, EngineError> {
        let remotes = self.inner.ledger.remotes().await?;
        let found = remotes.iter().find(|remote| match &by {
            By::Id(id) => remote.id == *id,
            By::Name(name) => remote.spec.name.as_str() == name,
        });
        found.map(view).ok_or_else(|| EngineError::not_found(Kind::Remote, by))
    }

    /// All remotes, by name.
    ///
    /// # Errors
    /// The ledger failed.
    pub async fn list_remotes(&self) -> Result<Vec<RemoteView>, EngineError> {
        Ok(self.inner.ledger.remotes().await?.iter().map(view).collect())
    }

    /// Changes a remote.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, or there is none.
    pub async fn update_remote(
        &self,
        id: RemoteId,
        draft: &RemoteDraft,
        secrets: RemoteSecretChanges,
    ) -> Result<RemoteView, EngineError> {
        let spec = draft.validate()?;
        self.run(move |inner| async move {
            let _turn = inner.naming.lock().await;
            let known = inner.ledger.remotes().await?.into_iter().find(|remote| remote.id == id);
            let known = known.ok_or_else(|| EngineError::not_found(Kind::Remote, id))?;
            let secrets = secrets.apply(known.secrets);
            let spec = whole(spec, &secrets)?;
            inner.save_remote(Remote { id, spec, secrets }, Action::Updated).await
        })
        .await
    }

    /// Forgets a remote. What was pulled from it stays.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_remote(&self, id: RemoteId) -> Result<(), EngineError> {
        self.run(move |inner| async move {
            if !inner.ledger.delete_remote(id).await? {
                return Err(EngineError::not_found(Kind::Remote, id));
            }
            inner.bus.emit(Subject::Remote, &id, "", Action::Deleted, "");
            Ok(())
        })
        .await
    }
}
