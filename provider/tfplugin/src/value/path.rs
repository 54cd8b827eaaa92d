//! Where in a resource a value stands.

use std::fmt;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into an object's attribute.
    Attribute(String),
    /// Into a map's element.
    Key(String),
    /// Into a list's element.
    Index(i64),
}

impl Step {
    pub(crate) fn index(at: usize) -> Self {
        Self::Index(i64::try_from(at).unwrap_or(i64::MAX))
    }
}

/// A place in a resource, as `ports["web"].host_port`.
///
/// An element of a set has no path in the protocol: a path ends at the set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// The resource itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// An attribute of the resource.
    pub fn at(name: impl Into<String>) -> Self {
        Self::root().attribute(name)
    }

    /// The attribute of the object here.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>) -> Self {
        self.0.push(Step::Attribute(name.into()));
        self
    }

    /// The element of the map here.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.push(Step::Key(key.into()));
        self
    }

    /// The element of the list here.
    #[must_use]
    pub fn index(mut self, at: usize) -> Self {
        self.0.push(Step::index(at));
        self
    }

    /// Its steps, the outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether it is the resource itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The same path, seen from one step further out.
    pub(crate) fn under(mut self, step: Step) -> Self {
        self.0.insert(0, step);
        self
    }

    /// This path and then the other.
    #[must_use]
    pub fn join(mut self, rest: &Path) -> Self {
        self.0.extend(rest.0.iter().cloned());
        self
    }
}

/// Reads a path as it is displayed: `networks["eth0"].mac`, `command[0]`.
impl From<&str> for Path {
    fn from(text: &str) -> Self {
        let mut path = Self::root();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((inner, after)) = rest.strip_prefix("[\"").and_then(|rest| rest.split_once("\"]")) {
                path = path.key(inner);
                rest = after;
            } else if let Some((inner, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            {
                path = match inner.parse() {
                    Ok(at) => path.index(at),
                    Err(_) => path.key(inner),
                };
                rest = after;
            } else {
                rest = rest.trim_start_matches('.');
                let (name, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                if name.is_empty() {
                    break;
                }
                path = path.attribute(name);
                rest = after;
            }
        }
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Attribute(name) if at == 0 => out.write_str(name)?,
                Step::Attribute(name) => write!(out, ".{name}")?,
                Step::Key(key) => write!(out, "[{key:?}]")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_displayed() {
        let path = Path::at("ports").key("a.b").attribute("hosts").index(3);
        assert_eq!(path.to_string(), "ports[\"a.b\"].hosts[3]");
        assert_eq!(Path::from(path.to_string().as_str()), path);
        assert_eq!(Path::from(""), Path::root());
        assert_eq!(Path::from("[x").to_string(), "");
    }
}
