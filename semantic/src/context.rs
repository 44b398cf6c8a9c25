//! Values over fewer keys than their row: the context `all`, and the denominator of a share.
//!
//! Such a value is computed by the keys that stay and looked up for every row; it never adds or removes a row. WHERE
//! and FILTER stay as they are.

use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlanBuilder, cast, lit};

use datafusion::arrow::datatypes::DataType;

use crate::SemanticError;
use crate::group::Keys;
use crate::stitch::{Lowered, column, null_safe};

/// The keys a value ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Every key.
    All,
    /// Those over these columns of the view.
    Over(Vec<String>),
}

impl Dropped {
    /// What two contexts ignore together.
    pub(crate) fn and(&self, inner: Option<&Self>) -> Self {
        match (self, inner) {
            (Self::All, _) | (_, Some(Self::All)) => Self::All,
            (Self::Over(outer), inner) => {
                let mut over = outer.clone();
                if let Some(Self::Over(inner)) = inner {
                    over.extend(inner.iter().filter(|name| !outer.contains(name)).cloned());
                }
                Self::Over(over)
            }
        }
    }

    /// Positions of the keys that stay.
    ///
    /// # Errors
    /// KPI904 for a key that reads both what is dropped and what stays.
    pub(crate) fn kept(&self, keys: &Keys) -> Result<Vec<usize>> {
        let Self::Over(over) = self else { return Ok(Vec::new()) };
        let mut kept = Vec::new();
        for (at, key) in keys.exprs.iter().enumerate() {
            let read = key.column_refs();
            let dropped = read.iter().filter(|column| over.contains(&column.name)).count();
            if dropped == 0 {
                kept.push(at);
            } else if dropped < read.len() {
                return Err(SemanticError::new(
                    "KPI904",
                    "0A000",
                    format!("a key mixes \"{}\" with other columns", over.join("\", \"")),
                )
                .hint("group by the columns one by one")
                .into());
            }
        }
        Ok(kept)
    }
}

/// A statement's keys without the dropped ones.
#[derive(Debug)]
pub(crate) struct Reduced {
    pub(crate) keys: Keys,
    kept: Vec<usize>,
    /// Grouping ids of the statement, each with its id over the kept keys; empty when keys alone tell rows apart.
    ids: Vec<(u64, u64)>,
}

/// The grouping id of a set: a bit per key, the first key highest, set where the key is not in the set.
pub(crate) fn grouping_id(keys: usize, set: &[usize]) -> u64 {
    (0..keys).fold(0_u64, |bits, at| (bits << 1) | u64::from(!set.contains(&at)))
}

/// Keeps some keys of a statement, in their order.
///
/// # Errors
/// KPI906 for a repeated grouping set, whose rows could not be told apart.
pub(crate) fn reduce(keys: &Keys, kept: Vec<usize>) -> Result<Reduced> {
    let pick = |at: &usize| keys.exprs.get(*at).cloned();
    let exprs: Vec<Expr> = kept.iter().filter_map(pick).collect();
    let types = kept.iter().filter_map(|at| keys.types.get(*at).cloned()).collect();
    let Some((sets, id_type)) = &keys.sets else {
        return Ok(Reduced { keys: Keys { exprs, types, sets: None }, kept, ids: Vec::new() });
    };
    let mut reduced: Vec<Vec<usize>> = Vec::new();
    let mut ids: Vec<(u64, u64)> = Vec::new();
    for set in sets {
        let left: Vec<usize> =
            set.iter().filter_map(|at| kept.iter().position(|other| other == at)).collect();
        let id = grouping_id(keys.exprs.len(), set);
        if ids.iter().any(|(other, _)| *other == id) {
            return Err(SemanticError::new("KPI906", "0A000", "a repeated grouping set is not supported")
                .hint("name every grouping set once")
                .into());
        }
        ids.push((id, grouping_id(kept.len(), &left)));
        if !reduced.contains(&left) {
            reduced.push(left);
        }
    }
    // One set left is all kept keys: their values tell its rows apart.
    let sets = (reduced.len() > 1).then(|| (reduced, id_type.clone()));
    if sets.is_none() {
        ids.clear();
    }
    Ok(Reduced { keys: Keys { exprs, types, sets }, kept, ids })
}

/// Looks up the values of `next`, computed by reduced keys, for every row of `all`.
pub(crate) fn attach(mut all: Lowered, next: Lowered, reduced: &Reduced) -> Result<Lowered> {
    let mut on: Vec<(Expr, Expr)> = reduced
        .kept
        .iter()
        .zip(&next.keys)
        .filter_map(|(at, right)| Some((column(all.keys.get(*at)?), column(right))))
        .collect();
    if let (false, Some(left), Some(right)) = (reduced.ids.is_empty(), all.keys.last(), next.keys.last()) {
        let id = |bits: u64| Box::new(lit(ScalarValue::UInt64(Some(bits))));
        let left = Case::new(
            Some(Box::new(cast(column(left), DataType::UInt64))),
            reduced.ids.iter().map(|(whole, part)| (id(*whole), id(*part))).collect(),
            None,
        );
        on.push((Expr::Case(left), cast(column(right), DataType::UInt64)));
    }
    let joined = if on.is_empty() {
        LogicalPlanBuilder::new(all.plan).cross_join(next.plan)?.build()?
    } else {
        null_safe(all.plan, next.plan, on, JoinType::Left)?
    };
    all.values.extend(next.values);
    let out: Vec<Expr> = all.keys.iter().chain(&all.values).map(|name| column(name)).collect();
    all.plan = LogicalPlanBuilder::new(joined).project(out)?.build()?;
    Ok(all)
}
