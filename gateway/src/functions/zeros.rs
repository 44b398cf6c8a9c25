//! The two zeros of floats are one value, as in PostgreSQL; Arrow's comparison and hashing tell them apart.
//!
//! Comparisons of a column with a constant keep their form, so that sources and pruning still see them: only a zero
//! is put on the right side of its twin. A constant NaN is compared by `x + 0` too: decoders and operators make one NaN,
//! but a file of another's may hold one with a sign. Everything else that compares floats, keys of joins, groups and windows
//! included, compares `x + 0`, which is `x` except that it has one zero and one NaN (negated, it has another sign, and
//! Arrow tells these apart too). Works on types that are settled, after the analyser. Values that are shown keep their
//! sign, unless they are grouped by.
//!
//! What takes `NOT IN (SELECT …)`, conditions on an outer query's column and `DISTINCT ON` apart knows columns only:
//! there `x + 0` becomes one first.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
    Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::columns::ComparedBy;

/// `x + 0` of floats, under one NaN: what `x` is compared by.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneZero(Signature);

/// Its name.
const NAME: &str = "one_zero";

/// The function that makes one of the two zeros.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(OneZero(Signature::any(1, Volatility::Immutable)))
}

fn one_zero(expr: Expr) -> Expr {
    function().call(vec![expr])
}

impl ScalarUDFImpl for OneZero {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [float @ (DataType::Float32 | DataType::Float64)] => Ok(float.clone()),
            _ => plan_err!("only floats have two zeros"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(Arc::clone(field)),
            _ => plan_err!("only one float at a time"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("a float is missing") };
        let made: ArrayRef = match array.data_type() {
            DataType::Float32 => {
                let same = |x: f32| if x.is_nan() { f32::NAN } else { x + 0.0 };
                Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(same))
            }
            DataType::Float64 => {
                let same = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 };
                Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(same))
            }
            other => return exec_err!("{other} has no two zeros"),
        };
        returned(made, scalar)
    }
}

/// Floats, and what they are compared by.
const BY_ONE_ZERO: ComparedBy =
    ComparedBy { name: NAME, call: one_zero, concerns: is_float, wrap, compare: compared };

/// Makes one of the two zeros wherever a plan compares floats.
pub(crate) fn one_zero_each(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(_) | LogicalPlan::Limit(_) => Ok(Transformed::no(node)),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct(input),
        LogicalPlan::Distinct(Distinct::On(on)) => BY_ONE_ZERO.distinct_on(on),
        LogicalPlan::Filter(filter) => BY_ONE_ZERO.filter(filter),
        LogicalPlan::Aggregate(aggregate) => grouped(aggregate),
        LogicalPlan::Sort(mut sort) => {
            // Which zero comes first matters only to what is ordered by next.
            let schema = Arc::clone(sort.input.schema());
            let mut changed = false;
            let keys = sort.expr.len();
            for key in sort.expr.iter_mut().take(keys.saturating_sub(1)) {
                changed |= wrap(&mut key.expr, &schema);
            }
            let node = LogicalPlan::Sort(sort);
            Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
        }
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                if is_float(left, join.left.schema()) && is_float(right, join.right.schema()) {
                    changed |= wrap(left, join.left.schema()) | wrap(right, join.right.schema());
                }
            }
            let node = BY_ONE_ZERO.expressions(LogicalPlan::Join(join))?;
            Ok(if changed { Transformed::yes(node.data) } else { node })
        }
        other => BY_ONE_ZERO.expressions(other),
    })?;
    Ok(done.data)
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Float32 | DataType::Float64))
}

/// Puts `x + 0` in the place of a float `x`; false for anything else.
fn wrap(expr: &mut Expr, schema: &DFSchema) -> bool {
    !expr.contains_outer() && wrap_any(expr, schema)
}

/// As [`wrap`], of an outer query's values as well.
fn wrap_any(expr: &mut Expr, schema: &DFSchema) -> bool {
    if !is_float(expr, schema) {
        return false;
    }
    let inner = std::mem::take(expr);
    *expr = one_zero(inner);
    true
}

/// The value of a literal, or of casts of one.
pub(super) fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        Expr::Negative(inner) => constant(inner)?.arithmetic_negate().ok(),
        Expr::Alias(alias) => constant(&alias.expr),
        _ => None,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => *value == 0.0,
        ScalarValue::Float64(Some(value)) => *value == 0.0,
        _ => false,
    }
}

pub(super) fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        _ => false,
    }
}

