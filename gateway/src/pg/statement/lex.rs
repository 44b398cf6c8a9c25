//! PostgreSQL's lexical rules: comments that nest, dollar quotes, `E''`, quoted names.
//!
//! Linear in the text and without recursion. Tokens are byte ranges; operators are single characters, which is enough
//! to find where statements and clauses end. PostgreSQL 17, `scan.l`.

use std::ops::Range;

use crate::pg::fault::Fault;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unquoted name or keyword.
    Word,
    /// `"name"`.
    Quoted,
    /// A string of any flavour.
    Text,
    Number,
    /// Any other single character.
    Symbol(u8),
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// 1-based character position of a byte.
pub(crate) fn position(sql: &str, byte: usize) -> usize {
    sql.get(..byte).map_or(1, |before| before.chars().count() + 1)
}

/// Cuts a text into tokens, without comments and space.
///
/// # Errors
/// 42601 for an unterminated string, name or comment, at its beginning.
pub(crate) fn lex(sql: &str) -> Result<Vec<Token>, Fault> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let start = at;
        let next = bytes.get(at + 1).copied();
        let open = |what: &str| Fault::new("42601", format!("unterminated {what}")).at(position(sql, start));
        let kind = match byte {
            b if b.is_ascii_whitespace() || b == 0x0b => {
                at += 1;
                continue;
            }
            b'-' if next == Some(b'-') => {
                while bytes.get(at).is_some_and(|byte| *byte != b'\n') {
                    at += 1;
                }
                continue;
            }
            b'/' if next == Some(b'*') => {
                at = comment(bytes, at).ok_or_else(|| open("/* comment"))?;
                continue;
            }
            b'\'' => {
                at = quoted(bytes, at, b'\'', false).ok_or_else(|| open("quoted string"))?;
                Kind::Text
            }
            b'"' => {
                at = quoted(bytes, at, b'"', false).ok_or_else(|| open("quoted identifier"))?;
                Kind::Quoted
            }
            b'e' | b'E' if next == Some(b'\'') => {
                at = quoted(bytes, at + 1, b'\'', true).ok_or_else(|| open("quoted string"))?;
                Kind::Text
            }
            b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if next == Some(b'\'') => {
                at = quoted(bytes, at + 1, b'\'', false).ok_or_else(|| open("quoted string"))?;
                Kind::Text
            }
            b'u' | b'U' if next == Some(b'&') && matches!(bytes.get(at + 2), Some(b'\'' | b'"')) => {
                let quote = bytes.get(at + 2).copied().unwrap_or(b'\'');
                at = quoted(bytes, at + 2, quote, false).ok_or_else(|| open("quoted string"))?;
                if quote == b'"' { Kind::Quoted } else { Kind::Text }
            }
            b'$' => match dollar(bytes, at) {
                Dollar::Closed(end) => {
                    at = end;
                    Kind::Text
                }
                Dollar::Open => return Err(open("dollar-quoted string")),
                Dollar::No => {
                    at += 1;
                    Kind::Symbol(b'$')
                }
            },
            b if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 => {
                while bytes
                    .get(at)
                    .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || *b >= 0x80)
                {
                    at += 1;
                }
                Kind::Word
            }
            b if b.is_ascii_digit() || (b == b'.' && next.is_some_and(|next| next.is_ascii_digit())) => {
                at = number(bytes, at);
                Kind::Number
            }
            symbol => {
                at += 1;
                Kind::Symbol(symbol)
            }
        };
        tokens.push(Token { kind, range: start..at });
    }
    Ok(tokens)
}

fn comment(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0;
    loop {
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// The end of a quoted token that begins at `at`.
fn quoted(bytes: &[u8], mut at: usize, quote: u8, backslash: bool) -> Option<usize> {
    at += 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if backslash => at += 2,
            byte if byte == quote => {
                if bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Some(at + 1);
                }
            }
            _ => at += 1,
        }
    }
}

enum Dollar {
    Closed(usize),
    Open,
    No,
}

fn dollar(bytes: &[u8], at: usize) -> Dollar {
    let mut end = at + 1;
    if bytes.get(end).is_some_and(u8::is_ascii_digit) {
        return Dollar::No;
    }
    while bytes.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80) {
        end += 1;
    }
    if bytes.get(end) != Some(&b'$') {
        return Dollar::No;
    }
    let tag = bytes.get(at..=end).unwrap_or_default();
    let body = bytes.get(end + 1..).unwrap_or_default();
    match body.windows(tag.len()).position(|window| window == tag) {
        Some(found) => Dollar::Closed(end + 1 + found + tag.len()),
        None => Dollar::Open,
    }
}

fn number(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        let sign_of_exponent = matches!(byte, b'+' | b'-')
            && at > 0
            && matches!(bytes.get(at - 1), Some(b'e' | b'E'))
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || sign_of_exponent) {
            break;
        }
        at += 1;
    }
    at
}

/// A token's value: names folded or unquoted, strings without quotes and escapes.
pub(crate) fn value(sql: &str, token: &Token) -> String {
    let text = sql.get(token.range.clone()).unwrap_or_default();
    match token.kind {
        Kind::Word => text.to_ascii_lowercase(),
        Kind::Quoted => unquoted(text, '"').replace("\"\"", "\""),
        Kind::Text if text.starts_with('$') => {
            let tag = text.get(1..).and_then(|rest| rest.find('$')).map_or(0, |end| end + 2);
            text.get(tag..text.len().saturating_sub(tag)).unwrap_or_default().to_owned()
        }
        Kind::Text => {
            let inner = unquoted(text, '\'').replace("''", "'");
            if text.starts_with(['e', 'E']) { unescaped(&inner) } else { inner }
        }
        Kind::Number | Kind::Symbol(_) => text.to_owned(),
    }
}

fn unquoted(text: &str, quote: char) -> &str {
    let start = text.find(quote).map_or(0, |at| at + 1);
    text.get(start..text.len().saturating_sub(1)).unwrap_or_default()
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        lex(sql).unwrap().into_iter().map(|token| &sql[token.range]).collect()
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        assert_eq!(texts("a 'x;''y' \"q;\"\"\" -- ;\n b"), ["a", "'x;''y'", "\"q;\"\"\"", "b"]);
        assert_eq!(texts("/* a /* ; */ b */ c"), ["c"]);
        assert_eq!(texts("$$ ; $x$ $$ $x$ ' $$ $x$ $1"), ["$$ ; $x$ $$", "$x$ ' $$ $x$", "$", "1"]);
        assert_eq!(texts("E'a\\';' 'b\\' e"), ["E'a\\';'", "'b\\'", "e"]);
        assert_eq!(texts("a$b 1e-5 1.5 .5 é"), ["a$b", "1e-5", "1.5", ".5", "é"]);
    }

    #[test]
    fn what_is_not_closed_is_a_syntax_error_with_its_place() {
        for (sql, place) in [("é 'x", 3), ("a \"b", 3), ("/* /* */", 1), ("$a$ $b$", 1)] {
            let fault = lex(sql).unwrap_err();
            assert_eq!((fault.sqlstate.as_ref(), fault.position), ("42601", Some(place)), "{sql}");
        }
    }

    #[test]
    fn values_are_folded_and_unquoted() {
        let sql = "ABC \"A\"\"b\" 'it''s' E'a\\n' $t$x$t$";
        let values: Vec<String> = lex(sql).unwrap().iter().map(|token| value(sql, token)).collect();
        assert_eq!(values, ["abc", "A\"b", "it's", "a\n", "x"]);
    }
}
