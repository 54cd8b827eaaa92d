//! What a user is told: an error or a warning, and the argument it is about.

use crate::client::AgentError;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The operation fails.
    Error,
    /// It goes on.
    Warning,
}

/// One step to an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An attribute's name.
    Attribute(String),
    /// A map's key.
    Key(String),
    /// A list's index.
    Index(u64),
}

/// The way to an argument; empty is the whole resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// The way to a top-level attribute.
    pub fn to(attribute: &str) -> Self {
        Self::default().attribute(attribute)
    }

    /// On to an attribute of an object.
    #[must_use]
    pub fn attribute(mut self, name: &str) -> Self {
        self.0.push(Step::Attribute(name.to_owned()));
        self
    }

    /// On to an entry of a map.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// On to an element of a list.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(u64::try_from(index).unwrap_or(u64::MAX)));
        self
    }

    /// The agent writes paths as words; the argument's kind tells keys and indexes from attributes.
    pub fn from_words(words: &[String], kind: impl Fn(&str) -> Kind) -> Self {
        let Some((first, rest)) = words.split_first() else { return Self::default() };
        let mut path = Self::to(first);
        let kind = kind(first);
        for (depth, word) in rest.iter().enumerate() {
            path = match (kind, depth, word.parse()) {
                (Kind::Map | Kind::MapOfObjects, 0, _) => path.key(word),
                (Kind::List, 0, Ok(index)) => path.index(index),
                (Kind::Object, 0, _) | (Kind::MapOfObjects, 1, _) => path.attribute(word),
                _ => break,
            };
        }
        path
    }
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
}

/// One thing a user is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub level: Level,
    /// One line.
    pub summary: String,
    /// Why, and what to do.
    pub detail: String,
    /// What it is about.
    pub path: Path,
}

impl Report {
    /// An error.
    pub fn error(path: Path, summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level: Level::Error, summary: summary.into(), detail: detail.into(), path }
    }

    /// A warning.
    pub fn warning(path: Path, summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level: Level::Warning, summary: summary.into(), detail: detail.into(), path }
    }

    /// A failed call to the agent.
    pub fn from_agent(error: &AgentError, log_lines: usize, kind: impl Fn(&str) -> Kind) -> Self {
        let path = Path::from_words(error.attribute(), kind);
        Self::error(path, capital(&error.to_string()), error.explain(log_lines))
    }
}

/// Whether any of these fails the operation.
pub fn any_error(reports: &[Report]) -> bool {
    reports.iter().any(|report| report.level == Level::Error)
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
        let path = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            Path::from_words(&words, kind)
        };
        assert_eq!(path(&["ports", "http", "host_port"]), Path::to("ports").key("http").attribute("host_port"));
        assert_eq!(path(&["environment", "A"]), Path::to("environment").key("A"));
        assert_eq!(path(&["command", "2"]), Path::to("command").index(2));
        assert_eq!(path(&["limits", "memory"]), Path::to("limits").attribute("memory"));
        assert_eq!(path(&["name", "x"]), Path::to("name"));
        assert_eq!(path(&[]), Path::default());
    }
}
