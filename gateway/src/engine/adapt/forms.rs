//! Forms of the tree that DataFusion reads otherwise than PostgreSQL, or not at all, put into forms it reads right.
//!
//! Works without types; what needs them is decided in `functions`. A form that has no equal is refused by name, because
//! the nearest one would be a wrong answer. Names of result columns are settled before this changes an expression.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Interval, LimitClause, ObjectNamePart,
    Query, SetExpr, SetOperator, SetQuantifier, TimezoneInfo, UnaryOperator, Value, ValueWithSpan,
};

use super::{literals, patterns};
use crate::error::{ErrorCode, QueryError};
use crate::functions::{Span, interval};

/// Who asks, for `current_user` and its like.
pub(super) struct Asker<'a> {
    pub(super) user: &'a str,
    pub(super) schema: Option<&'a str>,
}

/// The characters of a quoted literal, however it is quoted.
pub(super) fn quoted(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text)
        | Value::EscapedStringLiteral(text)
        | Value::UnicodeStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

pub(super) fn text(text: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).into())
}

pub(super) fn number(digits: impl Into<String>) -> Expr {
    Expr::Value(Value::Number(digits.into(), false).into())
}

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// Whether an identifier is one of SQL's session values, which look like columns.
pub(super) fn is_session_value(name: &Ident) -> bool {
    name.quote_style.is_none()
        && matches!(
            name.value.to_ascii_lowercase().as_str(),
            "current_user" | "session_user" | "current_role" | "user" | "current_catalog"
        )
}

