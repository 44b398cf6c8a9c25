//! Reads `*.yaml` and the SQL files they name into the model; every mistake of every file is listed.
//!
//! Files are taken in name order. A file with a `domain` key is a crosswalk, every other one a pipeline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Diagnostic;
use super::graph;
use super::model::{
    Decode, Make, Pipeline, Pipelines, Rule, Severity, SourceMode, SourceSpec, TableName, TableSpec, Zone,
};
use crate::contract::Contract;
use crate::crosswalk;
use crate::transform::Transform;
use crate::yaml::{At, Fields, Node, Sink};

/// Share of refused rows above which an interval is not published, unless a table declares its own.
const MAX_SHARE: f64 = 0.05;

/// Loads all pipelines and crosswalks below a directory and checks them as one graph. Touches nothing but files.
/// The model is complete enough to be listed even when there are diagnostics; it must not be run then.
#[must_use]
pub fn load_pipelines(dir: &Path) -> (Pipelines, Vec<Diagnostic>) {
    match read_files(dir) {
        Ok(files) => load_texts(&files),
        Err(error) => {
            let message = format!("cannot read pipeline directory: {}", error.kind());
            let found = Diagnostic { file: dir.into(), line: 1, column: 1, message, hint: None };
            (Pipelines::default(), vec![found])
        }
    }
}

/// Loads pipelines from files' texts by path; an SQL file is found beside the file that names it.
pub(super) fn load_texts(files: &BTreeMap<PathBuf, String>) -> (Pipelines, Vec<Diagnostic>) {
    let mut pipelines = Pipelines::default();
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| has_extension(file, &["yaml", "yml"])) {
        let sink = Sink::new(file);
        load_file(&sink, file, text, files, &mut pipelines);
        found.extend(sink.into_diagnostics());
    }
    graph::arrange(&mut pipelines, &mut found);
    found.sort();
    (pipelines, found)
}

fn has_extension(file: &Path, wanted: &[&str]) -> bool {
    file.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| wanted.contains(&extension))
}

fn read_files(dir: &Path) -> std::io::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if has_extension(&path, &["yaml", "yml", "sql"]) {
            let text = std::fs::read_to_string(&path)?;
            files.insert(path, text);
        }
    }
    Ok(files)
}

fn load_file(
    sink: &Sink<'_>,
    file: &Path,
    text: &str,
    files: &BTreeMap<PathBuf, String>,
    pipelines: &mut Pipelines,
) {
    let Some(root) = sink.parse(text) else { return };
    let Some(mut fields) = sink.fields(root, "a pipeline file") else { return };
    if let Some(domain) = fields.text("domain") {
        crosswalk::read(&mut pipelines.crosswalks, &domain, fields);
        return;
    }
    let Some(name) = fields.required_text("pipeline") else { return fields.finish() };
    let source = fields.take("source").and_then(|node| source(sink, node));
    let bronze = fields.text("bronze").map_or_else(|| name.value.clone(), |text| text.value);
    let decode = fields.take("decode").and_then(|node| decode(sink, node));
    for (zone, key) in [(Zone::Silver, "silver"), (Zone::Gold, "gold")] {
        for (table, node) in fields.entries(key) {
            if let Some(spec) = table_spec(sink, (file, files), &name.value, zone, table, node) {
                pipelines.tables.push(spec);
            }
        }
    }
    if pipelines.pipelines.iter().any(|pipeline| pipeline.name == name.value) {
        sink.report(&name, format!("pipeline \"{}\" is declared twice", name.value), None);
    }
    fields.finish();
    pipelines.pipelines.push(Pipeline { name: name.value, source, bronze, decode });
}

fn source(sink: &Sink<'_>, node: At<Node>) -> Option<SourceSpec> {
    let mut fields = sink.fields(node, "\"source\"")?;
    let (line, column) = (fields.line, fields.column);
    let modes = [("table", SourceMode::Table), ("records", SourceMode::Records)];
    let mut spec = None;
    for (key, mode) in modes {
        let Some(node) = fields.take(key) else { continue };
        let Some(mut inner) = sink.fields(node, &format!("\"{key}\"")) else { continue };
        let from = inner.required_text("from");
        let all_snapshots = inner.text("snapshots").is_some_and(|text| match text.value.as_str() {
            "all" => true,
            "latest" => false,
            other => {
                sink.report(&text, format!("\"{other}\" is not one of: latest, all"), None);
                false
            }
        });
        let (allow_empty, one_file) = (inner.flag("allow_empty"), inner.flag("one_file"));
        inner.finish();
        let Some(from) = from else { continue };
        let Some((schema, table)) = from.value.split_once('.') else {
            sink.report(&from, format!("\"{}\" must be written source.table", from.value), None);
            continue;
        };
        let (schema, table) = (schema.to_owned(), table.to_owned());
        spec = Some(SourceSpec { mode, schema, table, all_snapshots, allow_empty, one_file });
    }
    fields.finish();
    if spec.is_none() {
        sink.report_at(line, column, "a source is one of: table, records", None);
    }
    spec
}

