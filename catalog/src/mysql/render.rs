//! The renderer: a fragment becomes one SELECT with bound values, or an expression the reason why it stays here.
//!
//! Gate and text come from the same walk, so nothing can be promised that is not rendered. The grammar is closed:
//! what is not named here is kept. Comparisons are between values of one class:
//!
//! - integers and decimals are compared exactly by both; a decimal is bound as text inside `CAST(… AS DECIMAL)`,
//!   because a text against a number would be compared as floats;
//! - text is compared as bytes, `CAST(CONVERT(c USING utf8mb4) AS BINARY)`, except where finding too many rows is
//!   allowed: there `c = ?` uses the index, and equal bytes are equal in every collation;
//! - dates find too many rows at most, because a zero date is a value there and none here. That holds through AND,
//!   OR and NOT, but not through IS TRUE and its like, where dates stay here.

use datafusion::arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use mysql_async::Value;

use self::operand::{Class, Operand, any_column, operand, text_of};
use super::column::AS_TEXT_KEY;
use super::literal::quote_identifier;
use crate::federation::{Fragment, Reason, Verdict};
use crate::source::TableDef;

mod operand;

/// Items of one IN list that go down.
const MAX_LIST: usize = crate::federation::MAX_LIST;
/// Text and values of one conjunct that go down, bytes.
const MAX_TEXT: usize = 256 * 1024;
/// Nesting of one conjunct that goes down.
const MAX_DEPTH: usize = 64;

const AS_BYTES: &str = "text is compared as bytes, CAST(… AS BINARY)";
const PATTERN: &str = "patterns are matched by character, COLLATE utf8mb4_bin";
const ZERO_DATES: &str = "zero dates are compared again here";

type Walked<T> = Result<T, Reason>;

/// Text with a placeholder for every value, and the values in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
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
    /// Says the same in other words, which are named.
    rewritten: Option<&'static str>,
    /// Keeps rows the original would not; why.
    superset: Option<Reason>,
}

