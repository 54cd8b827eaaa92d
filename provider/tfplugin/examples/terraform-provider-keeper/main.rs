//! A provider for this crate's own tests: it keeps notes as files in a directory.

mod more;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value as Json;
use tfplugin::{
    Attr, Attribute, Configure, Context, Create, DataSource, Diagnostic, Diagnostics, IdentitySchema, Kinds,
    Plan, Provider, Reason, Resource, Schema, Type, Update, Value, model,
    schema::{matching, one_of},
    timeouts::{self, Timeouts},
};

fn main() -> ExitCode {
    tfplugin::run(Keeper, "example.com/test/keeper")
}

struct Keeper;

model! {
    struct Config { directory: Attr<String>, greeting: Attr<String> }
}

/// Where the notes are.
pub(crate) struct Notes {
    directory: PathBuf,
}

impl Notes {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Provider for Keeper {
    type Config = Config;
    type Client = Notes;
    const NAME: &'static str = "keeper";
    const VERSION: &'static str = "1.0.0";

    fn schema(&self) -> Schema {
        Schema::new("Keeps notes.")
            .attribute("directory", Attribute::string("Where.").required())
            .attribute("greeting", Attribute::string("Unused.").validate(one_of(["hello", "bye"])))
    }

    async fn configure(&self, config: Config, _: &mut Configure) -> Result<Notes, Diagnostics> {
        let _ = config.greeting;
        match config.directory.into_known() {
            Some(directory) => Ok(Notes { directory: directory.into() }),
            None => Err(Diagnostic::error("The directory must be known").at("directory").into()),
        }
    }

    fn register(&self, kinds: &mut Kinds<Notes>) {
        kinds.resource(NoteKind).data_source(NoteLookup);
        kinds.ephemeral(more::NoteCopy).action(more::Stamping).list(more::NoteList);
        kinds.function(more::Shout).function(more::Sum);
    }
}

model! {
    #[derive(Clone, Debug)]
    struct Label { value: Attr<String>, number: Attr<i64> }
}

model! {
    #[derive(Clone, Debug)]
    struct Seal { by: Attr<String>, strong: Attr<bool> }
}

model! {
    #[derive(Clone, Debug)]
    pub(crate) struct Note {
        id: Attr<String>,
        name: Attr<String>,
        text: Attr<String>,
        mode: Attr<String>,
        limit: Attr<String>,
        weight: Attr<f64>,
        secret_wo: Attr<String>,
        secret_wo_version: Attr<i64>,
        labels: Attr<BTreeMap<String, Label>>,
        seal: Attr<Seal>,
        mishap: Attr<String>,
        length: Attr<i64>,
        applies: Attr<i64>,
        timeouts: Attr<Timeouts>,
    }
}

pub(crate) struct NoteKind;

impl Resource for NoteKind {
    type Model = Note;
    type Client = Notes;
    const NAME: &'static str = "keeper_note";

    fn schema(&self) -> Schema {
        let label = [
            ("value", Attribute::string("What it says.").required()),
            ("number", Attribute::number("Given if not set.").optional_computed().keep()),
        ];
        let seal = [
            ("by", Attribute::string("Who sealed it.").required().requires_replace()),
            ("strong", Attribute::bool("Whether it holds.").default(Value::bool(true))),
        ];
        let octal = matching(|text| u32::from_str_radix(text, 8).is_ok(), "an octal number");
        Schema::new("A note.")
            .version(1)
            .attribute("id", Attribute::string("Its id.").computed().keep())
            .attribute("name", Attribute::string("The file's name.").required().requires_replace())
            .attribute("text", Attribute::string("What it says."))
            .attribute(
                "mode",
                Attribute::string("The file's mode.").default(Value::string("0644")).validate(octal),
            )
            .attribute(
                "limit",
                Attribute::string("A size.").equal_text_if(|a, b| size(a).is_some() && size(a) == size(b)),
            )
            .attribute("weight", Attribute::number("Any number."))
            .attribute("secret_wo", Attribute::string("Kept in no state.").sensitive().write_only())
            .attribute("secret_wo_version", Attribute::number("Raised when the secret changes."))
            .attribute("labels", Attribute::nested_map("Labels.", label))
            .attribute("seal", Attribute::single("A seal.", seal))
            .attribute(
                "mishap",
                Attribute::string("What goes wrong.").validate(one_of(["fail", "panic", "none"])),
            )
            .attribute("length", Attribute::number("Of the text.").computed().on_change_of(["text"]))
            .attribute("applies", Attribute::number("How often it was applied.").computed())
            .attribute("timeouts", timeouts::attribute("20m"))
    }

