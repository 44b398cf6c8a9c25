//! One scalar of a comparison: a column, a constant, a column under a cast that changes no value, or a part of a text.
//!
//! A constant is always a placeholder with a bound value. What has no bound value of the same meaning is refused
//! here, with the reason.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr};
use mysql_async::Value;

use super::Walked;
use crate::federation::Reason;
use crate::mysql::column::{AS_TEXT_KEY, CHARSET_KEY, COLLATION_KEY, base, is_doubtful, is_flag};
use crate::mysql::config::ZeroDates;
use crate::mysql::literal::{date_value, hex, instant_value, point, quote_identifier, timestamp_value};
use crate::mysql::probe::Construct;
use crate::source::{PG_TYPE_KEY, TableDef};

/// Types whose values compare alike on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mysql) enum Class {
    Boolean,
    Number,
    Float32,
    Float64,
    Text,
    Bytes,
    Date,
    Timestamp,
    Instant,
}

/// Whose columns an expression names, and what is known of all of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::mysql) struct Scope<'a> {
    pub(in crate::mysql) table: &'a TableDef,
    /// The table's alias, where there is more than one.
    pub(in crate::mysql) alias: Option<&'a str>,
    pub(in crate::mysql) zero_dates: ZeroDates,
}

impl Scope<'_> {
    /// Whether dates that are none are errors, there as here.
    pub(in crate::mysql) fn guards(&self) -> bool {
        self.zero_dates == ZeroDates::Error
    }

    /// A column's name, quoted.
    pub(in crate::mysql) fn name(&self, field: &Field) -> String {
        let name = quote_identifier(field.name());
        self.alias.map_or_else(|| name.clone(), |alias| format!("{alias}.{name}"))
    }

    /// A column as it is read.
    pub(in crate::mysql) fn shown(&self, field: &Field) -> String {
        let name = self.name(field);
        if field.metadata().contains_key(AS_TEXT_KEY) { format!("CAST({name} AS CHAR)") } else { name }
    }
}

/// Why a column of a declared type stays here: a value that the type does not take must be read, to be an error.
pub(in crate::mysql) const DECLARED: Reason =
    Reason::Borrowed("each value of a declared type is checked here");

/// One side of a comparison.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    pub(super) class: Class,
    /// What is known of it if it is a column, or a part of one.
    pub(super) column: Option<ColumnFacts>,
    /// What it rests on, beside the definition of its type.
    pub(super) rests_on: Option<Construct>,
}

impl Operand {
    fn constant(class: Class, sql: impl Into<String>, value: Value) -> Self {
        Self { sql: sql.into(), values: vec![value], class, column: None, rests_on: None }
    }
}

/// What a comparison must know of a column.
#[derive(Debug, Clone)]
pub(super) struct ColumnFacts {
    pub(super) collation: String,
    /// Equal texts are equal bytes in its collation.
    pub(super) bytewise: bool,
    /// Equal texts are equal bytes but for spaces at their end.
    pub(super) pads: bool,
    /// Its character set, if a constant may be compared with it as it stands.
    comparable: Option<String>,
}

impl ColumnFacts {
    /// Whether a constant has the same bytes in the column's character set, so that equal stays equal.
    pub(super) fn can_hold(&self, constant: &Operand) -> bool {
        let ascii = constant.values.iter().all(|value| match value {
            Value::Bytes(bytes) => bytes.is_ascii(),
            _ => true,
        });
        match self.comparable.as_deref() {
            Some("utf8mb4") => true,
            Some(_) => ascii,
            None => false,
        }
    }
}

/// Renders a scalar.
pub(super) fn operand(scope: Scope<'_>, expr: &Expr) -> Walked<Operand> {
    match expr {
        Expr::Column(column) => of_column(scope, field(scope.table, &column.name)?),
        Expr::Literal(value, _) => literal(value),
        Expr::Cast(cast) => widened(scope, cast),
        Expr::ScalarFunction(call) if call.name() == "substr" => part_of_text(scope, &call.args),
        Expr::ScalarFunction(call) => Err(format!("function {} is evaluated here", call.name()).into()),
        _ => Err("computed values are evaluated here".into()),
    }
}

/// A column of any type, for tests that look at nullness only, and whether it can hold zero dates.
pub(super) fn any_column(scope: Scope<'_>, expr: &Expr) -> Walked<(String, bool)> {
    match expr {
        Expr::Column(column) => {
            let field = field(scope.table, &column.name)?;
            if is_flag(field) {
                return Err(DECLARED);
            }
            let temporal = matches!(field.data_type(), DataType::Date32 | DataType::Timestamp(..));
            Ok((scope.name(field), temporal))
        }
        _ => Err("null tests of expressions are evaluated here".into()),
    }
}

