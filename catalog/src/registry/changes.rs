//! What is different between two lists of a source's tables, in words for people.
//!
//! Estimates, comments and keys are not told: what matters to whoever wrote a query is which tables and columns there
//! are, and of which type. A table or column that is gone or has another type is drift: queries that name it fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;

use crate::source::{PG_TYPE_KEY, SOURCE_TYPE_KEY, TableDef};

/// One difference between two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// A table, as `schema.table`, that was not listed before.
    TableAdded(String),
    /// A table that is not listed any more.
    TableGone(String),
    /// A column, as `schema.table.column`, that was not there before.
    ColumnAdded(String),
    /// A column that is not there any more.
    ColumnGone(String),
    /// A column of another type.
    ColumnRetyped {
        /// As `schema.table.column`.
        column: String,
        /// Its type before, in the source's words.
        before: String,
        /// Its type now.
        now: String,
    },
}

impl TableChange {
    /// Whether queries that were right before may fail now.
    #[must_use]
    pub const fn is_drift(&self) -> bool {
        matches!(self, Self::TableGone(_) | Self::ColumnGone(_) | Self::ColumnRetyped { .. })
    }
}

impl fmt::Display for TableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableAdded(table) => write!(f, "table \"{table}\" is new"),
            Self::TableGone(table) => write!(f, "table \"{table}\" is gone"),
            Self::ColumnAdded(column) => write!(f, "column \"{column}\" is new"),
            Self::ColumnGone(column) => write!(f, "column \"{column}\" is gone"),
            Self::ColumnRetyped { column, before, now } => {
                write!(f, "column \"{column}\" is {now}, was {before}")
            }
        }
    }
}

/// What differs between two lists, by table and in the order of the columns.
pub(super) fn changes(before: &[Arc<TableDef>], after: &[Arc<TableDef>]) -> Vec<TableChange> {
    let named = |tables: &[Arc<TableDef>]| -> BTreeMap<String, Arc<TableDef>> {
        tables.iter().map(|table| (format!("{}.{}", table.schema, table.name), Arc::clone(table))).collect()
    };
    let (before, after) = (named(before), named(after));
    let mut found = Vec::new();
    for (name, table) in &before {
        match after.get(name) {
            None => found.push(TableChange::TableGone(name.clone())),
            Some(now) => columns(name, table, now, &mut found),
        }
    }
    let new = after.keys().filter(|name| !before.contains_key(*name));
    found.extend(new.map(|name| TableChange::TableAdded(name.clone())));
    found
}

fn columns(name: &str, before: &TableDef, now: &TableDef, found: &mut Vec<TableChange>) {
    for field in before.arrow.fields() {
        let column = format!("{name}.{}", field.name());
        match now.arrow.field_with_name(field.name()) {
            Err(_) => found.push(TableChange::ColumnGone(column)),
            Ok(other) if shown(field) != shown(other) || field.data_type() != other.data_type() => {
                found.push(TableChange::ColumnRetyped { column, before: shown(field), now: shown(other) });
            }
            Ok(_) => {}
        }
    }
    let new = now.arrow.fields().iter().filter(|field| before.arrow.field_with_name(field.name()).is_err());
    found.extend(new.map(|field| TableChange::ColumnAdded(format!("{name}.{}", field.name()))));
}

/// A column's type in the source's own words, or in Arrow's.
fn shown(field: &Field) -> String {
    let metadata = field.metadata();
    let told = metadata.get(SOURCE_TYPE_KEY).or_else(|| metadata.get(PG_TYPE_KEY));
    told.cloned().unwrap_or_else(|| field.data_type().to_string())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Schema};

    use super::*;

    fn table(name: &str, columns: &[(&str, DataType)]) -> Arc<TableDef> {
        let fields: Vec<Field> =
            columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
        Arc::new(TableDef::view("ops".into(), name.into(), Arc::new(Schema::new(fields)), None))
    }

    #[test]
    fn what_is_gone_new_or_of_another_type_is_told() {
        let before = [
            table("berth", &[("id", DataType::Int32), ("name", DataType::Utf8), ("loa", DataType::Int32)]),
            table("old", &[]),
        ];
        let after = [
            table("berth", &[("id", DataType::Int64), ("loa", DataType::Int32), ("depth", DataType::Int32)]),
            table("quay", &[]),
        ];
        let told: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "column \"ops.berth.id\" is Int64, was Int32",
                "column \"ops.berth.name\" is gone",
                "column \"ops.berth.depth\" is new",
                "table \"ops.old\" is gone",
                "table \"ops.quay\" is new",
            ]
        );
        assert!(changes(&before, &before).is_empty());
        assert_eq!(changes(&before, &after).iter().filter(|change| change.is_drift()).count(), 3);
    }
}
