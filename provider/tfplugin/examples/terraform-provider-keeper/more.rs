//! What the provider has beside its resource: an ephemeral, an action, a list and functions.

use std::{
    fs,
    io::Write as _,
    time::{Duration, SystemTime},
};

use tfplugin::{
    Action, Attr, Attribute, Context, Diagnostic, Diagnostics, Ephemeral, Found, Function, FunctionError,
    List, Opened, Parameter, Progress, Reason, Rest, Schema, Signature, Type, Value, model,
};

use crate::{Note, NoteKind, Notes, at_once, read, told};

model! {
    #[derive(Clone, Debug)]
    pub(crate) struct Copy { name: Attr<String>, renew: Attr<bool>, text: Attr<String> }
}

/// A note's text, for as long as it is asked for. A journal beside the notes says what became of it.
pub(crate) struct NoteCopy;

impl Ephemeral for NoteCopy {
    type Model = Copy;
    type Client = Notes;
    const NAME: &'static str = "keeper_note";

    fn schema(&self) -> Schema {
        Schema::new("A note's text.")
            .attribute("name", Attribute::string("The file's name.").required())
            .attribute("renew", Attribute::bool("Whether it lasts a second.").default(Value::bool(false)))
            .attribute("text", Attribute::string("What it says.").computed().sensitive())
    }

    fn validate(&self, config: &Copy) -> Diagnostics {
        at_once(config.name.as_str())
    }

    async fn open(&self, cx: &mut Context<Notes>, config: Copy) -> Result<Opened<Copy>, Diagnostics> {
        let name = config.name.as_str().unwrap_or_default().to_owned();
        let text = read(&cx.client().path(&name))?;
        let Some(text) = text else {
            cx.defer(Reason::AbsentPrerequisite);
            return Err(Diagnostic::error("There is no such note").at("name").into());
        };
        journal(cx, &format!("open {name}"))?;
        cx.private.set("name", &name);
        let renew_at =
            (config.renew == Attr::Known(true)).then(|| SystemTime::now() + Duration::from_secs(1));
        Ok(Opened { result: Copy { text: text.into(), ..config }, renew_at })
    }

    async fn renew(&self, cx: &mut Context<Notes>) -> Result<Option<SystemTime>, Diagnostics> {
        let name: String = cx.private.get("name").unwrap_or_default();
        journal(cx, &format!("renew {name}"))?;
        Ok(Some(SystemTime::now() + Duration::from_secs(1)))
    }

    async fn close(&self, cx: &mut Context<Notes>) -> Result<(), Diagnostics> {
        let name: String = cx.private.get("name").unwrap_or_default();
        journal(cx, &format!("close {name}"))
    }
}

fn journal(cx: &Context<Notes>, line: &str) -> Result<(), Diagnostics> {
    let path = cx.client().directory.with_file_name("journal");
    let opened = fs::OpenOptions::new().create(true).append(true).open(path);
    opened.and_then(|mut file| writeln!(file, "{line}")).map_err(|error| told(&error))
}

model! {
    #[derive(Clone, Debug)]
    pub(crate) struct Stamp { name: Attr<String>, times: Attr<u32>, wait: Attr<bool> }
}

/// Stamps a note, so many times.
pub(crate) struct Stamping;

impl Action for Stamping {
    type Model = Stamp;
    type Client = Notes;
    const NAME: &'static str = "keeper_stamp";

    fn schema(&self) -> Schema {
        Schema::new("Stamps a note.")
            .attribute("name", Attribute::string("The file's name.").required())
            .attribute("times", Attribute::number("How often.").required())
            .attribute("wait", Attribute::bool("Whether it then waits to be interrupted."))
    }

    fn validate(&self, config: &Stamp) -> Diagnostics {
        at_once(config.name.as_str())
    }

