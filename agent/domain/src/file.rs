//! Files that are written into an instance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::Effect;
use crate::invalid::{Findings, Invalid, Invalids};
use crate::mount::target;
use crate::name::shown;
use crate::value::text::plain_path;
use crate::volume::{owner, permissions};

/// More files than this in one instance are a mistake.
const MAX: usize = 256;
/// What the files of one instance may have together: a request holds them all.
pub const MAX_BYTES: usize = 6 << 20;
const MODE: u32 = 0o644;

/// What a file says. Never shown: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent(Arc<[u8]>);

impl FileContent {
    /// Wraps it.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one who writes them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileContent({} bytes)", self.0.len())
    }
}

/// What follows a change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// Nothing: the workload looks itself.
    #[default]
    None,
    /// A restart.
    Restart,
    /// SIGHUP to the workload's first process.
    Signal,
}

impl OnChange {
    /// The word users know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Restart => "restart",
            Self::Signal => "signal",
        }
    }
}

/// A file as it was asked for; only [`check`] makes one. Its content is kept beside it, under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileSpec {
    /// SHA-256 of its content, in hexadecimal digits. Empty: what it has by now, which is found out before it is kept.
    pub digest: String,
    /// The content is never given out, nor its digest.
    pub secret: bool,
    /// Who owns it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
    /// What follows a change of it.
    pub on_change: OnChange,
}

impl FileSpec {
    /// What was written where this was: it differs where it is to be written again.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{}:{:o}:{}:{}", self.digest, self.mode, self.uid, self.gid)
    }
}

/// Where one file is put in an instance, and whose it is there; only [`FilePlace::new`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilePlace {
    /// Absolute, and without `.` and `..`.
    pub path: String,
    /// Who owns it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
}

impl FilePlace {
    /// Checks it.
    ///
    /// # Errors
    /// All that cannot be.
    pub fn new(path: &str, uid: u32, gid: u32, mode: u32) -> Result<Self, Invalids> {
        let mut findings = Findings::default();
        let path = findings.keep(&["path"], plain_path(path));
        let uid = findings.keep(&["uid"], owner(uid));
        let gid = findings.keep(&["gid"], owner(gid));
        let mode = findings.keep(&["mode"], permissions(mode));
        let place = || Some(Self { path: path?, uid: uid?, gid: gid?, mode: mode? });
        findings.finish(place())
    }

    /// Checks a path that is only read.
    ///
    /// # Errors
    /// It is none of a file inside.
    pub fn of_readable(path: &str) -> Result<String, Invalids> {
        plain_path(path).map_err(|invalid| invalid.under(&["path"]).into())
    }
}

/// A file before it is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in FileSpec")]
pub struct FileDraft {
    /// `None`: what it has by now.
    pub content: Option<FileContent>,
    /// Of the content.
    pub digest: String,
    pub secret: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
    /// Empty: none.
    pub on_change: String,
}

/// Checks all files of an instance.
pub fn check(drafts: &BTreeMap<String, FileDraft>, findings: &mut Findings) -> BTreeMap<String, FileSpec> {
    if drafts.len() > MAX {
        let summary = format!("There are {} files", drafts.len());
        findings.add(Invalid::new(&["files"], summary, format!("Use at most {MAX}")));
    }
    let bytes: usize =
        drafts.values().filter_map(|draft| draft.content.as_ref()).map(|content| content.0.len()).sum();
    if bytes > MAX_BYTES {
        let summary = format!("The files have {bytes} bytes together");
        let advice = format!("Use at most {MAX_BYTES}, or put them into an image or a volume");
        findings.add(Invalid::new(&["files"], summary, advice));
    }
    let checked = |(path, draft): (&String, &FileDraft)| {
        let at = |field| ["files", path, field];
        let clean = findings.keep(&["files", path], clean_path(path));
        let id = |id: Option<u32>| id.map_or(Ok(0), owner);
        let uid = findings.keep(&at("uid"), id(draft.uid));
        let gid = findings.keep(&at("gid"), id(draft.gid));
        let mode = findings.keep(&at("mode"), draft.mode.map_or(Ok(MODE), permissions));
        let on_change = findings.keep(&at("on_change"), on_change(&draft.on_change));
        let (digest, secret) = (draft.digest.clone(), draft.secret);
        Some((clean?, FileSpec { digest, secret, uid: uid?, gid: gid?, mode: mode?, on_change: on_change? }))
    };
    drafts.iter().filter_map(checked).collect()
}

