//! The renderer: a condition becomes text with bound values, or the reason why it stays here.
//!
//! Gate and text come from the same walk, so nothing can be promised that is not rendered. The grammar is closed:
//! what is not named here is kept. Comparisons are between values of one class:
//!
//! - integers and decimals are compared exactly by both; a decimal is bound as text inside `CAST(… AS DECIMAL)`,
//!   because a text against a number would be compared as floats;
//! - text is compared as bytes, `CAST(CONVERT(c USING utf8mb4) AS BINARY)`, except where finding too many rows is
//!   allowed: there `c = ?` uses the index, and equal bytes are equal in every collation. A binary collation differs
//!   from bytes by padding only: there both go, and the condition is exact. A part of a text is always compared so;
//! - a zero date is a value there. Where it is an error here, every comparison of dates is beside a guard that makes
//!   it one there. Where it is null here, dates find too many rows at most: that holds through AND, OR and NOT, but
//!   not through IS TRUE and its like, where dates stay here;
//! - a number that is declared to be true or false is asked for by what it is not, so that every other number comes as
//!   well, which is an error here.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use mysql_async::Value;

use self::operand::{Class, Operand, Scope, any_column, field, operand, text_of};
use super::column::is_flag;
use super::probe::Construct;
use crate::federation::{Reason, Verdict};

pub(super) mod operand;

/// Items of one IN list that go down.
const MAX_LIST: usize = crate::federation::MAX_LIST;
/// Texts that are compared with a column twice, at most.
const INDEXED_LIST: usize = 50;
/// Text and values of one conjunct that go down, bytes.
const MAX_TEXT: usize = 768 * 1024;
/// Nesting of one conjunct that goes down.
const MAX_DEPTH: usize = 64;

const ZERO_DATES: &str = "zero dates are compared again here";

pub(super) type Walked<T> = Result<T, Reason>;

/// Text with a placeholder for every value, and the values in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    /// Columns whose dates the server checks, by their names.
    pub(super) guarded: Vec<String>,
}

impl Statement {
    /// Bytes of text and values, about.
    pub(super) fn size(&self) -> usize {
        let values = self.values.iter().map(|value| match value {
            Value::Bytes(bytes) => bytes.len() + 9,
            _ => 12,
        });
        self.sql.len() + values.sum::<usize>()
    }

    /// The statement with its values behind it, long ones cut, for `EXPLAIN`.
    pub(super) fn shown(&self) -> String {
        const SHOWN: usize = 20;
        const WIDTH: usize = 80;
        if self.values.is_empty() {
            return self.sql.clone();
        }
        let values: Vec<String> = self
            .values
            .iter()
            .take(SHOWN)
            .map(|value| {
                let text = value.as_sql(true);
                match text.char_indices().nth(WIDTH) {
                    Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
                    None => text,
                }
            })
            .collect();
        let more = if self.values.len() > SHOWN {
            format!(", … {} in all", self.values.len())
        } else {
            String::new()
        };
        format!("{} values: {}{more}", self.sql, values.join(", "))
    }
}

/// A rendered condition: what is sent, and how it relates to the original.
#[derive(Debug, Clone, Default)]
struct Rendered {
    sql: String,
    values: Vec<Value>,
    /// What it rests on where it says the same in other words.
    rests_on: BTreeSet<Construct>,
    /// Keeps rows the original would not; why.
    superset: Option<Reason>,
    /// Columns whose dates are checked.
    guarded: Vec<String>,
}

impl Rendered {
    /// Joins two conditions, in the order of their values.
    fn and_then(mut self, word: &str, other: Self) -> Self {
        self.sql = format!("({} {word} {})", self.sql, other.sql);
        self.values.extend(other.values);
        self.guarded.extend(other.guarded);
        self.rests_on.extend(other.rests_on);
        Self { superset: self.superset.or(other.superset), ..self }
    }
}

/// Where a condition stands: what it may find too much there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Only its truth counts: every superset is allowed.
    Truth,
    /// Below NOT: text must be exact, dates may still say more than null.
    Negated,
    /// Its null is looked at: it must be exact.
    Tested,
}

/// The verdict for one conjunct, and what it rests on.
pub(super) fn verdict(scope: Scope<'_>, expr: &Expr) -> (Verdict, BTreeSet<Construct>) {
    match (Walk { scope }).predicate(expr, Place::Truth, 0) {
        Err(reason) => (Verdict::Keep(reason), BTreeSet::new()),
        Ok(Rendered { sql, values, rests_on, superset, guarded }) => {
            let verdict = if (Statement { sql, values, guarded }).size() > MAX_TEXT {
                Verdict::Keep("the expression is too long".into())
            } else if let Some(reason) = superset {
                Verdict::Superset(reason)
            } else if let Some(construct) = rests_on.first() {
                Verdict::Rewrite(construct.words().into())
            } else {
                Verdict::Exact
            };
            (verdict, rests_on)
        }
    }
}

