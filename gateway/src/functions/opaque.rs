//! `bytea`, `uuid`, `time` and arrays: types whose values only stand beside values of their own type, and beside quoted
//! literals, which are read as that type (parse_oper.c and parse_coerce.c).
//!
//! DataFusion would compare bytes with a text's characters, and knows no UUIDs. It must never coerce such a type: what
//! PostgreSQL has no operator or cast for is refused as there.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, Like, ScalarFunction};
use datafusion::logical_expr::planner::{PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, Subquery};

use super::octets::{Settled, settled};
use super::operators::{Kind, kind, no_operator};
use super::quoted::{read_literal, typed, unknown};
use super::{arrays, days, octet_text, text};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::{PgType, input};

/// Whether nothing but its own type and quoted literals may stand beside a type.
pub(super) fn is_opaque(data_type: &DataType) -> bool {
    matches!(kind(data_type), Kind::Bytes | Kind::Uuid | Kind::Time) || matches!(data_type, DataType::List(_))
}

/// Whether two types are never matched: bytes or UUIDs, and something else that is known.
pub(super) fn differ(left: &DataType, right: &DataType) -> bool {
    let (left_kind, right_kind) = (kind(left), kind(right));
    let opaque = |kind: Kind| matches!(kind, Kind::Bytes | Kind::Uuid);
    left_kind != right_kind
        && (opaque(left_kind) || opaque(right_kind))
        && !left.is_null()
        && !right.is_null()
}

/// A quoted literal as a value of such a type; `None` for other types.
///
/// # Errors
/// What the type's input function says of the text.
pub(super) fn read(text: &str, wanted: &DataType, zone: chrono_tz::Tz) -> Result<Option<ScalarValue>> {
    let value = match (kind(wanted), wanted) {
        (Kind::Uuid, _) => ScalarValue::FixedSizeBinary(16, Some(input::uuid(text)?.to_vec())),
        (Kind::Bytes, _) => ScalarValue::Binary(Some(input::bytea(text)?)),
        (Kind::Time, _) => ScalarValue::Time64Microsecond(Some(input::time(text)?)),
        (_, DataType::List(item)) if !matches!(item.data_type(), DataType::List(_)) => {
            let of = item.data_type();
            let mut values = Vec::new();
            for item in input::array_items(text)? {
                let value = match item {
                    None => ScalarValue::try_from(of)?,
                    Some(item) if kind(of) == Kind::Text => ScalarValue::Utf8(Some(item)).cast_to(of)?,
                    Some(item) => match read_literal(&item, of, zone)? {
                        Some(value) => value.cast_to(of)?,
                        None => return Err(unread(wanted).into()),
                    },
                };
                values.push(value);
            }
            ScalarValue::List(ScalarValue::new_list_nullable(&values, of))
        }
        (_, DataType::List(_)) => return Err(unread(wanted).into()),
        _ => return Ok(None),
    };
    Ok(Some(if value.data_type() == *wanted { value } else { value.cast_to(wanted)? }))
}

fn unread(wanted: &DataType) -> QueryError {
    QueryError::unsupported(format!("a quoted literal of type {}", shown(wanted)))
        .with_hint("write ARRAY[…] with a cast, or compare the elements")
}

fn shown(data_type: &DataType) -> String {
    PgType::from_arrow(data_type).without_typmod().format()
}

/// The name of an operand's type in a message.
fn shown_of(expr: &Expr, data_type: &DataType) -> String {
    if unknown(expr).is_some() || data_type.is_null() { "unknown".to_owned() } else { shown(data_type) }
}

/// The types of expressions, `Null` where they have none yet.
fn types_of(values: &[Expr], schema: &DFSchema) -> Vec<DataType> {
    values.iter().map(|value| value.get_type(schema).unwrap_or(DataType::Null)).collect()
}

