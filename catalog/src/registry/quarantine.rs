//! Constructs that a source was trusted with and is not any more, because it refused one or gave another answer.
//!
//! The gate asks here before it asks the executor: what is quarantined stays here until the process ends or somebody
//! mends the rule. A construct is an expression's shape over types, so that what went wrong with one column is not
//! tried with the next; no value of a row or of a statement is kept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::InList;

use crate::federation::{AggregateCall, Fragment, Reason};
use crate::source::{PG_TYPE_KEY, SOURCE_TYPE_KEY, SourceError, SourceErrorKind, TableDef};

/// Why a construct is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The source does not know it, or not for these types.
    Refused,
    /// Its answer was not ours.
    Audit,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the source refused it",
            Self::Audit => "an audit found another answer",
        })
    }
}

/// One quarantined construct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its shape, such as `lower(varchar(20)) = ?`, `order by text` or `sum(integer)`.
    pub construct: String,
    /// Why.
    pub cause: Cause,
    /// What the source said, or how its answer differed.
    pub sample: String,
    /// Since when, UTC.
    pub since: DateTime<Utc>,
}

/// The quarantined constructs of one source.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    any: AtomicBool,
    entries: RwLock<BTreeMap<String, Quarantined>>,
}

impl Quarantine {
    /// Why a construct stays here, if it is quarantined. `shape` is asked for only if anything is.
    pub(crate) fn holds(&self, shape: impl FnOnce() -> String) -> Option<Reason> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&shape()).map(|found| format!("quarantined: {}", found.cause).into())
    }

    /// Quarantines every construct of a fragment. Returns how many were not yet.
    pub(crate) fn add(&self, fragment: &Fragment, cause: Cause, sample: &str) -> usize {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let mut added = 0;
        for construct in constructs(fragment) {
            if let Entry::Vacant(place) = entries.entry(construct) {
                let (sample, since) = (sample.to_owned(), Utc::now());
                let construct = place.key().clone();
                place.insert(Quarantined { construct, cause, sample, since });
                added += 1;
            }
        }
        self.any.store(!entries.is_empty(), Ordering::Release);
        added
    }

    /// All of them, by construct.
    pub(crate) fn list(&self) -> Vec<Quarantined> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Whether a source refused what it was asked, not what was in it: SQLSTATE class 42 without the missing tables, columns
/// and rights that are other kinds of errors.
#[must_use]
pub fn is_refusal(error: &SourceError) -> bool {
    error.kind == SourceErrorKind::Remote
        && error.remote_code.as_ref().is_some_and(|code| code.starts_with("42"))
}

fn type_of(field: &Field) -> String {
    let metadata = field.metadata();
    let told = metadata.get(SOURCE_TYPE_KEY).or_else(|| metadata.get(PG_TYPE_KEY));
    told.cloned().unwrap_or_else(|| field.data_type().to_string())
}

/// The shape of a condition: its columns' types in their place, and no literal.
pub(crate) fn shape(table: &TableDef, expr: &Expr) -> String {
    let named = |name: String| Expr::Column(Column::from_name(name));
    let shaped: Result<Transformed<Expr>> = expr.clone().transform_up(|node| {
        Ok(match node {
            Expr::Column(column) => {
                let found = table.arrow.field_with_name(&column.name);
                Transformed::yes(named(found.map_or_else(|_| column.name.clone(), type_of)))
            }
            Expr::Literal(..) => Transformed::yes(named("?".to_owned())),
            Expr::InList(InList { expr, negated, .. }) => {
                Transformed::yes(Expr::InList(InList { expr, list: vec![named("?".to_owned())], negated }))
            }
            other => Transformed::no(other),
        })
    });
    shaped.map_or_else(|_| expr.variant_name().to_owned(), |shaped| shaped.data.to_string())
}

/// The shape of a key that rows are sorted by.
pub(crate) fn sort_shape(column: &Field) -> String {
    format!("order by {}", type_of(column))
}

/// The shape of a column that rows are grouped by.
pub(crate) fn group_shape(column: &Field) -> String {
    format!("group by {}", type_of(column))
}