/// A condition that passed the gate: its text, the values it binds, and the columns whose dates it checks.
pub(super) fn condition(scope: Scope<'_>, expr: &Expr) -> Walked<Statement> {
    let Rendered { sql, values, guarded, .. } = (Walk { scope }).predicate(expr, Place::Truth, 0)?;
    Ok(Statement { sql, values, guarded })
}

/// True, or an error of the server where a date is zero or in no calendar: a sum beyond the largest integer.
pub(super) fn guard(name: &str) -> String {
    format!("9223372036854775807 + {} > 0", broken(name))
}

/// Whether a date is zero or in no calendar: 1 or 0, never null.
pub(super) fn broken(name: &str) -> String {
    format!("(NOT (FROM_DAYS(TO_DAYS({name})) <=> DATE({name})))")
}

struct Walk<'a> {
    scope: Scope<'a>,
}

impl Walk<'_> {
    /// Renders one condition.
    fn predicate(&self, expr: &Expr, place: Place, depth: usize) -> Walked<Rendered> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        if let Some(found) = self.flag(expr).filter(|_| place == Place::Truth) {
            return Ok(found);
        }
        let below = |inner: &Expr, place| self.predicate(inner, place, depth + 1);
        let tested = |inner: &Expr, test: &str| {
            let inner = below(inner, Place::Tested)?;
            Ok(Rendered { sql: format!("({} {test})", inner.sql), ..inner })
        };
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Ok(below(left, place)?.and_then("AND", below(right, place)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Ok(below(left, place)?.and_then("OR", below(right, place)?))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right, place),
            Expr::Not(inner) => {
                let place = if place == Place::Tested { Place::Tested } else { Place::Negated };
                let inner = below(inner, place)?;
                Ok(Rendered { sql: format!("(NOT {})", inner.sql), ..inner })
            }
            Expr::IsTrue(inner) => tested(inner, "IS TRUE"),
            Expr::IsFalse(inner) => tested(inner, "IS FALSE"),
            Expr::IsUnknown(inner) => tested(inner, "IS UNKNOWN"),
            Expr::IsNotTrue(inner) => tested(inner, "IS NOT TRUE"),
            Expr::IsNotFalse(inner) => tested(inner, "IS NOT FALSE"),
            Expr::IsNotUnknown(inner) => tested(inner, "IS NOT UNKNOWN"),
            Expr::IsNull(inner) => self.null_test(inner, false, place),
            Expr::IsNotNull(inner) => self.null_test(inner, true, place),
            Expr::InList(list) => self.in_list(list, place),
            Expr::Between(between) => self.between(between, place),
            Expr::Like(like) => self.like(like),
            Expr::Literal(ScalarValue::Boolean(Some(value)), _) => Ok(Rendered {
                sql: if *value { "TRUE".into() } else { "FALSE".into() },
                ..Rendered::default()
            }),
            Expr::Column(_) => match operand(self.scope, expr)? {
                Operand { sql, class: Class::Boolean, .. } => {
                    Ok(Rendered { sql: format!("({sql} <> 0)"), ..Rendered::default() })
                }
                _ => Err("not a condition".into()),
            },
            Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
            _ => Err("this form of expression is evaluated here".into()),
        }
    }

    /// Whether a number that stands for true or false is what is asked for, or is neither.
    fn flag(&self, expr: &Expr) -> Option<Rendered> {
        let (inner, unwanted, nulls) = match expr {
            Expr::Column(_) => (expr, 0, false),
            Expr::Not(inner) | Expr::IsFalse(inner) => (inner.as_ref(), 1, false),
            Expr::IsTrue(inner) => (inner.as_ref(), 0, false),
            Expr::IsNotTrue(inner) => (inner.as_ref(), 1, true),
            Expr::IsNotFalse(inner) => (inner.as_ref(), 0, true),
            _ => return None,
        };
        let Expr::Column(column) = inner else { return None };
        let field = field(self.scope.table, &column.name).ok().filter(|field| is_flag(field))?;
        let name = self.scope.name(field);
        let nulls = if nulls { format!(" OR {name} IS NULL") } else { String::new() };
        Some(Rendered {
            sql: format!("({name} <> {unwanted}{nulls})"),
            superset: Some("numbers of a declared bool that are neither 0 nor 1 come, too".into()),
            ..Rendered::default()
        })
    }

    fn comparison(&self, left: &Expr, op: Operator, right: &Expr, place: Place) -> Walked<Rendered> {
        let (text, ordered) = match op {
            Operator::Eq => ("=", false),
            Operator::NotEq => ("<>", false),
            Operator::Lt => ("<", true),
            Operator::LtEq => ("<=", true),
            Operator::Gt => (">", true),
            Operator::GtEq => (">=", true),
            Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => ("<=>", false),
            _ => return Err(format!("operator {op} is evaluated here").into()),
        };
        let distinct = matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
        let place = if distinct { Place::Tested } else { place };
        let (left, right) = (operand(self.scope, left)?, operand(self.scope, right)?);
        let loose = if op == Operator::Eq { place } else { strict(place) };
        let means = means(self.scope, &[&left, &right], ordered, loose)?;
        let mut rendered = means.rendered(&[&left, &right], |texts| match texts {
            [left, right] => format!("{left} {text} {right}"),
            _ => String::new(),
        });
        if op == Operator::IsDistinctFrom {
            rendered.sql = format!("(NOT {})", rendered.sql);
        }
        Ok(rendered)
    }

    fn between(&self, between: &Between, place: Place) -> Walked<Rendered> {
        let Between { expr, negated, low, high } = between;
        let (value, low, high) =
            (operand(self.scope, expr)?, operand(self.scope, low)?, operand(self.scope, high)?);
        let means = means(self.scope, &[&value, &low, &high], true, strict(place))?;
        let not = if *negated { "NOT " } else { "" };
        Ok(means.rendered(&[&value, &low, &high], |texts| match texts {
            [value, low, high] => format!("{value} {not}BETWEEN {low} AND {high}"),
            _ => String::new(),
        }))
    }

    fn in_list(&self, list: &InList, place: Place) -> Walked<Rendered> {
        let InList { expr, list, negated } = list;
        if list.is_empty() || list.len() > MAX_LIST {
            return Err(format!("a list of {} items is evaluated here", list.len()).into());
        }
        let value = operand(self.scope, expr)?;
        let items = list.iter().map(|item| operand(self.scope, item)).collect::<Walked<Vec<Operand>>>()?;
        if items.iter().any(|item| item.column.is_some()) {
            return Err("a list with columns is evaluated here".into());
        }
        let all: Vec<&Operand> = std::iter::once(&value).chain(&items).collect();
        let means = means(self.scope, &all, false, if *negated { strict(place) } else { place })?;
        let not = if *negated { "NOT " } else { "" };
        Ok(means.rendered(&all, |texts| match texts {
            [value, items @ ..] => format!("{value} {not}IN ({})", items.join(", ")),
            [] => String::new(),
        }))
    }

    fn like(&self, like: &Like) -> Walked<Rendered> {
        let Like { negated, expr, pattern, escape_char, case_insensitive } = like;
        if *case_insensitive {
            return Err("case-insensitive patterns depend on the locale".into());
        }
        let pattern = match pattern.as_ref() {
            Expr::Literal(value, _) => text_of(value).flatten(),
            _ => None,
        };
        let Some(pattern) = pattern else { return Err("the pattern is not a constant".into()) };
        if escape_char.is_some() || pattern.contains('\\') {
            return Err("escapes in patterns are evaluated here".into());
        }
        let value = operand(self.scope, expr)?;
        if value.class != Class::Text || value.column.is_none() {
            return Err("patterns match columns of text only".into());
        }
        let not = if *negated { "NOT " } else { "" };
        Ok(Rendered {
            sql: format!("(CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin {not}LIKE ?)", value.sql),
            values: value.values.into_iter().chain([Value::Bytes(pattern.into())]).collect(),
            rests_on: value.rests_on.into_iter().chain([Construct::TextPattern]).collect(),
            ..Rendered::default()
        })
    }

    /// A zero date is none here: an error, or null.
    fn null_test(&self, inner: &Expr, negated: bool, place: Place) -> Walked<Rendered> {
        let (name, temporal) = any_column(self.scope, inner)?;
        if !temporal {
            let test = if negated { "IS NOT NULL" } else { "IS NULL" };
            return Ok(Rendered { sql: format!("({name} {test})"), ..Rendered::default() });
        }
        if self.scope.guards() {
            let test = if negated { "IS NOT NULL" } else { "IS NULL" };
            return Ok(Rendered {
                sql: format!("({} AND {name} {test})", guard(&name)),
                rests_on: BTreeSet::from([Construct::DateGuard]),
                guarded: vec![name],
                ..Rendered::default()
            });
        }
        if place == Place::Tested {
            return Err("null tests of dates are evaluated here".into());
        }
        let null = format!("({name} IS NULL OR MONTH({name}) = 0 OR DAYOFMONTH({name}) = 0)");
        let sql = if negated { format!("(NOT {null})") } else { null };
        Ok(Rendered { sql, superset: Some(ZERO_DATES.into()), ..Rendered::default() })
    }
}