impl Rendered {
    /// Joins two conditions, in the order of their values.
    fn and_then(mut self, word: &str, other: Self) -> Self {
        self.sql = format!("({} {word} {})", self.sql, other.sql);
        self.values.extend(other.values);
        Self {
            rewritten: self.rewritten.or(other.rewritten),
            superset: self.superset.or(other.superset),
            ..self
        }
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

/// The verdict for one conjunct.
pub(super) fn verdict(table: &TableDef, expr: &Expr) -> Verdict {
    match (Walk { table }).predicate(expr, Place::Truth, 0) {
        Err(reason) => Verdict::Keep(reason),
        Ok(Rendered { sql, values, rewritten, superset }) => {
            if (Statement { sql, values }).size() > MAX_TEXT {
                Verdict::Keep("the expression is too long".into())
            } else if let Some(reason) = superset {
                Verdict::Superset(reason)
            } else if let Some(words) = rewritten {
                Verdict::Rewrite(words.into())
            } else {
                Verdict::Exact
            }
        }
    }
}

/// The SELECT of a fragment: columns, filters, limit. `Err` names a filter that never passed the gate.
pub(super) fn select(database: &str, fragment: &Fragment) -> Walked<Statement> {
    let table = fragment.table.as_ref();
    let mut columns = Vec::with_capacity(fragment.projection.len());
    for index in &fragment.projection {
        let field =
            table.arrow.fields().get(*index).ok_or(Reason::Borrowed("the table has no such column"))?;
        columns.push(column_text(field));
    }
    // Rows without columns are counted by a constant.
    let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
    let mut sql =
        format!("SELECT {columns} FROM {}.{}", quote_identifier(database), quote_identifier(&table.name));
    let mut values = Vec::new();
    for (index, filter) in fragment.filters.iter().enumerate() {
        let rendered = (Walk { table }).predicate(&filter.expr, Place::Truth, 0)?;
        sql.push_str(if index == 0 { " WHERE " } else { " AND " });
        sql.push_str(&rendered.sql);
        values.extend(rendered.values);
    }
    if let Some(limit) = fragment.limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    Ok(Statement { sql, values })
}

/// A column as it is read.
fn column_text(field: &Field) -> String {
    let name = quote_identifier(field.name());
    if field.metadata().contains_key(AS_TEXT_KEY) { format!("CAST({name} AS CHAR)") } else { name }
}

struct Walk<'a> {
    table: &'a TableDef,
}

impl Walk<'_> {
    /// Renders one condition.
    fn predicate(&self, expr: &Expr, place: Place, depth: usize) -> Walked<Rendered> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
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
            Expr::Column(_) => match operand(self.table, expr)? {
                Operand { sql, class: Class::Boolean, .. } => {
                    Ok(Rendered { sql: format!("({sql} <> 0)"), ..Rendered::default() })
                }
                _ => Err("not a condition".into()),
            },
            Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
            _ => Err("this form of expression is evaluated here".into()),
        }
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
        let (left, right) = (operand(self.table, left)?, operand(self.table, right)?);
        let loose = if op == Operator::Eq { place } else { strict(place) };
        let means = means(&[&left, &right], ordered, loose)?;
        let mut rendered = means.rendered();
        rendered.sql = format!("({} {text} {})", means.text(&left), means.text(&right));
        rendered.values.extend(left.values.into_iter().chain(right.values));
        if op == Operator::IsDistinctFrom {
            rendered.sql = format!("(NOT {})", rendered.sql);
        }
        Ok(rendered)
    }

    fn between(&self, between: &Between, place: Place) -> Walked<Rendered> {
        let Between { expr, negated, low, high } = between;
        let (value, low, high) =
            (operand(self.table, expr)?, operand(self.table, low)?, operand(self.table, high)?);
        let means = means(&[&value, &low, &high], true, strict(place))?;
        let not = if *negated { "NOT " } else { "" };
        let mut rendered = means.rendered();
        rendered.sql =
            format!("({} {not}BETWEEN {} AND {})", means.text(&value), means.text(&low), means.text(&high));
        rendered.values.extend(value.values.into_iter().chain(low.values).chain(high.values));
        Ok(rendered)
    }

    fn in_list(&self, list: &InList, place: Place) -> Walked<Rendered> {
        let InList { expr, list, negated } = list;
        if list.is_empty() || list.len() > MAX_LIST {
            return Err(format!("a list of {} items is evaluated here", list.len()).into());
        }
        let value = operand(self.table, expr)?;
        let items = list.iter().map(|item| operand(self.table, item)).collect::<Walked<Vec<Operand>>>()?;
        if items.iter().any(|item| item.column.is_some()) {
            return Err("a list with columns is evaluated here".into());
        }
        let all: Vec<&Operand> = std::iter::once(&value).chain(&items).collect();
        let means = means(&all, false, if *negated { strict(place) } else { place })?;
        let not = if *negated { "NOT " } else { "" };
        let texts: Vec<String> = items.iter().map(|item| means.text(item)).collect();
        let mut rendered = means.rendered();
        rendered.sql = format!("({} {not}IN ({}))", means.text(&value), texts.join(", "));
        rendered
            .values
            .extend(value.values.into_iter().chain(items.into_iter().flat_map(|item| item.values)));
        Ok(rendered)
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
        let value = operand(self.table, expr)?;
        if value.class != Class::Text || value.column.is_none() {
            return Err("patterns match columns of text only".into());
        }
        let not = if *negated { "NOT " } else { "" };
        Ok(Rendered {
            sql: format!("(CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin {not}LIKE ?)", value.sql),
            values: vec![Value::Bytes(pattern.into())],
            rewritten: Some(PATTERN),
            superset: None,
        })
    }

    /// A zero date is none here, so it counts as null there.
    fn null_test(&self, inner: &Expr, negated: bool, place: Place) -> Walked<Rendered> {
        let (name, temporal) = any_column(self.table, inner)?;
        if !temporal {
            let test = if negated { "IS NOT NULL" } else { "IS NULL" };
            return Ok(Rendered { sql: format!("({name} {test})"), ..Rendered::default() });
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

/// How the operands of one comparison are written.
struct Means {
    as_bytes: bool,
    superset: Option<Reason>,
}

impl Means {
    fn rendered(&self) -> Rendered {
        Rendered {
            rewritten: self.as_bytes.then_some(AS_BYTES),
            superset: self.superset.clone(),
            ..Rendered::default()
        }
    }

    fn text(&self, operand: &Operand) -> String {
        match (&operand.column, self.as_bytes) {
            (Some(_), true) => format!("CAST(CONVERT({} USING utf8mb4) AS BINARY)", operand.sql),
            (None, true) => format!("CAST({} AS BINARY)", operand.sql),
            (_, false) => operand.sql.clone(),
        }
    }
}

/// How operands may be compared in a place, or why not.
fn means(operands: &[&Operand], ordered: bool, place: Place) -> Walked<Means> {
    let plain = Means { as_bytes: false, superset: None };
    let Some(first) = operands.first() else { return Ok(plain) };
    if operands.iter().any(|operand| operand.class != first.class) {
        return Err("values of different types are compared here".into());
    }
    let columns: Vec<_> = operands.iter().filter_map(|operand| operand.column.as_ref()).collect();
    match first.class {
        Class::Text => {
            let bytes = Means { as_bytes: true, superset: None };
            let [column] = columns.as_slice() else { return Ok(bytes) };
            if ordered {
                return Ok(bytes);
            }
            if column.bytewise {
                return Ok(plain);
            }
            let comparable =
                operands.iter().all(|operand| operand.column.is_some() || column.can_hold(operand));
            if place == Place::Truth && comparable {
                let reason = format!("{} is not bytewise", column.collation);
                return Ok(Means { as_bytes: false, superset: Some(reason.into()) });
            }
            Ok(bytes)
        }
        Class::Float32 | Class::Float64 if columns.len() > 1 => Err("two floats are compared here".into()),
        Class::Date | Class::Timestamp | Class::Instant => match place {
            Place::Tested => Err("dates are tested here".into()),
            Place::Truth | Place::Negated => Ok(Means { as_bytes: false, superset: Some(ZERO_DATES.into()) }),
        },
        _ => Ok(plain),
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
