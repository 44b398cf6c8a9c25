//! Estimates from what a source told: shares of conditions, and what is not known stays a guess.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, col, lit};

use super::selectivity::{share, share_of_all};
use super::width::width;
use super::{ColumnSummary, TableStatistics, estimate};
use crate::federation::{
    ExecContext, Fragment, FragmentExecutor, FragmentJoin, FragmentJoinKind, PushedFilter, Verdict,
};
use crate::source::{SourceError, SourceErrorKind, TableDef};

fn table() -> TableStatistics {
    let ranged = ColumnSummary {
        nulls: 0.1,
        distinct: Some(90.0),
        common: vec![],
        bounds: vec![ScalarValue::from(0_i64), ScalarValue::from(10_i64), ScalarValue::from(100_i64)],
        width: None,
    };
    let named = ColumnSummary {
        nulls: 0.0,
        distinct: Some(5.0),
        common: vec![(ScalarValue::from("a"), 0.7), (ScalarValue::from("b"), 0.1)],
        bounds: vec![],
        width: Some(40.0),
    };
    TableStatistics { rows: Some(1_000), columns: [("n".to_owned(), ranged), ("t".to_owned(), named)].into() }
}

#[test]
fn conditions_leave_the_share_that_the_source_told_of() {
    let cases: Vec<(Expr, f64)> = vec![
        (col("n").eq(lit(7_i64)), 0.9 / 90.0),
        (col("n").eq(lit(101_i64)), 0.0),
        (col("n").lt(lit(5_i64)), 0.9 * 0.25),
        (lit(5_i64).gt(col("n")), 0.9 * 0.25),
        (col("n").gt_eq(lit(55_i64)), 0.9 - 0.9 * 0.75),
        (col("n").between(lit(5_i64), lit(55_i64)), 0.9 * 0.5),
        (col("n").is_null(), 0.1),
        (col("n").in_list(vec![lit(1_i64), lit(2_i64)], false), 0.02),
        (col("t").eq(lit("a")), 0.7),
        (col("t").eq(lit("z")), 0.2 / 3.0),
        (col("t").not_eq(lit("a")), 0.3),
        (col("t").eq(lit("a")).and(col("n").is_null()), 0.07),
        (col("t").eq(lit("a")).or(col("t").eq(lit("b"))), 0.7 + 0.1 - 0.07),
        (col("other").eq(lit(1_i64)), 0.005),
        (col("other").gt(lit(1_i64)), 0.2),
        (col("other").in_list(vec![lit(1_i64), lit(2_i64)], true), 0.99),
        (col("other").not_like(lit("%a%")), 0.9),
    ];
    for (expr, expected) in cases {
        let found = share(&expr, &table());
        assert!((found - expected).abs() < 1e-9, "{expr}: {found}, not {expected}");
    }
}

#[test]
fn the_ends_of_a_range_belong_together() {
    let (low, high) = (col("n").gt_eq(lit(5_i64)), col("n").lt_eq(lit(55_i64)));
    let (other, empty) = (col("t").eq(lit("a")), col("n").lt(lit(1_i64)));
    let (since, until) = (col("other").gt_eq(lit(5_i64)), col("other").lt(lit(55_i64)));
    for (conditions, expected) in [
        (vec![&low, &high], 0.5),
        (vec![&low, &other, &high], 0.35),
        (vec![&low, &empty], 0.0),
        (vec![&high], 0.75),
        (vec![], 1.0),
        (vec![&since], 0.2),
        (vec![&until, &since], 0.01),
    ] {
        let found = share_of_all(&conditions, &table());
        assert!((found - expected).abs() < 1e-9, "{conditions:?}: {found}, not {expected}");
    }
}

#[test]
fn a_value_is_as_wide_as_its_type_and_what_the_source_told_of_its_length() {
    for (ty, told, expected) in [
        (DataType::Int16, Some(90.0), 2.0),
        (DataType::Decimal128(38, 10), None, 16.0),
        (DataType::Boolean, None, 0.125),
        (DataType::FixedSizeBinary(16), Some(3.0), 16.0),
        (DataType::Utf8View, Some(12.0), 16.0),
        (DataType::Utf8View, Some(40.0), 56.0),
        (DataType::Utf8View, None, 48.0),
        (DataType::Utf8, Some(40.0), 44.0),
        (DataType::Binary, None, 36.0),
    ] {
        let found = width(&ty, told);
        assert!((found - expected).abs() < 1e-9, "{ty} {told:?}: {found}, not {expected}");
    }
}

