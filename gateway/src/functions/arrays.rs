//! The order of arrays with nulls in them: a null is greater than every element, wherever the null arrays go
//! (PostgreSQL 17, arrayfuncs.c, array_cmp).
//!
//! Arrow's comparison of lists has nulls before all elements, and its sort has them where the null lists are. Arrays whose
//! elements have an order of their own here (floats, intervals) and arrays of arrays stay the engine's.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int32Array, make_comparator};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::expr::Sort as SortExpr;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Sort, Volatility, lit,
};

use super::arithmetic::returned;
use super::operators::{Kind, kind};

/// Whether arrays of a type are compared here.
fn is_plain(data_type: &DataType) -> bool {
    let DataType::List(item) = data_type else { return false };
    !matches!(kind(item.data_type()), Kind::Float | Kind::Interval | Kind::Other)
}

/// Whether two types are arrays of one element type, compared here.
pub(super) fn are_compared(left: &DataType, operator: Operator, right: &DataType) -> bool {
    let (DataType::List(left_item), DataType::List(right_item)) = (left, right) else { return false };
    matches!(operator, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
        && is_plain(left)
        && left_item.data_type() == right_item.data_type()
}

/// `left operator right` of two arrays.
pub(super) fn comparison(left: Expr, operator: Operator, right: Expr) -> Expr {
    let order = array_order().call(vec![left, right]);
    Expr::BinaryExpr(BinaryExpr::new(Box::new(order), operator, Box::new(lit(0_i32))))
}

/// `value BETWEEN low AND high` of arrays that are compared here.
pub(super) fn between(
    value: &Expr,
    negated: bool,
    low: &Expr,
    high: &Expr,
    schema: &DFSchema,
) -> Option<Expr> {
    let of = value.get_type(schema).ok()?;
    let alike =
        |bound: &Expr| bound.get_type(schema).is_ok_and(|bound| are_compared(&of, Operator::GtEq, &bound));
    if value.is_volatile() || !alike(low) || !alike(high) {
        return None;
    }
    let above = comparison(value.clone(), Operator::GtEq, low.clone());
    let below = comparison(value.clone(), Operator::LtEq, high.clone());
    let both = above.and(below);
    Some(if negated { Expr::Not(Box::new(both)) } else { both })
}

/// A sort whose null arrays are put apart first, where their place is not that of the null elements.
pub(super) fn sorted(mut sort: Sort) -> LogicalPlan {
    let schema = sort.input.schema();
    let mut keys = Vec::with_capacity(sort.expr.len());
    for key in sort.expr {
        let SortExpr { expr, asc, nulls_first } = key;
        if asc != nulls_first || !expr.get_type(schema.as_ref()).is_ok_and(|of| is_plain(&of)) {
            keys.push(SortExpr { expr, asc, nulls_first });
            continue;
        }
        let null = Expr::IsNull(Box::new(expr.clone()));
        keys.push(SortExpr { expr: null, asc: !nulls_first, nulls_first: false });
        keys.push(SortExpr { expr, asc, nulls_first: !asc });
    }
    sort.expr = keys;
    LogicalPlan::Sort(sort)
}

/// How two arrays stand to one another: below zero, zero or above.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayOrder(Signature);

/// The function that compares two arrays of one type.
pub(super) fn array_order() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ArrayOrder(Signature::any(2, Volatility::Immutable))))
}

fn orders(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let right = if left.data_type() == right.data_type() {
        Arc::clone(right)
    } else {
        cast(right, left.data_type())?
    };
    let options = SortOptions { descending: false, nulls_first: false };
    let compare = make_comparator(left, &right, options)?;
    let order = |row: usize| {
        (left.is_valid(row) && right.is_valid(row)).then(|| match compare(row, row) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })
    };
    Ok(Arc::new((0..left.len()).map(order).collect::<Int32Array>()))
}

impl ScalarUDFImpl for ArrayOrder {
    fn name(&self) -> &str {
        "array_order"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("two arrays are compared") };
        returned(orders(left, right)?, scalar)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_null_is_greater_than_every_element() {
        let lists = |lists: Vec<Option<Vec<Option<i32>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
        };
        let left = lists(vec![
            Some(vec![Some(1), None]),
            Some(vec![None]),
            Some(vec![]),
            Some(vec![Some(1)]),
            None,
            Some(vec![None]),
        ]);
        let right = lists(vec![
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(9), Some(9)]),
            Some(vec![None]),
            Some(vec![Some(1)]),
            Some(vec![]),
            Some(vec![None]),
        ]);
        let orders = orders(&left, &right).unwrap();
        let expected = Int32Array::from(vec![Some(1), Some(1), Some(-1), Some(0), None, Some(0)]);
        assert_eq!(orders.as_ref(), &expected as &dyn Array);
    }
}