/// The shape of an aggregate.
pub(crate) fn aggregate_shape(call: &AggregateCall, column: Option<&Field>) -> String {
    let distinct = if call.distinct { "distinct " } else { "" };
    format!("{}({distinct}{})", call.function.name(), column.map_or_else(|| "*".to_owned(), type_of))
}

/// The shape of a join of two columns.
pub(crate) fn join_shape(left: &Field, right: &Field) -> String {
    format!("join {} = {}", type_of(left), type_of(right))
}

/// Every construct a fragment has the source evaluate.
fn constructs(fragment: &Fragment) -> Vec<String> {
    let mut found: Vec<String> =
        fragment.filters.iter().map(|filter| shape(&fragment.table, &filter.expr)).collect();
    let column = |index: usize| fragment.column(index).map(|(_, field)| field);
    for join in &fragment.joins {
        found.extend(join.filters.iter().map(|filter| shape(&join.table, &filter.expr)));
        for (left, right) in &join.on {
            if let (Some(left), Some(right)) = (column(*left), join.table.arrow.fields().get(*right)) {
                found.push(join_shape(left, right));
            }
        }
    }
    if let Some(aggregate) = &fragment.aggregate {
        found.extend(aggregate.groups.iter().filter_map(|index| column(*index)).map(group_shape));
        for call in &aggregate.calls {
            found.push(aggregate_shape(call, call.column.and_then(column)));
            found.extend(call.filter.iter().map(|filter| shape(&fragment.table, filter)));
        }
    }
    if let Ok(schema) = fragment.schema() {
        let keys = fragment.sort.iter().filter_map(|key| schema.fields().get(key.column));
        found.extend(keys.map(|field| sort_shape(field)));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Schema};
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::federation::PushedFilter;

    fn table() -> Arc<TableDef> {
        let word = Field::new("word", DataType::Utf8, true)
            .with_metadata([(SOURCE_TYPE_KEY.to_owned(), "varchar(9)".to_owned())].into());
        let schema = Schema::new(vec![word, Field::new("n", DataType::Int32, true)]);
        Arc::new(TableDef::view("ops".into(), "t".into(), Arc::new(schema), None))
    }

    #[test]
    fn a_shape_has_types_and_no_values_and_holds_for_other_values() {
        let table = table();
        let secret = col("word").eq(lit("secret")).and(col("n").in_list(vec![lit(1), lit(2)], false));
        let shown = shape(&table, &secret);
        assert!(!shown.contains("secret") && shown.contains("varchar(9)"), "{shown}");
        let other = col("word").eq(lit("x")).and(col("n").in_list(vec![lit(3)], false));
        assert_eq!(shown, shape(&table, &other));

        let quarantine = Quarantine::default();
        assert_eq!(quarantine.holds(|| shown.clone()), None);
        let fragment = Fragment {
            filters: vec![PushedFilter { expr: secret, exact: true }],
            ..Fragment::whole(Arc::clone(&table))
        };
        assert_eq!(quarantine.add(&fragment, Cause::Refused, "42883"), 1);
        assert_eq!(quarantine.add(&fragment, Cause::Audit, "again"), 0);
        assert!(quarantine.holds(|| shape(&table, &other)).is_some());
        assert_eq!(quarantine.holds(|| shape(&table, &col("n").eq(lit(1)))), None);
        assert_eq!(quarantine.list().first().map(|entry| entry.cause), Some(Cause::Refused));
    }

    #[test]
    fn only_what_a_source_does_not_know_is_a_refusal() {
        let error = |kind, code: &str| SourceError::new(kind, "x").with_remote_code(code);
        assert!(is_refusal(&error(SourceErrorKind::Remote, "42883")));
        assert!(is_refusal(&error(SourceErrorKind::Remote, "42000/1064")));
        assert!(!is_refusal(&error(SourceErrorKind::NotFound, "42703")));
        assert!(!is_refusal(&error(SourceErrorKind::Remote, "XX000")));
        assert!(!is_refusal(&SourceError::new(SourceErrorKind::Remote, "x")));
    }
}
