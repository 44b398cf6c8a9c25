//! Runtime filters: what a join learns from its build side, told to the source that serves its probe side.
//!
//! A hash join finishes its filter before it polls the probe side, and [`super::keys`] are complete once their part of
//! the plan has been read, so the leaf looks once, at its first poll, and never waits. Such a filter only ever narrows:
//! what cannot be translated, or what the gate keeps, is left out.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr as LogicalBinary, Expr, Operator, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::utils::split_conjunction;

use super::keys::Keys;
use super::lists::{Fit, Room, decide_long};
use super::translate::{Strictness, TableColumn, Told, translate};
use super::{FederatedScanExec, Fragment, FragmentExecutor, FragmentJoinKind, PushedFilter, Verdict};
use crate::source::TableDef;

/// What is learned while the statement runs, of the leaf's output columns.
#[derive(Debug, Clone, Default)]
pub(super) struct RuntimeFilters {
    /// Filters that joins above fill.
    filled: Vec<Arc<dyn PhysicalExpr>>,
    /// Keys that other parts of the plan tell, by column.
    told: Vec<(usize, Arc<Keys>)>,
}

/// What the filters say at the moment they are read.
#[derive(Debug)]
pub(super) enum Narrowed {
    /// No row can match.
    Nothing,
    /// The fragment with further filters, and their text for `EXPLAIN ANALYZE`.
    To(Box<Fragment>, Option<String>),
}

impl RuntimeFilters {
    /// Takes the dynamic ones among the filters offered by the plan above.
    pub(super) fn adopt(&mut self, offered: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>) -> bool {
        let before = self.filled.len();
        self.filled.extend(offered.into_iter().filter(|filter| filter.is::<DynamicFilterPhysicalExpr>()));
        self.filled.len() > before
    }

    /// Takes keys without which no row of a column is wanted.
    pub(super) fn hear(&mut self, column: usize, keys: Arc<Keys>) {
        self.told.push((column, keys));
    }

    /// Whether other parts of the plan tell keys.
    pub(super) fn hears_keys(&self) -> bool {
        !self.told.is_empty()
    }

    /// Another run tells nothing.
    pub(super) fn forget_keys(&mut self) {
        self.told.clear();
    }

    pub(super) fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.filled
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled.is_empty() && self.told.is_empty()
    }

    /// Adds to a fragment what the filters say now.
    pub(super) fn narrow(&self, fragment: &Fragment, executor: &dyn FragmentExecutor) -> Narrowed {
        // Under a limit the source would count other rows than the plan above expects.
        if fragment.limit.is_some() {
            return Narrowed::To(Box::new(fragment.clone()), None);
        }
        let outputs = outputs(fragment);
        let mut parts = Vec::new();
        for told in self.conditions(&outputs) {
            if told.expr == lit(false) {
                return Narrowed::Nothing;
            }
            if let Some(target) = told.place.and_then(|place| Target::of(fragment, place)) {
                parts.extend(split_conjunction_owned(told.expr).into_iter().map(|part| (target, part)));
            }
        }
        let mut narrowed = fragment.clone();
        let mut shown = Vec::new();
        let mut room = Room::of(executor.list_room());
        let mut long = None;
        for (target, part) in shortest_lists(parts) {
            match room.takes(&part, rows_of(executor, target.table)) {
                Fit::Not => {}
                Fit::Apart => long = long.or(Some((target, part))),
                Fit::Whole if matches!(decide_long(executor, target.table, &part), Verdict::Keep(_)) => {}
                Fit::Whole => {
                    shown.push(brief(&part));
                    let filter = PushedFilter { expr: part, exact: false };
                    match target.join.and_then(|join| narrowed.joins.get_mut(join)) {
                        Some(join) => join.filters.push(filter),
                        None => narrowed.filters.push(filter),
                    }
                }
            }
        }
        if let Some((target, Expr::InList(list))) = &long
            && let Some(runs) = room.runs(list, target.join, target.table, executor)
        {
            shown.push(format!("{} IN ({} values, in turns of {})", list.expr, list.list.len(), runs.len()));
            narrowed.runs = runs;
        }
        let shown = (!shown.is_empty()).then(|| shown.join(" AND "));
        Narrowed::To(Box::new(narrowed), shown)
    }

    /// What is known by now, each over one table.
    fn conditions(&self, outputs: &[Option<TableColumn>]) -> Vec<Told> {
        let mut all = Vec::new();
        for filter in &self.filled {
            let filter = filter.downcast_ref::<DynamicFilterPhysicalExpr>();
            let Some(current) = filter.and_then(|filter| filter.current().ok()) else { continue };
            all.extend(
                split_conjunction(&current)
                    .into_iter()
                    .filter_map(|conjunct| translate(conjunct, outputs, Strictness::Wider)),
            );
        }
        for (column, keys) in &self.told {
            let Some(TableColumn { place, name }) = outputs.get(*column).and_then(Option::as_ref) else {
                continue;
            };
            let Some(values) = keys.values() else { continue };
            let tested = Expr::Column(datafusion::common::Column::new_unqualified(name));
            let among =
                |values: Vec<ScalarValue>| tested.in_list(values.into_iter().map(lit).collect(), false);
            let expr = if values.is_empty() { lit(false) } else { among(values) };
            all.push(Told { expr, place: Some(*place) });
        }
        all
    }
}