pub(super) fn field<'a>(table: &'a TableDef, name: &str) -> Walked<&'a Field> {
    table.arrow.field_with_name(name).map_err(|_| Reason::Borrowed("the column belongs to another table"))
}

fn of_column(scope: Scope<'_>, field: &Field) -> Walked<Operand> {
    let class = class_of(field)?;
    let name = scope.name(field);
    // Without the addition a constant would be taken for a year of two digits, or for bits.
    let sql = if matches!(base(field), "year" | "bit") { format!("({name} + 0)") } else { name };
    let fact = |key: &str| field.metadata().get(key).cloned().unwrap_or_default();
    let (collation, charset) = (fact(COLLATION_KEY), fact(CHARSET_KEY));
    let varies = matches!(base(field), "varchar" | "tinytext" | "text" | "mediumtext" | "longtext");
    let facts = ColumnFacts {
        bytewise: varies && matches!(collation.as_str(), "utf8mb4_nopad_bin" | "utf8mb4_0900_bin"),
        pads: collation.ends_with("_bin"),
        // Constants of an enum may be taken for its numbers.
        comparable: ((varies || base(field) == "char")
            && matches!(charset.as_str(), "utf8mb4" | "utf8mb3" | "utf8" | "latin1" | "ascii"))
        .then_some(charset),
        collation,
    };
    Ok(Operand { sql, values: vec![], class, column: Some(facts), rests_on: None })
}

/// Characters of a text column, counted from its start: the same here and there for whole positions from 1 on. They
/// are counted in Unicode, whatever the column's character set. What comes of it is compared by its bytes: it has the
/// column's collation, and no index.
fn part_of_text(scope: Scope<'_>, args: &[Expr]) -> Walked<Operand> {
    const HERE: Reason = Reason::Borrowed("this form of substr is evaluated here");
    let [Expr::Column(column), Expr::Literal(start, _), Expr::Literal(length, _)] = args else {
        return Err(HERE);
    };
    let place = |value: &ScalarValue, least: i64| match value {
        ScalarValue::Int64(Some(value)) if (least..=1_000_000).contains(value) => Ok(Value::Int(*value)),
        _ => Err(HERE),
    };
    let field = field(scope.table, &column.name)?;
    let whole = of_column(scope, field)?;
    if whole.class != Class::Text || is_doubtful(field) {
        return Err(HERE);
    }
    let facts = whole.column.map(|facts| ColumnFacts {
        bytewise: false,
        pads: false,
        comparable: None,
        collation: facts.collation,
    });
    Ok(Operand {
        sql: characters(&whole.sql, "?", "?"),
        values: vec![place(start, 1)?, place(length, 0)?],
        class: Class::Text,
        column: facts,
        rests_on: Some(Construct::PartOfText),
    })
}

/// Some characters of a text, counted in Unicode.
pub(in crate::mysql) fn characters(text: &str, start: &str, length: &str) -> String {
    format!("SUBSTRING(CONVERT({text} USING utf8mb4), {start}, {length})")
}

pub(in crate::mysql) fn class_of(field: &Field) -> Walked<Class> {
    match field.data_type() {
        DataType::Boolean if is_flag(field) => Err(DECLARED),
        DataType::Boolean => Ok(Class::Boolean),
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64 => Ok(Class::Number),
        DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(Class::Number),
        DataType::Float32 => Ok(Class::Float32),
        DataType::Float64 => Ok(Class::Float64),
        DataType::Utf8View => {
            if field.metadata().get(PG_TYPE_KEY).is_some_and(|ty| ty == "jsonb") {
                return Err("documents are compared here".into());
            }
            if field.metadata().contains_key(AS_TEXT_KEY) {
                return Err(format!("values of type {} are compared here", base(field)).into());
            }
            Ok(Class::Text)
        }
        DataType::Binary
            if matches!(
                base(field),
                "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
            ) =>
        {
            Ok(Class::Bytes)
        }
        DataType::Date32 => Ok(Class::Date),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok(Class::Timestamp),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Ok(Class::Instant),
        other => Err(format!("values of type {other} are compared here").into()),
    }
}

