//! PostgreSQL's dialect as the parser has it, but for two things: the name of a named argument is an identifier, and
//! `NOT` and `CASE` never are.
//!
//! The parser's own dialect allows an expression as such a name, which nobody writes. It therefore reads every argument
//! of every call twice, so that each level of nesting doubles the time: fifty calls in one another never end. And where
//! `NOT (…)` or `CASE …` is nested too deeply to be read, it reads a function or a column of that name instead, which
//! then is not found.

use std::any::TypeId;

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