/// Whether a leaf can ask for certain values of one of its columns only.
pub(super) fn hears(leaf: &FederatedScanExec, column: usize) -> bool {
    let fragment = leaf.fragment();
    let known = outputs(fragment).into_iter().nth(column).flatten();
    !leaf.bare
        && fragment.limit.is_none()
        && known.is_some_and(|known| Target::of(fragment, known.place).is_some())
}

/// Of several lists for one column the shortest: each holds all that can match. Shorter ones first, which all fit.
fn shortest_lists<'a>(parts: Vec<(Target<'a>, Expr)>) -> Vec<(Target<'a>, Expr)> {
    let mut kept: Vec<(Target<'a>, Expr)> = Vec::new();
    for (target, part) in parts {
        let Some((tested, length)) = list(&part) else {
            kept.push((target, part));
            continue;
        };
        let rival = kept.iter().position(|(other, kept)| {
            other.join == target.join && list(kept).is_some_and(|(column, _)| column == tested)
        });
        match rival {
            None => kept.push((target, part)),
            Some(at) => {
                if let Some(rival) = kept.get_mut(at)
                    && list(&rival.1).is_some_and(|(_, others)| length < others)
                {
                    *rival = (target, part);
                }
            }
        }
    }
    kept.sort_by_key(|(_, part)| list(part).map_or(0, |(_, length)| length));
    kept
}

/// The column that a list is about, and how many values it has.
fn list(part: &Expr) -> Option<(&str, usize)> {
    let Expr::InList(list) = part else { return None };
    let Expr::Column(column) = list.expr.as_ref() else { return None };
    (!list.negated).then_some((column.name.as_str(), list.list.len()))
}

/// Rows of a table, as its source counted them last.
fn rows_of(executor: &dyn FragmentExecutor, table: &TableDef) -> Option<u64> {
    executor.statistics(table).and_then(|known| known.rows).or(table.row_estimate)
}

/// Where a filter over the leaf's output goes: the fragment's own table, or one it is joined to.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    table: &'a TableDef,
    join: Option<usize>,
}

impl<'a> Target<'a> {
    /// A row of the fragment's own table is in the answer or not, whatever it is joined to; one of a joined table
    /// only if it needs a partner.
    fn of(fragment: &'a Fragment, place: usize) -> Option<Self> {
        if place == 0 {
            return Some(Self { table: fragment.table.as_ref(), join: None });
        }
        let join = fragment.joins.get(place - 1).filter(|join| join.kind == FragmentJoinKind::Inner)?;
        Some(Self { table: join.table.as_ref(), join: Some(place - 1) })
    }
}

/// Per column of the leaf's output, the table's column it is; `None` for what was computed.
fn outputs(fragment: &Fragment) -> Vec<Option<TableColumn>> {
    let named = |index: &usize| {
        fragment.column(*index).map(|(place, field)| TableColumn { place, name: field.name().clone() })
    };
    match &fragment.aggregate {
        // Rows that do not belong to a group may be left out of all groups, but not out of the one of all rows.
        Some(aggregate) => {
            aggregate.groups.iter().map(named).chain(aggregate.calls.iter().map(|_| None)).collect()
        }
        None => fragment.projection.iter().map(named).collect(),
    }
}

/// The filter with its lists cut to their lengths.
fn brief(expr: &Expr) -> String {
    match expr {
        Expr::InList(list) if list.list.len() > 3 => format!("{} IN ({} values)", list.expr, list.list.len()),
        Expr::BinaryExpr(LogicalBinary { left, op: op @ (Operator::And | Operator::Or), right }) => {
            format!("({} {op} {})", brief(left), brief(right))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::col;
    use datafusion::physical_expr::expressions::{self, Column, binary};

    use super::*;

    #[test]
    fn only_under_and_may_a_part_be_left_out() {
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        let k: Arc<dyn PhysicalExpr> = Arc::new(Column::new("other", 0));
        let names = vec![Some(TableColumn { place: 0, name: "a".to_owned() })];
        let translate = |expr: &Arc<dyn PhysicalExpr>, strictness| {
            translate(expr, &names, strictness).map(|told| told.expr)
        };
        let low = binary(Arc::clone(&k), Operator::GtEq, expressions::lit(3_i64), &schema).unwrap();
        let opaque = binary(
            binary(Arc::clone(&k), Operator::Modulo, expressions::lit(2_i64), &schema).unwrap(),
            Operator::Eq,
            expressions::lit(0_i64),
            &schema,
        )
        .unwrap();
        let and = binary(Arc::clone(&low), Operator::And, Arc::clone(&opaque), &schema).unwrap();
        let or = binary(low, Operator::Or, opaque, &schema).unwrap();
        assert_eq!(translate(&and, Strictness::Wider), Some(col("a").gt_eq(lit(3_i64))));
        assert_eq!(translate(&or, Strictness::Wider), None);
        assert_eq!(translate(&and, Strictness::Exact), None);
    }
}
