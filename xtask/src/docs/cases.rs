//! The guide that says which test shows each promise: written by hand, and every test that it names is there.

use std::fs;

use crate::Outcome;
use crate::step::{StepError, file, root};

const GUIDE: &str = "docs/guides/cases.md";

/// A test as the guide names it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    kind: &'a str,
    suite: &'a str,
    case: &'a str,
}

impl Named<'_> {
    fn path(&self) -> Option<String> {
        let suite = self.suite;
        match self.kind {
            "acceptance" => Some(format!("acceptance-tests/tests/{suite}.rs")),
            "provider" => Some(format!("provider/tests/terraform/{suite}.rs")),
            "xtask" => Some(format!("xtask/src/{suite}/tests.rs")),
            _ => None,
        }
    }
}

/// Says which of the tests that the guide names are not there.
pub fn check() -> Outcome {
    let path = root().join(GUIDE);
    let guide = fs::read_to_string(&path).map_err(file("read", &path))?;
    let mut wrong = Vec::new();
    for row in rows(&guide) {
        let Some(named) = named(row) else {
            wrong.push(format!("{row:?} does not say where its tests are"));
            continue;
        };
        for test in named {
            let text = test.path().map(|path| fs::read_to_string(root().join(path)).unwrap_or_default());
            if !text.is_some_and(|text| text.contains(&format!("fn {}(", test.case))) {
                wrong.push(format!("there is no {} {}: {}", test.kind, test.suite, test.case));
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(StepError::Rule(format!("{GUIDE}:\n  {}", wrong.join("\n  "))))
    }
}

/// The second cell of each row of the table.
fn rows(guide: &str) -> impl Iterator<Item = &str> {
    let lines = guide.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| case |"));
    lines.filter_map(|line| line.trim_end_matches(['|', ' ']).rsplit_once(" | ")).map(|(_, cell)| cell)
}

/// `KIND SUITE: CASE, CASE; SUITE: CASE`, of which a command in backticks and words between are no part. None where a case stands
/// without its suite.
fn named(cell: &str) -> Option<Vec<Named<'_>>> {
    let (mut found, mut kind) = (Vec::new(), "");
    for part in cell.split(';') {
        let (head, cases) = part.split_once(':').unwrap_or(("", part));
        let mut words = head.split_whitespace().map(|word| word.trim_matches('`')).rev();
        let suite = words.next().unwrap_or_default();
        kind = words.next().unwrap_or(kind);
        for case in cases.split('`').skip(1).step_by(2).filter(|case| !case.contains(' ')) {
            if suite.is_empty() || kind.is_empty() {
                return None;
            }
            found.push(Named { kind, suite, case });
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_a_row() {
        let guide = "| case | test |\n|---|---|\n| One | `provider` a: `one`, `two`, and of three; b: `four`; acceptance c: `five`; `cargo x` |\n";
        let cells: Vec<_> = rows(guide).collect();
        let named = named(cells[0]).unwrap();
        let named: Vec<_> = named.iter().map(|it| (it.kind, it.suite, it.case)).collect();
        let provider = [("provider", "a", "one"), ("provider", "a", "two"), ("provider", "b", "four")];
        assert_eq!(named, [&provider[..], &[("acceptance", "c", "five")]].concat());
        assert_eq!(super::named("`alone`"), None);
        assert_eq!(super::named("every case"), Some(Vec::new()));
    }
}
