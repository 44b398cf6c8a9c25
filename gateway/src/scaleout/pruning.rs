//! Conditions of a stage said to the reader below it, so that it leaves out what cannot match.
//!
//! A plan on the wire has its conditions as a filter. Those that are comparisons of columns with constants are said again
//! in the reader's own form; the filter stays and decides. What has no such form is not said.

use std::sync::Arc;

use datafusion::common::Column as Name;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr as Binary, Expr, Operator};
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};

/// The conjuncts of a condition that can be said.
pub(super) fn conditions(predicate: &Arc<dyn PhysicalExpr>) -> Vec<Expr> {
    split_conjunction(predicate).into_iter().filter_map(said).collect()
}

fn said(expr: &Arc<dyn PhysicalExpr>) -> Option<Expr> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(Expr::Column(Name::new_unqualified(column.name())));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Some(Expr::Literal(literal.value().clone(), None));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let operator = *binary.op();
        let known = matches!(
            operator,
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::And
                | Operator::Or
        );
        if !known {
            return None;
        }
        let (left, right) = (said(binary.left())?, said(binary.right())?);
        return Some(Expr::BinaryExpr(Binary::new(Box::new(left), operator, Box::new(right))));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(Expr::Not(Box::new(said(not.arg())?)));
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return Some(Expr::IsNull(Box::new(said(null.arg())?)));
    }
    if let Some(value) = expr.downcast_ref::<IsNotNullExpr>() {
        return Some(Expr::IsNotNull(Box::new(said(value.arg())?)));
    }
    let list = expr.downcast_ref::<InListExpr>()?;
    let values = list.list().iter().map(said).collect::<Option<Vec<Expr>>>()?;
    Some(Expr::InList(InList::new(Box::new(said(list.expr())?), values, list.negated())))
}
