//! Estimates from what a source told: shares of conditions, and what is not known stays a guess.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, col, lit};

use super::selectivity::{share, share_of_all};
use super::{ColumnSummary, TableStatistics};

fn table() -> TableStatistics {
    let ranged = ColumnSummary {
        nulls: 0.1,
        distinct: Some(90.0),
        common: vec![],
        bounds: vec![ScalarValue::from(0_i64), ScalarValue::from(10_i64), ScalarValue::from(100_i64)],
    };
    let named = ColumnSummary {
        nulls: 0.0,
        distinct: Some(5.0),
        common: vec![(ScalarValue::from("a"), 0.7), (ScalarValue::from("b"), 0.1)],
        bounds: vec![],
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
        (col("other").eq(lit(1_i64)), 0.2),
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
    for (conditions, expected) in [
        (vec![&low, &high], 0.5),
        (vec![&low, &other, &high], 0.35),
        (vec![&low, &empty], 0.0),
        (vec![&high], 0.75),
        (vec![], 1.0),
    ] {
        let found = share_of_all(&conditions, &table());
        assert!((found - expected).abs() < 1e-9, "{conditions:?}: {found}, not {expected}");
    }
}