/// Changes one expression whose parts have been changed already.
pub(super) fn expression(expr: &mut Expr, asker: &Asker<'_>) -> Result<(), QueryError> {
    match expr {
        Expr::Value(value) => {
            if let Some(kept) = literals::beyond(&value.value) {
                *expr = kept;
                return Ok(());
            }
            literal(value)
        }
        Expr::Identifier(name) if is_session_value(name) => {
            let name = name.value.to_ascii_lowercase();
            session_value(expr, &name, asker);
            Ok(())
        }
        Expr::Function(function) => {
            let name = plain_name(function);
            if argument_count(function) == 0 {
                session_value(expr, &name, asker);
                return Ok(());
            }
            if name == "date_trunc"
                && let Some(arguments) = three_arguments(function)
            {
                *expr = truncated_in_zone(arguments)?;
                return Ok(());
            }
            call(function, &name)
        }
        // Planned as a cast to a timestamp with that zone, what has none any more would be calculated with as one.
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = plain_call("timezone", vec![take(time_zone), take(timestamp)]);
            Ok(())
        }
        // Unary minus binds tighter than ^.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner }
            if matches!(inner.as_ref(), Expr::BinaryOp { op: BinaryOperator::PGExp, .. }) =>
        {
            let mut power = take(inner);
            negate_leftmost(&mut power);
            *expr = power;
            Ok(())
        }
        // DataFusion negates a literal by a sign before its text, which is that of its first number only.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
            if let Some(digits) = literals::kept(inner) {
                *expr = literals::keep(
                    digits.strip_prefix('-').map_or_else(|| format!("-{digits}"), str::to_owned),
                );
            } else if let Expr::Interval(Interval { value, leading_field: None, .. }) = inner.as_mut()
                && let Some(written) = quoted(value)
            {
                **value = spelled(interval(written)?.negated()?);
                *expr = take(inner);
            }
            Ok(())
        }
        Expr::BinaryOp { left, op, right } if is_bitwise(op) => {
            super::wrap_integer(left);
            super::wrap_integer(right);
            Ok(())
        }
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right }
            if matches!(left.as_ref(), Expr::Array(_)) || matches!(right.as_ref(), Expr::Array(_)) =>
        {
            super::wrap_integer(left);
            super::wrap_integer(right);
            Ok(())
        }
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            escape(pattern, escape_char)
        }
        Expr::SimilarTo { .. } => similar(expr),
        Expr::BinaryOp { op, right, .. } if is_regex(op) => {
            if let Some(written) = quoted(right) {
                **right = text(patterns::translated(written, false)?);
            }
            Ok(())
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } => super::arrays::expression(expr),
        Expr::Interval(Interval { value, leading_field: None, last_field: None, .. }) => {
            spelled_interval(value)
        }
        Expr::TypedString(typed) => {
            let Some(written) = typed.value.clone().value.into_string() else { return Ok(()) };
            let data_type = typed.data_type.clone();
            if let Some(changed) = typed_literal(&written, &data_type)? {
                *expr = changed;
            }
            Ok(())
        }
        Expr::Cast { expr: inner, data_type, .. } => {
            if let Some(changed) = cast_form(inner, data_type)? {
                *expr = changed;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn literal(value: &mut ValueWithSpan) -> Result<(), QueryError> {
    match &mut value.value {
        Value::UnicodeStringLiteral(text) => {
            value.value = Value::SingleQuotedString(std::mem::take(text));
            Ok(())
        }
        Value::HexStringLiteral(_) | Value::SingleQuotedByteStringLiteral(_) => {
            Err(QueryError::unsupported("a hexadecimal or bit-string literal")
                .with_hint("write numbers in decimal and bytes as '\\x00ff'::bytea"))
        }
        _ => Ok(()),
    }
}

fn plain_name(function: &Function) -> String {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => super::fold(name),
        _ => String::new(),
    }
}

fn argument_count(function: &Function) -> usize {
    match &function.args {
        FunctionArguments::None => 0,
        FunctionArguments::Subquery(_) => 1,
        FunctionArguments::List(list) => list.args.len(),
    }
}

fn session_value(expr: &mut Expr, name: &str, asker: &Asker<'_>) {
    match name {
        "current_user" | "session_user" | "current_role" | "user" => *expr = text(asker.user),
        "current_catalog" | "current_database" => *expr = text(crate::session::CATALOG),
        "localtime" => *expr = cast(now(), DataType::Time(None, TimezoneInfo::None)),
        "localtimestamp" => *expr = cast(now(), DataType::Timestamp(None, TimezoneInfo::None)),
        "current_schema" => *expr = asker.schema.map_or_else(|| Expr::Value(Value::Null.into()), text),
        _ => {}
    }
}

fn now() -> Expr {
    plain_call("now", Vec::new())
}

fn plain_call(name: &str, arguments: Vec<Expr>) -> Expr {
    let plain = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let args = arguments.into_iter().map(plain).collect();
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: Ident::new(name).into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn rename(function: &mut Function, name: &str) {
    function.name = Ident::new(name).into();
}

/// Calls that mean something else, or the same under another name.
fn call(function: &mut Function, name: &str) -> Result<(), QueryError> {
    match name {
        "array_remove" => rename(function, "array_remove_all"),
        "array_replace" => rename(function, "array_replace_all"),
        "every" => rename(function, "bool_and"),
        _ => {}
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    if name.starts_with("regexp_") {
        regex_arguments(&mut list.args, name)?;
    }
    if matches!(name, "string_agg" | "array_agg")
        && list.duplicate_treatment.is_some_and(|kind| kind.to_string() == "DISTINCT")
        && !(list.clauses.is_empty() && function.within_group.is_empty())
    {
        return Err(QueryError::unsupported(format!("{name}(DISTINCT … ORDER BY …)"))
            .with_hint("aggregate over a SELECT DISTINCT in FROM"));
    }
    if name.starts_with("array_") || matches!(name, "gcd" | "lcm") {
        for argument in &mut list.args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                super::wrap_integer(expr);
            }
        }
    }
    Ok(())
}

/// The arguments of a call that has three.
fn three_arguments(function: &Function) -> Option<[Expr; 3]> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// `date_trunc(unit, instant, zone)`: cut on the clocks of the zone, and an instant again. An hour that those clocks tell
/// twice would be one (PostgreSQL 17, timestamp.c, timestamptz_trunc_zone).
fn truncated_in_zone([unit, instant, zone]: [Expr; 3]) -> Result<Expr, QueryError> {
    const LONG: [&str; 8] = ["day", "week", "month", "quarter", "year", "decade", "century", "millennium"];
    let long = quoted(&unit).is_some_and(|unit| LONG.contains(&unit.to_ascii_lowercase().as_str()));
    let Some(zone) = quoted(&zone).filter(|_| long) else {
        return Err(QueryError::unsupported("date_trunc of less than a day, or not of constants, in a zone")
            .with_hint("SET TimeZone and leave the zone out, or write date_trunc(…, x AT TIME ZONE '…')"));
    };
    let in_zone = |timestamp: Expr| plain_call("timezone", vec![text(zone), timestamp]);
    let clock = in_zone(cast(instant, DataType::Timestamp(None, TimezoneInfo::Tz)));
    Ok(in_zone(plain_call("date_trunc", vec![unit, clock])))
}

/// The constant pattern of a call, and the constant that takes its place.
fn regex_arguments(arguments: &mut [FunctionArg], name: &str) -> Result<(), QueryError> {
    let shown = name != "regexp_like";
    for (place, argument) in arguments.iter_mut().enumerate() {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else { continue };
        let Some(written) = quoted(expr) else { continue };
        match place {
            1 => *expr = text(patterns::translated(written, shown)?),
            2 if name == "regexp_replace" => *expr = text(patterns::replacement(written)?),
            _ => {}
        }
    }
    Ok(())
}

fn negate_leftmost(expr: &mut Expr) {
    if let Expr::BinaryOp { left, op: BinaryOperator::PGExp, .. } = expr {
        negate_leftmost(left);
    } else {
        let inner = take(expr);
        *expr = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(inner) };
    }
}

