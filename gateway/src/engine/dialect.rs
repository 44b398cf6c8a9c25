//! PostgreSQL's dialect as the parser has it, but for four things: the name of a named argument is an identifier, `NOT`
//! and `CASE` never are, `IS [NOT] DISTINCT FROM` ends where the parser would take the whole rest of a condition, and
//! `BETWEEN SYMMETRIC`, which it does not know, is spelled out.
//!
//! The parser's own dialect allows an expression as such a name, which nobody writes. It therefore reads every argument
//! of every call twice, so that each level of nesting doubles the time: fifty calls in one another never end. And where
//! `NOT (…)` or `CASE …` is nested too deeply to be read, it reads a function or a column of that name instead, which
//! then is not found.

use std::any::TypeId;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, visit_expressions};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

const INNER: PostgreSqlDialect = PostgreSqlDialect {};

/// What the engine parses with.
#[derive(Debug)]
pub(super) struct EngineDialect;

/// Answers that are the inner dialect's.
macro_rules! as_postgres {
    ($($question:ident),* $(,)?) => {$(
        fn $question(&self) -> bool {
            INNER.$question()
        }
    )*};
}

impl Dialect for EngineDialect {
    /// The parser asks whose dialect this is in places that have no method.
    fn dialect(&self) -> TypeId {
        INNER.dialect()
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        INNER.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        INNER.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        INNER.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        INNER.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        matches!(keyword, Keyword::NOT | Keyword::CASE) || INNER.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        INNER.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        INNER.get_next_precedence(parser)
    }

    /// The right side of `IS [NOT] DISTINCT FROM` binds as that of a comparison does, not down to AND and OR.
    fn parse_infix(
        &self,
        parser: &mut Parser,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        use Keyword::{DISTINCT, FROM, IS, NOT};
        if let Some(between) = between(parser, expr) {
            return Some(between);
        }
        let sides: fn(Box<Expr>, Box<Expr>) -> Expr = if parser.parse_keywords(&[IS, DISTINCT, FROM]) {
            Expr::IsDistinctFrom
        } else if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) {
            Expr::IsNotDistinctFrom
        } else {
            return INNER.parse_infix(parser, expr, precedence);
        };
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| sides(Box::new(expr.clone()), Box::new(right))))
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        INNER.prec_value(precedence)
    }

    as_postgres!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}

/// `BETWEEN SYMMETRIC` and `BETWEEN ASYMMETRIC`, the second of which says nothing more.
fn between(parser: &mut Parser, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    use Keyword::{ASYMMETRIC, BETWEEN, NOT, SYMMETRIC};
    let (negated, symmetric) = if parser.parse_keywords(&[BETWEEN, SYMMETRIC]) {
        (false, true)
    } else if parser.parse_keywords(&[NOT, BETWEEN, SYMMETRIC]) {
        (true, true)
    } else if parser.parse_keywords(&[BETWEEN, ASYMMETRIC]) {
        (false, false)
    } else if parser.parse_keywords(&[NOT, BETWEEN, ASYMMETRIC]) {
        (true, false)
    } else {
        return None;
    };
    let read = parser.parse_between(expr.clone(), negated);
    Some(if symmetric { read.and_then(both_ways) } else { read })
}