/// A zero of a constant's type.
fn zero(like: &ScalarValue, negative: bool) -> Expr {
    let value = match (like, negative) {
        (ScalarValue::Float32(_), true) => ScalarValue::Float32(Some(-0.0)),
        (ScalarValue::Float32(_), false) => ScalarValue::Float32(Some(0.0)),
        (_, true) => ScalarValue::Float64(Some(-0.0)),
        (_, false) => ScalarValue::Float64(Some(0.0)),
    };
    Expr::Literal(value, None)
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// A comparison of floats that have one zero. Those with an outer query's values are changed only if `outer` says so.
fn compared(expr: Expr, schema: &DFSchema, outer: bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(comparison) if is_comparison(comparison.op) => {
            comparison_of(comparison, schema, outer)
        }
        Expr::Between(mut between) if is_float(&between.expr, schema) => {
            let bounds = (constant(&between.low), constant(&between.high));
            match bounds {
                (Some(low), Some(high))
                    if matches!(between.expr.as_ref(), Expr::Column(_))
                        && !is_nan(&low)
                        && !is_nan(&high) =>
                {
                    if !is_zero(&low) && !is_zero(&high) {
                        return Ok(Transformed::no(Expr::Between(between)));
                    }
                    if is_zero(&low) {
                        between.low = Box::new(zero(&low, true));
                    }
                    if is_zero(&high) {
                        between.high = Box::new(zero(&high, false));
                    }
                }
                _ => {
                    let Between { expr, low, high, .. } = &mut between;
                    if !outer && [&*expr, &*low, &*high].iter().any(|side| side.contains_outer()) {
                        return Ok(Transformed::no(Expr::Between(between)));
                    }
                    for side in [expr, low, high] {
                        wrap_any(side, schema);
                    }
                }
            }
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::InList(list) if is_float(&list.expr, schema) => in_list(list, schema, outer),
        Expr::InSubquery(membership)
            if is_float(&membership.expr, schema) && !membership.expr.contains_outer() =>
        {
            in_subquery(membership, schema)
        }
        Expr::Case(case) if case.expr.as_ref().is_some_and(|base| is_float(base, schema)) => {
            let Case { expr, mut when_then_expr, else_expr } = case;
            let Some(mut base) = expr else { return internal_err!("a CASE lost its value") };
            wrap_any(&mut base, schema);
            for (when, _) in &mut when_then_expr {
                wrap_any(when, schema);
            }
            Ok(Transformed::yes(Expr::Case(Case { expr: Some(base), when_then_expr, else_expr })))
        }
        Expr::ScalarFunction(call) if call.func.name() == "nullif" && call.args.len() == 2 => {
            let [value, other] = call.args.as_slice() else {
                return internal_err!("nullif has two arguments");
            };
            if !is_float(value, schema) || !is_float(other, schema) {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            let equal = BinaryExpr::new(Box::new(value.clone()), Operator::Eq, Box::new(other.clone()));
            let equal = comparison_of(equal, schema, outer)?.data;
            let nothing = Expr::Literal(ScalarValue::try_from(&value.get_type(schema)?)?, None);
            let case = datafusion::logical_expr::when(equal, nothing).otherwise(value.clone())?;
            Ok(Transformed::yes(case))
        }
        Expr::WindowFunction(mut window) => {
            let mut changed = false;
            for part in &mut window.params.partition_by {
                changed |= wrap(part, schema);
            }
            for key in &mut window.params.order_by {
                changed |= wrap(&mut key.expr, schema);
            }
            let expr = Expr::WindowFunction(window);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        // The first of ordered rows is that of a subquery with LIMIT 1.
        Expr::AggregateFunction(mut call) if call.params.distinct || call.func.name() == "first_value" => {
            let mut changed = false;
            if call.params.distinct {
                for argument in &mut call.params.args {
                    changed |= wrap(argument, schema);
                }
            }
            for key in &mut call.params.order_by {
                changed |= wrap(&mut key.expr, schema);
            }
            let expr = Expr::AggregateFunction(call);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        other => Ok(Transformed::no(other)),
    }
}

pub(super) const fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn comparison_of(comparison: BinaryExpr, schema: &DFSchema, outer: bool) -> Result<Transformed<Expr>> {
    let BinaryExpr { mut left, mut op, mut right } = comparison;
    let floats = is_float(&left, schema) && is_float(&right, schema);
    if !floats || !outer && (left.contains_outer() || right.contains_outer()) {
        return Ok(Transformed::no(binary(*left, op, *right)));
    }
    let constants = (constant(&left), constant(&right));
    let mut turned = false;
    let value = match constants {
        (None, Some(value)) => value,
        (Some(value), None) => {
            let Some(swapped) = op.swap() else { return Ok(Transformed::no(binary(*left, op, *right))) };
            (left, op, right) = (right, swapped, left);
            turned = true;
            value
        }
        (Some(_), Some(_)) | (None, None) => {
            wrap_any(&mut left, schema);
            wrap_any(&mut right, schema);
            return Ok(Transformed::yes(binary(*left, op, *right)));
        }
    };
    // What a file holds may have a sign, and its statistics leave it out.
    if is_nan(&value) {
        let nan = one_zero(Expr::Literal(value, None));
        return Ok(Transformed::yes(binary(one_zero(*left), op, nan)));
    }
    if !is_zero(&value) {
        return Ok(Transformed::new_transformed(binary(*left, op, *right), turned));
    }
    let (least, greatest) = (zero(&value, true), zero(&value, false));
    // A column may be named twice; what is computed is computed once.
    let column = matches!(left.as_ref(), Expr::Column(_));
    let made = match op {
        Operator::Lt | Operator::GtEq => binary(*left, op, least),
        Operator::LtEq | Operator::Gt => binary(*left, op, greatest),
        Operator::Eq if column => {
            let above = binary(left.as_ref().clone(), Operator::GtEq, least);
            above.and(binary(*left, Operator::LtEq, greatest))
        }
        Operator::NotEq if column => {
            let below = binary(left.as_ref().clone(), Operator::Lt, least);
            below.or(binary(*left, Operator::Gt, greatest))
        }
        _ => binary(one_zero(*left), op, greatest),
    };
    Ok(Transformed::yes(made))
}

fn in_list(mut list: InList, schema: &DFSchema, outer: bool) -> Result<Transformed<Expr>> {
    let values: Option<Vec<ScalarValue>> = list.list.iter().map(constant).collect();
    match values {
        Some(values) if constant(&list.expr).is_none() && !values.iter().any(is_nan) => {
            let Some(found) = values.iter().find(|value| is_zero(value)) else {
                return Ok(Transformed::no(Expr::InList(list)));
            };
            list.list.push(zero(found, true));
            list.list.push(zero(found, false));
        }
        _ => {
            if !outer && (list.expr.contains_outer() || list.list.iter().any(Expr::contains_outer)) {
                return Ok(Transformed::no(Expr::InList(list)));
            }
            wrap_any(&mut list.expr, schema);
            for item in &mut list.list {
                wrap_any(item, schema);
            }
        }
    }
    Ok(Transformed::yes(Expr::InList(list)))
}

fn in_subquery(mut membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let plan = Arc::clone(&membership.subquery.subquery);
    let shown = Arc::clone(plan.schema());
    let mut columns = shown.columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let member = Expr::Column(column.clone());
    if !is_float(&member, &shown) {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let member = one_zero(member).alias_qualified(column.relation, column.name);
    let plan = LogicalPlanBuilder::from(plan).project([member])?.build()?;
    membership.subquery.subquery = Arc::new(plan);
    wrap(&mut membership.expr, schema);
    Ok(Transformed::yes(Expr::InSubquery(membership)))
}

/// `SELECT DISTINCT`: over columns that have one zero.
fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let mut changed = false;
    let columns = schema.columns().into_iter().map(|column| {
        let mut expr = Expr::Column(column.clone());
        if wrap(&mut expr, &schema) {
            changed = true;
            expr = expr.alias_qualified(column.relation, column.name);
        }
        expr
    });
    let columns: Vec<Expr> = columns.collect();
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
}

fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(aggregate.input.schema());
    let names = NamePreserver::new_for_projection();
    let mut changed = false;
    let mut aggregate = aggregate;
    for group in &mut aggregate.group_expr {
        // Sets of groups are columns by what takes them apart.
        if matches!(group, Expr::GroupingSet(_)) {
            continue;
        }
        let name = names.save(group);
        if wrap(group, &schema) {
            changed = true;
            let inner = std::mem::take(group);
            *group = name.restore(inner);
        }
    }
    let node = BY_ONE_ZERO.expressions(LogicalPlan::Aggregate(aggregate))?;
    if changed { Ok(Transformed::yes(node.data.recompute_schema()?)) } else { Ok(node) }
}