    fn identity(&self) -> Option<IdentitySchema> {
        Some(IdentitySchema::new().required("name", Type::String, "The file's name."))
    }

    fn validate(&self, config: &Note) -> Diagnostics {
        match config.text.as_str() {
            Some("forbidden") => {
                Diagnostic::error("Forbidden text").detail("Write another.").at("text").into()
            }
            _ => Diagnostics::new(),
        }
    }

    fn modify_plan(&self, plan: &mut Plan<'_, Note, Notes>) -> Result<(), Diagnostics> {
        if plan.config.text.as_str() == Some("doubtful") {
            plan.warn(Diagnostic::warning("Doubtful text").at("text"));
        }
        if plan.config.name.is_unknown() {
            plan.defer(Reason::ConfigUnknown);
        }
        Ok(())
    }

    async fn read(&self, cx: &mut Context<Notes>, mut state: Note) -> Result<Option<Note>, Diagnostics> {
        let name = state.id.clone().into_known().unwrap_or_default();
        let Some(text) = read(&cx.client().path(&name))? else { return Ok(None) };
        state.length = length(&text).into();
        let kept: Option<String> = cx.private.get("secret");
        let (text, _) = split(&text, kept.as_deref());
        state.text = if text.is_empty() && state.text.is_null() { Attr::Null } else { text.into() };
        state.name = name.into();
        state.mode = Attr::Known(state.mode.known_or("0644".into()));
        // Another spelling of the same: the framework keeps the one that was there.
        state.limit = state.limit.map(|text| size(&text).map_or(text, |bytes| bytes.to_string()));
        state.applies = cx.private.get("applies").unwrap_or(0).into();
        Ok(Some(state))
    }

    async fn create(&self, cx: &mut Context<Notes>, new: Create<Note>) -> Result<Note, Diagnostics> {
        let mut note = new.planned;
        note.id = note.name.clone();
        let path = cx.client().path(note.id.as_str().unwrap_or_default());
        if path.exists() {
            return Err(Diagnostic::error("The name is taken").at("name").into());
        }
        write(cx, &mut note, &new.config)?;
        match note.mishap.as_str() {
            Some("fail") => {
                cx.keep(&note);
                Err(Diagnostic::error("It failed half-way").at("mishap").into())
            }
            Some("panic") => {
                cx.keep(&note);
                panic!("as asked")
            }
            _ => Ok(note),
        }
    }

    async fn update(&self, cx: &mut Context<Notes>, change: Update<Note>) -> Result<Note, Diagnostics> {
        let mut note = change.planned;
        if note.mishap.as_str() == Some("fail") {
            return Err(Diagnostic::error("It failed").at("mishap").into());
        }
        write(cx, &mut note, &change.config)?;
        Ok(note)
    }

    async fn delete(&self, cx: &mut Context<Notes>, state: Note) -> Result<(), Diagnostics> {
        match fs::remove_file(cx.client().path(state.id.as_str().unwrap_or_default())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told(&error)),
            _ => Ok(()),
        }
    }

    async fn import(&self, cx: &mut Context<Notes>, id: &str) -> Result<Note, Diagnostics> {
        let text = read(&cx.client().path(id))?;
        let text = text.ok_or_else(|| Diagnostic::error(format!("There is no note {id}")))?;
        Ok(Note { length: length(&text).into(), ..named(id) })
    }

    async fn import_identity(&self, cx: &mut Context<Notes>, identity: Value) -> Result<Note, Diagnostics> {
        let name = identity.attribute("name").known().and_then(|name| name.as_str()).unwrap_or_default();
        self.import(cx, name).await
    }

