//! What is sent for a fragment: one aggregation pipeline, and what is read from its documents.
//!
//! Stages are appended in the order the server runs them; a fragment that asks for more than rows (an order, a
//! grouping) adds stages of its own here, and columns of its own to what is read.

use std::sync::Arc;

use mongodb::bson::{Bson, Document, doc};

use super::decode::Wanted;
use super::matcher::Matcher;
use super::render::{condition, key};
use super::shape::TableShape;
use crate::config::OnMismatch;
use crate::federation::{Fragment, Reason};

/// A fragment as the server gets it.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) stages: Vec<Document>,
    /// Columns that are decoded: those of the fragment, in order, then those that are only checked.
    pub(super) wanted: Vec<Wanted>,
}

impl Pipeline {
    /// The pipeline of a fragment. `Err` names a filter that never passed the gate.
    pub(super) fn of(shape: &TableShape, fragment: &Fragment) -> Result<Self, Reason> {
        let mut pipeline = Self { stages: Vec::new(), wanted: wanted(shape, fragment)? };
        pipeline.keep_rows(shape, fragment)?;
        if let Some(limit) = fragment.limit {
            pipeline.take(limit)?;
        }
        pipeline.read_fields();
        Ok(pipeline)
    }

    fn keep_rows(&mut self, shape: &TableShape, fragment: &Fragment) -> Result<(), Reason> {
        let mut all = Matcher::All;
        for filter in &fragment.filters {
            all = all.and(condition(&fragment.table, shape, &filter.expr)?);
        }
        if let Some(condition) = all.into_document() {
            self.stages.push(doc! { "$match": condition });
        }
        Ok(())
    }

    fn take(&mut self, limit: usize) -> Result<(), Reason> {
        match i64::try_from(limit) {
            // The server refuses a limit of zero.
            Ok(0) => self.stages.push(doc! { "$match": Matcher::Nothing.into_document() }),
            Ok(limit) => self.stages.push(doc! { "$limit": limit }),
            Err(_) => return Err("the limit is too large".into()),
        }
        Ok(())
    }

    /// Only the needed paths; whole documents if one of them has no name in the query language.
    fn read_fields(&mut self) {
        let mut keys = Vec::new();
        for wanted in &self.wanted {
            match key(&wanted.path) {
                Some(key) => keys.push(key),
                None => return,
            }
        }
        let mut fields = Document::new();
        for field in &keys {
            // A path below one that is read anyway would be refused.
            let covered = keys
                .iter()
                .any(|other| field.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('.')));
            if !covered {
                fields.insert(field.clone(), 1);
            }
        }
        if fields.is_empty() {
            // Rows are only counted: an empty projection would read whole documents.
            fields.insert("_id", 1);
        } else if !fields.contains_key("_id") {
            fields.insert("_id", 0);
        }
        self.stages.push(doc! { "$project": fields });
    }

    /// The stages as compact JSON.
    pub(super) fn to_json(&self) -> String {
        let stages = self.stages.iter().cloned().map(Bson::Document).collect();
        Bson::Array(stages).into_relaxed_extjson().to_string()
    }
}

/// The fragment's columns, and those its filters look at: a value the server let through as something else than its
/// column's type must not decide about a row unseen.
fn wanted(shape: &TableShape, fragment: &Fragment) -> Result<Vec<Wanted>, Reason> {
    let fields = fragment.table.arrow.fields();
    let mut indexes = fragment.projection.clone();
    if shape.on_mismatch == OnMismatch::Error {
        let mut checked: Vec<usize> = fragment
            .filters
            .iter()
            .flat_map(|filter| filter.expr.column_refs())
            .filter_map(|column| fragment.table.arrow.index_of(&column.name).ok())
            .filter(|index| !indexes.contains(index))
            .collect();
        checked.sort_unstable();
        checked.dedup();
        indexes.extend(checked);
    }
    indexes
        .into_iter()
        .map(|index| {
            let field = fields.get(index).ok_or(Reason::Borrowed("the table has no such column"))?;
            Ok(Wanted { field: Arc::clone(field), path: shape.path(field.name()) })
        })
        .collect()
}
