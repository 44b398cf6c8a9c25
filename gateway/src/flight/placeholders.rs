//! `?` as a parameter: Flight's clients write it, the engine reads `$n`.
//!
//! Only a `?` where an operand must stand is a parameter; one behind an operand is PostgreSQL's operator on JSON, and
//! one in a string, a name or a comment is text. A statement with a `$` of its own keeps every `?` it has. Positions of
//! errors are counted back to the client's text.

use crate::pg::fault::Fault;
use crate::pg::statement::lex::{self, Kind, Token};

/// A statement whose parameters are numbered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) sql: String,
    /// Where each parameter stands in `sql`, in characters from 1, and by how many characters it is longer than `?`.
    grown: Vec<(usize, usize)>,
}

impl Numbered {
    /// The character of the client's text for one of `sql`.
    pub(super) fn original(&self, position: usize) -> usize {
        let before: usize =
            self.grown.iter().map(|(start, more)| (*more).min(position.saturating_sub(*start))).sum();
        position - before
    }
}

/// Words after which an operand follows, though they look like one themselves.
const BEFORE_OPERAND: &[&str] = &[
    "select", "distinct", "all", "any", "some", "where", "and", "or", "not", "between", "like", "ilike",
    "in", "on", "having", "by", "limit", "offset", "fetch", "first", "next", "values", "case", "when",
    "then", "else", "from", "is", "as", "to", "similar", "escape", "interval", "zone", "row", "filter",
    "return", "using", "over",
];

/// Numbers the parameters of one statement.
///
/// # Errors
/// 42601 for what is not closed.
pub(super) fn number(sql: &str) -> Result<Numbered, Fault> {
    let tokens = lex::lex(sql)?;
    let unchanged = Numbered { sql: sql.to_owned(), grown: Vec::new() };
    let own = tokens.iter().any(|token| token.kind == Kind::Symbol(b'$'));
    if own || !tokens.iter().any(|token| token.kind == Kind::Symbol(b'?')) {
        return Ok(unchanged);
    }
    let mut numbered = Numbered { sql: String::with_capacity(sql.len() + 16), grown: Vec::new() };
    let (mut copied, mut characters) = (0, 0);
    for (index, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Symbol(b'?') || !is_parameter(sql, &tokens, index) {
            continue;
        }
        let before = sql.get(copied..token.range.start).unwrap_or_default();
        let name = format!("${}", numbered.grown.len() + 1);
        characters += before.chars().count();
        numbered.sql.push_str(before);
        numbered.sql.push_str(&name);
        numbered.grown.push((characters + 1, name.len() - 1));
        characters += name.len();
        copied = token.range.end;
    }
    numbered.sql.push_str(sql.get(copied..).unwrap_or_default());
    Ok(numbered)
}

fn is_parameter(sql: &str, tokens: &[Token], index: usize) -> bool {
    let touches = |token: &Token, at: usize| token.range.start == at;
    if let (Some(this), Some(next)) = (tokens.get(index), tokens.get(index + 1))
        && matches!(next.kind, Kind::Symbol(b'|' | b'&'))
        && touches(next, this.range.end)
        // `?||x` is a parameter and a concatenation; `?|` and `?&` are operators.
        && !tokens.get(index + 2).is_some_and(|third| {
            third.kind == Kind::Symbol(b'|') && touches(third, next.range.end)
        })
    {
        return false;
    }
    let Some(before) = index.checked_sub(1).and_then(|before| tokens.get(before)) else { return true };
    match before.kind {
        Kind::Symbol(symbol) => !matches!(symbol, b')' | b']' | b'?'),
        Kind::Word => BEFORE_OPERAND.contains(&lex::value(sql, before).as_str()),
        Kind::Quoted | Kind::Text | Kind::Number => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_and_nothing_else_is() {
        for (sql, numbered) in [
            ("select ?, ?", "select $1, $2"),
            (
                "select * from t where a = ? and b in (?, ?) limit ?",
                "select * from t where a = $1 and b in ($2, $3) limit $4",
            ),
            ("select '?', \"?\", /* ? */ ? -- ?", "select '?', \"?\", /* ? */ $1 -- ?"),
            ("select doc ? 'a', doc ?| x, doc ?& x from t", "select doc ? 'a', doc ?| x, doc ?& x from t"),
            ("select f(x) ? 'a' from t where b = ?", "select f(x) ? 'a' from t where b = $1"),
            ("select ?||'x', ?::int", "select $1||'x', $2::int"),
            ("select $1, doc ? 'a'", "select $1, doc ? 'a'"),
            ("select x between ? and ?", "select x between $1 and $2"),
        ] {
            assert_eq!(number(sql).unwrap().sql, numbered, "{sql}");
        }
    }

    #[test]
    fn positions_are_those_of_the_clients_text() {
        let numbered = number("select 'é', ?, nope, ?, x").unwrap();
        assert_eq!(numbered.sql, "select 'é', $1, nope, $2, x");
        for (here, original) in [(1, 1), (13, 13), (14, 13), (17, 16), (23, 22), (24, 22), (27, 25)] {
            assert_eq!(numbered.original(here), original, "{here}");
        }
    }
}
