//! Runtime filters: what a join learns from its build side, told to the source that serves its probe side.
//!
//! A hash join finishes its filter before it polls the probe side, so the leaf looks once, at its first poll, and
//! never waits. Such a filter only ever narrows: what cannot be translated, or what the gate keeps, is left out.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr as LogicalBinary, Expr, Operator, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::utils::split_conjunction;

use super::gate::decide;
use super::{Fragment, FragmentExecutor, PushedFilter, Verdict};

/// Longest list of values that is sent.
const MAX_VALUES: usize = 1_000;

/// Filters that are filled while the statement runs, over the leaf's output columns.
#[derive(Debug, Clone, Default)]
pub(super) struct RuntimeFilters(Vec<Arc<dyn PhysicalExpr>>);

/// What the filters say at the moment they are read.
#[derive(Debug)]
pub(super) enum Narrowed {
    /// No row can match.
    Nothing,
    /// The fragment with further filters, and their text for `EXPLAIN ANALYZE`.
    To(Fragment, Option<String>),
}

impl RuntimeFilters {
    /// Takes the dynamic ones among the filters offered by the plan above.
    pub(super) fn adopt(&mut self, offered: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>) -> bool {
        let before = self.0.len();
        self.0.extend(offered.into_iter().filter(|filter| filter.is::<DynamicFilterPhysicalExpr>()));
        self.0.len() > before
    }

    pub(super) fn expressions(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.0
    }

    /// Adds to a fragment what the filters say now.
    pub(super) fn narrow(
        &self,
        fragment: &Fragment,
        names: &[String],
        executor: &dyn FragmentExecutor,
    ) -> Narrowed {
        let mut narrowed = fragment.clone();
        let mut shown = Vec::new();
        // Under a limit the source would count other rows than the plan above expects.
        if fragment.limit.is_some() {
            return Narrowed::To(narrowed, None);
        }
        for filter in &self.0 {
            let Some(current) =
                filter.downcast_ref::<DynamicFilterPhysicalExpr>().and_then(|filter| filter.current().ok())
            else {
                continue;
            };
            for conjunct in split_conjunction(&current) {
                match translate(conjunct, names) {
                    Some(Expr::Literal(ScalarValue::Boolean(Some(false)), _)) => return Narrowed::Nothing,
                    Some(Expr::Literal(..)) | None => {}
                    Some(expr) => match decide(executor, &fragment.table, &expr) {
                        Verdict::Keep(_) => {}
                        Verdict::Exact | Verdict::Rewrite(_) | Verdict::Superset(_) => {
                            shown.push(brief(&expr));
                            narrowed.filters.push(PushedFilter { expr, exact: false });
                        }
                    },
                }
            }
        }
        let shown = (!shown.is_empty()).then(|| shown.join(" AND "));
        Narrowed::To(narrowed, shown)
    }
}

/// The logical form of a physical expression over columns of the given names; `None` if any part has none.
fn translate(expr: &Arc<dyn PhysicalExpr>, names: &[String]) -> Option<Expr> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        let name = names.get(column.index())?;
        return Some(Expr::Column(datafusion::common::Column::new_unqualified(name)));
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Some(lit(literal.value().clone()));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let known = matches!(
            binary.op(),
            Operator::And
                | Operator::Or
                | Operator::Eq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
        );
        let (left, right) = (translate(binary.left(), names), translate(binary.right(), names));
        // Under AND, what has no translation may be left out: the filter only becomes wider.
        return match (binary.op(), left, right) {
            (Operator::And, Some(one), None) | (Operator::And, None, Some(one)) => Some(one),
            (op, Some(left), Some(right)) if known => {
                Some(Expr::BinaryExpr(LogicalBinary::new(Box::new(left), *op, Box::new(right))))
            }
            _ => None,
        };
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        if list.negated() || list.len() > MAX_VALUES {
            return None;
        }
        let tested = translate(list.expr(), names)?;
        let values: Option<Vec<Expr>> = list.list().iter().map(|value| translate(value, names)).collect();
        return Some(Expr::InList(InList::new(Box::new(tested), values?, false)));
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return Some(Expr::IsNull(Box::new(translate(null.arg(), names)?)));
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        return branches(case, names);
    }
    None
}

/// A partitioned join sends `CASE hash(k) % n WHEN i THEN <filter of partition i> … ELSE false END`: a row that
/// passes passes one of the branches.
fn branches(case: &CaseExpr, names: &[String]) -> Option<Expr> {
    if let Some(otherwise) = case.else_expr() {
        let otherwise = translate(otherwise, names)?;
        if otherwise != lit(false) {
            return None;
        }
    }
    let mut any: Option<Expr> = None;
    for (_, then) in case.when_then_expr() {
        let branch = translate(then, names)?;
        if branch == lit(true) {
            return None;
        }
        if branch == lit(false) {
            continue;
        }
        any = Some(match any {
            Some(others) => others.or(branch),
            None => branch,
        });
    }
    Some(any.unwrap_or_else(|| lit(false)))
}

/// The filter with its lists cut to their lengths.
fn brief(expr: &Expr) -> String {
    match expr {
        Expr::InList(list) if list.list.len() > 3 => format!("{} IN ({} values)", list.expr, list.list.len()),
        Expr::BinaryExpr(LogicalBinary { left, op: op @ (Operator::And | Operator::Or), right }) => {
            format!("({} {op} {})", brief(left), brief(right))
        }
        other => other.to_string(),
    }
}

/// Names of the leaf's output columns.
pub(super) fn output_names(schema: &datafusion::arrow::datatypes::Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::col;
    use datafusion::physical_expr::expressions::{self, binary};

    use super::*;

    #[test]
    fn only_under_and_may_a_part_be_left_out() {
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        let k: Arc<dyn PhysicalExpr> = Arc::new(Column::new("other", 0));
        let names = vec!["a".to_owned()];
        let low = binary(Arc::clone(&k), Operator::GtEq, expressions::lit(3_i64), &schema).unwrap();
        let opaque = binary(
            binary(Arc::clone(&k), Operator::Modulo, expressions::lit(2_i64), &schema).unwrap(),
            Operator::Eq,
            expressions::lit(0_i64),
            &schema,
        )
        .unwrap();
        let and = binary(Arc::clone(&low), Operator::And, Arc::clone(&opaque), &schema).unwrap();
        let or = binary(low, Operator::Or, opaque, &schema).unwrap();
        assert_eq!(translate(&and, &names), Some(col("a").gt_eq(lit(3_i64))));
        assert_eq!(translate(&or, &names), None);
    }
}
