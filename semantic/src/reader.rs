//! Reads maps of a document key by key and collects mistakes with their place; never stops at the first.
//!
//! Every key must be taken by someone: what is left over at the end is an unknown key, so nothing written in a file is
//! ever ignored.

use std::path::{Path, PathBuf};

use crate::yaml::{Key, Kind, Node, Pos};
use crate::{Diagnostic, Scalar, Severity, scalar};

/// Collects the diagnostics of one file.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: PathBuf,
    lines: Vec<&'a str>,
    pub(crate) found: Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &Path, text: &'a str) -> Self {
        Self { file: file.to_owned(), lines: text.lines().collect(), found: Vec::new() }
    }

    /// Number of errors so far; compared before and after a body to learn whether it is usable.
    pub(crate) fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// The first error found after the first `before` errors.
    pub(crate) fn error_after(&self, before: usize) -> Option<Diagnostic> {
        self.found.iter().filter(|d| d.severity == Severity::Error).nth(before).cloned()
    }

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        rule: &'static str,
        pos: Pos,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let source =
            pos.line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or("").to_owned();
        self.found.push(Diagnostic {
            file: self.file.clone(),
            line: pos.line.max(1),
            column: pos.column.max(1),
            span: pos.len.max(1),
            rule,
            severity,
            message: message.into(),
            hint,
            source,
        });
    }

    pub(crate) fn error(
        &mut self,
        rule: &'static str,
        pos: Pos,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(Severity::Error, rule, pos, message, hint);
    }

    /// KPI090: the language has it, this version does not compute it.
    pub(crate) fn unsupported(&mut self, pos: Pos, what: &str) {
        self.error(
            "KPI090",
            pos,
            format!("{what} is not supported yet"),
            Some("remove it; the rest of the file keeps working".into()),
        );
    }

    /// Unknown names: KPI101 with the nearest name.
    pub(crate) fn unknown<'n>(
        &mut self,
        pos: Pos,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.collect();
        let hint = scalar::nearest(name, known.iter().copied())
            .map(|near| format!("did you mean \"{near}\""))
            .or_else(|| (!known.is_empty()).then(|| format!("known are {}", known.join(", "))));
        self.error("KPI101", pos, format!("unknown {what} \"{name}\""), hint);
    }

    /// KPI003: wrong shape.
    pub(crate) fn shape(&mut self, key: &str, expected: &str, node: &Node) {
        self.error("KPI003", node.pos, format!("\"{key}\" must be {expected}, not {}", node.what()), None);
    }

    /// Splits a node into its entries; reports KPI003 and duplicate keys (KPI002).
    pub(crate) fn map(&mut self, key: &str, node: &Node) -> Option<Body> {
        let Kind::Map(entries) = &node.kind else {
            self.shape(key, "a map", node);
            return None;
        };
        let mut kept: Vec<(Key, Node)> = Vec::new();
        for (name, value) in entries {
            if kept.iter().any(|(other, _)| other.text == name.text) {
                self.error(
                    "KPI002",
                    name.pos,
                    format!("duplicate key \"{}\"", name.text),
                    Some("keep one of them".into()),
                );
            } else {
                kept.push((name.clone(), value.clone()));
            }
        }
        Some(Body { entries: kept, known: Vec::new(), pos: node.pos })
    }

    /// Reads an expression.
    pub(crate) fn scalar(&mut self, key: &str, node: &Node) -> Option<Scalar> {
        let Some(text) = node.scalar() else {
            self.shape(key, "a SQL expression", node);
            return None;
        };
        match scalar::parse(&text) {
            Ok(scalar) => Some(scalar),
            Err(errors) => {
                for error in errors {
                    self.error(error.rule, node.pos, error.message, error.hint);
                }
                None
            }
        }
    }

    pub(crate) fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = node.scalar();
        if text.is_none() {
            self.shape(key, "text", node);
        }
        text
    }

    pub(crate) fn list(&mut self, key: &str, node: &Node) -> Vec<(String, Pos)> {
        match &node.kind {
            Kind::List(items) => {
                items.iter().filter_map(|item| self.text(key, item).map(|text| (text, item.pos))).collect()
            }
            Kind::Text(text) => vec![(text.clone(), node.pos)],
            _ => {
                self.shape(key, "a list", node);
                Vec::new()
            }
        }
    }

    /// Checks a name: KPI004.
    pub(crate) fn name(&mut self, key: &Key) -> bool {
        let mut chars = key.text.chars();
        let legal = chars.next().is_some_and(|c| c.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && key.text.len() <= 63;
        let reserved =
            matches!(key.text.as_str(), "time" | "hour" | "day" | "week" | "month" | "quarter" | "year");
        if !legal {
            self.error(
                "KPI004",
                key.pos,
                format!("\"{}\" is not a name", key.text),
                Some("names match [a-z][a-z0-9_]{0,62}".into()),
            );
        } else if reserved {
            self.error(
                "KPI004",
                key.pos,
                format!("\"{}\" is reserved for time columns", key.text),
                Some("choose another name".into()),
            );
        }
        legal && !reserved
    }
}

/// The entries of a map that are still to be taken.
#[derive(Debug)]
pub(crate) struct Body {
    entries: Vec<(Key, Node)>,
    known: Vec<&'static str>,
    pub(crate) pos: Pos,
}

impl Body {
    /// Takes a key.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _)| name.text == key)?;
        Some(self.entries.remove(at).1)
    }

    /// True if the key is there and not taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.text == key)
    }

    /// Takes a required key: KPI005.
    pub(crate) fn need(&mut self, key: &'static str, what: &str, report: &mut Report<'_>) -> Option<Node> {
        let node = self.take(key);
        if node.is_none() {
            report.error(
                "KPI005",
                self.pos,
                format!("{what} has no \"{key}\""),
                Some(format!("add \"{key}: …\"")),
            );
        }
        node
    }

    /// Reports a required key that is absent, without taking it: KPI005.
    pub(crate) fn known_required(&self, key: &str, what: &str, report: &mut Report<'_>) {
        if !self.has(key) {
            report.error(
                "KPI005",
                self.pos,
                format!("{what} has no \"{key}\""),
                Some(format!("add \"{key}: …\"")),
            );
        }
    }

    /// Takes text.
    pub(crate) fn text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        self.take(key).and_then(|node| report.text(key, &node))
    }

    /// Refuses keys by name.
    pub(crate) fn refuse(&mut self, keys: &[&'static str], what: &str, report: &mut Report<'_>) {
        for key in keys {
            if let Some(node) = self.take(key) {
                report.unsupported(node.pos, &format!("\"{key}\" of {what}"));
            }
        }
    }

    /// Everything left is unknown: KPI001.
    pub(crate) fn finish(self, what: &str, report: &mut Report<'_>) {
        for (key, _) in &self.entries {
            let hint = scalar::nearest(&key.text, self.known.iter().copied())
                .map(|near| format!("did you mean \"{near}\""));
            report.error("KPI001", key.pos, format!("unknown key \"{}\" in {what}", key.text), hint);
        }
    }

    /// Hands out the named entries of a map of definitions.
    pub(crate) fn entries(self) -> Vec<(Key, Node)> {
        self.entries
    }
}
