//! The renderer: a fragment becomes one SELECT, or an expression the reason why it stays here.
//!
//! Gate and text come from the same walk, so nothing can be promised that is not rendered. The grammar is closed:
//! what is not named here is kept. Every comparison is between values of one class, and a class has the same order
//! in PostgreSQL and here: integers, decimals, dates, instants and booleans by definition; floats because not-a-number
//! is the largest in both once the decoder has made it positive (except around zero, where -0 differs); text as
//! bytes, by `COLLATE "C"` wherever order is asked for.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};

use super::column::{LOOSE_COLLATION_KEY, as_read, is_document};
use super::literal::{date_text, timestamp_text};
use super::{quote_identifier, quote_literal};
use crate::federation::{Reason, Verdict};
use crate::source::TableDef;

/// Items of one IN list that go down as a list; more go as one array.
const MAX_LIST: usize = 1_000;
/// Items of one array that go down.
const MAX_ARRAY: usize = crate::federation::MAX_LIST;
/// Text of one conjunct that goes down, bytes.
const MAX_TEXT: usize = 512 * 1024;
/// Nesting of one conjunct that goes down.
const MAX_DEPTH: usize = 64;

pub(super) const COLLATE: &str = "text is compared as bytes, COLLATE \"C\"";

/// A rendered expression, and whether it says more than the original.
struct Rendered {
    sql: String,
    rewritten: bool,
}

/// The verdict for one conjunct.
pub(super) fn verdict(table: &TableDef, expr: &Expr) -> Verdict {
    match (Walk { table, alias: None }).predicate(expr, 0) {
        Ok(rendered) if rendered.sql.len() > MAX_TEXT => Verdict::Keep("the expression is too long".into()),
        Ok(Rendered { rewritten: true, .. }) => Verdict::Rewrite(COLLATE.into()),
        Ok(_) => Verdict::Exact,
        Err(reason) => Verdict::Keep(reason),
    }
}

/// Whether a pattern is matched anywhere in a conjunct.
pub(super) fn has_pattern(expr: &Expr) -> bool {
    expr.exists(|node| Ok(matches!(node, Expr::Like(_)))).unwrap_or(true)
}

/// A conjunct over a table that is known by an alias, as text.
pub(super) fn condition(table: &TableDef, alias: Option<&str>, expr: &Expr) -> Walked<String> {
    (Walk { table, alias }).predicate(expr, 0).map(|rendered| rendered.sql)
}

/// The column's name, of the table with that alias.
pub(super) fn column_name(alias: Option<&str>, field: &Field) -> String {
    let name = quote_identifier(field.name());
    match alias {
        Some(alias) => format!("{alias}.{name}"),
        None => name,
    }
}

/// The column as it is read and compared.
pub(super) fn column_text(alias: Option<&str>, field: &Field) -> String {
    as_read(column_name(alias, field), field)
}

/// Types whose values compare alike on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Boolean,
    Number,
    Float,
    Text,
    Date,
    Timestamp,
    Instant,
    TimeOfDay,
    Uuid,
}

/// One side of a comparison.
struct Operand {
    sql: String,
    class: Class,
    /// A column, as opposed to a constant.
    column: bool,
    /// Text whose equality is not byte equality.
    loose: bool,
}

impl Operand {
    /// The text, compared as bytes if asked. In parentheses: the bounds of BETWEEN allow no bare COLLATE.
    fn collated(&self, collate: bool) -> String {
        if collate { format!("({} COLLATE \"C\")", self.sql) } else { self.sql.clone() }
    }
}

struct Walk<'a> {
    table: &'a TableDef,
    /// The table's alias, where there is more than one.
    alias: Option<&'a str>,
}

pub(super) type Walked<T> = Result<T, Reason>;

