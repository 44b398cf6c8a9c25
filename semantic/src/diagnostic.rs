//! A mistake in a KPI file: where it is, which rule it breaks, and what to do.
//!
//! A diagnostic never carries data of a store. It keeps its source line, so that it can be rendered after the file's
//! text is gone; the caret stands under the first character of the offending value.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

/// How bad a diagnostic is: an error disables the KPI it belongs to, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The KPI (or the file) is not usable.
    Error,
    /// The KPI works; its author should look.
    Warning,
}

impl Severity {
    /// Returns the word printed before the rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake, with everything needed to print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named by the caller.
    pub file: PathBuf,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Length of the offending text in characters, at least 1.
    pub span: usize,
    /// The rule, such as `KPI101`.
    pub rule: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The source line the position points into, without its line end.
    pub source: String,
}

impl Diagnostic {
    /// Returns the one-line form: `file:line:column: error[KPI101]: message`.
    pub fn headline(&self) -> String {
        format!(
            "{}:{}:{}: {}[{}]: {}",
            self.file.display(),
            self.line,
            self.column,
            self.severity.as_str(),
            self.rule,
            self.message
        )
    }
}

/// Renders diagnostics for people: headline, source line, caret, hint.
pub fn render_text(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let number = diagnostic.line.to_string();
        let _ = writeln!(out, "{}", diagnostic.headline());
        if !diagnostic.source.is_empty() {
            let pad = " ".repeat(number.len());
            let indent: String = diagnostic
                .source
                .chars()
                .take(diagnostic.column.saturating_sub(1))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let room =
                diagnostic.source.chars().count().saturating_sub(diagnostic.column.saturating_sub(1)).max(1);
            let _ = writeln!(out, "{number} | {}", diagnostic.source);
            let _ = writeln!(out, "{pad} | {indent}{}", "^".repeat(diagnostic.span.clamp(1, room)));
        }
        if let Some(hint) = &diagnostic.hint {
            let _ = writeln!(out, "  hint: {hint}");
        }
    }
    out
}

/// Renders diagnostics as one JSON object per line.
pub fn render_json(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        if let Ok(line) = serde_json::to_string(diagnostic) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}
