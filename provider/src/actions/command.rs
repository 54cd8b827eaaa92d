//! A command that is run in an instance: its arguments, and how it is run. The action and the ephemeral share it.

use berth_proto::agent as wire;
use tfplugin::value::Type;
use tfplugin::{Attr, Attribute};

use crate::attr::{List, Map, entries};
use crate::data_sources::look;
use crate::report::{self, Diagnostic, Diagnostics, Path, capital};
use crate::text::environment;

tfplugin::model! {
    /// A command, and where to run it.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Command {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// The instance's id.
        pub instance: Attr<String>,
        /// What to run.
        pub command: List<String>,
        /// As whom.
        pub user: Attr<String>,
        /// Where.
        pub working_dir: Attr<String>,
        /// Over the instance's own.
        pub environment: Map<String>,
        /// Whether another exit code than 0 is an error.
        pub fail_on_nonzero: Attr<bool>,
    }
}

/// The attributes of [`Command`].
pub fn attributes() -> Vec<(&'static str, Attribute)> {
    vec![
        ("host", look::host()),
        ("instance", Attribute::string("The instance's `id`.").required()),
        (
            "command",
            Attribute::list(
                Type::String,
                "The command and its arguments. No shell reads them: write `[\"sh\", \"-c\", \"…\"]` for one.",
            )
            .required(),
        ),
        ("user", Attribute::string("As whom: `user[:group]`. Default: the instance's user.")),
        ("working_dir", Attribute::string("Where, an absolute path. Default: the instance's directory.")),
        ("environment", Attribute::map(Type::String, "Variables over the instance's own.").sensitive()),
        (
            "fail_on_nonzero",
            Attribute::bool("Whether an exit code other than 0 is an error. Default: `true`."),
        ),
    ]
}

/// Checks what is known.
pub fn validate(command: &Command) -> Diagnostics {
    let mut found = Vec::new();
    if command.command.known().is_some_and(Vec::is_empty) {
        let detail = "Write the program and its arguments, each an element of its own.";
        found.push(report::error(Path::at("command"), "The command is empty", detail));
    }
    for (index, value) in command.command.known().into_iter().flatten().enumerate() {
        if value.is_null() || value.as_str().is_some_and(|text| text.contains('\0')) {
            let path = Path::at("command").index(index);
            let detail = "Leave the element out, or write \"\" for an empty argument.";
            found.push(report::error(
                path,
                "An element of the command is null or holds a NUL character",
                detail,
            ));
        }
    }
    if command.working_dir.as_str().is_some_and(|dir| !dir.starts_with('/')) {
        let detail = "Write a path in the instance that begins with a slash.";
        found.push(report::error(
            Path::at("working_dir"),
            "The working directory is no absolute path",
            detail,
        ));
    }
    for (key, value) in command.environment.known().into_iter().flatten() {
        if let Err(error) = environment::check(key, value.as_str()) {
            let detail =
                "The kernel ends a variable at a NUL and its name at an equals sign; neither can hold one.";
            found.push(report::error(Path::at("environment").key(key), capital(&error.to_string()), detail));
        }
    }
    found.into()
}

impl Command {
    /// What the agent is asked for.
    pub fn start(&self) -> wire::ExecStart {
        let words = self.command.known().into_iter().flatten();
        let environment = entries(&self.environment).map(|(key, value)| (key.clone(), value.clone().into()));
        wire::ExecStart {
            instance_id: self.instance.as_str().unwrap_or_default().to_owned(),
            argv: words.filter_map(|word| word.as_str().map(|word| word.to_owned().into())).collect(),
            environment: environment.collect(),
            user: self.user.as_str().map(str::to_owned),
            working_dir: self.working_dir.as_str().map(str::to_owned),
            ..wire::ExecStart::default()
        }
    }

    /// What its exit code means. What it said last on standard error goes into the error.
    pub fn judge(&self, code: i32, last_words: &str) -> Result<(), Diagnostic> {
        if code == 0 || self.fail_on_nonzero == Attr::Known(false) {
            return Ok(());
        }
        let program = self.command.known().and_then(|words| words.first()).and_then(Attr::as_str);
        let summary = format!("{} ended with exit code {code}", program.unwrap_or("The command"));
        let detail = match printable(last_words.trim_end()) {
            said if said.is_empty() => "It said nothing on standard error.".to_owned(),
            said => format!("Its last words on standard error:\n{said}"),
        };
        Err(report::error(Path::at("command"), summary, detail))
    }
}

/// Without what would move a terminal's cursor or change its colours.
pub fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\t' || c == '\n';
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// The end of what was said, at most so much of it.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    const MOST: usize = 2048;

    /// Adds what was said.
    pub fn add(&mut self, said: &[u8]) {
        self.0.extend_from_slice(said);
        let excess = self.0.len().saturating_sub(Self::MOST);
        self.0.drain(..excess);
    }

    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::list;

    fn command(words: &[&str]) -> Command {
        Command { command: list(words.iter().map(|word| (*word).to_owned())), ..Command::default() }
    }

    #[test]
    fn an_exit_code_is_judged() {
        let failing = command(&["backup"]);
        assert!(failing.judge(0, "").is_ok());
        let error = failing.judge(3, "no space\u{1b}[2J\n").unwrap_err();
        assert_eq!(error.summary, "backup ended with exit code 3");
        assert!(error.detail.ends_with("no space\u{fffd}[2J"), "{}", error.detail);
        assert!(Command { fail_on_nonzero: Attr::Known(false), ..failing }.judge(3, "").is_ok());
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let wrong = Command {
            working_dir: Attr::from("tmp"),
            environment: crate::attr::map([("A=B".to_owned(), "x".to_owned())]),
            ..command(&[])
        };
        let paths: Vec<_> = validate(&wrong).iter().map(|it| it.path.to_string()).collect();
        assert_eq!(paths, ["command", "working_dir", "environment[\"A=B\"]"]);
    }

    #[test]
    fn of_long_words_the_end_is_kept() {
        let mut tail = Tail::default();
        tail.add(&[b'a'; Tail::MOST]);
        tail.add(b"the end");
        assert!(tail.text().len() == Tail::MOST && tail.text().ends_with("athe end"));
    }
}