impl Walk<'_> {
    fn predicate(&self, expr: &Expr, depth: usize) -> Walked<Rendered> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let exact = |sql: String| Ok(Rendered { sql, rewritten: false });
        let truth = |inner: &Expr, test: &str| {
            let inner = self.predicate(inner, depth + 1)?;
            Ok(Rendered { sql: format!("({} {test})", inner.sql), ..inner })
        };
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let left = self.predicate(left, depth + 1)?;
                let right = self.predicate(right, depth + 1)?;
                let word = if *op == Operator::And { "AND" } else { "OR" };
                let sql = format!("({} {word} {})", left.sql, right.sql);
                Ok(Rendered { sql, rewritten: left.rewritten || right.rewritten })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right),
            Expr::Not(inner) => {
                let inner = self.predicate(inner, depth + 1)?;
                Ok(Rendered { sql: format!("(NOT {})", inner.sql), ..inner })
            }
            Expr::IsTrue(inner) => truth(inner, "IS TRUE"),
            Expr::IsFalse(inner) => truth(inner, "IS FALSE"),
            Expr::IsUnknown(inner) => truth(inner, "IS UNKNOWN"),
            Expr::IsNotTrue(inner) => truth(inner, "IS NOT TRUE"),
            Expr::IsNotFalse(inner) => truth(inner, "IS NOT FALSE"),
            Expr::IsNotUnknown(inner) => truth(inner, "IS NOT UNKNOWN"),
            Expr::IsNull(inner) => exact(format!("({} IS NULL)", self.any_column(inner)?)),
            Expr::IsNotNull(inner) => exact(format!("({} IS NOT NULL)", self.any_column(inner)?)),
            Expr::InList(list) => self.in_list(list),
            Expr::Between(between) => self.between(between),
            Expr::Like(like) => self.like(like),
            Expr::Column(_) | Expr::Literal(..) => {
                let operand = self.operand(expr)?;
                if operand.class == Class::Boolean {
                    exact(operand.sql)
                } else {
                    Err("not a condition".into())
                }
            }
            Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
            _ => Err("this form of expression is evaluated here".into()),
        }
    }

    fn comparison(&self, left: &Expr, op: Operator, right: &Expr) -> Walked<Rendered> {
        let (text, ordered) = match op {
            Operator::Eq => ("=", false),
            Operator::NotEq => ("<>", false),
            Operator::Lt => ("<", true),
            Operator::LtEq => ("<=", true),
            Operator::Gt => (">", true),
            Operator::GtEq => (">=", true),
            Operator::IsDistinctFrom => ("IS DISTINCT FROM", false),
            Operator::IsNotDistinctFrom => ("IS NOT DISTINCT FROM", false),
            _ => return Err(format!("operator {op} is evaluated here").into()),
        };
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        let rewritten = compatible(&[&left, &right], ordered)?;
        let (left, right) = (left.collated(rewritten), right.collated(rewritten));
        Ok(Rendered { sql: format!("({left} {text} {right})"), rewritten })
    }

    fn between(&self, between: &Between) -> Walked<Rendered> {
        let Between { expr, negated, low, high } = between;
        let (value, low, high) = (self.operand(expr)?, self.operand(low)?, self.operand(high)?);
        let rewritten = compatible(&[&value, &low], true)? | compatible(&[&value, &high], true)?;
        let not = if *negated { "NOT " } else { "" };
        let [value, low, high] = [value, low, high].map(|operand| operand.collated(rewritten));
        let sql = format!("({value} {not}BETWEEN {low} AND {high})");
        Ok(Rendered { sql, rewritten })
    }

    fn in_list(&self, list: &InList) -> Walked<Rendered> {
        let InList { expr, list, negated } = list;
        if list.is_empty() || list.len() > MAX_ARRAY {
            return Err(format!("a list of {} items is evaluated here", list.len()).into());
        }
        let value = self.operand(expr)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            let item = self.operand(item)?;
            if item.column {
                return Err("a list with columns is evaluated here".into());
            }
            compatible(&[&value, &item], false)?;
            items.push(item.sql);
        }
        let items_text = items.join(", ");
        let long = items.len() > MAX_LIST;
        // One constant, which the server need not take apart item by item.
        if let Some(array) = integers(&items).filter(|_| long) {
            let test = if *negated { "<> ALL" } else { "= ANY" };
            let sql = format!("({} {test} ('{{{array}}}'::int8[]))", value.sql);
            return Ok(Rendered { sql, rewritten: false });
        }
        let sql = match (long, negated) {
            (false, false) => format!("({} IN ({items_text}))", value.sql),
            (false, true) => format!("({} NOT IN ({items_text}))", value.sql),
            (true, false) => format!("({} = ANY (ARRAY[{items_text}]))", value.sql),
            (true, true) => format!("({} <> ALL (ARRAY[{items_text}]))", value.sql),
        };
        Ok(Rendered { sql, rewritten: false })
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
        let value = self.operand(expr)?;
        if value.class != Class::Text || !value.column || value.loose {
            return Err("patterns match text of a deterministic collation only".into());
        }
        let pattern = quote_literal(pattern).ok_or(Reason::Borrowed("a NUL cannot be sent"))?;
        let not = if *negated { "NOT " } else { "" };
        Ok(Rendered { sql: format!("({} {not}LIKE {pattern})", value.sql), rewritten: false })
    }

    /// A column of any type, for tests that look at nullness only.
    fn any_column(&self, expr: &Expr) -> Walked<String> {
        match expr {
            Expr::Column(column) => Ok(column_name(self.alias, self.field(&column.name)?)),
            _ => Err("null tests of expressions are evaluated here".into()),
        }
    }

    fn field(&self, name: &str) -> Walked<&Field> {
        self.table
            .arrow
            .field_with_name(name)
            .map_err(|_| Reason::Borrowed("the column belongs to another table"))
    }

    fn operand(&self, expr: &Expr) -> Walked<Operand> {
        match expr {
            Expr::Column(column) => {
                let field = self.field(&column.name)?;
                let class = match field.data_type() {
                    // Equal where their bytes are, and ordered by them, here and there.
                    DataType::FixedSizeBinary(16) => Class::Uuid,
                    _ => class_of_column(field)?,
                };
                let loose = field.metadata().contains_key(LOOSE_COLLATION_KEY);
                Ok(Operand { sql: column_text(self.alias, field), class, column: true, loose })
            }
            Expr::Literal(value, _) => literal(value),
            Expr::Cast(cast) => self.widened(cast),
            Expr::ScalarFunction(call) if call.name() == "substr" => self.part_of_text(&call.args),
            Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
            _ => Err("computed values are evaluated here".into()),
        }
    }

    /// Characters of a text column, counted from its start: the same here and there for whole positions from 1 on.
    fn part_of_text(&self, args: &[Expr]) -> Walked<Operand> {
        const HERE: Reason = Reason::Borrowed("this form of substr is evaluated here");
        let [text @ Expr::Column(_), Expr::Literal(start, _), Expr::Literal(length, _)] = args else {
            return Err(HERE);
        };
        let place = |value: &ScalarValue, least: i64| match value {
            ScalarValue::Int64(Some(value)) if (least..=1_000_000).contains(value) => Ok(*value),
            _ => Err(HERE),
        };
        let operand = self.operand(text)?;
        if operand.class != Class::Text {
            return Err(HERE);
        }
        let sql = format!("pg_catalog.substr({}, {}, {})", operand.sql, place(start, 1)?, place(length, 0)?);
        Ok(Operand { sql, ..operand })
    }

    /// A cast of a column that changes the type but never the value.
    fn widened(&self, cast: &Cast) -> Walked<Operand> {
        let Expr::Column(column) = cast.expr.as_ref() else {
            return Err("casts of expressions are evaluated here".into());
        };
        let from = self.field(&column.name)?.data_type();
        let to = cast.field.data_type();
        let operand = self.operand(&cast.expr)?;
        let text = |ty: &DataType| matches!(ty, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        let lossless = match (integer_digits(from), to) {
            (Some(from), DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => {
                i16::from(*precision) - i16::from(*scale) >= from
            }
            (Some(from), to) => integer_digits(to).is_some_and(|to| to >= from),
            (None, to) if text(from) => text(to),
            (None, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => operand.class == Class::Instant,
            // Beside a constant of double precision the server compares as double precision.
            (None, DataType::Float64) => *from == DataType::Float32,
            (None, DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => {
                match from {
                    DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
                        scale >= s
                            && i16::from(*precision) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
                    }
                    _ => false,
                }
            }
            (None, _) => false,
        };
        if lossless { Ok(operand) } else { Err(format!("cast to {to} is evaluated here").into()) }
    }
}

/// Decimal digits an integer type needs.
fn integer_digits(ty: &DataType) -> Option<i16> {
    match ty {
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        _ => None,
    }
}

/// Whether the operands may be compared, and whether that needs `COLLATE "C"`.
fn compatible(operands: &[&Operand], ordered: bool) -> Walked<bool> {
    let Some(first) = operands.first() else { return Ok(false) };
    if operands.iter().any(|operand| operand.class != first.class) {
        return Err("values of different types are compared here".into());
    }
    let columns = operands.iter().filter(|operand| operand.column).count();
    match first.class {
        Class::Text if ordered || columns > 1 => Ok(true),
        Class::Text if operands.iter().any(|operand| operand.loose) => {
            Err("the column's collation takes different texts as equal".into())
        }
        Class::Float if columns > 1 => Err("two floats are compared here".into()),
        _ => Ok(false),
    }
}

pub(super) fn class_of_column(field: &Field) -> Walked<Class> {
    match field.data_type() {
        DataType::Boolean => Ok(Class::Boolean),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(Class::Number),
        DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(Class::Number),
        DataType::Float32 | DataType::Float64 => Ok(Class::Float),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            if is_document(field) {
                return Err("documents are compared here".into());
            }
            Ok(Class::Text)
        }
        DataType::Date32 => Ok(Class::Date),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok(Class::Timestamp),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Ok(Class::Instant),
        DataType::Time64(TimeUnit::Microsecond) => Ok(Class::TimeOfDay),
        other => Err(format!("values of type {other} are compared here").into()),
    }
}

/// The text of a text scalar: outer `None` if it is no text, inner `None` if it is NULL.
fn text_of(value: &ScalarValue) -> Option<Option<&str>> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            Some(text.as_deref())
        }
        _ => None,
    }
}

