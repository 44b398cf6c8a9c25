//! Columns of `character(n)`: sources give their values without the padding, and here is what PostgreSQL does with it.
//!
//! Blanks at the end count nowhere among values of `character`: a quoted literal, a `varchar` and a parameter beside one
//! are compared without theirs, a `text` with them. Patterns, `concat` and `octet_length` see the padded value, every other
//! function the text without it, which is what is there. It must never touch what is no column's: an expression over one
//! is text.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::functions::string::rtrim;
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery, Like, ScalarFunction};
use datafusion::logical_expr::utils::disjunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlanBuilder, Operator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::arithmetic::returned;
use super::only;
use super::reals::is_variable;
use super::zeros::is_comparison;
use crate::pgtypes::PgType;

/// The type of a column of text as its source declares it. What is cast or computed here is no view of a source's text.
fn declared(expr: &Expr, schema: &DFSchema) -> Option<PgType> {
    let of = |field: &Field| (*field.data_type() == DataType::Utf8View).then(|| PgType::from_field(field));
    match expr {
        Expr::Column(_) => expr.to_field(schema).ok().and_then(|(_, field)| of(&field)),
        Expr::OuterReferenceColumn(field, _) => of(field),
        // A column of a subquery that stands for a value is that column still.
        Expr::ScalarFunction(call) if only::is_value(call.name()) => {
            expr.to_field(schema).ok().and_then(|(_, field)| of(&field))
        }
        Expr::Alias(alias) => declared(&alias.expr, schema),
        _ => None,
    }
}

fn is_padded(expr: &Expr, schema: &DFSchema) -> bool {
    declared(expr, schema).is_some_and(|of| of.oid == PgType::BPCHAR.oid)
}

fn is_varying(expr: &Expr, schema: &DFSchema) -> bool {
    declared(expr, schema).is_some_and(|of| of.oid == PgType::VARCHAR.oid)
}

/// Characters of a padded column's values; none for a column that declares no length.
fn length(expr: &Expr, schema: &DFSchema) -> Option<i64> {
    let of = declared(expr, schema).filter(|of| of.oid == PgType::BPCHAR.oid)?;
    of.typmod.checked_sub(4).filter(|length| *length > 0).map(i64::from)
}

/// Whether this is a parameter that is declared `varchar`, which is planned as a text.
fn is_varying_parameter(expr: &Expr) -> bool {
    let Expr::Cast(inner) = expr else { return false };
    let Expr::Placeholder(parameter) = inner.expr.as_ref() else { return false };
    parameter.field.as_ref().is_some_and(|field| PgType::from_field(field).oid == PgType::VARCHAR.oid)
}

/// Puts a value that becomes `character` beside one without the blanks at its end; false if it stays.
fn trim(expr: &mut Expr, schema: &DFSchema) -> bool {
    if let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = expr {
        let kept = text.trim_end_matches(' ').len();
        let changed = kept < text.len();
        text.truncate(kept);
        return changed;
    }
    let parameter = matches!(expr, Expr::Placeholder(parameter) if parameter.field.is_some());
    if parameter || is_varying_parameter(expr) || is_varying(expr, schema) {
        let inner = std::mem::take(expr);
        *expr = rtrim().call(vec![inner]);
        return true;
    }
    false
}

/// Trims one side of a comparison with a padded column on the other; false if neither is.
fn trim_sides(left: &mut Expr, of_left: &DFSchema, right: &mut Expr, of_right: &DFSchema) -> bool {
    match (is_padded(left, of_left), is_padded(right, of_right)) {
        (true, false) => trim(right, of_right),
        (false, true) => trim(left, of_left),
        _ => false,
    }
}

/// The two keys of a join that is on being equal.
pub(super) fn keys(left: &mut Expr, of_left: &DFSchema, right: &mut Expr, of_right: &DFSchema) -> bool {
    trim_sides(left, of_left, right, of_right)
}

fn compared(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Expr {
    let (mut left, mut right) = (left.clone(), right.clone());
    trim_sides(&mut left, schema, &mut right, schema);
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn done(expr: Expr, changed: bool) -> Transformed<Expr> {
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// Compares and matches one expression's padded columns as PostgreSQL does.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(mut comparison) if is_comparison(comparison.op) => {
            let BinaryExpr { left, right, .. } = &mut comparison;
            let changed = trim_sides(left, schema, right, schema);
            done(Expr::BinaryExpr(comparison), changed)
        }
        Expr::BinaryExpr(mut test) if is_match(test.op) => {
            let changed = pad(&mut test.left, schema);
            done(Expr::BinaryExpr(test), changed)
        }
        Expr::Like(mut like) => {
            let changed = !sees_no_padding(&like) && pad(&mut like.expr, schema);
            done(Expr::Like(like), changed)
        }
        Expr::SimilarTo(mut like) => {
            let changed = pad(&mut like.expr, schema);
            done(Expr::SimilarTo(like), changed)
        }
        Expr::Between(range) => between(range, schema),
        Expr::InList(list) => in_list(list, schema),
        Expr::InSubquery(membership) => return in_subquery(membership, schema),
        Expr::Case(mut case) => {
            let changed = of_case(&mut case, schema);
            done(Expr::Case(case), changed)
        }
        Expr::ScalarFunction(mut call) => {
            let changed = of_call(&mut call, schema);
            done(Expr::ScalarFunction(call), changed)
        }
        other => Transformed::no(other),
    })
}

const fn is_match(op: Operator) -> bool {
    matches!(
        op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch
    )
}

/// Puts the padded value in the place of a column's; false for what is no padded column of a known length.
fn pad(expr: &mut Expr, schema: &DFSchema) -> bool {
    let Some(length) = length(expr, schema) else { return false };
    let inner = std::mem::take(expr);
    *expr = function().call(vec![inner, lit(length)]);
    true
}