/// The same place without leave to find too many texts.
fn strict(place: Place) -> Place {
    if place == Place::Truth { Place::Negated } else { place }
}

/// A column's text as its bytes in UTF-8.
pub(super) fn as_bytes(column: &str) -> String {
    format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)")
}

/// How the operands of one comparison are written.
#[derive(Default)]
struct Means {
    as_bytes: bool,
    /// Compared as it stands too, for the index.
    indexed: bool,
    superset: Option<Reason>,
    /// Columns whose dates are checked first.
    guarded: Vec<String>,
}

impl Means {
    /// A comparison, with what guards it before it; `write` puts the operands' texts together.
    fn rendered(&self, operands: &[&Operand], write: impl Fn(&[String]) -> String) -> Rendered {
        let mut parts: Vec<String> = self.guarded.iter().map(|name| guard(name)).collect();
        let mut values = Vec::new();
        for as_bytes in [false, true] {
            if as_bytes == self.as_bytes || self.indexed {
                let texts: Vec<String> = operands.iter().map(|operand| written(operand, as_bytes)).collect();
                parts.push(write(&texts));
                values.extend(operands.iter().flat_map(|operand| operand.values.iter().cloned()));
            }
        }
        let means = [(Construct::TextBytes, self.as_bytes), (Construct::DateGuard, !self.guarded.is_empty())];
        let means = means.into_iter().filter_map(|(construct, used)| used.then_some(construct));
        Rendered {
            sql: format!("({})", parts.join(" AND ")),
            values,
            rests_on: means.chain(operands.iter().filter_map(|operand| operand.rests_on)).collect(),
            superset: self.superset.clone(),
            guarded: self.guarded.clone(),
        }
    }
}

