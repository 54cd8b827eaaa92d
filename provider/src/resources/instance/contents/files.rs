//! `files`: what is written into an instance, by path.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_proto::agent as wire;
use sha2::{Digest as _, Sha256};
use tfplugin::Attribute;

use crate::attr::{Attr, Map, entries, keep_spelling, map_or_null, model, settle};
use crate::report::{self, Diagnostic, Path};
use crate::resources::volume::plan::{check_id, check_mode};
use crate::text::mode;

model! {
    /// A file.
    pub struct FileModel {
        /// What it says, as text.
        content: Attr<String>,
        /// What it says, in base64.
        content_base64: Attr<String>,
        /// What it says; only ever in the configuration.
        content_wo: Attr<String>,
        /// A change sends `content_wo` again.
        content_wo_version: Attr<i64>,
        /// A file beside the configuration that holds what it says.
        source: Attr<String>,
        /// Of what `source` holds.
        source_sha256: Attr<String>,
        /// Permissions, octal.
        mode: Attr<String>,
        /// Who owns it.
        uid: Attr<i64>,
        /// Its group.
        gid: Attr<i64>,
        /// `none`, `restart` or `signal`.
        on_change: Attr<String>,
    }
}

const MODE: u32 = 0o644;
const NONE: &str = "none";
/// What the files of one instance may have together.
const MAX_BYTES: u64 = 6 << 20;

/// The argument, as documented.
pub fn attribute() -> Attribute {
    let text = |docs: &str| Attribute::string(docs);
    let number = |docs: &str| Attribute::number(docs);
    Attribute::nested_map(
        "Files that are written into it, by their absolute paths, through what is mounted there: before its first start, \
         when they change, and into a new root file system. What is changed inside meanwhile stays and is no drift. One \
         that is taken out is removed. In place, but for `on_change`. 6 MiB together at the most.",
        [
            ("content", text("What it says, as text.")),
            ("content_base64", text("What it says, as base64 of any bytes.")),
            (
                "content_wo",
                text(
                    "What it says, as text. Write-only: it is never in the state. See `content_wo_version`.",
                )
                .write_only()
                .sensitive(),
            ),
            (
                "content_wo_version",
                number("Change it to send `content_wo` again: Terraform cannot see that it changed."),
            ),
            ("source", text("A file on the machine that runs Terraform that holds what it says.")),
            (
                "source_sha256",
                text("Its SHA-256, as `filesha256(…)` gives it: makes a change of its content show."),
            ),
            ("mode", text("Its permissions. Default: `\"0644\"`.")),
            ("uid", number("Who owns it, in the instance. Default: 0.")),
            ("gid", number("Its group, in the instance. Default: 0.")),
            (
                "on_change",
                text(
                    "What follows a change of it: `none` (the default), `restart`, or `signal`, which is SIGHUP to its \
                     first process.",
                ),
            ),
        ],
    )
}

