//! What DataFusion says of types that do not go together, in PostgreSQL's words and classes.
//!
//! An operator or a function without a form for its arguments is 42883; values that must be of one type are 42804. As
//! everywhere here, nothing is passed on but names of types.

use super::texts::{function_missing, operator_missing, sql_types};
use super::{ErrorCode, QueryError};

/// What stands between two parts of a text.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

fn cannot_be_matched(what: &str, left: &str, right: &str) -> QueryError {
    let (left, right) = (sql_types(left), sql_types(right));
    QueryError::new(ErrorCode::DatatypeMismatch, format!("{what} types {left} and {right} cannot be matched"))
}

/// A call that no signature fits. What PostgreSQL has no function for is told as what it is there.
pub(super) fn call(call: &str) -> QueryError {
    let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
    let types = sql_types(arguments.strip_suffix(')').unwrap_or(arguments));
    let what = match name {
        "make_array" => "ARRAY",
        "coalesce" => "COALESCE",
        "greatest" => "GREATEST",
        "least" => "LEAST",
        "array_element" => {
            let base = types.split(", ").next().unwrap_or_default();
            let message = format!("cannot subscript type {base} because it does not support subscripting");
            return QueryError::new(ErrorCode::DatatypeMismatch, message);
        }
        _ => return function_missing(&sql_types(call)),
    };
    let message = format!("{what} types {} cannot be matched", types.replace(", ", " and "));
    QueryError::new(ErrorCode::DatatypeMismatch, message)
}

/// Planning errors about types, and about calls in calls.
pub(super) fn plan(text: &str) -> Option<QueryError> {
    let line = text.lines().next().unwrap_or(text);
    operators(line).or_else(|| same_type(line)).or_else(|| functions(line)).or_else(|| windows(line))
}

fn operators(line: &str) -> Option<QueryError> {
    if line.starts_with("Unary operator '-' only") || line.starts_with("Negation only supports") {
        return Some(operator_missing("-"));
    }
    if line.starts_with("Unary operator '+' only") {
        return Some(operator_missing("+"));
    }
    if line.starts_with("Cannot infer common") || line.starts_with("Cannot get result type for") {
        let (_, operation) = line.split_once(" operation ")?;
        let operation = operation.split_once(": ").map_or(operation, |(before, _)| before);
        return Some(operator_missing(&sql_types(operation)));
    }
    if let Some(types) = between(line, "There isn't a common type to coerce ", " in ") {
        let (left, right) = types.split_once(" and ")?;
        return Some(operator_missing(&sql_types(&format!("{left} ~~ {right}"))));
    }
    if let Some(case) = between(line, "Failed to coerce case (", ") and when (") {
        let (_, when) = line.split_once(") and when (")?;
        let when = when.split_once(") to common").map_or(when, |(when, _)| when);
        return Some(operator_missing(&sql_types(&format!("{case} = {when}"))));
    }
    if let Some((left, right)) = line
        .strip_prefix("Can not find compatible types to compare ")
        .and_then(|rest| rest.strip_suffix(']')?.split_once(" with ["))
        .or_else(|| between(line, "expr type ", " in ")?.split_once(" can't cast to "))
    {
        return Some(operator_missing(&sql_types(&format!("{left} = {right}"))));
    }
    None
}

fn same_type(line: &str) -> Option<QueryError> {
    if let Some(then) = between(line, "Failed to coerce then (", ") and else (") {
        let (_, other) = line.split_once(") and else (")?;
        let other = other.split_once(") to common").map_or(other, |(other, _)| other);
        return Some(cannot_be_matched("CASE", then, other));
    }
    if let Some(left) = between(line, "Previous inputs were of type ", ", but got incompatible type ") {
        let right = between(line, ", but got incompatible type ", " on column")?;
        return Some(cannot_be_matched("UNION", left, right));
    }
    if let Some(left) = between(line, " have different type in inputs: left has ", " whereas right has ") {
        let (_, right) = line.split_once(" whereas right has ")?;
        return Some(cannot_be_matched("UNION", left, right));
    }
    if let Some((_, found)) = line.split_once(" must be boolean type, but got ") {
        let message = format!("a condition must be type boolean, not type {}", sql_types(found));
        return Some(QueryError::new(ErrorCode::DatatypeMismatch, message));
    }
    None
}

