//! Which files are to be written into an instance: those whose content, owner or permissions are not what was written last.
//! What is changed inside meanwhile stays.

use std::collections::BTreeMap;

use berth_domain::file::{FileContent, OnChange};
use berth_domain::{InstanceDraft, InstanceSpec, Invalid, Invalids};

use super::actor::Actor;
use crate::error::EngineError;
use crate::ledger::Version;
use crate::ports::runtime::FileWrite;

/// What files say, by digest.
pub(crate) type Contents = BTreeMap<String, FileContent>;

/// What a draft's files say.
pub(crate) fn contents(draft: &InstanceDraft) -> Contents {
    let files = draft.files.values();
    files.filter_map(|file| Some((file.digest.clone(), file.content.clone()?))).collect()
}

/// A file that keeps what it says has the digest that it had.
pub(crate) fn resolve(spec: &mut InstanceSpec, before: Option<&Version>) -> Result<(), EngineError> {
    for (path, file) in spec.files.iter_mut().filter(|(_, file)| file.digest.is_empty()) {
        let known = before.and_then(|version| version.spec.files.get(path));
        let Some(known) = known else {
            let summary = format!("Nothing is known of what {path} is to say");
            let invalid = Invalid::new(&["files", path], summary, "Give its content");
            return Err(Invalids::from(invalid).into());
        };
        file.digest.clone_from(&known.digest);
    }
    Ok(())
}

impl Version {
    /// What is written once all files are.
    pub(crate) fn all_written(&self) -> BTreeMap<String, String> {
        self.spec.files.iter().map(|(path, file)| (path.clone(), file.fingerprint())).collect()
    }

    /// What another version wrote into the same root filesystem is to be written again.
    pub(crate) fn forget_written(&mut self, other: &Self) {
        if other.rootfs != self.rootfs {
            return;
        }
        self.written.retain(|path, print| other.written.get(path) == Some(print));
        // A file that only the other had is to be removed: it counts as written, with nothing in it.
        for path in other.written.keys().filter(|path| !self.spec.files.contains_key(*path)) {
            self.written.insert(path.clone(), String::new());
        }
    }
}

impl Actor {
    /// The files that are to be written now, and whether the workload is told by a signal.
    pub(super) async fn file_writes(&self) -> Result<(Vec<FileWrite>, bool), EngineError> {
        let version = &self.record.current;
        let wanted = version.all_written();
        if wanted == version.written {
            return Ok((Vec::new(), false));
        }
        let contents = self.inner.ledger.file_contents(self.record.id).await?;
        let mut writes = Vec::new();
        let mut signal = false;
        for (path, file) in &version.spec.files {
            if version.written.get(path) == wanted.get(path) {
                continue;
            }
            let content = contents.get(&file.digest).cloned();
            let content = content.ok_or_else(|| {
                let summary = format!("What {path} is to say is lost");
                Invalids::from(Invalid::new(&["files", path], summary, "Give its content again"))
            })?;
            let (uid, gid, mode) = (file.uid, file.gid, file.mode);
            writes.push(FileWrite { path: path.clone(), content: Some(content), uid, gid, mode });
            signal |= file.on_change == OnChange::Signal;
        }
        for path in version.written.keys().filter(|path| !version.spec.files.contains_key(*path)) {
            writes.push(FileWrite { path: path.clone(), content: None, uid: 0, gid: 0, mode: 0 });
        }
        Ok((writes, signal))
    }
}