/// A file's content, of an attribute that was validated.
fn literal(model: &FileModel) -> Option<Vec<u8>> {
    match (model.content.as_str(), model.content_base64.as_str()) {
        (Some(text), _) => Some(text.as_bytes().to_owned()),
        (None, Some(text)) => STANDARD.decode(text).ok(),
        (None, None) => None,
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the agent is asked for, but for contents that only an apply knows: those are what the agent has already.
pub fn to_wire(files: &Map<FileModel>) -> HashMap<String, wire::InstanceFile> {
    let id = |attr: &Attr<i64>| attr.known().and_then(|id| u32::try_from(*id).ok()).or(Some(0));
    let file = |model: &FileModel| wire::InstanceFile {
        content: literal(model).map(Into::into),
        secret: is_secret(model),
        sha256: String::new(),
        uid: id(&model.uid),
        gid: id(&model.gid),
        mode: model.mode.as_str().and_then(|text| mode::parse(text).ok()).or(Some(MODE)),
        on_change: model.on_change.as_str().unwrap_or(NONE).to_owned(),
    };
    entries(files).map(|(path, model)| (path.clone(), file(model))).collect()
}

fn is_secret(model: &FileModel) -> bool {
    // The secret itself is in no state; what stands for it there is that nothing else says what the file says.
    [&model.content, &model.content_base64, &model.source].iter().all(|attr| attr.is_null())
}

/// What tells one content from another as far as a state shows.
fn marks(model: &FileModel) -> [String; 4] {
    let version = model.content_wo_version.known().map(i64::to_string).unwrap_or_default();
    let text = |attr: &Attr<String>| attr.as_str().unwrap_or_default().to_owned();
    [version, text(&model.source), text(&model.source_sha256), format!("{}", is_secret(model))]
}

/// Fills in what an apply knows: secrets of the configuration, and files beside it, where they are new or changed.
///
/// # Errors
/// A file cannot be read, or is not the one that was planned.
pub fn fill(
    wanted: &mut HashMap<String, wire::InstanceFile>,
    planned: &Map<FileModel>,
    config: &Map<FileModel>,
    prior: Option<&Map<FileModel>>,
) -> Result<(), Diagnostic> {
    let of = |files: Option<&Map<FileModel>>, path: &str| {
        files.and_then(Attr::known).and_then(|files| files.get(path)).and_then(Attr::known).cloned()
    };
    for (path, model) in entries(planned) {
        let Some(file) = wanted.get_mut(path).filter(|file| file.content.is_none()) else { continue };
        let before = of(prior, path);
        if before.is_some_and(|before| marks(&before) == marks(model)) {
            continue;
        }
        file.content = match model.source.as_str() {
            Some(source) => Some(read(path, source, model.source_sha256.as_str())?.into()),
            None => {
                let secret = of(Some(config), path).and_then(|it| it.content_wo.known().cloned());
                Some(secret.unwrap_or_default().into_bytes().into())
            }
        };
    }
    Ok(())
}

fn read(path: &str, source: &str, expected: Option<&str>) -> Result<Vec<u8>, Diagnostic> {
    let at = |argument: &str| Path::at("files").key(path).attribute(argument);
    let unreadable = |error: std::io::Error| {
        let detail = format!("{error}. It is read on the machine that runs Terraform.");
        report::error(at("source"), format!("The file {source} cannot be read"), detail)
    };
    let metadata = std::fs::metadata(source).map_err(unreadable)?;
    if metadata.len() > MAX_BYTES {
        let detail =
            "The files of an instance may have 6 MiB together. Put larger ones into an image or a volume.";
        return Err(report::error(at("source"), format!("The file {source} is too large"), detail));
    }
    let bytes = std::fs::read(source).map_err(unreadable)?;
    match expected {
        Some(expected) if !expected.eq_ignore_ascii_case(&sha256(&bytes)) => {
            let summary = format!("The file {source} is not the one that was planned");
            Err(report::error(at("source_sha256"), summary, "It changed since. Plan again."))
        }
        _ => Ok(bytes),
    }
}

/// The agent's files, in the words of `prior` where they say the same.
pub fn from_wire(
    actual: &HashMap<String, wire::InstanceFile>,
    prior: Option<&Map<FileModel>>,
) -> Map<FileModel> {
    let read = |(path, file): (&String, &wire::InstanceFile)| {
        let before = prior.and_then(Attr::known).and_then(|files| files.get(path)).and_then(Attr::known);
        (path.clone(), read_one(file, before.cloned().unwrap_or_default()))
    };
    match map_or_null(actual.iter().map(read)) {
        Attr::Null if prior.is_some_and(|prior| prior.known().is_some()) => Attr::Known(BTreeMap::new()),
        files => files,
    }
}

fn read_one(file: &wire::InstanceFile, before: FileModel) -> FileModel {
    let changed = literal(&before).is_some_and(|bytes| file.secret || sha256(&bytes) != file.sha256);
    let kept = |attr: &Attr<String>| if changed { Attr::Null } else { attr.clone() };
    let id = |actual: Option<u32>, before: &Attr<i64>| match (actual.unwrap_or_default(), before) {
        (0, Attr::Null | Attr::Unknown) => Attr::Null,
        (id, _) => Attr::Known(i64::from(id)),
    };
    let expected = before.source_sha256.as_str().filter(|_| !file.secret);
    let other_source = expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&file.sha256));
    FileModel {
        content: kept(&before.content),
        content_base64: kept(&before.content_base64),
        content_wo: Attr::Null,
        content_wo_version: before.content_wo_version.clone(),
        source: before.source.clone(),
        source_sha256: if other_source {
            Attr::Known(file.sha256.clone())
        } else {
            before.source_sha256.clone()
        },
        mode: match (file.mode.unwrap_or(MODE), &before.mode) {
            (MODE, Attr::Null | Attr::Unknown) => Attr::Null,
            (bits, before) => {
                keep_spelling(Some(before), &bits, |text| mode::parse(text).ok(), || mode::format(bits))
            }
        },
        uid: id(file.uid, &before.uid),
        gid: id(file.gid, &before.gid),
        on_change: match &before.on_change {
            Attr::Null | Attr::Unknown if file.on_change == NONE => Attr::Null,
            _ => Attr::Known(file.on_change.clone()),
        },
    }
}

