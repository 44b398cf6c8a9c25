//! Conditions that cannot fail, whatever a row holds.
//!
//! A reader that evaluates a condition while it decodes a file keeps only the text of what went wrong; the client would
//! be told of a damaged file where a number was divided by zero. Such readers are given what is listed here and nothing
//! else; the rest is evaluated above them, and fails under its own SQLSTATE.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};

use crate::source::TableDef;

/// Whether a condition over a table's columns has a value for every row. `false` for anything unknown.
#[must_use]
pub fn cannot_fail(table: &TableDef, expr: &Expr) -> bool {
    let Ok(columns) = DFSchema::try_from(table.arrow.as_ref().clone()) else { return false };
    let mut safe = true;
    let walked = expr.apply(|node| {
        safe = match node {
            Expr::BinaryExpr(binary) => compares(binary.op),
            Expr::Cast(cast) => super::unqualified(&cast.expr)
                .and_then(|inner| inner.get_type(&columns))
                .is_ok_and(|from| widens(&from, cast.field.data_type())),
            node => is_harmless(node),
        };
        Ok(if safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    safe && walked.is_ok()
}

/// Whether an expression has a value for whatever its operands are, and reads no setting of the session: all that may be
/// said of it without its operands' types. What is below it is looked at by itself.
pub(super) fn is_harmless(node: &Expr) -> bool {
    match node {
        Expr::ScalarFunction(call) => is_part_of_text(call),
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Like(_)
        | Expr::Case(_) => true,
        _ => false,
    }
}

/// Whether a call takes a part of a text, from a constant place and of a constant length. It has a value for every
/// text, and reads no setting.
fn is_part_of_text(call: &ScalarFunction) -> bool {
    let place = |expr: &Expr, least: i64| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => (least..=i64::from(i32::MAX)).contains(value),
        _ => false,
    };
    match call.args.as_slice() {
        [_, start] => call.name() == "substr" && place(start, i64::from(i32::MIN)),
        [_, start, length] => {
            call.name() == "substr" && place(start, i64::from(i32::MIN)) && place(length, 0)
        }
        _ => false,
    }
}

/// Whether an operator has a value for every pair of operands.
pub(super) const fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::And
            | Operator::Or
    )
}

/// Whether an expression of a plan has a value for every row: it may then be asked of more rows, or fewer. `more` knows
/// further nodes that have one whenever their operands do.
pub fn never_fails(expr: &Arc<dyn PhysicalExpr>, more: &dyn Fn(&Arc<dyn PhysicalExpr>) -> bool) -> bool {
    let itself = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<NotExpr>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<InListExpr>()
        || expr.downcast_ref::<BinaryExpr>().is_some_and(|binary| compares(*binary.op()))
        || more(expr);
    itself && expr.children().into_iter().all(|operand| never_fails(operand, more))
}

/// Digits of the longest value of an integer type.
const fn digits(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 | DataType::UInt8 => Some(3),
        DataType::Int16 | DataType::UInt16 => Some(5),
        DataType::Int32 | DataType::UInt32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        _ => None,
    }
}

/// Whether every value of one type has its like in another.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Decimal128, Decimal256, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Timestamp,
        UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    let text = |data_type: &DataType| matches!(data_type, Utf8 | LargeUtf8 | Utf8View);
    let whole_digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    match (from, to) {
        (from, to) if from == to => true,
        (from, to) if text(from) && text(to) => true,
        (Boolean, to) => text(to),
        (Int8, Int16 | Int32 | Int64)
        | (Int16, Int32 | Int64)
        | (Int32, Int64)
        | (UInt8, Int16 | Int32 | Int64)
        | (UInt16, Int32 | Int64)
        | (UInt32, Int64)
        | (Float32, Float64)
        | (Decimal128(_, _), Float64) => true,
        (from, Float32 | Float64) => digits(from).is_some(),
        (from, Decimal128(precision, scale) | Decimal256(precision, scale)) if digits(from).is_some() => {
            digits(from).is_some_and(|wanted| i16::from(wanted) <= whole_digits(*precision, *scale))
        }
        (
            Decimal128(from_precision, from_scale),
            Decimal128(precision, scale) | Decimal256(precision, scale),
        ) => {
            scale >= from_scale
                && whole_digits(*precision, *scale) >= whole_digits(*from_precision, *from_scale)
        }
        (from, to) if text(to) => digits(from).is_some(),
        // The same instants and wall clocks under another name.
        (Timestamp(TimeUnit::Microsecond, from), Timestamp(TimeUnit::Microsecond, to)) => {
            from.is_some() == to.is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::functions::expr_fn::{substr, substring, upper};
    use datafusion::logical_expr::{cast, col, lit, when};

    use super::*;

    #[test]
    fn comparisons_cannot_fail_and_arithmetic_and_narrowing_casts_can() {
        let fields = vec![
            Field::new("i", DataType::Int32, true),
            Field::new("n", DataType::Decimal128(10, 2), true),
            Field::new("word", DataType::Utf8, true),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ];
        let table = TableDef::view("lake".into(), "t".into(), Arc::new(Schema::new(fields)), None);
        for safe in [
            col("i").eq(lit(1)),
            cast(col("i"), DataType::Int64).gt(lit(1_i64)).or(col("word").is_null()),
            cast(col("i"), DataType::Decimal128(12, 2)).eq(col("n")),
            cast(col("n"), DataType::Float64).lt(lit(1.5)),
            col("word").like(lit("a%")).and(col("i").in_list(vec![lit(1), lit(2)], true)),
            col("ts").between(col("ts"), col("ts")),
            when(col("i").gt(lit(1)), col("i")).otherwise(lit(2)).unwrap().eq(lit(3)),
            substring(col("word"), lit(1_i64), lit(2_i64)).in_list(vec![lit("13"), lit("31")], false),
            substr(col("word"), lit(-1_i64)).eq(lit("a")),
        ] {
            assert!(cannot_fail(&table, &safe), "{safe}");
        }
        for failing in [
            (col("i") + lit(1)).gt(lit(1)),
            (lit(1) / col("i")).gt(lit(1)),
            cast(col("word"), DataType::Int32).eq(lit(1)),
            cast(col("i"), DataType::Int16).eq(lit(1_i16)),
            cast(col("i"), DataType::Decimal128(10, 2)).eq(col("n")),
            cast(col("n"), DataType::Decimal128(10, 4)).is_null(),
            cast(col("ts"), DataType::Date32).is_null(),
            col("i").eq(lit(1)).or((lit(1) / col("i")).gt(lit(1))),
            cast(cast(col("word"), DataType::Int64), DataType::Float64).gt(lit(1.0)),
            substring(col("word"), lit(1_i64), lit(-2_i64)).eq(lit("a")),
            substring(col("word"), lit(i64::MIN), lit(2_i64)).eq(lit("a")),
            substring(col("word"), lit(1_i64), cast(col("i"), DataType::Int64)).eq(lit("a")),
            substring(cast(col("i"), DataType::Int16), lit(1_i64), lit(1_i64)).eq(lit("a")),
            upper(col("word")).eq(lit("A")),
        ] {
            assert!(!cannot_fail(&table, &failing), "{failing}");
        }
    }
}
