//! What a user is told, and the argument it is about.

pub use tfplugin::{Diagnostic, Diagnostics, Path};

use crate::client::AgentError;
use crate::client::hosts::HostError;

/// An error.
pub fn error(path: Path, summary: impl Into<String>, detail: impl Into<String>) -> Diagnostic {
    Diagnostic::error(summary).detail(detail).at(path)
}

/// A warning.
pub fn warning(path: Path, summary: impl Into<String>, detail: impl Into<String>) -> Diagnostic {
    Diagnostic::warning(summary).detail(detail).at(path)
}

/// A failed call to the agent. `kind` tells what each argument is.
pub fn from_agent(problem: &AgentError, log_lines: usize, kind: impl Fn(&str) -> Kind) -> Diagnostic {
    let path = path(problem.attribute(), kind);
    error(path, capital(&problem.to_string()), problem.explain(log_lines))
}

/// A host that could not be used.
pub fn from_host(problem: &HostError) -> Diagnostic {
    let path = match problem {
        HostError::Agent(_) => Path::root(),
        _ => Path::at("host"),
    };
    error(path, capital(&problem.to_string()), problem.explain())
}

/// The agent writes paths as words; the argument's kind tells keys and indexes from attributes.
pub fn path(words: &[String], kind: impl Fn(&str) -> Kind) -> Path {
    let Some((first, rest)) = words.split_first() else { return Path::root() };
    let mut path = Path::at(first);
    let kind = kind(first);
    for (depth, word) in rest.iter().enumerate() {
        path = match (kind, depth, word.parse()) {
            (Kind::Map | Kind::MapOfObjects, 0, _) => path.key(word),
            (Kind::List | Kind::ListOfObjects, 0, Ok(index)) => path.index(index),
            (Kind::Object, 0, _) | (Kind::MapOfObjects | Kind::ListOfObjects, 1, _) => path.attribute(word),
            _ => break,
        };
    }
    path
}

/// What an argument is, as far as paths into it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is in it.
    Plain,
    /// A list.
    List,
    /// A map of plain values.
    Map,
    /// A map of objects.
    MapOfObjects,
    /// An object.
    Object,
    /// A list of objects.
    ListOfObjects,
}

/// With a capital at its beginning, as summaries have.
pub fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_words_become_steps() {
        let kind = |name: &str| match name {
            "ports" => Kind::MapOfObjects,
            "environment" => Kind::Map,
            "command" => Kind::List,
            "limits" => Kind::Object,
            _ => Kind::Plain,
        };
        let read = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            path(&words, kind)
        };
        assert_eq!(
            read(&["ports", "http", "host_port"]),
            Path::at("ports").key("http").attribute("host_port")
        );
        assert_eq!(read(&["environment", "A"]), Path::at("environment").key("A"));
        assert_eq!(read(&["command", "2"]), Path::at("command").index(2));
        assert_eq!(read(&["limits", "memory"]), Path::at("limits").attribute("memory"));
        assert_eq!(read(&["name", "x"]), Path::at("name"));
        assert_eq!(read(&[]), Path::root());
    }
}