fn clean_path(path: &str) -> Result<String, Invalid> {
    let clean = target(path)?;
    if clean == path {
        return Ok(clean);
    }
    Err(Invalid::new(
        &[],
        format!("\"{}\" has needless slashes", shown(path)),
        format!("Write {}", shown(&clean)),
    ))
}

fn on_change(text: &str) -> Result<OnChange, Invalid> {
    match text {
        "" | "none" => Ok(OnChange::None),
        "restart" => Ok(OnChange::Restart),
        "signal" => Ok(OnChange::Signal),
        other => {
            let summary = format!("\"{}\" is nothing that a change can do", shown(other));
            Err(Invalid::new(&[], summary, "Use \"none\", \"restart\" or \"signal\""))
        }
    }
}

/// What a change of files does; `None` where nothing differs.
#[must_use]
pub fn effect(old: &BTreeMap<String, FileSpec>, new: &BTreeMap<String, FileSpec>) -> Option<Effect> {
    if old == new {
        return None;
    }
    let is_rewritten = |(path, file): &(&String, &FileSpec)| {
        old.get(*path).is_none_or(|before| before.fingerprint() != file.fingerprint())
    };
    let restarts = new.iter().filter(is_rewritten).any(|(_, file)| file.on_change == OnChange::Restart);
    Some(if restarts { Effect::Restart } else { Effect::InPlace })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str, &str)]) -> BTreeMap<String, FileSpec> {
        let draft = |(path, digest, on_change): &(&str, &str, &str)| {
            let draft = FileDraft {
                content: Some(FileContent::new(*b"x")),
                digest: (*digest).to_owned(),
                on_change: (*on_change).to_owned(),
                ..FileDraft::default()
            };
            ((*path).to_owned(), draft)
        };
        let mut findings = Findings::default();
        let specs = check(&list.iter().map(draft).collect(), &mut findings);
        assert_eq!(findings.into_error(), None);
        specs
    }

    #[test]
    fn a_change_does_what_the_changed_files_say() {
        let old = files(&[("/a", "1", "restart"), ("/b", "1", "")]);
        assert_eq!(effect(&old, &old), None);
        for (new, expected) in [
            (files(&[("/a", "2", "restart"), ("/b", "1", "")]), Effect::Restart),
            (files(&[("/a", "1", "restart"), ("/b", "2", "")]), Effect::InPlace),
            (files(&[("/a", "1", "none"), ("/b", "1", "")]), Effect::InPlace),
            (files(&[("/b", "1", "")]), Effect::InPlace),
            (files(&[("/a", "1", "restart"), ("/b", "1", ""), ("/c", "1", "restart")]), Effect::Restart),
        ] {
            assert_eq!(effect(&old, &new), Some(expected), "{new:?}");
        }
    }

    #[test]
    fn mistakes_name_their_file() {
        let draft = FileDraft {
            mode: Some(0o10000),
            uid: Some(70_000),
            on_change: "x".to_owned(),
            ..FileDraft::default()
        };
        let drafts =
            ["/etc//x", "/proc/x", "relative", "/../x", "/"].map(|path| (path.to_owned(), draft.clone()));
        let mut findings = Findings::default();
        assert!(check(&drafts.into(), &mut findings).is_empty());
        assert_eq!(findings.into_error().unwrap().as_slice().len(), 5 * 4);
        let large =
            FileDraft { content: Some(FileContent::new(vec![0; MAX_BYTES + 1])), ..FileDraft::default() };
        let mut findings = Findings::default();
        check(&[("/a".to_owned(), large)].into(), &mut findings);
        assert_eq!(findings.into_error().unwrap().as_slice()[0].attribute, ["files"]);
    }

    #[test]
    fn what_a_file_says_is_never_shown() {
        assert_eq!(format!("{:?}", FileContent::new(*b"hunter2")), "FileContent(7 bytes)");
    }
}
