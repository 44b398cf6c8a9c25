//! Reading a YAML document into a configuration type, with mistakes shown where they are.
//!
//! One mistake is reported: what is wrong, file, line and column, the line itself with a caret, and a hint with the
//! nearest known key. A line that may hold a secret is shown without its value.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

/// A mistake in a YAML file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct YamlError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Line, from 1, if known.
    pub line: Option<u64>,
    /// Column, from 1, in characters, if known.
    pub column: Option<u64>,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line, and under it a caret.
    pub snippet: Option<String>,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Reads one document.
///
/// # Errors
/// The first mistake found. Nothing of the document is used then.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, Box<YamlError>> {
    serde_saphyr::from_str(text).map_err(|error| Box::new(report(file, text, error.without_snippet())))
}

fn report(file: &Path, text: &str, error: &Error) -> YamlError {
    let (message, hint) = explain(error);
    let location = error.location();
    let line = location.map(|at| at.line()).filter(|line| *line > 0);
    let column = location.map(|at| at.column()).filter(|column| *column > 0);
    let snippet = line.zip(column).and_then(|(line, column)| snippet(text, line, column));
    YamlError { file: file.into(), line, column, message, hint, snippet }
}

fn explain(error: &Error) -> (String, Option<String>) {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key \"{field}\""), Some(nearest(field, expected, "key")))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown kind \"{variant}\""), Some(nearest(variant, expected, "kind")))
        }
        Error::SerdeMissingField { field, .. } => (format!("key \"{field}\" is missing"), None),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("{expected} is expected here, not {unexpected}"), None)
        }
        Error::InvalidScalar { ty, .. } => (format!("{} is expected here", words_for(ty)), None),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("key \"{key}\" is written twice"), Some("keep one of them".into()))
        }
        other => {
            let text = other.render_with_options(serde_saphyr::render_options! {
                snippets: serde_saphyr::SnippetMode::Off,
            });
            // The position is ours to print.
            let cut = text.rfind(" at line ").unwrap_or(text.len());
            let message = text.get(..cut).unwrap_or_default().trim_end().to_owned();
            match message.split_once("; ") {
                Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
                None => (message, None),
            }
        }
    }
}

/// A scalar type in words a reader of configuration knows.
fn words_for(rust_type: &str) -> &str {
    match rust_type {
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, not negative,",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" => "true or false",
        other => other,
    }
}

/// Names the nearest known word, if one is near, else all of them.
fn nearest(word: &str, known: &[&'static str], what: &str) -> String {
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1);
    match near {
        Some((_, candidate)) => format!("did you mean \"{candidate}\"?"),
        None => format!("known {what}s are {}", known.join(", ")),
    }
}

/// The line with a caret under the column; values that may be secret are not shown.
fn snippet(text: &str, line: u64, column: u64) -> Option<String> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let shown = text.lines().nth(index)?;
    let lower = shown.to_ascii_lowercase();
    let secret = ["pass", "secret", "token", "credential"].iter().any(|word| lower.contains(word));
    let shown = match shown.split_once(':') {
        Some((key, value)) if secret && !value.trim().is_empty() => format!("{key}: …"),
        _ => shown.chars().take(160).collect(),
    };
    let gutter = line.to_string();
    let blank = " ".repeat(gutter.len());
    let indent = " ".repeat(usize::try_from(column).ok()?.checked_sub(1)?.min(shown.chars().count()));
    Some(format!("{gutter} | {shown}\n{blank} | {indent}^"))
}
