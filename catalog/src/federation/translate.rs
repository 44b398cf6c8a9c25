//! From a physical expression back to the logical one that sources understand.
//!
//! The grammar is closed; what has no counterpart has no translation. A runtime filter may become wider, by leaving
//! out parts of a conjunction; a filter whose result is used must never.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr as LogicalBinary, Expr, Operator, cast, lit};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};

use super::alternatives::any_of;
use super::lists::MOST_VALUES;

/// A column of one of a fragment's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableColumn {
    /// Number of the table, as in [`super::Fragment::tables`].
    pub(super) place: usize,
    /// Name in that table.
    pub(super) name: String,
}

/// What a translation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Say exactly the same.
    Exact,
    /// Let more rows through.
    Wider,
}

/// A translated expression over one table.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Over unqualified columns of the table.
    pub(super) expr: Expr,
    /// The table; `None` for a constant.
    pub(super) place: Option<usize>,
}

/// The logical form over the given columns; `None` if any part has none, or if it spans tables.
pub(super) fn translate(
    expr: &Arc<dyn PhysicalExpr>,
    columns: &[Option<TableColumn>],
    strictness: Strictness,
) -> Option<Told> {
    let mut walk = Walk { columns, strictness };
    walk.expr(expr)
}

/// The conjuncts of a condition over the columns of one reader that have a logical form, each exactly as it stands, over
/// unqualified columns of the names that the schema has. What has none is left out, so the condition itself must stay
/// where it is: these only tell a reader what it need not send.
#[must_use]
pub fn told_conditions(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Vec<Expr> {
    let named = |name: &String| Some(TableColumn { place: 0, name: name.clone() });
    let columns: Vec<Option<TableColumn>> = schema.fields().iter().map(|field| named(field.name())).collect();
    split_conjunction(predicate)
        .into_iter()
        .filter_map(|conjunct| translate(conjunct, &columns, Strictness::Exact))
        .filter(|told| told.place.is_some())
        .map(|told| told.expr)
        .collect()
}

struct Walk<'a> {
    columns: &'a [Option<TableColumn>],
    strictness: Strictness,
}

/// The one table of both sides: outer `None` if they differ.
fn same(left: Option<usize>, right: Option<usize>) -> Option<Option<usize>> {
    match (left, right) {
        (Some(left), Some(right)) if left != right => None,
        (left, right) => Some(left.or(right)),
    }
}

