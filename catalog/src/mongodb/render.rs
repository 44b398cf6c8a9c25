//! The gate's half of the renderer: an expression becomes a condition for `$match`, or the reason why it stays here.
//!
//! Verdict and pipeline come from the same walk, so nothing can be promised that is not rendered. The walk knows SQL's
//! three truth values: it renders the documents for which an expression is true, or those for which it is false, and
//! a negation swaps the two; what is missing or null is in neither. Comparisons are in query-operator form, which
//! compares values of one type only; `$expr` compares everything with everything and is never used.

use std::cell::Cell;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use mongodb::bson::{Bson, Document, Regex, doc};

use super::check::doubtful;
use super::kind::Kind;
use super::literal::{Constant, constant, text};
use super::matcher::Matcher;
use super::shape::TableShape;
use crate::config::OnMismatch;
use crate::federation::{Reason, Verdict};
use crate::source::TableDef;

/// Field metadata: the collation of a view's text, which a reader cannot change.
pub(super) const COLLATION_KEY: &str = "portolan.mongodb.collation";

/// Field metadata: the text's collection has no collation of its own, so none need be set aside.
pub(super) const PLAIN_KEY: &str = "portolan.mongodb.plain";

/// Items of one IN list that go down.
const MAX_LIST: usize = crate::federation::MAX_LIST;
/// Size of one condition that goes down, bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Nesting of one conjunct that goes down; every level is two of BSON, which ends at 100.
const MAX_DEPTH: usize = 32;
/// Size of a pattern that goes down, bytes, and its wildcards of any length: each one may backtrack.
const MAX_PATTERN: usize = 1_000;
const MAX_WILDCARDS: usize = 4;

type Walked<T> = Result<T, Reason>;

/// The verdict for one conjunct.
pub(super) fn verdict(table: &TableDef, shape: &TableShape, expr: &Expr) -> Verdict {
    let walk = Walk::new(table, shape);
    let matcher = match walk.holds(expr, true, 0) {
        Ok(matcher) => matcher,
        Err(reason) => return Verdict::Keep(reason),
    };
    let too_large = match matcher.into_document().map(|condition| mongodb::bson::to_vec(&condition)) {
        Some(Ok(bytes)) => bytes.len() > MAX_BYTES,
        Some(Err(_)) => true,
        None => false,
    };
    if too_large {
        return Verdict::Keep("the expression is too long".into());
    }
    match (walk.loose.get(), walk.rewritten.get()) {
        (Some(reason), _) => Verdict::Superset(reason.into()),
        (None, Some(reason)) => Verdict::Rewrite(reason.into()),
        (None, None) => Verdict::Exact,
    }
}

/// The documents for which a conjunct is true. `Err` names a conjunct that never passed the gate.
pub(super) fn condition(table: &TableDef, shape: &TableShape, expr: &Expr) -> Walked<Matcher> {
    Walk::new(table, shape).holds(expr, true, 0)
}

/// A path's name in the query language; `None` for names that mean something else there.
pub(super) fn key(path: &[String]) -> Option<String> {
    let plain = |step: &String| !step.is_empty() && !step.starts_with('$') && !step.contains(['.', '\0']);
    // Below the top a number is a place in an array.
    let number = |step: &String| step.bytes().all(|byte| byte.is_ascii_digit());
    let odd = !path.iter().all(plain) || path.iter().skip(1).any(number);
    (!odd).then(|| path.join("."))
}

/// One column as a condition names it.
struct Operand<'a> {
    field: &'a Field,
    kind: Kind,
    path: Vec<String>,
    key: String,
    /// Whether an array in its place must be kept out: its items would be compared one by one.
    guarded: bool,
}

impl Operand<'_> {
    /// A condition on the column and, where needed, that it is no array.
    fn tested(&self, tests: Document) -> Matcher {
        self.guard(tests, self.guarded)
    }

    fn guard(&self, mut tests: Document, guarded: bool) -> Matcher {
        let no_array = || doc! { "$type": "array" };
        let mut condition = Document::new();
        if guarded && self.key != "_id" {
            tests.insert("$not", no_array());
        }
        condition.insert(self.key.clone(), tests);
        if guarded {
            for end in 1..self.path.len() {
                let above = self.path.get(..end).unwrap_or_default().join(".");
                condition.insert(above, doc! { "$not": no_array() });
            }
        }
        Matcher::Some(condition)
    }

    fn not_null(&self) -> Matcher {
        match self.kind {
            // An array may hold a null and is none itself.
            Kind::Document | Kind::List => self.is_null().complement(),
            _ => self.tested(doc! { "$ne": Bson::Null }),
        }
    }

    fn is_null(&self) -> Matcher {
        self.guard(doc! { "$eq": Bson::Null }, true)
    }
}