    fn generate(&self, state: Note) -> Note {
        // No configuration needs what is none.
        Note { text: state.text.known().filter(|text| !text.is_empty()).cloned().into(), ..state }
    }

    fn upgrade(&self, version: i64, mut state: Json) -> Result<Json, Diagnostics> {
        if version != 0 {
            return Err(Diagnostic::error("Unknown version").into());
        }
        // Version 0 said `body`.
        if let Some(state) = state.as_object_mut()
            && let Some(body) = state.remove("body")
        {
            state.insert("text".into(), body);
        }
        Ok(state)
    }
}

/// One of which only the name is known.
fn named(name: &str) -> Note {
    Note { id: name.into(), name: name.into(), ..nothing() }
}

/// The name that is wrong in every kind.
fn at_once(name: Option<&str>) -> Diagnostics {
    match name {
        Some("forbidden") => Diagnostic::error("Forbidden name").into(),
        _ => Diagnostics::new(),
    }
}

fn nothing() -> Note {
    Note {
        id: Attr::Null,
        name: Attr::Null,
        text: Attr::Null,
        mode: Attr::Null,
        limit: Attr::Null,
        weight: Attr::Null,
        secret_wo: Attr::Null,
        secret_wo_version: Attr::Null,
        labels: Attr::Null,
        seal: Attr::Null,
        mishap: Attr::Null,
        length: Attr::Null,
        applies: Attr::Null,
        timeouts: Attr::Null,
    }
}

/// Writes the file, with the secret behind the text, and fills in what was unknown.
fn write(cx: &mut Context<Notes>, note: &mut Note, config: &Note) -> Result<(), Diagnostics> {
    let text = note.text.as_str().unwrap_or_default();
    let secret = config.secret_wo.as_str().map(|secret| format!("\nsecret: {secret}"));
    let whole = format!("{text}{}", secret.as_deref().unwrap_or_default());
    fs::write(cx.client().path(note.id.as_str().unwrap_or_default()), &whole)
        .map_err(|error| told(&error))?;
    cx.private.set("secret", secret);
    let applies = cx.private.get::<i64>("applies").unwrap_or(0) + 1;
    cx.private.set("applies", applies);
    note.applies = applies.into();
    note.length = length(&whole).into();
    let labels = note.labels.known_mut().into_iter().flat_map(|labels| labels.values_mut());
    for (at, label) in labels.enumerate().filter(|(_, label)| label.number.is_unknown()) {
        label.number = i64::try_from(at).unwrap_or(i64::MAX).into();
    }
    Ok(())
}

fn split<'a>(text: &'a str, secret: Option<&'a str>) -> (&'a str, bool) {
    match secret.and_then(|secret| text.strip_suffix(secret)) {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.split("\nsecret: ").next().unwrap_or_default().len()).unwrap_or(i64::MAX)
}

fn size(text: &str) -> Option<u64> {
    match text.strip_suffix("KiB") {
        Some(number) => number.parse::<u64>().ok()?.checked_mul(1024),
        None => text.parse().ok(),
    }
}

fn read(path: &Path) -> Result<Option<String>, Diagnostics> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(told(&error)),
    }
}

fn told(error: &io::Error) -> Diagnostics {
    Diagnostic::error("The note cannot be used").detail(error.to_string()).into()
}

model! {
    #[derive(Clone, Debug)]
    struct Found { name: Attr<String>, text: Attr<String> }
}

struct NoteLookup;

impl DataSource for NoteLookup {
    type Model = Found;
    type Client = Notes;
    const NAME: &'static str = "keeper_note";

    fn schema(&self) -> Schema {
        Schema::new("Looks a note up.")
            .attribute("name", Attribute::string("The file's name.").required())
            .attribute("text", Attribute::string("What it says.").computed())
    }

    async fn read(&self, cx: &mut Context<Notes>, config: Found) -> Result<Found, Diagnostics> {
        let text = read(&cx.client().path(config.name.as_str().unwrap_or_default()))?;
        if text.is_none() {
            cx.defer(Reason::AbsentPrerequisite);
        }
        let text = text.ok_or_else(|| Diagnostic::error("There is no such note").at("name"))?;
        Ok(Found { text: text.into(), ..config })
    }
}
