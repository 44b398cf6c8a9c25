//! The parts of a fragment above filters and columns: joins, one aggregate, a top-N.
//!
//! Plain data without meaning of its own: what a part means is what the local operator does whose work it takes. It
//! must never hold text for a source.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::logical_expr::Expr;

use super::PushedFilter;
use crate::source::TableDef;

/// How a further table is joined to the row so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FragmentJoinKind {
    /// Pairs of rows whose keys are equal.
    Inner,
    /// As inner, and rows without a partner beside nulls.
    Left,
    /// Rows of the left that have a partner, once each.
    Semi,
    /// Rows of the left that have none. A null key has none: this is `NOT EXISTS`, never `NOT IN`.
    Anti,
}

impl FragmentJoinKind {
    /// Whether the joined table's columns are part of the row.
    #[must_use]
    pub fn shows_columns(self) -> bool {
        matches!(self, Self::Inner | Self::Left)
    }
}

/// A further table of the same compute context.
#[derive(Debug, Clone)]
pub struct FragmentJoin {
    /// How it is joined.
    pub kind: FragmentJoinKind,
    /// The table joined.
    pub table: Arc<TableDef>,
    /// Conjuncts over that table alone, which hold before the join; all exact.
    pub filters: Vec<PushedFilter>,
    /// Pairs of equal keys: a column of the row so far, and a column of the table. Null equals nothing. Never empty.
    pub on: Vec<(usize, usize)>,
}

/// Groups and what is computed for each.
#[derive(Debug, Clone)]
pub struct FragmentAggregate {
    /// Columns of the row; empty for one group of all rows, which comes back even if there is no row.
    pub groups: Vec<usize>,
    /// What is computed for each group.
    pub calls: Vec<AggregateCall>,
    /// The columns that come back: the groups, then the calls.
    pub outputs: Vec<FieldRef>,
}

/// The closed set of aggregates. An average is a sum and a count, finished here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `count(*)`, or `count(column)` of what is not null.
    Count,
    /// The smallest value, null if there is none.
    Min,
    /// The largest value, null if there is none.
    Max,
    /// The exact sum, null if there is no value.
    Sum,
}

impl AggregateFunction {
    /// The function's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
        }
    }

    /// Whether its result is one of the values.
    #[must_use]
    pub fn chooses(self) -> bool {
        matches!(self, Self::Min | Self::Max)
    }
}

/// One aggregate.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// Of which column of the row; `None` only for `count(*)`.
    pub column: Option<usize>,
    /// Over distinct values.
    pub distinct: bool,
    /// Only over rows that satisfy this, an expression over the fragment's own table; never beside a join.
    pub filter: Option<Expr>,
    /// The type that must come back, exactly.
    pub output: DataType,
}

/// One key of a top-N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentSort {
    /// A column of what comes back (of [`super::Fragment::schema`]), not of the row.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Nulls before everything else; otherwise after.
    pub nulls_first: bool,
}