/// An operand as it is compared.
fn written(operand: &Operand, bytes: bool) -> String {
    match (&operand.column, bytes) {
        (Some(_), true) => as_bytes(&operand.sql),
        (None, true) => format!("CAST({} AS BINARY)", operand.sql),
        (_, false) => operand.sql.clone(),
    }
}

/// How operands may be compared in a place, or why not.
fn means(scope: Scope<'_>, operands: &[&Operand], ordered: bool, place: Place) -> Walked<Means> {
    let plain = Means::default();
    let Some(first) = operands.first() else { return Ok(plain) };
    if operands.iter().any(|operand| operand.class != first.class) {
        return Err("values of different types are compared here".into());
    }
    let columns: Vec<_> = operands.iter().filter_map(|operand| operand.column.as_ref()).collect();
    match first.class {
        Class::Text => {
            let bytes = Means { as_bytes: true, ..Means::default() };
            let [column] = columns.as_slice() else { return Ok(bytes) };
            if ordered {
                return Ok(bytes);
            }
            if column.bytewise {
                return Ok(plain);
            }
            let comparable =
                operands.iter().all(|operand| operand.column.is_some() || column.can_hold(operand));
            // It differs from bytes by padding alone: few rows are looked at twice.
            if place == Place::Truth && comparable && column.pads && operands.len() <= INDEXED_LIST {
                return Ok(Means { indexed: true, ..bytes });
            }
            if place == Place::Truth && comparable {
                let reason = format!("{} is not bytewise", column.collation);
                return Ok(Means { superset: Some(reason.into()), ..plain });
            }
            Ok(bytes)
        }
        Class::Float32 | Class::Float64 if columns.len() > 1 => Err("two floats are compared here".into()),
        Class::Date | Class::Timestamp | Class::Instant if scope.guards() => {
            let guarded = operands.iter().filter(|operand| operand.column.is_some());
            Ok(Means { guarded: guarded.map(|operand| operand.sql.clone()).collect(), ..plain })
        }
        Class::Date | Class::Timestamp | Class::Instant => match place {
            Place::Tested => Err("dates are tested here".into()),
            Place::Truth | Place::Negated => Ok(Means { superset: Some(ZERO_DATES.into()), ..plain }),
        },
        _ => Ok(plain),
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
pub(super) mod tests;