struct Walk<'a> {
    table: &'a TableDef,
    shape: &'a TableShape,
    /// Set when the condition lets more through than the expression.
    loose: Cell<Option<&'static str>>,
    /// Set when the condition says more than the expression.
    rewritten: Cell<Option<&'static str>>,
}

impl<'a> Walk<'a> {
    fn new(table: &'a TableDef, shape: &'a TableShape) -> Self {
        Self { table, shape, loose: Cell::new(None), rewritten: Cell::new(None) }
    }

    /// The documents for which the expression is true, or false.
    fn holds(&self, expr: &Expr, truth: bool, depth: usize) -> Walked<Matcher> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let inner = |inner: &Expr, truth: bool| self.holds(inner, truth, depth + 1);
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let (left, right) = (inner(left, truth)?, inner(right, truth)?);
                Ok(if (*op == Operator::And) == truth { left.and(right) } else { left.or(right) })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right, truth),
            Expr::Not(negated) => inner(negated, !truth),
            Expr::IsTrue(tested) => self.whether(truth, inner(tested, true)?),
            Expr::IsNotTrue(tested) => self.whether(!truth, inner(tested, true)?),
            Expr::IsFalse(tested) => self.whether(truth, inner(tested, false)?),
            Expr::IsNotFalse(tested) => self.whether(!truth, inner(tested, false)?),
            Expr::IsUnknown(tested) => self.whether(!truth, inner(tested, true)?.or(inner(tested, false)?)),
            Expr::IsNotUnknown(tested) => self.whether(truth, inner(tested, true)?.or(inner(tested, false)?)),
            Expr::IsNull(tested) => self.null_test(tested, truth),
            Expr::IsNotNull(tested) => self.null_test(tested, !truth),
            Expr::InList(list) => self.in_list(list, truth),
            Expr::Between(between) => self.between(between, truth),
            Expr::Like(like) => self.like(like, truth),
            Expr::Literal(ScalarValue::Boolean(value), _) => {
                Ok(if *value == Some(truth) { Matcher::All } else { Matcher::Nothing })
            }
            Expr::Column(_) => {
                let operand = self.operand(expr)?;
                if operand.kind != Kind::Boolean {
                    return Err("not a condition".into());
                }
                Ok(operand.tested(doc! { "$eq": truth }))
            }
            Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
            _ => Err("this form of expression is evaluated here".into()),
        }
    }

    /// A test that is true or false of every document: the matcher, or all others.
    fn whether(&self, truth: bool, matcher: Matcher) -> Walked<Matcher> {
        if truth {
            return Ok(matcher);
        }
        match self.loose.get() {
            Some(reason) => Err(reason.into()),
            None => Ok(matcher.complement()),
        }
    }

    fn null_test(&self, tested: &Expr, null: bool) -> Walked<Matcher> {
        let operand = self.operand(tested)?;
        if !null {
            return Ok(operand.not_null());
        }
        match self.loose.get() {
            Some(reason) => Err(reason.into()),
            None => Ok(operand.is_null()),
        }
    }

    fn comparison(&self, left: &Expr, op: Operator, right: &Expr, truth: bool) -> Walked<Matcher> {
        let order = matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
        let same = matches!(op, Operator::Eq | Operator::NotEq);
        if !order && !same && !matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) {
            return Err(format!("operator {op} is evaluated here").into());
        }
        let (operand, op, value) = match (left, right) {
            (column, Expr::Literal(value, _)) => (self.operand(column)?, op, value),
            (Expr::Literal(value, _), column) => {
                let swapped = op.swap().ok_or_else(|| Reason::from("this operator is evaluated here"))?;
                (self.operand(column)?, swapped, value)
            }
            _ => return Err("two columns are compared here".into()),
        };
        let constant = constant(operand.kind, value)?;
        match op {
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
                let same = match constant {
                    Constant::Null if self.loose.get().is_none() => operand.is_null(),
                    Constant::Null => return Err("null tests of such columns are evaluated here".into()),
                    constant => self.compared(&operand, Operator::Eq, constant)?,
                };
                self.whether((op == Operator::IsNotDistinctFrom) == truth, same)
            }
            op if truth => self.compared(&operand, op, constant),
            op => {
                let negated = op.negate().ok_or_else(|| Reason::from("this operator is evaluated here"))?;
                self.compared(&operand, negated, constant)
            }
        }
    }

    /// The documents for which `column op constant` is true.
    fn compared(&self, operand: &Operand<'_>, op: Operator, constant: Constant) -> Walked<Matcher> {
        let ordered = !matches!(op, Operator::Eq | Operator::NotEq);
        let value = match (constant, op) {
            (Constant::Null, _) => return Ok(Matcher::Nothing),
            (Constant::After(_) | Constant::Never, Operator::Eq) => return Ok(Matcher::Nothing),
            (Constant::After(_) | Constant::Never, Operator::NotEq) => return Ok(operand.not_null()),
            (Constant::After(floor), Operator::Gt | Operator::GtEq) => {
                return Ok(operand.tested(doc! { "$gt": floor }));
            }
            (Constant::After(floor), Operator::Lt | Operator::LtEq) => {
                return Ok(operand.tested(doc! { "$lte": floor }));
            }
            (Constant::Never | Constant::After(_), _) => {
                return Err("order with text that is no object id is evaluated here".into());
            }
            (Constant::Value(value), _) => value,
        };
        if ordered && matches!(operand.kind, Kind::Boolean | Kind::Uuid) {
            return Err("order of this type is evaluated here".into());
        }
        self.collated(operand, op == Operator::Eq)?;
        let nan = Bson::Double(f64::NAN);
        let float = operand.kind == Kind::Float && ordered;
        if float {
            self.rewritten.set(Some("not-a-number is the largest value here and none there"));
        }
        Ok(match op {
            Operator::Eq => operand.tested(doc! { "$eq": value }),
            Operator::NotEq => operand.tested(doc! { "$nin": [value, Bson::Null] }),
            Operator::Lt if float => operand.tested(doc! { "$lt": value, "$ne": nan }),
            Operator::LtEq if float => operand.tested(doc! { "$lte": value, "$ne": nan }),
            Operator::Gt | Operator::GtEq if float => {
                let word = if op == Operator::Gt { "$gt" } else { "$gte" };
                let mut above = Document::new();
                above.insert(word, value);
                operand.tested(above).or(operand.tested(doc! { "$eq": nan }))
            }
            Operator::Lt => operand.tested(doc! { "$lt": value }),
            Operator::LtEq => operand.tested(doc! { "$lte": value }),
            Operator::Gt => operand.tested(doc! { "$gt": value }),
            Operator::GtEq => operand.tested(doc! { "$gte": value }),
            other => return Err(format!("operator {other} is evaluated here").into()),
        })
    }

    fn between(&self, between: &Between, truth: bool) -> Walked<Matcher> {
        let Between { expr, negated, low, high } = between;
        let inside = *negated != truth;
        let low = self.comparison(expr, Operator::GtEq, low, inside)?;
        let high = self.comparison(expr, Operator::LtEq, high, inside)?;
        Ok(if inside { low.and(high) } else { low.or(high) })
    }

    fn in_list(&self, list: &InList, truth: bool) -> Walked<Matcher> {
        let InList { expr, list, negated } = list;
        if list.is_empty() || list.len() > MAX_LIST {
            return Err(format!("a list of {} items is evaluated here", list.len()).into());
        }
        let operand = self.operand(expr)?;
        let mut values = Vec::with_capacity(list.len() + 1);
        let mut null = false;
        for item in list {
            let Expr::Literal(value, _) = item else {
                return Err("a list with more than constants is evaluated here".into());
            };
            match constant(operand.kind, value)? {
                Constant::Value(value) => values.push(value),
                Constant::Null => null = true,
                Constant::After(_) | Constant::Never => {}
            }
        }
        let inside = *negated != truth;
        self.collated(&operand, inside)?;
        Ok(match (inside, values.is_empty()) {
            (true, true) => Matcher::Nothing,
            (true, false) => operand.tested(doc! { "$in": values }),
            // Beside a null no value is known to be outside.
            (false, _) if null => Matcher::Nothing,
            (false, true) => operand.not_null(),
            (false, false) => {
                values.push(Bson::Null);
                operand.tested(doc! { "$nin": values })
            }
        })
    }

    fn like(&self, like: &Like, truth: bool) -> Walked<Matcher> {
        let Like { negated, expr, pattern, escape_char, case_insensitive } = like;
        if *case_insensitive {
            return Err("case-insensitive patterns are evaluated here".into());
        }
        let Expr::Literal(pattern, _) = pattern.as_ref() else {
            return Err("the pattern is not a constant".into());
        };
        let operand = self.operand(expr)?;
        if operand.kind != Kind::Text {
            return Err("patterns of this column are evaluated here".into());
        }
        if pattern.is_null() {
            return Ok(Matcher::Nothing);
        }
        let Some(pattern) = text(pattern) else { return Err("the pattern is not text".into()) };
        if escape_char.is_some() || pattern.contains('\\') {
            return Err("escapes in patterns are evaluated here".into());
        }
        self.collated(&operand, false)?;
        let regex = Bson::RegularExpression(regex(pattern)?);
        self.rewritten.set(Some("a pattern as a regular expression of the whole text"));
        Ok(if *negated == truth {
            // Apart from the guard against arrays, which is a `$not` too.
            let mut other = Document::new();
            other.insert(operand.key.clone(), doc! { "$not": regex });
            operand.tested(doc! { "$ne": Bson::Null }).and(Matcher::Some(other))
        } else {
            operand.tested(doc! { "$regex": regex })
        })
    }

    /// A view's own collation cannot be set aside: under it, equal bytes are equal, and nothing else is known.
    fn collated(&self, operand: &Operand<'_>, equality: bool) -> Walked<()> {
        if operand.kind != Kind::Text || !operand.field.metadata().contains_key(COLLATION_KEY) {
            return Ok(());
        }
        if !equality {
            return Err("the view compares text by a collation of its own".into());
        }
        self.loose.set(Some("the view compares text by a collation of its own"));
        Ok(())
    }

    fn operand<'e>(&'e self, expr: &Expr) -> Walked<Operand<'e>> {
        let column = match expr {
            Expr::Column(column) => column,
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Column(column) => {
                    let from = self.field(&column.name)?;
                    if !is_lossless(from, cast) {
                        let to = cast.field.data_type();
                        return Err(format!("cast to {to} is evaluated here").into());
                    }
                    column
                }
                _ => return Err("casts of expressions are evaluated here".into()),
            },
            Expr::ScalarFunction(call) => {
                return Err(format!("function {} is evaluated here", call.name()).into());
            }
            _ => return Err("computed values are evaluated here".into()),
        };
        let field = self.field(&column.name)?;
        let kind = Kind::of(field).ok_or(Reason::Borrowed("no MongoDB value is of this type"))?;
        let path = self.shape.path(field.name());
        let key = key(&path).ok_or(Reason::Borrowed("the field's name means something else in a query"))?;
        let strict = self.shape.on_mismatch == OnMismatch::Error;
        if !strict {
            self.loose.set(Some("values that do not fit their column are null here"));
        }
        if strict && doubtful(field, &path).is_none() {
            return Err("values of another type in such a column are only seen here".into());
        }
        // Declared and strict: what is let through is decoded, and an array then is an error.
        let guarded = !(strict && self.shape.declares(field.name()));
        Ok(Operand { field, kind, path, key, guarded })
    }

    fn field(&self, name: &str) -> Walked<&Field> {
        self.table
            .arrow
            .field_with_name(name)
            .map_err(|_| Reason::Borrowed("the column belongs to another table"))
    }
}