/// A `BETWEEN` whose bounds may stand in either order (PostgreSQL 17, parse_expr.c, transformAExprBetween).
fn both_ways(between: Expr) -> Result<Expr, ParserError> {
    // Its operands are there twice, so one inside of another would double at every level.
    if visit_expressions(&between, |part| {
        if is_both_ways(part) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .is_break()
    {
        return Err(ParserError::RecursionLimitExceeded);
    }
    let Expr::Between { expr, negated, low, high } = &between else { return Ok(between) };
    let (expr, negated) = (expr.clone(), *negated);
    let turned = Expr::Between { expr, negated, low: high.clone(), high: low.clone() };
    let op = if negated { BinaryOperator::And } else { BinaryOperator::Or };
    let either = Expr::BinaryOp { left: Box::new(between), op, right: Box::new(turned) };
    Ok(Expr::Nested(Box::new(either)))
}

/// Whether an expression is what [`both_ways`] makes.
fn is_both_ways(expr: &Expr) -> bool {
    let Expr::Nested(inner) = expr else { return false };
    let Expr::BinaryOp { left, right, .. } = inner.as_ref() else { return false };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Between { low, high, .. }, Expr::Between { low: other_low, high: other_high, .. }) => {
            low == other_high && high == other_low
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parsed twice at each level, this would outlive everybody.
    #[test]
    fn calls_in_one_another_are_read_once() {
        let sql = format!("SELECT {}'x'{}", "lower(".repeat(90), ")".repeat(90));
        let parsed = Parser::new(&EngineDialect).with_recursion_limit(400).try_with_sql(&sql);
        assert_eq!(parsed.and_then(|mut parser| parser.parse_statements()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_nested_too_deeply_is_no_other_name() {
        for (open, close) in [("NOT (", ")"), ("CASE WHEN true THEN ", " END")] {
            let parse = |depth: usize| {
                let sql = format!("SELECT {}true{}", open.repeat(depth), close.repeat(depth));
                Parser::new(&EngineDialect).with_recursion_limit(400).try_with_sql(&sql)?.parse_statements()
            };
            assert_eq!(parse(100).unwrap().len(), 1);
            for depth in [410, 2_000] {
                assert_eq!(parse(depth).unwrap_err(), ParserError::RecursionLimitExceeded, "{open} {depth}");
            }
        }
    }

    /// An expression with every pair of parentheses.
    fn whole(expr: &Expr) -> String {
        match expr {
            Expr::IsDistinctFrom(left, right) => format!("({} <> {})", whole(left), whole(right)),
            Expr::IsNotDistinctFrom(left, right) => format!("({} == {})", whole(left), whole(right)),
            Expr::BinaryOp { left, op, right } => format!("({} {op} {})", whole(left), whole(right)),
            Expr::UnaryOp { op, expr } => format!("({op} {})", whole(expr)),
            other => other.to_string(),
        }
    }

    #[test]
    fn what_is_distinct_ends_before_and() {
        for (sql, read) in [
            ("a IS DISTINCT FROM b AND c", "((a <> b) AND c)"),
            ("a IS NOT DISTINCT FROM NULL OR b + 1 = c", "((a == NULL) OR ((b + 1) = c))"),
            ("NOT a IS DISTINCT FROM b + 1", "(NOT (a <> (b + 1)))"),
            ("a IS DISTINCT FROM b = c", "(a <> (b = c))"),
            ("a = 1 AND b IS NOT DISTINCT FROM c AND d", "(((a = 1) AND (b == c)) AND d)"),
        ] {
            let mut parser = Parser::new(&EngineDialect).try_with_sql(sql).unwrap();
            assert_eq!(whole(&parser.parse_expr().unwrap()), read, "{sql}");
        }
    }

    #[test]
    fn bounds_stand_in_either_order() {
        for (sql, read) in [
            (
                "a BETWEEN SYMMETRIC b + 1 AND c AND d",
                "(a BETWEEN b + 1 AND c OR a BETWEEN c AND b + 1) AND d",
            ),
            ("NOT a NOT BETWEEN SYMMETRIC 2 AND 1", "NOT (a NOT BETWEEN 2 AND 1 AND a NOT BETWEEN 1 AND 2)"),
            ("a BETWEEN ASYMMETRIC 1 AND 2 OR b", "a BETWEEN 1 AND 2 OR b"),
            ("a NOT BETWEEN ASYMMETRIC 1 AND 2", "a NOT BETWEEN 1 AND 2"),
        ] {
            let mut parser = Parser::new(&EngineDialect).try_with_sql(sql).unwrap();
            assert_eq!(parser.parse_expr().unwrap().to_string(), read, "{sql}");
        }
    }

    /// Spelled out, this would be two to the power of fifty comparisons.
    #[test]
    fn bounds_in_one_another_are_refused() {
        let sql = format!("{}true{}", "a BETWEEN SYMMETRIC b AND (".repeat(50), ")".repeat(50));
        let mut parser = Parser::new(&EngineDialect).with_recursion_limit(400).try_with_sql(&sql).unwrap();
        assert_eq!(parser.parse_expr(), Err(ParserError::RecursionLimitExceeded));
    }

    #[test]
    fn what_postgres_says_is_read_as_before() {
        for sql in [
            "SELECT f(1, g(2)), E'a\\n', 'a' || 'b' COLLATE \"C\", $1::text, a[1], x -> 'y', \"Q\".q$1",
            "SELECT count(*) FILTER (WHERE a) FROM t WHERE a ~ 'x' AND b NOTNULL GROUP BY a + 1",
            "SELECT extract(epoch FROM a), interval '1 day', U&'\\0061', 1_000, trim(both 'x' from y) FROM t",
        ] {
            let inner = Parser::parse_sql(&INNER, sql).unwrap();
            let ours = Parser::parse_sql(&EngineDialect, sql).unwrap();
            assert_eq!(inner, ours, "{sql}");
        }
    }
}