/// Quoted literals beside such a type take it; other values that are not of it are 42883, as the operator's operands.
fn beside(values: Vec<Expr>, symbol: &str, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Vec<Expr>> {
    let types = types_of(&values, schema);
    let Some(wanted) = types.iter().find(|of| is_opaque(of)) else { return Ok(values) };
    let first = types.first().unwrap_or(wanted);
    let operand = |(value, of): (Expr, &DataType)| {
        if unknown(&value).is_some() {
            return typed(value, wanted, zone);
        }
        if !differ(of, wanted) {
            return Ok(value);
        }
        let (left, right) = if differ(first, of) { (first, of) } else { (of, wanted) };
        Err(no_operator(left, symbol, right).into())
    };
    values.into_iter().zip(&types).map(operand).collect()
}

/// Gives one expression, whose parts have been settled, the meaning such types have in it.
///
/// # Errors
/// 42883 and 42846 for what PostgreSQL has no operator, function or cast for; 22P02 and 22023 for bad literals.
pub(super) fn settle(expr: Expr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let opaque = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| is_opaque(&of));
    match expr {
        Expr::Between(Between { expr, negated, low, high })
            if opaque(&expr) || opaque(&low) || opaque(&high) =>
        {
            let symbol = if negated { "<" } else { ">=" };
            match <[Expr; 3]>::try_from(beside(vec![*expr, *low, *high], symbol, schema, zone)?) {
                Ok([expr, low, high]) => {
                    if let Some(range) = arrays::between(&expr, negated, &low, &high, schema) {
                        return Ok(Transformed::yes(range));
                    }
                    let range = Between::new(Box::new(expr), negated, Box::new(low), Box::new(high));
                    Ok(Transformed::yes(Expr::Between(range)))
                }
                Err(_) => internal_err!("three values became another number of values"),
            }
        }
        Expr::InList(InList { expr, list, negated }) if opaque(&expr) || list.iter().any(opaque) => {
            let mut values = vec![*expr];
            values.extend(list);
            let mut values = beside(values, if negated { "<>" } else { "=" }, schema, zone)?.into_iter();
            let Some(expr) = values.next() else { return internal_err!("a list without its value") };
            let list = InList { expr: Box::new(expr), list: values.collect(), negated };
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::InSubquery(mut membership) => {
            let tested = member(*membership.expr, "=", &membership.subquery, schema, zone)?;
            membership.expr = Box::new(tested);
            Ok(Transformed::yes(Expr::InSubquery(membership)))
        }
        Expr::SetComparison(mut comparison) => {
            let symbol = comparison.op.to_string();
            let tested = member(*comparison.expr, &symbol, &comparison.subquery, schema, zone)?;
            comparison.expr = Box::new(tested);
            Ok(Transformed::yes(Expr::SetComparison(comparison)))
        }
        Expr::Like(like) => of_like(like, schema, zone),
        Expr::Case(case) => of_case(case, schema, zone),
        Expr::Cast(cast) => of_cast(cast, schema, zone),
        Expr::ScalarFunction(call) => of_call(call, schema, zone),
        Expr::AggregateFunction(call)
            if call.func.name() == "string_agg"
                && call.params.args.first().is_some_and(|value| {
                    value.get_type(schema).is_ok_and(|of| matches!(kind(&of), Kind::Bytes | Kind::Uuid))
                }) =>
        {
            Err(QueryError::unsupported("string_agg of bytea")
                .with_hint("aggregate encode(…, 'hex') and decode the result")
                .into())
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A value that is compared with a subquery's column.
fn member(
    expr: Expr,
    symbol: &str,
    subquery: &Subquery,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Expr> {
    let Some(of) = subquery.subquery.schema().fields().first().map(|field| field.data_type().clone()) else {
        return Ok(expr);
    };
    if unknown(&expr).is_some() && is_opaque(&of) {
        return typed(expr, &of, zone);
    }
    let Ok(tested) = expr.get_type(schema) else { return Ok(expr) };
    if differ(&tested, &of) { Err(no_operator(&tested, symbol, &of).into()) } else { Ok(expr) }
}

/// `LIKE` of bytes is a function of ours; of UUIDs and arrays there is none.
fn of_like(mut like: Like, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    // What ESCAPE says is in the pattern by now; that it was there only says that the pattern is a text.
    let escaped = like.escape_char == Some('\\');
    if escaped {
        like.escape_char = None;
    }
    let (Ok(value), Ok(pattern)) = (like.expr.get_type(schema), like.pattern.get_type(schema)) else {
        return Ok(Transformed::new_transformed(Expr::Like(like), escaped));
    };
    if !is_opaque(&value) && !is_opaque(&pattern) {
        return Ok(Transformed::new_transformed(Expr::Like(like), escaped));
    }
    let bytes = |expr: &Expr, of: &DataType| {
        kind(of) == Kind::Bytes || of.is_null() || unknown(expr).is_some() && !escaped
    };
    if like.case_insensitive || !bytes(&like.expr, &value) || !bytes(&like.pattern, &pattern) {
        let symbol = match (like.negated, like.case_insensitive) {
            (false, false) => "~~",
            (true, false) => "!~~",
            (false, true) => "~~*",
            (true, true) => "!~~*",
        };
        let pattern = if escaped { "text".to_owned() } else { shown_of(&like.pattern, &pattern) };
        return Err(operator_missing(&shown_of(&like.expr, &value), symbol, &pattern).into());
    }
    let sides =
        vec![typed(*like.expr, &DataType::Binary, zone)?, typed(*like.pattern, &DataType::Binary, zone)?];
    let answer = octet_text::like().call(sides);
    Ok(Transformed::yes(if like.negated { Expr::Not(Box::new(answer)) } else { answer }))
}

fn operator_missing(left: &str, symbol: &str, right: &str) -> QueryError {
    let message = format!("operator does not exist: {left} {symbol} {right}");
    QueryError::new(ErrorCode::UndefinedFunction, message).with_hint(
        "no operator matches the given name and argument types; you might need to add explicit type casts",
    )
}

/// The value of a simple CASE is compared with what stands after each WHEN, and its results are of one type.
fn of_case(mut case: Case, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let mut changed = false;
    if let Some(value) = &mut case.expr {
        let mut values = vec![value.as_ref().clone()];
        values.extend(case.when_then_expr.iter().map(|(when, _)| when.as_ref().clone()));
        let mut settled = beside(values, "=", schema, zone)?.into_iter();
        for place in std::iter::once(value).chain(case.when_then_expr.iter_mut().map(|(when, _)| when)) {
            if let Some(settled) = settled.next()
                && settled != **place
            {
                **place = settled;
                changed = true;
            }
        }
    }
    let mut results: Vec<&mut Box<Expr>> = case.when_then_expr.iter_mut().map(|(_, then)| then).collect();
    results.extend(case.else_expr.iter_mut());
    let types: Vec<_> = results.iter().map(|result| result.get_type(schema).ok()).collect();
    if let Some(wanted) = types.iter().flatten().find(|of| is_opaque(of)).cloned() {
        for (result, of) in results.into_iter().zip(types) {
            if unknown(result).is_some() {
                **result = typed(result.as_ref().clone(), &wanted, zone)?;
                changed = true;
            } else if let Some(of) = of.filter(|of| differ(of, &wanted)) {
                return Err(unmatched("CASE", &wanted, &of).into());
            }
        }
    }
    Ok(Transformed::new_transformed(Expr::Case(case), changed))
}

fn unmatched(what: &str, left: &DataType, right: &DataType) -> QueryError {
    let message = format!("{what} types {} and {} cannot be matched", shown(left), shown(right));
    QueryError::new(ErrorCode::DatatypeMismatch, message).with_hint("cast one of them to the other's type")
}

/// Casts between these types and texts; there are no others. Those of times of day know 24:00.
fn of_cast(cast: Cast, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let target = cast.field.data_type().clone();
    // A quoted literal is read as the type is.
    let Some(source) = cast.expr.get_type(schema).ok().filter(|_| unknown(&cast.expr).is_none()) else {
        return Ok(Transformed::no(Expr::Cast(cast)));
    };
    if let (DataType::List(from), DataType::List(to)) = (&source, &target)
        && is_opaque(to.data_type())
        && from.data_type() != to.data_type()
        && !from.data_type().is_null()
    {
        return of_elements(cast, to.data_type(), schema, zone);
    }
    match (kind(&source), kind(&target)) {
        (Kind::Time, Kind::Text) => Ok(Transformed::yes(text::to_text().call(vec![*cast.expr]))),
        (Kind::Text, Kind::Time) if target == DataType::Time64(TimeUnit::Microsecond) => {
            Ok(Transformed::yes(octet_text::read(target).call(vec![*cast.expr])))
        }
        _ if !differ(&source, &target) => Ok(Transformed::no(Expr::Cast(cast))),
        (Kind::Text, Kind::Bytes) => {
            Ok(Transformed::yes(octet_text::read(DataType::Binary).call(vec![*cast.expr])))
        }
        (Kind::Text, Kind::Uuid) => Ok(Transformed::yes(octet_text::read(target).call(vec![*cast.expr]))),
        (Kind::Bytes | Kind::Uuid, Kind::Text) => {
            Ok(Transformed::yes(text::to_text().call(vec![*cast.expr])))
        }
        _ => {
            let message = format!("cannot cast type {} to {}", shown(&source), shown(&target));
            Err(QueryError::new(ErrorCode::CannotCoerce, message).into())
        }
    }
}

/// A cast of an array that is written out is one of its elements.
fn of_elements(
    mut array: Cast,
    element: &DataType,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Transformed<Expr>> {
    let written =
        matches!(array.expr.as_ref(), Expr::ScalarFunction(call) if call.func.name() == "make_array");
    let (Expr::ScalarFunction(call), true) = (array.expr.as_mut(), written) else {
        return Err(QueryError::unsupported(format!("a cast of an array to {}[]", shown(element)))
            .with_hint("cast its elements: ARRAY[x::type, …]")
            .into());
    };
    let mut args = Vec::with_capacity(call.args.len());
    for argument in std::mem::take(&mut call.args) {
        let argument = typed(argument, element, zone)?;
        args.push(of_cast(Cast::new(Box::new(argument), element.clone()), schema, zone)?.data);
    }
    call.args = args;
    Ok(Transformed::yes(Expr::Cast(array)))
}

fn of_call(call: ScalarFunction, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let types = types_of(&call.args, schema);
    match settled(call, &types)? {
        Settled::Text(call) => Ok(Transformed::yes(Expr::ScalarFunction(call))),
        Settled::Bytes(mut call) => {
            let mut args = Vec::with_capacity(call.args.len());
            for (argument, of) in call.args.into_iter().zip(&types) {
                if kind(of) == Kind::Text && unknown(&argument).is_none() {
                    let message = format!("function position({}, bytea) does not exist", shown(of));
                    return Err(QueryError::new(ErrorCode::UndefinedFunction, message).into());
                }
                args.push(typed(argument, &DataType::Binary, zone)?);
            }
            call.args = args;
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Settled::Values(mut call) => {
            if let Some(wanted) = types.iter().find(|of| is_opaque(of)) {
                let mut args = Vec::with_capacity(call.args.len());
                for (argument, of) in call.args.into_iter().zip(&types) {
                    if unknown(&argument).is_none() && differ(of, wanted) {
                        return Err(unmatched(&call.func.name().to_uppercase(), wanted, of).into());
                    }
                    args.push(typed(argument, wanted, zone)?);
                }
                call.args = args;
            }
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Settled::Foreign(call) => Ok(Transformed::no(Expr::ScalarFunction(call))),
        Settled::Written(mut call) => {
            let texts = |(argument, of): (Expr, &DataType)| match kind(of) {
                Kind::Bytes | Kind::Uuid | Kind::Time => text::to_text().call(vec![argument]),
                _ => argument,
            };
            call.args = std::mem::take(&mut call.args).into_iter().zip(&types).map(texts).collect();
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
    }
}

/// Refuses joins by columns of types that are not compared, which USING and NATURAL make.
///
/// An instant beside what is none is refused, because it would be compared in UTC.
///
/// # Errors
/// 42883, 0A000.
pub(super) fn check_join(node: &LogicalPlan, zone: chrono_tz::Tz) -> Result<()> {
    let LogicalPlan::Join(join) = node else { return Ok(()) };
    for (left, right) in &join.on {
        let left = left.get_type(join.left.schema().as_ref());
        let (Ok(left), Ok(right)) = (left, right.get_type(join.right.schema().as_ref())) else { continue };
        if differ(&left, &right) {
            return Err(no_operator(&left, "=", &right).into());
        }
        if zone != chrono_tz::UTC && days::common([&left, &right].into_iter()) == Some(true) {
            let message = format!(
                "USING, NATURAL, INTERSECT or EXCEPT of {} and {} in the time zone \"{}\"",
                shown(&left),
                shown(&right),
                zone.name()
            );
            return Err(QueryError::unsupported(message)
                .with_hint("cast one of them to the other's type")
                .into());
        }
    }
    Ok(())
}

/// `||` with bytes, a UUID, a time of day or an array on one side.
///
/// # Errors
/// 42883 for two UUIDs; what is wrong with a literal.
pub(super) fn concatenate(
    raw: RawBinaryExpr,
    left: &DataType,
    right: &DataType,
    zone: chrono_tz::Tz,
) -> Result<PlannerResult<RawBinaryExpr>> {
    if !is_opaque(left) && !is_opaque(right) {
        return Ok(PlannerResult::Original(raw));
    }
    let RawBinaryExpr { op, left: left_expr, right: right_expr } = raw;
    let joined = |left: Expr, right: Expr| {
        let sides = BinaryExpr::new(Box::new(left), Operator::StringConcat, Box::new(right));
        Ok(PlannerResult::Planned(Expr::BinaryExpr(sides)))
    };
    let as_text = |expr: Expr| text::to_text().call(vec![expr]);
    let quoted = |expr: &Expr| unknown(expr).is_some();
    match (kind(left), kind(right)) {
        (Kind::Bytes, Kind::Text) if quoted(&right_expr) => joined(left_expr, typed(right_expr, left, zone)?),
        (Kind::Text, Kind::Bytes) if quoted(&left_expr) => joined(typed(left_expr, right, zone)?, right_expr),
        (Kind::Bytes | Kind::Uuid | Kind::Time, Kind::Text) => joined(as_text(left_expr), right_expr),
        (Kind::Text, Kind::Bytes | Kind::Uuid | Kind::Time) => joined(left_expr, as_text(right_expr)),
        (Kind::Uuid, Kind::Uuid | Kind::Bytes) | (Kind::Bytes, Kind::Uuid) => {
            Err(no_operator(left, "||", right).into())
        }
        // Not an element: PostgreSQL reads it as an array.
        (Kind::Other, Kind::Text) if quoted(&right_expr) => {
            let right = typed(right_expr, left, zone)?;
            Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right }))
        }
        (Kind::Text, Kind::Other) if quoted(&left_expr) => {
            let left = typed(left_expr, right, zone)?;
            Ok(PlannerResult::Original(RawBinaryExpr { op, left, right: right_expr }))
        }
        _ => Ok(PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr })),
    }
}

/// `@>`, `<@` and `&&` of an array and a quoted literal, which is an array.
///
/// # Errors
/// What is wrong with the literal.
pub(super) fn contained(
    raw: RawBinaryExpr,
    left: &DataType,
    right: &DataType,
    zone: chrono_tz::Tz,
) -> Result<PlannerResult<RawBinaryExpr>> {
    let RawBinaryExpr { op, left: left_expr, right: right_expr } = raw;
    let beside = |expr: Expr, other: &DataType| match other {
        DataType::List(_) => typed(expr, other, zone),
        _ => Ok(expr),
    };
    let (left, right) = (beside(left_expr, right)?, beside(right_expr, left)?);
    Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
}
