//! DataFusion's simplification of expressions, kept from merging lists of `IN` where the merger forgets what is unknown.
//! Every session that plans a statement or a scan simplifies by these rules.
//!
//! It makes `x NOT IN (1) OR x NOT IN (2)` true and `x IN (1) AND x NOT IN (2, NULL)` `x IN (1)`, whatever is null. While
//! it simplifies, lists of one value are therefore told apart by a mark around the value. A mark must never stay in a
//! plan: no source and no file knows it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};

/// The optimizer's rules, in their order.
#[must_use]
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let simplify: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(Simplify::default());
    Optimizer::new()
        .rules
        .into_iter()
        .map(|rule| if rule.name() == simplify.name() { Arc::clone(&simplify) } else { rule })
        .collect()
}

#[derive(Debug, Default)]
struct Simplify(SimplifyExpressions);

impl OptimizerRule for Simplify {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let marked = mapped(plan.clone(), tell_apart)?;
        if !marked.transformed {
            return self.0.rewrite(plan, config);
        }
        let simplified = self.0.rewrite(marked.data, config)?;
        if !simplified.transformed {
            return Ok(Transformed::no(plan));
        }
        Ok(Transformed::yes(mapped(simplified.data, unmarked)?.data))
    }
}

/// The plan's own expressions changed, its columns' names kept.
fn mapped(
    plan: LogicalPlan,
    change: impl Fn(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = change(expr)?;
        Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
    })
}

/// Marks each value that stands before several lists, or that equalities would be gathered into several lists of.
fn tell_apart(expr: Expr) -> Result<Transformed<Expr>> {
    let mut lists: HashMap<Expr, usize> = HashMap::new();
    expr.apply(|node| {
        let value = match node {
            Expr::InList(list) => Some(bare(&list.expr)),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                compared(left).filter(|value| compared(right) == Some(value))
            }
            _ => None,
        };
        if let Some(value) = value.filter(|value| !matches!(value, Expr::Literal(..))) {
            *lists.entry(value.clone()).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    lists.retain(|_, count| *count > 1);
    if lists.is_empty() {
        return Ok(Transformed::no(expr));
    }
    let mark = Arc::new(ScalarUDF::from(Mark(Signature::any(2, Volatility::Immutable))));
    let mut number = 0_i64;
    expr.transform_up(|node| {
        let mut marked = |value: &Expr| {
            number += 1;
            Box::new(wrapped(value.clone(), &mark, number))
        };
        Ok(match node {
            Expr::InList(InList { expr, list, negated }) if lists.contains_key(bare(&expr)) => {
                Transformed::yes(Expr::InList(InList { expr: marked(&expr), list, negated }))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if lists.contains_key(bare(&left)) && matches!(bare(&right), Expr::Literal(..)) =>
            {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                    left: marked(&left),
                    op: Operator::Eq,
                    right,
                }))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if lists.contains_key(bare(&right)) && matches!(bare(&left), Expr::Literal(..)) =>
            {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr {
                    left,
                    op: Operator::Eq,
                    right: marked(&right),
                }))
            }
            other => Transformed::no(other),
        })
    })
}

/// A value without the casts around it, which are taken off where the constants can be cast instead.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => bare(&cast.expr),
        other => other,
    }
}

/// The mark goes below casts, so that they are still taken off.
fn wrapped(expr: Expr, mark: &ScalarUDF, number: i64) -> Expr {
    match expr {
        Expr::Cast(mut cast) => {
            cast.expr = Box::new(wrapped(*cast.expr, mark, number));
            Expr::Cast(cast)
        }
        other => mark.call(vec![other, lit(number)]),
    }
}

/// The column of an equality with a constant.
fn compared(expr: &Expr) -> Option<&Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return None };
    match (bare(left), bare(right)) {
        (column @ Expr::Column(_), Expr::Literal(..)) | (Expr::Literal(..), column @ Expr::Column(_)) => {
            Some(column)
        }
        _ => None,
    }
}

fn unmarked(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|node| match node {
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.name() == NAME => {
            args.truncate(1);
            match args.pop() {
                Some(value) => Ok(Transformed::yes(value)),
                None => internal_err!("a mark without its value"),
            }
        }
        other => Ok(Transformed::no(other)),
    })
}

/// No statement can name it: it is not registered.
const NAME: &str = "told_apart";

/// The value itself, under a number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark(Signature);

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(data_type) => Ok(data_type.clone()),
            None => exec_err!("a mark has a value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields.first() {
            Some(field) => Ok(Arc::clone(field)),
            None => exec_err!("a mark has a value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => exec_err!("a mark has a value"),
        }
    }
}