/// A plan's files: no secret, and the prior's spelling where it means the same.
pub fn settle_all(files: &mut Map<FileModel>, prior: Option<&Map<FileModel>>) {
    let Attr::Known(files) = files else { return };
    for (path, file) in files {
        let Attr::Known(file) = file else { continue };
        file.content_wo = Attr::Null;
        let before = prior.and_then(Attr::known).and_then(|files| files.get(path)).and_then(Attr::known);
        if let Some(before) = before {
            let same =
                |one: &str, other: &str| mode::parse(one).is_ok_and(|one| mode::parse(other) == Ok(one));
            file.mode = settle(Some(&before.mode), &file.mode, same);
        }
    }
}

/// Whether the files change, and whether that restarts the instance.
pub fn change(prior: &Map<FileModel>, planned: &Map<FileModel>) -> (bool, bool) {
    use crate::attr::Part as _;
    let (old, new) = (to_wire(prior), to_wire(planned));
    let before = |path: &str| prior.known().and_then(|files| files.get(path)).and_then(Attr::known);
    let mut changes = old.len() != new.len() || planned.has_unknown();
    let mut restarts = planned.is_unknown();
    for (path, model) in planned.known().into_iter().flatten() {
        let Attr::Known(model) = model else {
            (changes, restarts) = (true, true);
            continue;
        };
        let facts = |file: &wire::InstanceFile| (file.content.clone(), file.uid, file.gid, file.mode);
        let same_words = before(path).is_some_and(|before| marks(before) == marks(model));
        let same_facts = old.get(path).map(facts) == new.get(path).map(facts) && !model.has_unknown();
        changes |= !same_words || old.get(path) != new.get(path) || model.has_unknown();
        restarts |= !(same_words && same_facts) && model.on_change.as_str() == Some("restart");
    }
    (changes, restarts)
}

/// Checks what is known of a configuration.
pub fn validate(files: &Map<FileModel>, found: &mut Vec<Diagnostic>) {
    for (name, model) in entries(files) {
        let path = |argument: &str| Path::at("files").key(name).attribute(argument);
        check_path(name, found);
        let ways = [
            ("content", &model.content),
            ("content_base64", &model.content_base64),
            ("content_wo", &model.content_wo),
            ("source", &model.source),
        ];
        let used: Vec<_> = ways.iter().filter(|(_, attr)| !attr.is_null()).map(|(way, _)| *way).collect();
        match used.as_slice() {
            [] => {
                let detail = "Give content, content_base64, content_wo or source.";
                let summary = format!("Nothing says what {name} is to say");
                found.push(report::error(Path::at("files").key(name), summary, detail));
            }
            [first, second, ..] => {
                let summary = format!("{first} and {second} exclude each other");
                found.push(report::error(path(second), summary, "Keep one of them."));
            }
            [_] => {}
        }
        if model.content_base64.as_str().is_some_and(|text| STANDARD.decode(text).is_err()) {
            let detail = "Use base64encode(…) or filebase64(…).";
            found.push(report::error(path("content_base64"), "content_base64 is no base64", detail));
        }
        if !model.source_sha256.is_null() && model.source.is_null() {
            let detail = "It is of what source holds. Leave it out, or give source.";
            found.push(report::error(path("source_sha256"), "There is a digest but no source", detail));
        }
        check_id(path("uid"), &model.uid, found);
        check_id(path("gid"), &model.gid, found);
        check_mode(path("mode"), &model.mode, found);
        let known = |it: &&str| !["none", "restart", "signal"].contains(it);
        if let Some(other) = model.on_change.as_str().filter(known) {
            let summary = format!("There is nothing \"{other}\" that follows a change");
            found.push(report::error(
                path("on_change"),
                summary,
                "Write \"none\", \"restart\" or \"signal\".",
            ));
        }
    }
}