/// Whether a pattern matches a value if and only if it matches the padded one: no part of it can be a blank, and the end
/// may be anything.
fn sees_no_padding(like: &Like) -> bool {
    match like.pattern.as_ref() {
        Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) => {
            like.escape_char.is_none() && pattern.ends_with('%') && !pattern.contains(['_', ' ', '\\'])
        }
        _ => false,
    }
}

fn between(mut range: Between, schema: &DFSchema) -> Transformed<Expr> {
    if is_padded(&range.expr, schema) {
        let mut changed = false;
        for bound in [&mut range.low, &mut range.high] {
            changed |= !is_padded(bound, schema) && trim(bound, schema);
        }
        return done(Expr::Between(range), changed);
    }
    if !is_padded(&range.low, schema) && !is_padded(&range.high, schema) {
        return Transformed::no(Expr::Between(range));
    }
    let above = compared(&range.expr, Operator::GtEq, &range.low, schema);
    let below = compared(&range.expr, Operator::LtEq, &range.high, schema);
    let both = above.and(below);
    Transformed::yes(if range.negated { Expr::Not(Box::new(both)) } else { both })
}

/// Whether an item takes its type from the others.
fn is_open(item: &Expr) -> bool {
    matches!(item, Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, _) | Expr::Placeholder(_))
}

fn in_list(mut list: InList, schema: &DFSchema) -> Transformed<Expr> {
    if is_padded(&list.expr, schema) {
        // One text among the constants makes all of them texts.
        let texts = list.list.iter().any(|item| !is_open(item) && !is_variable(item));
        let mut changed = false;
        for item in &mut list.list {
            if !(is_padded(item, schema) || texts && is_open(item)) {
                changed |= trim(item, schema);
            }
        }
        return done(Expr::InList(list), changed);
    }
    if !list.list.iter().any(|item| is_padded(item, schema)) {
        return Transformed::no(Expr::InList(list));
    }
    let InList { expr, list, negated } = list;
    let (padded, others): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(|item| is_padded(item, schema));
    let mut tests: Vec<Expr> =
        padded.iter().map(|item| compared(&expr, Operator::Eq, item, schema)).collect();
    if !others.is_empty() {
        tests.push(Expr::InList(InList::new(expr, others, false)));
    }
    let any = disjunction(tests).unwrap_or_else(|| lit(false));
    Transformed::yes(if negated { Expr::Not(Box::new(any)) } else { any })
}

fn in_subquery(mut membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let plan = Arc::clone(&membership.subquery.subquery);
    let mut columns = plan.schema().columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let mut member = Expr::Column(column.clone());
    if !trim_sides(&mut membership.expr, schema, &mut member, plan.schema()) {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    if !matches!(member, Expr::Column(_)) {
        let member = member.alias_qualified(column.relation, column.name);
        membership.subquery.subquery = Arc::new(LogicalPlanBuilder::from(plan).project([member])?.build()?);
    }
    Ok(Transformed::yes(Expr::InSubquery(membership)))
}

fn of_case(case: &mut Case, schema: &DFSchema) -> bool {
    if !case.expr.as_ref().is_some_and(|value| is_padded(value, schema)) {
        return false;
    }
    let mut changed = false;
    for (when, _) in &mut case.when_then_expr {
        changed |= !is_padded(when, schema) && trim(when, schema);
    }
    changed
}

fn of_call(call: &mut ScalarFunction, schema: &DFSchema) -> bool {
    match (call.func.name(), call.args.as_mut_slice()) {
        ("concat" | "concat_ws" | "octet_length", arguments) => {
            arguments.iter_mut().map(|argument| pad(argument, schema)).filter(|padded| *padded).count() > 0
        }
        ("nullif", [value, other]) if is_padded(value, schema) && !is_padded(other, schema) => {
            trim(other, schema)
        }
        _ => false,
    }
}

/// A text, and the characters it is padded to with blanks.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Padded(Signature);

/// The function that pads a text.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Padded(Signature::any(2, Volatility::Immutable))))
}

impl ScalarUDFImpl for Padded {
    fn name(&self) -> &str {
        "blank_padded"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [text, ColumnarValue::Scalar(ScalarValue::Int64(Some(length)))] = args.args.as_slice() else {
            return exec_err!("a text is padded to a length");
        };
        let Ok(length) = usize::try_from(*length) else { return exec_err!("a length is no negative") };
        let array = cast(&text.to_array(if scalar { 1 } else { args.number_rows })?, &DataType::Utf8)?;
        let padded: StringArray =
            array.as_string::<i32>().iter().map(|text| text.map(|text| format!("{text:<length$}"))).collect();
        returned(Arc::new(padded), scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(pattern: &str) -> Like {
        Like::new(false, Box::new(lit("x")), Box::new(lit(pattern)), None, false)
    }

    #[test]
    fn a_pattern_goes_to_a_source_only_if_no_blank_can_match_it() {
        for (pattern, same) in [
            ("ab%", true),
            ("%b%", true),
            ("%", true),
            ("ab", false),
            ("%b", false),
            ("a_%", false),
            ("a %", false),
        ] {
            assert_eq!(sees_no_padding(&like(pattern)), same, "{pattern}");
        }
        assert!(!sees_no_padding(&like(r"a\%")));
    }

    #[test]
    fn literals_lose_their_blanks_and_nothing_else() {
        let schema = DFSchema::empty();
        for (before, after) in [("ab  ", "ab"), ("ab\t ", "ab\t"), ("   ", ""), (" ab", " ab")] {
            let mut expr = lit(before);
            assert_eq!(trim(&mut expr, &schema), before != after, "{before:?}");
            assert_eq!(expr, lit(after));
        }
    }
}
