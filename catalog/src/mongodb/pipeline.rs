//! What is sent for a fragment: one aggregation pipeline, and what is read from its documents.
//!
//! Stages are appended in the order the server runs them; a fragment that asks for more than rows (an order, a
//! grouping) adds stages of its own here, and columns of its own to what is read.

use std::sync::Arc;

use mongodb::bson::{Bson, Document, doc};

use super::check::Check;
use super::decode::Wanted;
use super::expression::{is_value, value};
use super::grouping::{Grouping, grouping, output_name};
use super::matcher::Matcher;
use super::render::{condition, key};
use super::shape::TableShape;
use crate::config::OnMismatch;
use crate::federation::{Fragment, FragmentAggregate, Reason};

/// A fragment as the server gets it.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) stages: Vec<Document>,
    /// Columns that are decoded: those of the fragment, in order, then those that are only checked.
    pub(super) wanted: Vec<Wanted>,
    /// What is looked for before.
    pub(super) check: Option<Check>,
    /// The row of no documents, where there is one.
    pub(super) empty: Option<Document>,
}

impl Pipeline {
    /// The pipeline of a fragment. `Err` names a filter that never passed the gate.
    pub(super) fn of(shape: &TableShape, fragment: &Fragment) -> Result<Self, Reason> {
        // Counting documents judges no value.
        let judges = |aggregate: &FragmentAggregate| {
            !aggregate.groups.is_empty()
                || aggregate.calls.iter().any(|call| call.column.is_some() || call.filter.is_some())
        };
        if fragment.aggregate.as_ref().is_some_and(judges) && shape.on_mismatch != OnMismatch::Error {
            return Err("values that do not fit their column are null here".into());
        }
        if !fragment.joins.is_empty() {
            return Err("collections are joined here".into());
        }
        let check = Check::of(shape, fragment)?;
        let mut pipeline = Self { stages: Vec::new(), wanted: Vec::new(), check, empty: None };
        pipeline.keep_rows(shape, fragment)?;
        if let Some(aggregate) = &fragment.aggregate {
            let Grouping { stages, wanted, empty } = grouping(shape, fragment, aggregate)?;
            pipeline.stages.extend(stages);
            pipeline.wanted = wanted;
            pipeline.empty = empty;
        } else {
            pipeline.wanted = wanted(shape, fragment)?;
        }
        pipeline.order(shape, fragment)?;
        if let Some(limit) = fragment.limit {
            pipeline.take(limit)?;
        }
        if fragment.aggregate.is_none()
            && let Some(fields) = fields_of(&pipeline.wanted)
        {
            pipeline.stages.push(doc! { "$project": fields });
        }
        Ok(pipeline)
    }

    /// Nulls are the smallest there; asked for elsewhere, they are by a key of their own.
    fn order(&mut self, shape: &TableShape, fragment: &Fragment) -> Result<(), Reason> {
        let (mut flags, mut keys) = (Document::new(), Document::new());
        for (place, sort) in fragment.sort.iter().enumerate() {
            let name = match &fragment.aggregate {
                Some(aggregate) => output_name(aggregate, sort.column),
                None => {
                    let index = fragment.projection.get(sort.column).copied().unwrap_or(usize::MAX);
                    key(&wanted_at(shape, fragment, index)?.path)
                        .ok_or(Reason::Borrowed("the field's name means something else in a query"))?
                }
            };
            if keys.contains_key(&name) {
                continue;
            }
            if sort.nulls_first == sort.descending {
                let flag = format!("portolan null {place}");
                flags.insert(&flag, doc! { "$cond": [is_value(value(&name)), 0, 1] });
                keys.insert(flag, if sort.nulls_first { -1 } else { 1 });
            }
            keys.insert(name, if sort.descending { -1 } else { 1 });
        }
        if !flags.is_empty() {
            self.stages.push(doc! { "$addFields": flags });
        }
        if !keys.is_empty() {
            self.stages.push(doc! { "$sort": keys });
        }
        Ok(())
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

    /// The stages as compact JSON.
    pub(super) fn to_json(&self) -> String {
        let stages = self.stages.iter().cloned().map(Bson::Document).collect();
        Bson::Array(stages).into_relaxed_extjson().to_string()
    }
}

/// A projection on the needed paths; `None`, which is whole documents, if one of them has no name in the query language.
pub(super) fn fields_of(wanted: &[Wanted]) -> Option<Document> {
    let keys: Vec<String> = wanted.iter().map(|wanted| key(&wanted.path)).collect::<Option<_>>()?;
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
    Some(fields)
}

/// A column of the table, as it is read.
pub(super) fn wanted_at(shape: &TableShape, fragment: &Fragment, index: usize) -> Result<Wanted, Reason> {
    let field = fragment.table.arrow.fields().get(index);
    let field = field.ok_or(Reason::Borrowed("the table has no such column"))?;
    Ok(Wanted { field: Arc::clone(field), path: shape.path(field.name()) })
}

/// The fragment's columns, and those its filters look at: a value the server let through as something else than its
/// column's type must not decide about a row unseen.
fn wanted(shape: &TableShape, fragment: &Fragment) -> Result<Vec<Wanted>, Reason> {
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
    indexes.into_iter().map(|index| wanted_at(shape, fragment, index)).collect()
}