/// A pattern with its own escape character, written with the backslash.
fn escape(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) -> Result<(), QueryError> {
    let Some(escape) = escape_char.take() else { return Ok(()) };
    let mark = escape.value.into_string().unwrap_or_default();
    // Said again as what is the default, for types: with ESCAPE the pattern is a text.
    *escape_char = Some(Value::SingleQuotedString("\\".to_owned()).into());
    if mark == "\\" {
        return Ok(());
    }
    let mut marks = mark.chars();
    let mark = marks.next();
    if marks.next().is_some() {
        return Err(QueryError::new(ErrorCode::InvalidParameterValue, "invalid escape string")
            .with_hint("the escape string must be empty or one character"));
    }
    let Some(written) = quoted(pattern) else {
        return Err(QueryError::unsupported("LIKE … ESCAPE with a pattern that is no constant"));
    };
    let mut changed = String::new();
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        if Some(character) == mark {
            changed.push('\\');
            changed.extend(characters.next());
        } else if character == '\\' {
            changed.push_str("\\\\");
        } else {
            changed.push(character);
        }
    }
    *pattern = text(changed);
    Ok(())
}

/// `SIMILAR TO` as a regular expression over the whole text.
fn similar(expr: &mut Expr) -> Result<(), QueryError> {
    let Expr::SimilarTo { negated, expr: inner, pattern, escape_char } = expr else { return Ok(()) };
    let (Some(written), None) = (quoted(pattern), &escape_char) else {
        return Err(
            QueryError::unsupported("this form of SIMILAR TO").with_hint("use ~ with a regular expression")
        );
    };
    let regex = patterns::of_similar(written)?;
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    *expr = Expr::BinaryOp { left: Box::new(take(inner)), op, right: Box::new(text(regex)) };
    Ok(())
}

/// An interval in the words DataFusion reads.
fn spelled_interval(value: &mut Expr) -> Result<(), QueryError> {
    if let Some(written) = quoted(value) {
        *value = spelled(interval(written)?);
    }
    Ok(())
}

fn spelled(span: Span) -> Expr {
    let sign = if span.micros < 0 { "-" } else { "" };
    let micros = span.micros.unsigned_abs();
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    text(format!("{} months {} days {sign}{seconds}.{rest:06} seconds", span.months, span.days))
}

fn is_regex(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
    )
}

fn is_bitwise(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseOr
            | BinaryOperator::BitwiseXor
            | BinaryOperator::PGBitwiseXor
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
    )
}

