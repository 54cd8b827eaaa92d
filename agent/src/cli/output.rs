//! Standard output: tables and JSON.

use std::io::{self, Write};

use serde_json::Value;

use super::error::CliError;

/// Prints text and a newline.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printable(text))?;
    out.flush()?;
    Ok(())
}

/// Prints JSON for programs.
pub(super) fn json(value: &Value) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints one object a line.
pub(super) fn json_line(value: &Value) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}

/// Prints rows under their headings, each column as wide as its widest cell.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    for line in lay_out(headings, rows) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

fn lay_out(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let clean = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
    let mut all: Vec<Vec<String>> = vec![headings.iter().map(|&heading| heading.to_owned()).collect()];
    all.extend(rows.iter().map(clean));
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    all.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// What others wrote must not move the cursor of who reads it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_clean() {
        let rows = [vec!["web".to_owned(), "running".to_owned()], vec!["database".to_owned(), String::new()]];
        assert_eq!(
            lay_out(&["NAME", "STATUS"], &rows),
            ["NAME      STATUS", "web       running", "database"]
        );
    }

    #[test]
    fn what_an_image_says_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
