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

/// Words of the reader's language in its messages.
const FOREIGN: &[&str] = &[
    "Option<",
    "deserialize ",
    "unit struct",
    "value for unit",
    "enum variant",
    "tagged enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
    "weak recursion types",
    "in Options",
];

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
            (format!("{} is expected here, not {}", words_for(expected), found(unexpected)), None)
        }
        Error::NullIntoString { .. } | Error::InvalidCharNull { .. } => (
            "a text is expected here, not null".to_owned(),
            Some("YAML takes null, ~ and an empty place for no value; write a text in quotes".to_owned()),
        ),
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
                // The reader's own words for types of its language help nobody here.
                _ if FOREIGN.iter().any(|words| message.contains(words)) => (
                    "this is not of the kind expected here".to_owned(),
                    Some("see docs/configuration.md".to_owned()),
                ),
                Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
                None => (message, None),
            }
        }
    }
}

/// What is expected, in words a reader of configuration knows; what is said in such words stays.
fn words_for(expected: &str) -> &str {
    match expected {
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, not negative,",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" | "a boolean" => "true or false",
        "char" | "a character" => "one character",
        "String" | "str" | "string" | "a string" | "a borrowed string" => "a text",
        "map" | "a map" => "a mapping",
        "seq" | "sequence" | "a sequence" => "a list",
        "unit" | "null" => "no value",
        _ if expected.starts_with("a nonzero ") => "a whole number, not zero,",
        _ if expected.starts_with("struct ") => "a mapping of keys",
        _ if expected.starts_with("enum ") || expected == "unit variant" => "one word",
        _ if expected.contains("variant") => "a mapping of options",
        _ if expected.contains("tuple") || expected.starts_with("array of") => "a list",
        other => other,
    }
}

/// What was found instead.
fn found(unexpected: &str) -> &str {
    match unexpected {
        "map" => "a mapping",
        "seq" | "sequence" => "a list",
        "unit" | "unit value" | "null" | "Option value" => "null",
        "unit variant" => "a word alone",
        _ if unexpected.contains("variant") || unexpected.starts_with("struct") => "a mapping",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileTableConfig;

    #[test]
    fn no_mistake_is_told_in_words_of_a_program() {
        for text in [
            "path: ~",
            "path: []",
            "path: {a: b}",
            "path: a\nformat: csv",
            "path: a\nformat: {csv: 5}",
            "path: a\nformat: {csv: {delimiter: ~}}",
            "path: a\nformat: {csv: {delimiter: ab}}",
            "path: a\nformat: {csv: {null: ~}}",
            "path: a\nformat: {text: {header_lines: -1}}",
            "path: a\nformat: [csv]",
            "path: a\nformat: ndjson\ncolumns: {}",
            "path: a\nformat: ndjson\ncolumns: [a]",
            "path: a\nformat: ndjson\ncolumns: [{name: ~, type: text}]",
            "path: a\nformat: ndjson\non_mismatch: [1]",
            "[]",
            "5",
        ] {
            let shown = parse::<FileTableConfig>(Path::new("port.yaml"), text).unwrap_err().to_string();
            let told = shown.split_once(": ").map_or(shown.as_str(), |(_, told)| told);
            for word in ["Option", "struct", "enum", "variant", "deserialize", "usize", "String", "unit"] {
                assert!(!told.contains(word), "{text}: {shown}");
            }
        }
    }
}