#[test]
fn whole_numbers_and_days_have_as_many_values_as_lie_between_their_ends() {
    let decimal = |value: i128, scale: i8| ScalarValue::Decimal128(Some(value), 12, scale);
    let of = |least: ScalarValue, greatest: ScalarValue, rows: u64| {
        let summary = ColumnSummary::of_figures(Some(rows), Some(rows / 4), Some(least), Some(greatest));
        assert_eq!(summary.nulls, 0.25);
        let known = TableStatistics { rows: Some(rows), columns: [("k".to_owned(), summary)].into() };
        let schema = datafusion::arrow::datatypes::Schema::empty().into();
        known
            .distinct(&crate::source::TableDef::view("lake".into(), "t".into(), schema, None), "k")
            .map(|found| found.0)
    };
    for (least, greatest, expected) in [
        (ScalarValue::from(1_i64), ScalarValue::from(1_500_i64), Some(1_500.0)),
        (ScalarValue::from(1_i64), ScalarValue::from(9_000_000_i64), Some(8_000.0)),
        (ScalarValue::from(0_u64), ScalarValue::from(24_u64), Some(25.0)),
        (ScalarValue::from(-1_i8), ScalarValue::from(3_i8), Some(5.0)),
        (ScalarValue::Date32(Some(100)), ScalarValue::Date32(Some(464)), Some(365.0)),
        (decimal(1, 0), decimal(7, 0), Some(7.0)),
        (decimal(100, 2), decimal(700, 2), None),
        (ScalarValue::from("a"), ScalarValue::from("b"), None),
        (ScalarValue::from(0.0_f64), ScalarValue::from(9.0_f64), None),
    ] {
        assert_eq!(of(least.clone(), greatest.clone(), 8_000), expected, "{least:?} to {greatest:?}");
    }
}

/// A source that told the same of every table, and answers nothing.
#[derive(Debug)]
struct Told(Arc<TableStatistics>);

#[async_trait]
impl FragmentExecutor for Told {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        Verdict::Exact
    }

    fn statistics(&self, _table: &TableDef) -> Option<Arc<TableStatistics>> {
        Some(Arc::clone(&self.0))
    }

    fn describe(&self, _fragment: &Fragment) -> String {
        "nothing".into()
    }

    async fn execute(
        &self,
        _fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        Err(SourceError::new(SourceErrorKind::Unsupported, "it answers nothing"))
    }
}

#[test]
fn conditions_on_a_joined_table_thin_an_inner_join_and_no_other() {
    let schema =
        Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)]);
    let table =
        |name: &str| Arc::new(TableDef::view("ops".into(), name.into(), Arc::new(schema.clone()), None));
    let told = Told(Arc::new(self::table()));
    let rows = |own: Vec<Expr>, kind: FragmentJoinKind, joined: Vec<Expr>| {
        let pushed = |conditions: Vec<Expr>| {
            conditions.into_iter().map(|expr| PushedFilter { expr, exact: true }).collect::<Vec<_>>()
        };
        let join = FragmentJoin { kind, table: table("berth"), filters: pushed(joined), on: vec![(0, 0)] };
        let fragment = Fragment { filters: pushed(own), joins: vec![join], ..Fragment::whole(table("call")) };
        estimate(&fragment, &told).map(|estimate| estimate.rows)
    };
    let (named, low) = (|| col("t").eq(lit("a")), || col("n").lt(lit(5_i64)));
    for (own, kind, joined, expected) in [
        (vec![], FragmentJoinKind::Inner, vec![], 1_000.0),
        (vec![], FragmentJoinKind::Inner, vec![named()], 700.0),
        (vec![], FragmentJoinKind::Inner, vec![named(), low()], 1_000.0 * 0.7 * 0.25),
        (vec![low()], FragmentJoinKind::Inner, vec![named()], 1_000.0 * 0.25 * 0.7),
        // No value of the column is there, and yet one row is left of a guess.
        (vec![], FragmentJoinKind::Inner, vec![col("n").eq(lit(101_i64))], 1.0),
        // A row without a partner stays.
        (vec![], FragmentJoinKind::Left, vec![named()], 1_000.0),
        (vec![], FragmentJoinKind::Semi, vec![named()], 500.0),
        (vec![], FragmentJoinKind::Anti, vec![named()], 500.0),
    ] {
        let found = rows(own.clone(), kind, joined.clone()).unwrap();
        assert!((found - expected).abs() < 1e-9, "{own:?} {kind:?} {joined:?}: {found}, not {expected}");
    }
}