/// Whether a cast of a column changes the type but never a value, nor its order.
fn is_lossless(from: &Field, cast: &Cast) -> bool {
    let text = |ty: &DataType| matches!(ty, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let digits = |ty: &DataType| match ty {
        DataType::Int16 => Some(5_i16),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        _ => None,
    };
    let to = cast.field.data_type();
    match (Kind::of(from), from.data_type(), to) {
        (_, from, to) if from == to => true,
        (Some(Kind::Text | Kind::ObjectId), _, to) => text(to),
        (Some(Kind::Integer), DataType::Int16 | DataType::Int32, DataType::Float64) => true,
        (Some(Kind::Integer), from, DataType::Decimal128(precision, scale)) => {
            digits(from).is_some_and(|digits| i16::from(*precision) - i16::from(*scale) >= digits)
        }
        (Some(Kind::Integer), from, to) => match (digits(from), digits(to)) {
            (Some(from), Some(to)) => to >= from,
            _ => false,
        },
        (Some(Kind::Decimal), DataType::Decimal128(p, s), DataType::Decimal128(precision, scale)) => {
            scale >= s && i16::from(*precision) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
        }
        (
            Some(Kind::Instant),
            DataType::Timestamp(_, from),
            DataType::Timestamp(TimeUnit::Microsecond, to),
        ) => from.is_some() == to.is_some(),
        _ => false,
    }
}

/// A pattern as a regular expression over the whole text: `$` would also match before a last newline.
fn regex(pattern: &str) -> Walked<Regex> {
    let wildcards = pattern.split('%').count() - 1;
    if pattern.len() > MAX_PATTERN || wildcards > MAX_WILDCARDS {
        return Err("a pattern this long is evaluated here".into());
    }
    let mut written = String::from("\\A");
    for character in pattern.chars() {
        match character {
            '%' => written.push_str(".*"),
            '_' => written.push('.'),
            '\0' => return Err("a NUL in a pattern is evaluated here".into()),
            '.' | '^' | '$' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' => {
                written.push('\\');
                written.push(character);
            }
            other => written.push(other),
        }
    }
    written.push_str("\\z");
    // No need to look for an end that is anywhere.
    let written = written.strip_suffix(".*\\z").map_or(written.clone(), str::to_owned);
    Ok(Regex { pattern: written, options: "s".into() })
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