fn literal(value: &ScalarValue) -> Walked<Operand> {
    const NULL: Reason = Reason::Borrowed("a null constant is evaluated here");
    const RANGE: Reason = Reason::Borrowed("the constant has no safe text");
    let constant = |class, sql: String| Ok(Operand { sql, class, column: false, loose: false });
    if let Some(text) = text_of(value) {
        let text = text.ok_or(NULL)?;
        let quoted = quote_literal(text).ok_or(Reason::Borrowed("a NUL cannot be sent"))?;
        return constant(Class::Text, format!("{quoted}::text"));
    }
    let number = |digits: String| constant(Class::Number, format!("'{digits}'::numeric"));
    // A plain number keeps the column's index usable: integer against integer.
    let integer = |digits: String| constant(Class::Number, format!("({digits})"));
    match value {
        ScalarValue::Boolean(value) => {
            constant(Class::Boolean, if value.ok_or(NULL)? { "true".into() } else { "false".into() })
        }
        ScalarValue::Int8(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::Int16(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::Int32(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::Int64(value) => number_or_integer(value.ok_or(NULL)?, integer, number),
        ScalarValue::UInt8(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::UInt16(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::UInt32(value) => integer(value.ok_or(NULL)?.to_string()),
        ScalarValue::UInt64(value) => number(value.ok_or(NULL)?.to_string()),
        ScalarValue::Decimal128(value, _, scale) => number(point(&value.ok_or(NULL)?.to_string(), *scale)),
        ScalarValue::Decimal256(value, _, scale) => number(point(&value.ok_or(NULL)?.to_string(), *scale)),
        ScalarValue::Float32(value) => {
            let value = value.ok_or(NULL)?;
            if !value.is_finite() || value == 0.0 {
                return Err("floats around zero, infinite or not a number are compared here".into());
            }
            constant(Class::Float, format!("'{value:e}'::float4"))
        }
        ScalarValue::Float64(value) => {
            let value = value.ok_or(NULL)?;
            if !value.is_finite() || value == 0.0 {
                return Err("floats around zero, infinite or not a number are compared here".into());
            }
            constant(Class::Float, format!("'{value:e}'::float8"))
        }
        ScalarValue::Date32(days) => {
            let text = date_text(days.ok_or(NULL)?).ok_or(RANGE)?;
            constant(Class::Date, format!("'{text}'::date"))
        }
        ScalarValue::TimestampMicrosecond(micros, zone) => {
            let text = timestamp_text(micros.ok_or(NULL)?).ok_or(RANGE)?;
            match zone {
                Some(_) if text.ends_with("infinity") => {
                    constant(Class::Instant, format!("'{text}'::timestamptz"))
                }
                Some(_) => constant(Class::Instant, format!("'{text}+00'::timestamptz")),
                None => constant(Class::Timestamp, format!("'{text}'::timestamp")),
            }
        }
        ScalarValue::Time64Microsecond(micros) => {
            let micros = micros.ok_or(NULL)?;
            if !(0..=86_400_000_000).contains(&micros) {
                return Err(RANGE);
            }
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            constant(Class::TimeOfDay, format!("'{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}'::time"))
        }
        ScalarValue::FixedSizeBinary(16, bytes) => {
            let uuid = uuid::Uuid::from_slice(bytes.as_deref().ok_or(NULL)?).map_err(|_| RANGE)?;
            constant(Class::Uuid, format!("'{uuid}'::uuid"))
        }
        other => Err(format!("constants of type {} are compared here", other.data_type()).into()),
    }
}

/// The items of an array of integers, if all are plain ones.
fn integers(items: &[String]) -> Option<String> {
    let plain = |item: &String| {
        let digits = item.strip_prefix('(')?.strip_suffix(')')?;
        digits.parse::<i64>().ok().map(|_| digits.to_owned())
    };
    Some(items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(","))
}

/// The smallest int8 has no positive counterpart to negate, so it goes as numeric.
fn number_or_integer(
    value: i64,
    integer: impl Fn(String) -> Walked<Operand>,
    number: impl Fn(String) -> Walked<Operand>,
) -> Walked<Operand> {
    if value == i64::MIN { number(value.to_string()) } else { integer(value.to_string()) }
}

/// Puts the decimal point into a scaled integer.
fn point(digits: &str, scale: i8) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    if scale <= 0 {
        return format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    }
    let scale = usize::from(scale.unsigned_abs());
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
#[path = "render_tests.rs"]
pub(super) mod tests;
