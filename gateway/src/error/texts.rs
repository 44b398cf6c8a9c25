//! What DataFusion and Arrow 59 say in words only, told apart and said again in PostgreSQL's words.
//!
//! Each function answers `None` for a text it does not know, which then becomes an internal error; nothing is passed
//! on verbatim, because these texts hold type names of other crates and sometimes values of rows.

use super::convert::{nearest, too_deep};
use super::{ErrorCode, QueryError, char_position};
use datafusion::sql::sqlparser::tokenizer::Location;

/// Something named in quotes `'…'` after a prefix.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (name, _) = rest.split_once('\'')?;
    Some(name)
}

/// Syntax errors: `… found: X at Line: 1, Column: 8`.
pub(super) fn syntax(text: &str, sql: Option<&str>) -> QueryError {
    let position = text.rsplit_once(" at Line: ").and_then(|(_, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        let location = Location { line: line.trim().parse().ok()?, column: column.parse().ok()? };
        char_position(sql?, location)
    });
    let found = text.rsplit_once("found: ").map(|(_, rest)| rest.split(" at Line: ").next().unwrap_or(rest));
    let message = match found {
        Some("EOF") => "syntax error at end of input".to_owned(),
        Some(token) => format!("syntax error at or near \"{}\"", token.chars().take(60).collect::<String>()),
        None if text.contains("Unterminated string literal") => "unterminated quoted string".to_owned(),
        None => "syntax error".to_owned(),
    };
    let end = sql.map(|sql| sql.trim_end_matches([';', ' ', '\n', '\t', '\r']).chars().count() + 1);
    let position = if found == Some("EOF") { position.or(end) } else { position };
    QueryError::new(ErrorCode::SyntaxError, message).at_if_none(position)
}

/// A thing the engine does not do.
pub(super) fn not_implemented(text: &str) -> QueryError {
    let what = text.lines().next().unwrap_or_default();
    let plain = what.len() <= 120 && !what.contains(['{', '(', '/', '[']);
    let error = if plain && !what.is_empty() {
        QueryError::new(ErrorCode::FeatureNotSupported, lower_first(what.trim_end_matches('.')))
    } else {
        QueryError::new(ErrorCode::FeatureNotSupported, "this form of statement is not supported")
    };
    tracing::debug!(error = %text, "engine refuses a construct");
    error.with_hint("write the query in another form")
}

/// A condition of another type.
fn not_boolean(what: &str, found: &str) -> QueryError {
    let message = format!("argument of {what} must be type boolean, not type {}", sql_types(found));
    QueryError::new(ErrorCode::DatatypeMismatch, message)
}