    async fn plan(&self, cx: &mut Context<Notes>, config: Stamp) -> Result<(), Diagnostics> {
        if config.times == Attr::Known(0) {
            cx.warn(Diagnostic::warning("Nothing to stamp").at("times"));
        }
        if config.name.is_unknown() {
            cx.defer(Reason::ConfigUnknown);
        }
        Ok(())
    }

    async fn invoke(
        &self,
        cx: &mut Context<Notes>,
        config: Stamp,
        progress: &Progress,
    ) -> Result<(), Diagnostics> {
        let path = cx.client().path(config.name.as_str().unwrap_or_default());
        let mut text = read(&path)?.ok_or_else(|| Diagnostic::error("There is no such note").at("name"))?;
        let times = config.times.known().copied().unwrap_or(0);
        for at in 1..=times {
            progress.tell(format!("stamp {at} of {times}")).await;
            text.push('#');
        }
        fs::write(&path, text).map_err(|error| told(&error))?;
        if config.wait == Attr::Known(true) {
            cx.cancel().cancelled().await;
            return Err(Diagnostic::error("It was interrupted").into());
        }
        Ok(())
    }
}

model! {
    #[derive(Clone, Debug)]
    pub(crate) struct Search { prefix: Attr<String> }
}

/// The notes that there are.
pub(crate) struct NoteList;

impl List for NoteList {
    type Config = Search;
    type Resource = NoteKind;

    fn schema(&self) -> Schema {
        Schema::new("Lists notes.").attribute("prefix", Attribute::string("How their names begin."))
    }

    fn validate(&self, config: &Search) -> Diagnostics {
        at_once(config.prefix.as_str())
    }

    async fn list(
        &self,
        cx: &mut Context<Notes>,
        config: Search,
        found: &mut Found<Note>,
    ) -> Result<(), Diagnostics> {
        let entries = fs::read_dir(&cx.client().directory).map_err(|error| told(&error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let prefix = config.prefix.as_str().unwrap_or_default();
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        if names.is_empty() {
            found.tell(Diagnostic::warning("There are no notes")).await;
        }
        for name in names {
            let text = if found.wants_whole() { read(&cx.client().path(&name))? } else { None };
            let note = Note { text: text.into(), ..crate::named(&name) };
            found.push(format!("the note {name}"), note).await;
        }
        Ok(())
    }
}

/// Text in capitals.
pub(crate) struct Shout;

impl Function for Shout {
    type Arguments = (String,);
    type Return = String;
    const NAME: &'static str = "shout";

    fn signature(&self) -> Signature {
        Signature::new("Shouts.", Type::String).docs("Gives the text in capitals.").parameter(Parameter::new(
            "text",
            Type::String,
            "What to shout.",
        ))
    }

    fn call(&self, (text,): (String,)) -> Result<String, FunctionError> {
        match text.as_str() {
            "panic" => panic!("as asked"),
            text if text.contains('!') => Err(FunctionError::new("It is shouted already.").at(0)),
            text => Ok(text.to_uppercase()),
        }
    }
}

/// Numbers and their sum.
pub(crate) struct Sum;

impl Function for Sum {
    type Arguments = (Attr<String>, Rest<i64>);
    type Return = String;
    const NAME: &'static str = "sum";

    fn signature(&self) -> Signature {
        Signature::new("Sums.", Type::String)
            .docs("Gives the sum of the numbers after its name.")
            .parameter(Parameter::new("name", Type::String, "What it is called.").or_null())
            .rest(Parameter::new("numbers", Type::Number, "The numbers."))
    }

    fn call(&self, (name, Rest(numbers)): (Attr<String>, Rest<i64>)) -> Result<String, FunctionError> {
        let sum = numbers.iter().try_fold(0_i64, |sum, number| sum.checked_add(*number));
        let sum = sum.ok_or_else(|| FunctionError::new("The sum is too large."))?;
        Ok(format!("{} = {sum}", name.as_str().unwrap_or("sum")))
    }
}
