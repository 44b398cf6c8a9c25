//! `TABLE t`, which is `SELECT * FROM t`, said so before it is parsed.
//!
//! The parser knows it as the body of a query only, takes three tokens for its name whatever they are, and forgets how
//! the name was quoted. `TABLE` is a reserved word: where a query may begin it can be nothing else. What follows the name
//! must be what may follow a query, so that a text which is no such command keeps its own syntax error.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Puts `SELECT * FROM` in the place of each `TABLE` that is a query; every token keeps its place in the text.
pub(super) fn spelled_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| keyword(&token.token) == Some(Keyword::TABLE)) {
        return tokens;
    }
    let mut spelled = Vec::with_capacity(tokens.len().saturating_add(2));
    let mut before: Option<Token> = None;
    for (index, token) in tokens.iter().enumerate() {
        let rest = tokens.get(index.saturating_add(1)..).unwrap_or_default();
        if keyword(&token.token) == Some(Keyword::TABLE) && begins(before.as_ref()) && is_command(rest) {
            for part in [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")] {
                spelled.push(TokenWithSpan::new(part, token.span));
            }
        } else {
            spelled.push(token.clone());
        }
        if !matches!(token.token, Token::Whitespace(_)) {
            before = Some(token.token.clone());
        }
    }
    spelled
}

fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    }
}

/// Whether a query may begin behind a token.
fn begins(before: Option<&Token>) -> bool {
    match before {
        None | Some(Token::LParen | Token::RParen | Token::SemiColon) => true,
        Some(token) => matches!(
            keyword(token),
            Some(
                Keyword::UNION
                    | Keyword::EXCEPT
                    | Keyword::INTERSECT
                    | Keyword::ALL
                    | Keyword::DISTINCT
                    | Keyword::EXPLAIN
                    | Keyword::ANALYZE
                    | Keyword::VERBOSE
            )
        ),
    }
}

/// Whether a name comes next, and then what may follow a query.
fn is_command(rest: &[TokenWithSpan]) -> bool {
    let mut rest =
        rest.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    loop {
        if !matches!(rest.next(), Some(Token::Word(_))) {
            return false;
        }
        return match rest.next() {
            Some(Token::Period) => continue,
            None | Some(Token::EOF | Token::RParen | Token::SemiColon) => true,
            Some(token) => matches!(
                keyword(token),
                Some(
                    Keyword::UNION
                        | Keyword::EXCEPT
                        | Keyword::INTERSECT
                        | Keyword::ORDER
                        | Keyword::LIMIT
                        | Keyword::OFFSET
                        | Keyword::FETCH
                        | Keyword::FOR
                )
            ),
        };
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn parsed(sql: &str) -> Result<String, String> {
        let dialect = PostgreSqlDialect {};
        let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().unwrap();
        let mut parser = Parser::new(&dialect).with_tokens_with_locations(spelled_out(tokens));
        let statements = parser.parse_statements().map_err(|error| error.to_string())?;
        Ok(statements.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_is_all_its_rows() {
        for (sql, read) in [
            ("TABLE t", "SELECT * FROM t"),
            ("table \"A\".\"b c\" order by 1 limit 2;", "SELECT * FROM \"A\".\"b c\" ORDER BY 1 LIMIT 2"),
            ("WITH x AS (TABLE a.b) TABLE x", "WITH x AS (SELECT * FROM a.b) SELECT * FROM x"),
            ("SELECT 1 UNION ALL TABLE t", "SELECT 1 UNION ALL SELECT * FROM t"),
            ("SELECT count(*) FROM (TABLE t) AS x", "SELECT count(*) FROM (SELECT * FROM t) AS x"),
            ("SELECT a IN (TABLE t) FROM u", "SELECT a IN (SELECT * FROM t) FROM u"),
            ("EXPLAIN TABLE t", "EXPLAIN SELECT * FROM t"),
            ("SELECT 1 AS table", "SELECT 1 AS table"),
            ("DROP TABLE t", "DROP TABLE t"),
        ] {
            assert_eq!(parsed(sql).as_deref(), Ok(read), "{sql}");
        }
    }

    #[test]
    fn what_is_no_such_command_stays_a_syntax_error() {
        for sql in ["TABLE t WHERE a", "TABLE t AS u", "TABLE", "TABLE t, u", "SELECT (TABLE t u)"] {
            assert!(parsed(sql).is_err(), "{sql}");
        }
    }
}