impl Walk<'_> {
    fn expr(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Option<Told> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            let TableColumn { place, name } = self.columns.get(column.index())?.as_ref()?;
            let expr = Expr::Column(datafusion::common::Column::new_unqualified(name));
            return Some(Told { expr, place: Some(*place) });
        }
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return Some(Told { expr: lit(literal.value().clone()), place: None });
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.binary(binary);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            if list.len() > MOST_VALUES || (list.negated() && self.strictness == Strictness::Wider) {
                return None;
            }
            if let Some(tuple) = list.expr().downcast_ref::<ScalarFunctionExpr>() {
                return self.tuples(tuple, list);
            }
            let tested = self.exactly(list.expr())?;
            let mut values = Vec::with_capacity(list.len());
            for value in list.list() {
                let value = self.expr(value).filter(|value| value.place.is_none())?;
                values.push(value.expr);
            }
            let expr = Expr::InList(InList::new(Box::new(tested.expr), values, list.negated()));
            return Some(Told { expr, place: tested.place });
        }
        if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
            return self.over(null.arg(), |inner| Expr::IsNull(Box::new(inner)));
        }
        if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
            return self.over(null.arg(), |inner| Expr::IsNotNull(Box::new(inner)));
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return self.over(not.arg(), |inner| Expr::Not(Box::new(inner)));
        }
        if let Some(cast_expr) = expr.downcast_ref::<CastExpr>() {
            let to = cast_expr.cast_type().clone();
            return self.over(cast_expr.expr(), |inner| cast(inner, to));
        }
        if let Some(like) = expr.downcast_ref::<LikeExpr>() {
            let (tested, pattern) = (self.exactly(like.expr())?, self.exactly(like.pattern())?);
            let place = same(tested.place, pattern.place)?;
            let (negated, fold) = (like.negated(), like.case_insensitive());
            let like = Like::new(negated, Box::new(tested.expr), Box::new(pattern.expr), None, fold);
            return Some(Told { expr: Expr::Like(like), place });
        }
        match expr.downcast_ref::<CaseExpr>() {
            Some(case) if self.strictness == Strictness::Wider => self.branches(case),
            _ => None,
        }
    }

    fn over(&mut self, inner: &Arc<dyn PhysicalExpr>, make: impl FnOnce(Expr) -> Expr) -> Option<Told> {
        let Told { expr, place } = self.exactly(inner)?;
        Some(Told { expr: make(expr), place })
    }

    /// What is compared, negated or tested must be said exactly: a wider part would make a narrower whole.
    fn exactly(&mut self, inner: &Arc<dyn PhysicalExpr>) -> Option<Told> {
        let before = std::mem::replace(&mut self.strictness, Strictness::Exact);
        let told = self.expr(inner);
        self.strictness = before;
        told
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Option<Told> {
        let op = *binary.op();
        let known = matches!(
            op,
            Operator::And
                | Operator::Or
                | Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
        );
        if !known {
            return None;
        }
        let (left, right) = if matches!(op, Operator::And | Operator::Or) {
            (self.expr(binary.left()), self.expr(binary.right()))
        } else {
            (self.exactly(binary.left()), self.exactly(binary.right()))
        };
        let wider = op == Operator::And && self.strictness == Strictness::Wider;
        match (left, right) {
            // Under AND, what has no translation may be left out: the filter only becomes wider.
            (Some(one), None) | (None, Some(one)) if wider => Some(one),
            (Some(left), Some(right)) => match same(left.place, right.place) {
                Some(place) => {
                    let (left, right) = (Box::new(left.expr), Box::new(right.expr));
                    Some(Told { expr: Expr::BinaryExpr(LogicalBinary::new(left, op, right)), place })
                }
                None if wider => Some(left),
                None => None,
            },
            _ => None,
        }
    }

    /// A partitioned join sends `CASE hash(k) % n WHEN i THEN <filter of partition i> … ELSE false END`: a row that
    /// passes passes one of the branches.
    fn branches(&mut self, case: &CaseExpr) -> Option<Told> {
        if let Some(otherwise) = case.else_expr()
            && self.expr(otherwise)?.expr != lit(false)
        {
            return None;
        }
        let mut place = None;
        let mut branches = Vec::new();
        for (_, then) in case.when_then_expr() {
            let branch = self.expr(then)?;
            if branch.expr == lit(true) {
                return None;
            }
            if branch.expr == lit(false) {
                continue;
            }
            place = same(place, branch.place)?;
            branches.push(branch.expr);
        }
        match any_of(branches) {
            Some(expr) => Some(Told { expr, place }),
            None => Some(Told { expr: lit(false), place: None }),
        }
    }

    /// A join on several keys asks for tuples, `struct(a, b) IN (…)`. Each column is then among its own values, which
    /// lets more rows through.
    fn tuples(&mut self, tuple: &ScalarFunctionExpr, list: &InListExpr) -> Option<Told> {
        if tuple.name() != "struct" || self.strictness == Strictness::Exact {
            return None;
        }
        let mut all: Option<Told> = None;
        for (index, argument) in tuple.args().iter().enumerate() {
            let Some(tested) = self.exactly(argument) else { continue };
            let mut seen = HashSet::new();
            for item in list.list() {
                let ScalarValue::Struct(fields) = item.downcast_ref::<Literal>()?.value() else {
                    return None;
                };
                let value = ScalarValue::try_from_array(fields.columns().get(index)?, 0).ok()?;
                if !value.is_null() {
                    seen.insert(value);
                }
            }
            let mut values: Vec<Expr> = seen.into_iter().map(lit).collect();
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            let expr = Expr::InList(InList::new(Box::new(tested.expr), values, false));
            all = Some(match all {
                None => Told { expr, place: tested.place },
                Some(others) => match same(others.place, tested.place) {
                    Some(place) => Told { expr: others.expr.and(expr), place },
                    None => others,
                },
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::DFSchema;
    use datafusion::execution::context::ExecutionProps;
    use datafusion::logical_expr::col;
    use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
    use datafusion::physical_expr::create_physical_expr;

    use super::*;

    #[test]
    fn each_conjunct_is_told_exactly_or_not_at_all() {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("word", DataType::Utf8, true),
        ]);
        let columns = DFSchema::try_from(schema.clone()).unwrap();
        let told = |expr: Expr| {
            let context = PhysicalPlanningContext::default();
            let physical = create_physical_expr(&expr, &columns, &ExecutionProps::new(), &context).unwrap();
            told_conditions(&physical, &schema)
        };
        let low = || col("n").gt_eq(lit(3_i64));
        let odd = || (col("n") % lit(2_i64)).eq(lit(1_i64));
        assert_eq!(told(low().and(odd()).and(col("word").is_not_null())), [low(), col("word").is_not_null()]);
        // A part of it would be another condition.
        assert_eq!(told(low().or(odd())), []);
        assert_eq!(told(Expr::Not(Box::new(low().and(odd())))), []);
        let listed = col("word").in_list(vec![lit("a"), lit("b"), lit("c"), lit("d")], true);
        assert_eq!(told(listed.clone()), [listed]);
        let (like, wide) = (col("word").like(lit("a%")), cast(col("n"), DataType::Float64).lt(lit(1.5)));
        assert_eq!(told(like.clone().and(wide.clone())), [like, wide]);
    }
}