fn functions(line: &str) -> Option<QueryError> {
    let named = ["Function '", "The function '", "For function '"];
    let rest = named.iter().find_map(|start| line.strip_prefix(start));
    if let Some((name, _)) = rest.and_then(|rest| rest.split_once('\'')) {
        return Some(function_missing(&format!("{name}(…)")));
    }
    if let Some((name, found)) = line.split_once(" does not support type ") {
        return Some(function_missing(&format!("{}({})", name.to_lowercase(), sql_types(found))));
    }
    None
}

fn windows(line: &str) -> Option<QueryError> {
    let (code, message) = if line.starts_with("Window function calls cannot be nested") {
        (ErrorCode::WindowingError, "window function calls cannot be nested")
    } else if line.starts_with("Aggregate function calls cannot contain window function calls") {
        (ErrorCode::GroupingError, "aggregate function calls cannot contain window function calls")
    } else if line.starts_with("RANGE requires exactly one ORDER BY column") {
        (
            ErrorCode::WindowingError,
            "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
        )
    } else if line.starts_with("SELECT DISTINCT ON expressions must match") {
        (
            ErrorCode::InvalidColumnReference,
            "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
        )
    } else if line.starts_with("Decimal(precision = ") {
        (ErrorCode::InvalidParameterValue, "NUMERIC precision and scale must be between 1 and 76")
    } else if line.contains(" require unique expression names ") {
        return Some(
            QueryError::unsupported("this use of one expression in several places")
                .with_hint("write the expression in an inner query and give it a name with AS"),
        );
    } else {
        return None;
    };
    Some(QueryError::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLSTATEs are those of PostgreSQL 17 for the statements that make DataFusion say so.
    #[test]
    fn types_that_do_not_go_together_have_postgresqls_class() {
        for (text, state, message) in [
            (
                "Unary operator '-' only supports signed numeric, interval and timestamp types",
                "42883",
                "operator does not exist: -",
            ),
            (
                "There isn't a common type to coerce Int32 and Utf8 in LIKE expression",
                "42883",
                "operator does not exist: integer ~~ text",
            ),
            (
                "Failed to coerce then (Utf8) and else (Decimal128(4, 2)) to common types in CASE WHEN expression",
                "42804",
                "CASE types text and numeric cannot be matched",
            ),
            (
                "Failed to coerce case (Int32) and when (Boolean) to common types in CASE WHEN expression",
                "42883",
                "operator does not exist: integer = boolean",
            ),
            (
                "Can not find compatible types to compare Int32 with [Boolean]",
                "42883",
                "operator does not exist: integer = boolean",
            ),
            (
                "expr type Int32 can't cast to Boolean in InSubquery",
                "42883",
                "operator does not exist: integer = boolean",
            ),
            (
                "Incompatible inputs for Union: Previous inputs were of type Int32, but got incompatible type Boolean on column 'x'",
                "42804",
                "UNION types integer and boolean cannot be matched",
            ),
            (
                "Cannot get result type for temporal operation Date32 + Utf8: whatever",
                "42883",
                "operator does not exist: date + text",
            ),
            (
                "Window function calls cannot be nested: 'a' is nested inside 'b'",
                "42P20",
                "window function calls cannot be nested",
            ),
        ] {
            let error = plan(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((error.code.sqlstate(), error.message.as_str()), (state, message), "{text}");
        }
        assert_eq!(plan("something else"), None);
        let said = plan("Function 'round' failed to match any signature, errors: whatever").unwrap();
        assert_eq!(
            (said.code.sqlstate(), said.message.as_str()),
            ("42883", "function round(…) does not exist")
        );
        for (text, state, message) in [
            ("sqrt(Boolean)", "42883", "function sqrt(boolean) does not exist"),
            ("greatest(Int32, Boolean)", "42804", "GREATEST types integer and boolean cannot be matched"),
            (
                "array_element(Int32, Int64)",
                "42804",
                "cannot subscript type integer because it does not support subscripting",
            ),
        ] {
            let error = call(text);
            assert_eq!((error.code.sqlstate(), error.message.as_str()), (state, message), "{text}");
        }
    }
}
