//! Files in, checked model and every mistake out.
//!
//! A file that has an error in what all its KPIs need (source, clocks, zone) is broken as a whole; an error inside one
//! dimension, measure or metric disables that one and what rests on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::reader::Report;
use crate::yaml::Kind;
use crate::{Diagnostic, Disabled, Model};

/// The result of reading a set of KPI files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What can be used.
    pub model: Arc<Model>,
    /// All mistakes, ordered by file, line and column.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads KPI files, given as name and text. Never fails: what cannot be used is in the diagnostics.
pub fn load(files: &[(PathBuf, String)]) -> Loaded {
    let mut model = Model::default();
    let mut diagnostics = Vec::new();
    for (file, text) in files {
        let mut report = Report::new(file, text);
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        read(file, &stem, text, &mut model, &mut report);
        diagnostics.append(&mut report.found);
    }
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column, a.rule).cmp(&(&b.file, b.line, b.column, b.rule)));
    Loaded { model: Arc::new(model), diagnostics }
}

fn read(file: &std::path::Path, stem: &str, text: &str, model: &mut Model, report: &mut Report<'_>) {
    let document = match crate::yaml::read(text) {
        Ok(document) => document,
        Err(error) => {
            report.error("KPI000", error.pos, format!("not a YAML document: {}", error.message), None);
            broken(stem, model, report);
            return;
        }
    };
    let Some(mut body) = report.map("document", &document) else {
        broken(stem, model, report);
        return;
    };
    match body.need("version", "the document", report) {
        Some(version) if matches!(version.kind, Kind::Int(1)) => {}
        Some(version) => report.error(
            "KPI006",
            version.pos,
            "this version of the KPI language is not known",
            Some("write \"version: 1\"".into()),
        ),
        None => {}
    }
    let before = report.found.len();
    for kind in ["view", "metric", "values"] {
        if let Some(node) = body.take(kind) {
            report.unsupported(node.pos, &format!("a \"{kind}\" document"));
        }
    }
    // A model has a key of the same name.
    if !body.has("model")
        && let Some(node) = body.take("units")
    {
        report.unsupported(node.pos, "a \"units\" document");
    }
    if report.found.len() > before {
        broken(stem, model, report);
        return;
    }
    match crate::document::model(file, stem, body, report) {
        Some(found) if model.model(&found.name).is_none() => model.models.push(found),
        Some(found) => report.error(
            "KPI102",
            document.pos,
            format!("model \"{}\" is defined twice", found.name),
            Some("rename one of them".into()),
        ),
        None => broken(stem, model, report),
    }
}

fn broken(stem: &str, model: &mut Model, report: &Report<'_>) {
    if let Some(reason) = report.error_after(0) {
        model.broken.push(Disabled { name: stem.to_owned(), reason });
    }
}