/// `[a, b]` stands for `{a: a, b: b}`.
fn names_and_paths(sink: &Sink<'_>, node: At<Node>) -> Vec<(String, String)> {
    match node.value {
        Node::List(items) => items
            .into_iter()
            .filter_map(|item| sink.text(item, "a field"))
            .map(|text| (text.value.clone(), text.value))
            .collect(),
        Node::Map(entries) => entries
            .into_iter()
            .filter_map(|(name, path)| Some((name.value, sink.text(path, "a field's path")?.value)))
            .collect(),
        _ => {
            sink.report(&node, "fields are a list of names, or names with paths", None);
            Vec::new()
        }
    }
}

fn decode(sink: &Sink<'_>, node: At<Node>) -> Option<Decode> {
    let mut fields = sink.fields(node, "\"decode\"")?;
    let json = fields.required("json").map(|node| Decode(names_and_paths(sink, node)));
    fields.finish();
    json
}

fn table_spec(
    sink: &Sink<'_>,
    (file, files): (&Path, &BTreeMap<PathBuf, String>),
    pipeline: &str,
    zone: Zone,
    name: At<String>,
    node: At<Node>,
) -> Option<TableSpec> {
    let mut fields = sink.fields(node, &format!("table \"{}\"", name.value))?;
    let make = make(sink, file, files, &mut fields);
    let columns = fields.entries("columns");
    let contract = (!columns.is_empty()).then(|| Contract::read(columns, sink));
    let key = fields.texts("key");
    let latest = fields.texts("latest");
    let rules = fields.list("rules").into_iter().filter_map(|node| rule(sink, node)).collect();
    let fan_out = fields.flag("fan_out");
    let stored = !fields.flag("step");
    let publish = fields.text("publish").map(|text| text.value);
    let max_share = fields.number("max_share").unwrap_or(MAX_SHARE);
    let comment = fields.text("comment").map(|text| text.value);
    fields.finish();
    if zone == Zone::Silver && contract.is_none() {
        sink.report(&name, format!("silver table \"{}\" needs its \"columns\"", name.value), None);
    }
    if zone == Zone::Silver && key.is_empty() {
        sink.report(&name, format!("silver table \"{}\" needs a \"key\"", name.value), None);
    }
    if let Some(contract) = &contract {
        for column in key.iter().chain(&latest) {
            if !contract.columns.iter().any(|declared| declared.name == *column) {
                sink.report(&name, format!("key column \"{column}\" is not among the columns"), None);
            }
        }
    }
    Some(TableSpec {
        table: TableName { zone, name: name.value },
        pipeline: pipeline.to_owned(),
        file: file.to_path_buf(),
        line: name.line,
        column: name.column,
        make: make?,
        inputs: Vec::new(),
        contract,
        key,
        latest,
        rules,
        fan_out,
        stored,
        publish,
        max_share,
        comment,
    })
}

fn make(
    sink: &Sink<'_>,
    file: &Path,
    files: &BTreeMap<PathBuf, String>,
    fields: &mut Fields<'_>,
) -> Option<Make> {
    if let Some(sql) = fields.text("sql") {
        if !sql.value.ends_with(".sql") {
            return Some(Make::Sql { text: sql.value, file: file.to_path_buf() });
        }
        let path = file.with_file_name(&sql.value);
        return match files.get(&path) {
            Some(text) => Some(Make::Sql { text: text.clone(), file: path }),
            None => {
                sink.report(&sql, format!("there is no SQL file \"{}\" beside this file", sql.value), None);
                None
            }
        };
    }
    if let Some(transform) = Transform::read(fields) {
        return Some(Make::Transform(transform));
    }
    sink.report_at(fields.line, fields.column, "a table needs \"sql\" or a transform", None);
    None
}

fn rule(sink: &Sink<'_>, node: At<Node>) -> Option<Rule> {
    let mut fields = sink.fields(node, "a rule")?;
    let id = fields.required_text("id");
    let condition = fields.required_text("where");
    let severity = fields.text("then").map_or(Some(Severity::Quarantine), |text| match text.value.as_str() {
        "warn" => Some(Severity::Warn),
        "quarantine" => Some(Severity::Quarantine),
        "fail" => Some(Severity::Fail),
        other => {
            sink.report(&text, format!("\"{other}\" is not one of: warn, quarantine, fail"), None);
            None
        }
    });
    fields.finish();
    Some(Rule { id: id?.value, condition: condition?.value, severity: severity? })
}