/// A cast of a column that changes the type but never the value.
fn widened(scope: Scope<'_>, cast: &Cast) -> Walked<Operand> {
    let Expr::Column(column) = cast.expr.as_ref() else {
        return Err("casts of expressions are evaluated here".into());
    };
    let from = field(scope.table, &column.name)?.data_type();
    let to = cast.field.data_type();
    let operand = operand(scope, &cast.expr)?;
    let text = |ty: &DataType| matches!(ty, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let lossless = match (integer_digits(from), to) {
        (Some(from), DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => {
            i16::from(*precision) - i16::from(*scale) >= from
        }
        (Some(from), to) => *to != DataType::UInt64 && integer_digits(to).is_some_and(|to| to >= from),
        (None, to) if text(from) => text(to),
        (None, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => operand.class == Class::Instant,
        (None, DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => match from
        {
            DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
                scale >= s && i16::from(*precision) - i16::from(*scale) >= i16::from(*p) - i16::from(*s)
            }
            _ => false,
        },
        (None, _) => false,
    };
    if lossless { Ok(operand) } else { Err(format!("cast to {to} is evaluated here").into()) }
}

/// Decimal digits an integer type needs.
fn integer_digits(ty: &DataType) -> Option<i16> {
    match ty {
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        _ => None,
    }
}

/// The text of a text scalar: outer `None` if it is no text, inner `None` if it is NULL.
pub(super) fn text_of(value: &ScalarValue) -> Option<Option<&str>> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            Some(text.as_deref())
        }
        _ => None,
    }
}

fn literal(value: &ScalarValue) -> Walked<Operand> {
    const NULL: Reason = Reason::Borrowed("a null constant is evaluated here");
    const RANGE: Reason = Reason::Borrowed("the constant is outside what a column can hold");
    let bound = |class, value| Ok(Operand::constant(class, "?", value));
    if let Some(text) = text_of(value) {
        return bound(Class::Text, Value::Bytes(text.ok_or(NULL)?.into()));
    }
    let integer = |value: i64| bound(Class::Number, Value::Int(value));
    match value {
        ScalarValue::Boolean(value) => bound(Class::Boolean, Value::Int(i64::from(value.ok_or(NULL)?))),
        ScalarValue::Int8(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::Int16(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::Int32(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::Int64(value) => integer(value.ok_or(NULL)?),
        ScalarValue::UInt8(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::UInt16(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::UInt32(value) => integer(value.ok_or(NULL)?.into()),
        ScalarValue::UInt64(value) => bound(Class::Number, Value::UInt(value.ok_or(NULL)?)),
        ScalarValue::Decimal128(value, _, scale) => decimal(&value.ok_or(NULL)?.to_string(), *scale),
        ScalarValue::Decimal256(value, _, scale) => decimal(&value.ok_or(NULL)?.to_string(), *scale),
        ScalarValue::Float32(value) => {
            let value = value.ok_or(NULL)?;
            if !value.is_finite() || value == 0.0 {
                Err(AROUND_ZERO)
            } else {
                bound(Class::Float32, Value::Float(value))
            }
        }
        ScalarValue::Float64(value) => {
            let value = value.ok_or(NULL)?;
            if !value.is_finite() || value == 0.0 {
                Err(AROUND_ZERO)
            } else {
                bound(Class::Float64, Value::Double(value))
            }
        }
        ScalarValue::Binary(bytes) | ScalarValue::BinaryView(bytes) | ScalarValue::LargeBinary(bytes) => {
            let digits = hex(bytes.as_ref().ok_or(NULL)?);
            Ok(Operand::constant(Class::Bytes, "UNHEX(?)", Value::Bytes(digits.into())))
        }
        ScalarValue::Date32(days) => bound(Class::Date, date_value(days.ok_or(NULL)?).ok_or(RANGE)?),
        ScalarValue::TimestampMicrosecond(micros, None) => {
            bound(Class::Timestamp, timestamp_value(micros.ok_or(NULL)?).ok_or(RANGE)?)
        }
        ScalarValue::TimestampMicrosecond(micros, Some(_)) => {
            bound(Class::Instant, instant_value(micros.ok_or(NULL)?).ok_or(RANGE)?)
        }
        other => Err(format!("constants of type {} are compared here", other.data_type()).into()),
    }
}

const AROUND_ZERO: Reason =
    Reason::Borrowed("floats around zero, infinite or not a number are compared here");

/// A decimal as text inside a cast: 65 digits, 30 of them behind the point, are what both servers take.
fn decimal(digits: &str, scale: i8) -> Walked<Operand> {
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= 30);
    let Some(scale) = scale else { return Err("a decimal of more than 30 places is compared here".into()) };
    let significant = digits.trim_start_matches('-').len().max(usize::from(scale) + 1);
    if significant > 65 {
        return Err("a decimal of more than 65 digits is compared here".into());
    }
    let text = Value::Bytes(point(digits, scale).into());
    Ok(Operand::constant(Class::Number, format!("CAST(? AS DECIMAL({significant},{scale}))"), text))
}
