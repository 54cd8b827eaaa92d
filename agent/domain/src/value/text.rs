//! Free text that ends in a process's arguments or environment, or in a path.

use crate::invalid::Invalid;
use crate::name::shown;

/// What the kernel takes as one argument or variable.
const MAX_STRING: usize = 128 * 1024 - 1;

/// Checks one argument of a command line.
///
/// # Errors
/// The text holds a NUL, which would cut it short, or is longer than the kernel takes.
pub fn argument<T: AsRef<[u8]> + ?Sized>(text: &T) -> Result<(), Invalid> {
    let text = text.as_ref();
    if text.contains(&0) {
        return Err(Invalid::new(
            &[],
            "The argument holds a NUL",
            "Remove it: no argument of a process can hold one",
        ));
    }
    if text.len() > MAX_STRING {
        let summary = format!("The argument has {} bytes", text.len());
        return Err(Invalid::new(
            &[],
            summary,
            format!("Linux takes at most {MAX_STRING}: pass it in a file"),
        ));
    }
    Ok(())
}

/// Checks a path inside an instance.
///
/// # Errors
/// The path is not absolute, holds a NUL, or is too long.
pub fn absolute_path(text: &str) -> Result<String, Invalid> {
    if !text.starts_with('/') {
        let summary = format!("\"{}\" is not an absolute path", shown(text));
        return Err(Invalid::new(&[], summary, "Write a path that begins with /"));
    }
    if text.contains('\0') || text.len() >= 4096 {
        return Err(Invalid::new(
            &[],
            "The path holds a NUL or is too long",
            "Use a path of less than 4,096 bytes",
        ));
    }
    Ok(text.to_owned())
}

/// Checks a path inside an instance that names something by itself, and writes it without needless slashes.
///
/// # Errors
/// As of [`absolute_path`], or the path holds `.` or `..`.
pub fn plain_path(text: &str) -> Result<String, Invalid> {
    absolute_path(text)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        let summary = format!("\"{}\" leads out of itself", shown(text));
        return Err(Invalid::new(&[], summary, "Write the path without . and .."));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Checks text that is only kept and shown.
///
/// # Errors
/// The text is longer than `max` bytes.
pub fn bounded(text: &str, max: usize) -> Result<String, Invalid> {
    if text.len() <= max {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(&[], format!("The text has {} bytes", text.len()), format!("Use at most {max}")))
}