/// `type 'text'` and `'text'::type` for the types whose texts DataFusion reads otherwise.
fn typed_literal(written: &str, data_type: &DataType) -> Result<Option<Expr>, QueryError> {
    Ok(match data_type {
        DataType::Interval { .. } => {
            let mut value = text(written);
            spelled_interval(&mut value)?;
            Some(Expr::Interval(Interval {
                value: Box::new(value),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            }))
        }
        DataType::Bytea => Some(Expr::Value(Value::HexStringLiteral(literals::bytes(written)?).into())),
        DataType::Numeric(ExactNumberInfo::None)
        | DataType::Decimal(ExactNumberInfo::None)
        | DataType::Dec(ExactNumberInfo::None) => literals::decimal(written),
        DataType::JSON | DataType::JSONB => return Err(json()),
        DataType::Array(element) => match super::arrays::element_type(element) {
            Some(element) => Some(cast(literals::array(written, element)?, data_type.clone())),
            None => None,
        },
        _ => None,
    })
}

fn json() -> QueryError {
    QueryError::unsupported("a cast to json or jsonb in a query of data")
        .with_hint("columns of type jsonb are read as they are")
}

fn cast_form(inner: &mut Box<Expr>, data_type: &DataType) -> Result<Option<Expr>, QueryError> {
    if let Some(written) = quoted(inner) {
        let written = written.to_owned();
        if let Some(changed) = typed_literal(&written, data_type)? {
            return Ok(Some(changed));
        }
    }
    Ok(match data_type {
        DataType::JSON | DataType::JSONB => return Err(json()),
        // Digits of any number for a float: as a numeric they might not fit.
        DataType::Real
        | DataType::Float4
        | DataType::Float8
        | DataType::DoublePrecision
        | DataType::Double(_)
        | DataType::Float(_) => match inner.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })
                if digits.contains(['e', 'E']) =>
            {
                Some(cast(text(digits.clone()), data_type.clone()))
            }
            inner => literals::kept(inner).map(|digits| cast(text(digits), data_type.clone())),
        },
        DataType::Numeric(ExactNumberInfo::None)
        | DataType::Decimal(ExactNumberInfo::None)
        | DataType::Dec(ExactNumberInfo::None) => match inner.as_ref() {
            Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => literals::decimal(digits),
            _ => None,
        },
        DataType::Varchar(Some(length))
        | DataType::CharacterVarying(Some(length))
        | DataType::CharVarying(Some(length)) => {
            let CharacterLength::IntegerLength { length, .. } = length else { return Ok(None) };
            let whole = cast(take(inner), DataType::Text);
            Some(Expr::Substring {
                expr: Box::new(whole),
                substring_from: Some(Box::new(number("1"))),
                substring_for: Some(Box::new(number(length.to_string()))),
                special: true,
                shorthand: false,
            })
        }
        DataType::Char(_) | DataType::Character(_) => {
            return Err(QueryError::unsupported("a cast to character(n)").with_hint(
                "cast to text or varchar(n); columns of type character(n) are compared without their blanks",
            ));
        }
        _ => None,
    })
}

/// Set operations whose ALL counts rows, which DataFusion's do not.
pub(super) fn set_operation(body: &SetExpr) -> Result<(), QueryError> {
    let SetExpr::SetOperation { left, op, set_quantifier, right } = body else { return Ok(()) };
    if matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus)
        && matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName)
    {
        return Err(QueryError::unsupported(format!("{op} ALL"))
            .with_hint("number the rows with row_number() and use it without ALL"));
    }
    set_operation(left)?;
    set_operation(right)
}

/// `FETCH FIRST n ROWS ONLY` as LIMIT.
pub(super) fn fetch(query: &mut Query) -> Result<(), QueryError> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        return Err(QueryError::unsupported("FETCH … WITH TIES or PERCENT")
            .with_hint("filter by rank() in a subquery"));
    }
    let rows = Some(fetch.quantity.unwrap_or_else(|| number("1")));
    match &mut query.limit_clause {
        None => {
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit: rows, offset: None, limit_by: Vec::new() })
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = rows,
        Some(_) => return Err(QueryError::new(ErrorCode::SyntaxError, "multiple LIMIT clauses not allowed")),
    }
    Ok(())
}