fn check_path(path: &str, found: &mut Vec<Diagnostic>) {
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let bad = match path.strip_prefix('/') {
        Some(rest) => {
            rest.split('/').any(odd)
                || rest == "proc"
                || rest.starts_with("proc/")
                || rest.starts_with("sys/")
        }
        None => true,
    };
    if bad {
        let detail = "Write an absolute path in the instance, without . and .. and double slashes, outside of /proc and \
                      /sys.";
        found.push(report::error(
            Path::at("files").key(path),
            format!("\"{path}\" is no path of a file"),
            detail,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::map;

    fn files<const N: usize>(list: [(&str, FileModel); N]) -> Map<FileModel> {
        map(list.map(|(path, model)| (path.to_owned(), model)))
    }

    fn text(content: &str) -> FileModel {
        FileModel { content: Attr::from(content), ..FileModel::default() }
    }

    fn secret(version: i64) -> FileModel {
        FileModel { content_wo_version: Attr::Known(version), ..FileModel::default() }
    }

    /// As the agent answers.
    fn answer(mut wanted: HashMap<String, wire::InstanceFile>) -> HashMap<String, wire::InstanceFile> {
        for file in wanted.values_mut() {
            let content = file.content.take().unwrap_or_default();
            file.sha256 = if file.secret { String::new() } else { sha256(&content) };
        }
        wanted
    }

    #[test]
    fn a_second_plan_is_empty() {
        let config = files([
            ("/a", FileModel { mode: Attr::from("600"), uid: Attr::Known(0), ..text("hello") }),
            (
                "/b",
                FileModel {
                    content_base64: Attr::from("AAE="),
                    on_change: Attr::from("none"),
                    ..FileModel::default()
                },
            ),
            ("/c", secret(1)),
        ]);
        let read = from_wire(&answer(to_wire(&config)), Some(&config));
        assert_eq!(read, config);
        assert_eq!(change(&read, &config), (false, false));
    }

    #[test]
    fn a_change_of_content_or_version_is_seen_and_restarts_where_that_is_asked_for() {
        let restart = |model: FileModel| FileModel { on_change: Attr::from("restart"), ..model };
        let prior = files([("/a", restart(text("one"))), ("/b", text("one")), ("/c", secret(1))]);
        let planned =
            |a: &str, b: &str, c: i64| files([("/a", restart(text(a))), ("/b", text(b)), ("/c", secret(c))]);
        assert_eq!(change(&prior, &planned("one", "one", 1)), (false, false));
        assert_eq!(change(&prior, &planned("two", "one", 1)), (true, true));
        assert_eq!(change(&prior, &planned("one", "two", 1)), (true, false));
        assert_eq!(change(&prior, &planned("one", "one", 2)), (true, false));
        assert_eq!(change(&prior, &files([("/a", restart(text("one")))])), (true, false));
    }

    #[test]
    fn a_secret_is_sent_when_its_version_changes_and_a_source_must_be_the_one_that_was_planned() {
        let config = files([("/c", FileModel { content_wo: Attr::from("hunter2"), ..secret(2) })]);
        let planned = files([("/c", secret(2))]);
        let sent = |prior: Option<&Map<FileModel>>| {
            let mut wanted = to_wire(&planned);
            fill(&mut wanted, &planned, &config, prior).unwrap();
            wanted["/c"].content.clone()
        };
        assert_eq!(sent(None).as_deref(), Some(&b"hunter2"[..]));
        assert_eq!(sent(Some(&files([("/c", secret(1))]))).as_deref(), Some(&b"hunter2"[..]));
        assert_eq!(sent(Some(&planned)), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "from here").unwrap();
        let source = |sha256: &str| {
            let source = Attr::Known(path.display().to_string());
            files([("/s", FileModel { source, source_sha256: Attr::from(sha256), ..FileModel::default() })])
        };
        let filled = |files: &Map<FileModel>| {
            let mut wanted = to_wire(files);
            fill(&mut wanted, files, files, None).map(|()| wanted["/s"].content.clone().unwrap())
        };
        assert_eq!(filled(&source(&sha256(b"from here"))).unwrap(), &b"from here"[..]);
        assert!(filled(&source("00")).unwrap_err().summary.contains("not the one"));
    }

    #[test]
    fn mistakes_name_their_file_and_argument() {
        let bad = files([
            ("relative", text("x")),
            ("/proc/x", text("x")),
            ("/none", FileModel::default()),
            ("/two", FileModel { source: Attr::from("x"), ..text("x") }),
            (
                "/bad",
                FileModel {
                    content_base64: Attr::from("?"),
                    mode: Attr::from("9"),
                    on_change: Attr::from("boom"),
                    ..FileModel::default()
                },
            ),
        ]);
        let mut found = Vec::new();
        validate(&bad, &mut found);
        let paths: Vec<_> = found.into_iter().map(|found| found.path).collect();
        let file = |path: &str| Path::at("files").key(path);
        for path in [
            file("relative"),
            file("/proc/x"),
            file("/none"),
            file("/two").attribute("source"),
            file("/bad").attribute("content_base64"),
            file("/bad").attribute("mode"),
            file("/bad").attribute("on_change"),
        ] {
            assert!(paths.contains(&path), "{path:?} is not in {paths:?}");
        }
    }
}
