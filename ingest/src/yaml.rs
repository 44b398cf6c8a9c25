//! YAML with the position of every key and value, and readers that list all mistakes of a file, not the first.
//!
//! serde stops at its first structural error, so a file is read into a positioned tree first and picked apart
//! afterwards. The keys a reader asks for are the keys it knows: whatever is left over is reported with the nearest
//! known key. Nothing here knows what a pipeline is.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::pipeline::Diagnostic;

/// A value with the 1-based line and column it stands at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Any YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<At<Node>>),
    Map(Vec<(At<String>, At<Node>)>),
}

impl Node {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

fn at<T>(spanned: Spanned<T>) -> At<T> {
    At { line: spanned.referenced.line(), column: spanned.referenced.column(), value: spanned.value }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers in these files are thresholds and counts")]
        Ok(Node::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "numbers in these files are thresholds and counts")]
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Node>>()? {
            items.push(at(item));
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((at(key), at(map.next_value::<Spanned<Node>>()?)));
        }
        Ok(Node::Map(entries))
    }
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    file: &'a Path,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a> Sink<'a> {
    pub(crate) const fn new(file: &'a Path) -> Self {
        Self { file, found: RefCell::new(Vec::new()) }
    }

    pub(crate) fn report<T>(&self, place: &At<T>, message: impl Into<String>, hint: Option<String>) {
        self.report_at(place.line, place.column, message, hint);
    }

    pub(crate) fn report_at(&self, line: u64, column: u64, message: impl Into<String>, hint: Option<String>) {
        let file: PathBuf = self.file.to_path_buf();
        self.found.borrow_mut().push(Diagnostic { file, line, column, message: message.into(), hint });
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }

    /// Reads a file's text into a tree; a syntax error is reported and gives `None`.
    pub(crate) fn parse(&self, text: &str) -> Option<At<Node>> {
        match serde_saphyr::from_str::<Spanned<Node>>(text) {
            Ok(root) => Some(at(root)),
            Err(error) => {
                let (line, column) = error.location().map_or((1, 1), |place| (place.line(), place.column()));
                let text = error.to_string();
                let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("not valid YAML");
                self.report_at(line, column, format!("cannot read YAML: {}", first.trim()), None);
                None
            }
        }
    }

    /// The mapping's entries, or a report that it is none.
    pub(crate) fn fields(&'a self, node: At<Node>, what: &str) -> Option<Fields<'a>> {
        let At { value, line, column } = node;
        match value {
            Node::Map(entries) => Some(Fields { sink: self, line, column, entries, known: Vec::new() }),
            other => {
                self.report_at(
                    line,
                    column,
                    format!("{what} must be a mapping, found {}", other.kind()),
                    None,
                );
                None
            }
        }
    }

    pub(crate) fn text(&self, node: At<Node>, what: &str) -> Option<At<String>> {
        let At { value, line, column } = node;
        match value {
            Node::Text(value) => Some(At { value, line, column }),
            Node::Number(value) => Some(At { value: value.to_string(), line, column }),
            other => {
                self.report_at(line, column, format!("{what} must be a text, found {}", other.kind()), None);
                None
            }
        }
    }

    pub(crate) fn list(&self, node: At<Node>, what: &str) -> Vec<At<Node>> {
        let At { value, line, column } = node;
        if let Node::List(items) = value {
            return items;
        }
        self.report_at(line, column, format!("{what} must be a list, found {}", value.kind()), None);
        Vec::new()
    }
}

/// The entries of a mapping, taken out key by key.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) sink: &'a Sink<'a>,
    pub(crate) line: u64,
    pub(crate) column: u64,
    entries: Vec<(At<String>, At<Node>)>,
    known: Vec<String>,
}

impl Fields<'_> {
    pub(crate) fn take(&mut self, key: &str) -> Option<At<Node>> {
        self.known.push(key.to_owned());
        let index = self.entries.iter().position(|(name, _)| name.value == key)?;
        Some(self.entries.remove(index).1)
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<At<String>> {
        let node = self.take(key)?;
        self.sink.text(node, &format!("\"{key}\""))
    }

    pub(crate) fn required_text(&mut self, key: &str) -> Option<At<String>> {
        let node = self.required(key)?;
        self.sink.text(node, &format!("\"{key}\""))
    }

    pub(crate) fn required(&mut self, key: &str) -> Option<At<Node>> {
        let found = self.take(key);
        if found.is_none() {
            self.sink.report_at(self.line, self.column, format!("key \"{key}\" is missing"), None);
        }
        found
    }

    pub(crate) fn number(&mut self, key: &str) -> Option<f64> {
        let node = self.take(key)?;
        if let Node::Number(value) = node.value {
            return Some(value);
        }
        let found = node.value.kind();
        self.sink.report(&node, format!("\"{key}\" must be a number, found {found}"), None);
        None
    }

    pub(crate) fn flag(&mut self, key: &str) -> bool {
        let Some(node) = self.take(key) else { return false };
        if let Node::Bool(value) = node.value {
            return value;
        }
        self.sink.report(&node, format!("\"{key}\" must be true or false"), None);
        false
    }

    pub(crate) fn list(&mut self, key: &str) -> Vec<At<Node>> {
        self.take(key).map_or_else(Vec::new, |node| self.sink.list(node, &format!("\"{key}\"")))
    }

    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        let items = self.list(key);
        items
            .into_iter()
            .filter_map(|item| self.sink.text(item, &format!("an item of \"{key}\"")))
            .map(|t| t.value)
            .collect()
    }

    /// All entries of a mapping whose keys are free, such as columns by name.
    pub(crate) fn entries(&mut self, key: &str) -> Vec<(At<String>, At<Node>)> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let Some(fields) = self.sink.fields(node, &format!("\"{key}\"")) else { return Vec::new() };
        fields.entries
    }

    /// Reports every key nobody asked for, with the nearest one that is known.
    pub(crate) fn finish(self) {
        for (key, _) in &self.entries {
            let nearest = nearest(&key.value, self.known.iter().map(String::as_str));
            let hint = nearest.map_or_else(
                || format!("known keys: {}", self.known.join(", ")),
                |name| format!("did you mean \"{name}\"?"),
            );
            self.sink.report(key, format!("unknown key \"{}\"", key.value), Some(hint));
        }
    }
}

/// The candidate nearest to a misspelt name, if any is near enough.
pub(crate) fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (name.chars().count() / 2).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_reported_with_place_and_nearest_key() {
        let sink = Sink::new(Path::new("p.yaml"));
        let root = sink.parse("pipeline: x\nsilvre:\n  a: 1\nlist: [1, two]\n").unwrap();
        let mut fields = sink.fields(root, "the file").unwrap();
        assert_eq!(fields.required_text("pipeline").unwrap().value, "x");
        assert!(fields.take("silver").is_none());
        assert_eq!(fields.texts("list"), ["1", "two"]);
        fields.required("source");
        fields.finish();
        let found = sink.into_diagnostics();
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "p.yaml:1:1: key \"source\" is missing",
                "p.yaml:2:1: unknown key \"silvre\" (hint: did you mean \"silver\"?)"
            ]
        );
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let sink = Sink::new(Path::new("p.yaml"));
        assert!(sink.parse("a: [1,\nb: }").is_none());
        assert!(sink.into_diagnostics()[0].line >= 1);
    }
}