/// Planning errors.
pub(super) fn plan(text: &str) -> Option<QueryError> {
    if text.starts_with("table '") && text.contains("not found") {
        let name = quoted(text, "table '")?;
        let name = name.strip_prefix("portolan.").unwrap_or(name);
        let name = name.strip_prefix("public.").unwrap_or(name);
        return Some(QueryError::new(
            ErrorCode::UndefinedTable,
            format!("relation \"{name}\" does not exist"),
        ));
    }
    if text.contains("Invalid function '") {
        let name = quoted(text, "Invalid function '")?;
        let missing = function_missing(&format!("{name}(…)"));
        // The planner always suggests one, however far.
        let near = quoted(text, "Did you mean '").into_iter();
        return Some(match nearest_hint(name, near, "function") {
            Some(hint) => missing.with_hint(hint),
            None => missing,
        });
    }
    if text.contains("No function matches the given name and argument types '") {
        return Some(super::coercion::call(quoted(text, "argument types '")?));
    }
    if text.contains("table function '") && text.contains("not found") || text.contains("Table function '") {
        let name = quoted(text, "able function '")?;
        return Some(function_missing(&format!("{name}(…)")));
    }
    if let Some(rest) =
        text.strip_prefix("Cannot infer common argument type for comparison operation ").or_else(|| {
            text.strip_prefix("Cannot coerce arithmetic expression ")?.strip_suffix(" to valid types")
        })
    {
        return Some(operator_missing(&sql_types(rest.lines().next().unwrap_or(rest))));
    }
    if let Some(rest) = text.strip_prefix("Cannot infer common argument type for logical boolean operation ")
    {
        let rest = rest.lines().next().unwrap_or(rest);
        let (word, sides) = match (rest.split_once(" AND "), rest.split_once(" OR ")) {
            (Some(sides), _) => ("AND", sides),
            (None, Some(sides)) => ("OR", sides),
            (None, None) => return None,
        };
        return Some(not_boolean(word, if sides.0 == "Boolean" { sides.1 } else { sides.0 }));
    }
    if text.contains("Cannot create filter with non-boolean predicate '") {
        let (_, found) = text.rsplit_once("' returning ")?;
        return Some(not_boolean("WHERE", found.lines().next().unwrap_or(found)));
    }
    if text.contains("expects") && text.contains("argument") || text.contains("Failed to coerce arguments") {
        let name = quoted(text, "'").unwrap_or("function");
        return Some(function_missing(&format!("{name}(…)")));
    }
    if text.contains("must appear in the GROUP BY clause") || text.contains("must be in GROUP BY") {
        let column =
            text.split_once("column \"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
        let message = column.map_or_else(
            || "a column must appear in the GROUP BY clause or be used in an aggregate function".to_owned(),
            |column| {
                let column = column.rsplit_once("portolan.").map_or(column, |(_, rest)| rest);
                format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function")
            },
        );
        return Some(QueryError::new(ErrorCode::GroupingError, message));
    }
    if text.contains("Aggregate functions are not allowed in the WHERE clause") {
        return Some(QueryError::new(
            ErrorCode::GroupingError,
            "aggregate functions are not allowed in WHERE",
        ));
    }
    if text.contains("Aggregate function calls cannot be nested") || text.contains("nested aggregate") {
        return Some(QueryError::new(ErrorCode::GroupingError, "aggregate function calls cannot be nested"));
    }
    if text.contains("Cannot find column with position") {
        let number: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        return Some(QueryError::new(
            ErrorCode::InvalidColumnReference,
            format!("ORDER BY or GROUP BY position {number} is not in select list"),
        ));
    }
    if let Some((_, rest)) = text.split_once("Order by column out of bounds, specified: ") {
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        return Some(QueryError::new(
            ErrorCode::InvalidColumnReference,
            format!("ORDER BY position {number} is not in select list"),
        ));
    }
    if text.contains("Expected LIMIT to be an integer") || text.contains("Expected OFFSET to be an integer") {
        return Some(QueryError::new(
            ErrorCode::InvalidTextRepresentation,
            "invalid input syntax for type bigint",
        ));
    }
    if text.contains("operator 'NOT' requires a boolean") {
        return Some(QueryError::new(ErrorCode::DatatypeMismatch, "argument of NOT must be type boolean"));
    }
    if text.contains("For SELECT DISTINCT, ORDER BY expressions") {
        return Some(QueryError::new(
            ErrorCode::InvalidColumnReference,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        ));
    }
    if text.contains("queries have different number of columns")
        || text.contains("have the same number of columns")
        || text.contains("UNION queries have")
    {
        return Some(QueryError::new(
            ErrorCode::SyntaxError,
            "each UNION, INTERSECT or EXCEPT query must have the same number of columns",
        ));
    }
    if let Some((_, counts)) = text.split_once("Source table contains ") {
        // What a FROM clause names is completed before; this is a WITH query with `*` in it.
        let mut counts = counts.split(' ').filter_map(|word| word.parse::<usize>().ok());
        let (available, given) = (counts.next()?, counts.next()?);
        return Some(if given > available {
            let message =
                format!("WITH query has {available} columns available but {given} columns specified");
            QueryError::new(ErrorCode::InvalidColumnReference, message)
        } else {
            QueryError::unsupported("a WITH query with * and names for some of its columns only")
                .with_hint(format!("name all {available} columns"))
        });
    }
    if text.contains("WITH query name") {
        return Some(QueryError::new(
            ErrorCode::DuplicateAlias,
            "a WITH query name is specified more than once",
        ));
    }
    if text.contains("SELECT * with no tables specified") {
        return Some(QueryError::new(
            ErrorCode::SyntaxError,
            "SELECT * with no tables specified is not valid",
        ));
    }
    if text.contains("Scalar subquery should only return one column")
        || text.contains("should only return one column")
    {
        return Some(QueryError::new(ErrorCode::SyntaxError, "subquery must return only one column"));
    }
    if text.contains("Values list") || text.contains("Inconsistent data length across values list") {
        return Some(QueryError::new(ErrorCode::SyntaxError, "VALUES lists must all be the same length"));
    }
    if text.contains("Cannot create filter with non-boolean predicate")
        || text.contains("should return boolean")
    {
        return Some(QueryError::new(ErrorCode::DatatypeMismatch, "argument of WHERE must be type boolean"));
    }
    if text.contains("No value found for placeholder") || text.contains("Placeholder type") {
        return Some(QueryError::new(
            ErrorCode::IndeterminateDatatype,
            "could not determine data type of a parameter",
        ));
    }
    if text.contains("zero is not a valid index: $0") {
        return Some(QueryError::new(ErrorCode::UndefinedParameter, "there is no parameter $0"));
    }
    if text.contains("frame offsets for ROWS / GROUPS must be") {
        return Some(
            QueryError::unsupported("a frame of a window with an offset that is no constant")
                .with_hint("write the number of rows into the statement"),
        );
    }
    if text.contains("LIMIT must be >= 0") {
        return Some(QueryError::new(ErrorCode::InvalidLimit, "LIMIT must not be negative"));
    }
    if text.contains("OFFSET must be >=0") || text.contains("OFFSET must be >= 0") {
        return Some(QueryError::new(ErrorCode::InvalidOffset, "OFFSET must not be negative"));
    }
    if text.contains("The window ") && text.contains("is not defined") {
        return Some(QueryError::new(ErrorCode::UndefinedObject, "the window named in OVER does not exist"));
    }
    if text.contains("Unsupported CAST from") || text.contains("Cannot automatically convert") {
        let types = text
            .split_once("CAST from ")
            .or_else(|| text.split_once("convert "))
            .map_or("", |(_, rest)| rest);
        return Some(QueryError::new(
            ErrorCode::CannotCoerce,
            format!("cannot cast type {}", sql_types(types)),
        ));
    }
    if text.contains("recursion") || text.contains("stack") && text.contains("overflow") {
        return Some(too_deep());
    }
    super::coercion::plan(text)
}

/// Run-time errors.
pub(super) fn execution(text: &str) -> Option<QueryError> {
    if text.contains("Divide by zero") || text.contains("division by zero") {
        return Some(QueryError::new(ErrorCode::DivisionByZero, "division by zero"));
    }
    if text.contains("square root of a negative number") {
        return Some(QueryError::new(
            ErrorCode::InvalidPower,
            "cannot take square root of a negative number",
        ));
    }
    if let Some((_, rest)) = text.split_once("Unsupported date_trunc granularity: '") {
        let unit: String = rest.chars().take_while(|c| *c != '\'').take(40).collect();
        return Some(QueryError::new(
            ErrorCode::InvalidParameterValue,
            format!("unit \"{unit}\" not recognized for type timestamp"),
        ));
    }
    if text.contains("field position must not be zero") {
        return Some(QueryError::new(ErrorCode::InvalidParameterValue, "field position must not be zero"));
    }
    if text.contains("more than one row") || text.contains("more than 1 row") {
        return Some(QueryError::new(
            ErrorCode::CardinalityViolation,
            "more than one row returned by a subquery used as an expression",
        ));
    }
    if text.contains("Overflow") || text.contains("overflow") || text.contains("out of range") {
        let code = if text.to_lowercase().contains("date") || text.to_lowercase().contains("timestamp") {
            return Some(QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range"));
        } else {
            ErrorCode::NumericOutOfRange
        };
        return Some(QueryError::new(code, "value out of range"));
    }
    if text.contains("CompiledTooBig") {
        return Some(QueryError::new(
            ErrorCode::InvalidRegularExpression,
            "invalid regular expression: regular expression is too complex",
        ));
    }
    if text.contains("Regex") || text.contains("egular expression") || text.contains("regex parse error") {
        return Some(QueryError::new(ErrorCode::InvalidRegularExpression, "invalid regular expression"));
    }
    if text.contains("Cast error") || text.contains("Cannot cast") {
        return cast(text);
    }
    if text.contains("Error parsing") || text.contains("error parsing") {
        return parse(text);
    }
    None
}

/// Arrow's cast errors: `Cannot cast string 'x' to value of Int64 type`, and values that do not fit.
pub(super) fn cast(text: &str) -> Option<QueryError> {
    if text.contains("Cannot cast string") {
        let kind =
            text.rsplit_once("value of ").map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        return Some(QueryError::new(
            ErrorCode::InvalidTextRepresentation,
            format!("invalid input syntax for type {}", sql_type(kind)),
        ));
    }
    // Days counted in microseconds or nanoseconds, and a wall clock that is no year of chrono's.
    if text.contains("verflow") && text.contains("* 86400000000") {
        return Some(QueryError::new(ErrorCode::DatetimeOverflow, "date out of range for timestamp"));
    }
    if text.contains("Cannot cast timezone to different timezone") {
        return Some(QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range"));
    }
    if text.contains("too large to store")
        || text.contains("Can't cast value")
        || text.contains("too small to store")
        || text.contains("verflow")
        || text.contains("out of range")
    {
        return Some(QueryError::new(ErrorCode::NumericOutOfRange, "value out of range"));
    }
    // The last one is how Arrow speaks of an infinite timestamp that is to be a date.
    if text.contains("Failed to convert")
        || text.contains("Fail to convert")
        || text.contains("Cannot convert") && text.contains("to datetime")
    {
        return Some(QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range"));
    }
    if text.contains("Casting from") || text.contains("Cannot cast") {
        return Some(QueryError::new(ErrorCode::CannotCoerce, "cannot cast between these types"));
    }
    None
}

/// Arrow's parse errors.
pub(super) fn parse(text: &str) -> Option<QueryError> {
    let lower = text.to_lowercase();
    if lower.contains("timestamp") || lower.contains("date") || lower.contains("time") {
        return Some(QueryError::new(
            ErrorCode::InvalidDatetimeFormat,
            "invalid input syntax for a date or time",
        ));
    }
    if lower.contains("interval") {
        return Some(QueryError::new(
            ErrorCode::InvalidDatetimeFormat,
            "invalid input syntax for type interval",
        ));
    }
    Some(QueryError::new(ErrorCode::InvalidTextRepresentation, "invalid input syntax"))
}

/// DataFusion's internal errors that are a user's mistake after all.
pub(super) fn internal(text: &str) -> Option<QueryError> {
    if text.contains("must appear in the GROUP BY") || text.contains("Physical input schema should be") {
        return None;
    }
    if text.contains("failed to match any signature") {
        return super::coercion::plan(text);
    }
    execution(text)
}

pub(super) fn function_missing(call: &str) -> QueryError {
    QueryError::new(ErrorCode::UndefinedFunction, format!("function {call} does not exist")).with_hint(
        "no function matches the given name and argument types; you might need to add explicit type casts",
    )
}

pub(super) fn operator_missing(call: &str) -> QueryError {
    QueryError::new(ErrorCode::UndefinedFunction, format!("operator does not exist: {call}")).with_hint(
        "no operator matches the given name and argument types; you might need to add explicit type casts",
    )
}

/// The name of a type of Arrow, as it appears in a text, in SQL's words.
fn sql_type(arrow: &str) -> &str {
    let base = arrow.split(['(', '<']).next().unwrap_or(arrow).trim_end_matches([',', '.', ')']);
    match base {
        "Boolean" => "boolean",
        "Int8" | "UInt8" | "Int16" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "UInt64" | "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "numeric",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" | "LargeUtf8" | "Utf8View" => "text",
        "FixedSizeBinary" if arrow.contains("(16)") => "uuid",
        "Binary" | "LargeBinary" | "BinaryView" | "FixedSizeBinary" => "bytea",
        "Date32" | "Date64" => "date",
        "Time32" | "Time64" => "time without time zone",
        "Timestamp" if arrow.contains("UTC") || arrow.contains("Some") => "timestamp with time zone",
        "Timestamp" => "timestamp without time zone",
        "Interval" | "Duration" => "interval",
        "List" | "LargeList" | "FixedSizeList" => "anyarray",
        "Struct" | "Map" => "jsonb",
        "Null" => "unknown",
        _ => "anyelement",
    }
}

/// Replaces every Arrow type's name in a short text by SQL's name.
pub(super) fn sql_types(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let known = word.starts_with(|c: char| c.is_ascii_uppercase());
        out.push_str(if known { sql_type(word) } else { word.as_str() });
        word.clear();
    };
    for character in text.chars().take(300) {
        match character {
            '(' if word.starts_with(|c: char| c.is_ascii_uppercase()) => {
                depth += 1;
                word.push(character);
            }
            '(' if depth > 0 => {
                depth += 1;
                word.push(character);
            }
            ')' if depth > 0 => {
                depth -= 1;
                word.push(character);
            }
            _ if depth > 0 || character.is_alphanumeric() || character == '_' => word.push(character),
            _ => {
                flush(&mut word, &mut out);
                out.push(character);
            }
        }
    }
    flush(&mut word, &mut out);
    out
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// The nearest known name, as a hint.
#[must_use]
pub(crate) fn nearest_hint<'a>(
    wanted: &str,
    names: impl Iterator<Item = &'a str>,
    what: &str,
) -> Option<String> {
    nearest(wanted, names).map(|name| format!("perhaps you meant the {what} \"{name}\""))
}
