//! The only place where names and values become PostgreSQL text.
//!
//! Correct only with `standard_conforming_strings = on` (asserted at every connect) and UTF-8 text: then a single
//! quote is the only character with a meaning inside a literal, a double quote the only one inside an identifier
//! (PostgreSQL 17, scan.l). A NUL byte cannot be sent at all; values with one stay here.

/// Quotes a name, doubling double quotes. A NUL, which no PostgreSQL name can contain, is dropped.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        match character {
            '"' => quoted.push_str("\"\""),
            '\0' => {}
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Quotes a text value, doubling single quotes. `None` if it contains a NUL byte.
#[must_use]
pub fn quote_literal(text: &str) -> Option<String> {
    if text.contains('\0') {
        return None;
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        if character == '\'' {
            quoted.push('\'');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    Some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_nothing_else_changes() {
        assert_eq!(quote_literal("a'b\\ --;$1\n"), Some("'a''b\\ --;$1\n'".into()));
        assert_eq!(quote_literal("'"), Some("''''".into()));
        assert_eq!(quote_literal("a\0"), None);
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_identifier("a\0b"), "\"ab\"");
    }
}
