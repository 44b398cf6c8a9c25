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

/// A date's text, the infinite ones' too. `None` for years that are written otherwise.
pub(super) fn date_text(days: i32) -> Option<String> {
    match days {
        i32::MAX => return Some("infinity".into()),
        i32::MIN => return Some("-infinity".into()),
        _ => {}
    }
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let date = epoch.checked_add_signed(chrono::TimeDelta::days(i64::from(days)))?;
    let text = date.to_string();
    has_plain_year(&text).then_some(text)
}

/// A timestamp's text, without time zone. `None` for years that are written otherwise.
pub(super) fn timestamp_text(micros: i64) -> Option<String> {
    match micros {
        i64::MAX => return Some("infinity".into()),
        i64::MIN => return Some("-infinity".into()),
        _ => {}
    }
    let instant = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    let date = instant.date().to_string();
    has_plain_year(&date).then(|| format!("{date} {}", instant.format("%H:%M:%S%.6f")))
}

/// Years outside four digits need other spellings (BC, five digits), and the year before the first is no 0 there.
fn has_plain_year(date: &str) -> bool {
    date.len() == 10 && !date.starts_with("0000")
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

    #[test]
    fn infinite_times_have_a_text_and_far_ones_none() {
        assert_eq!(date_text(i32::MAX).as_deref(), Some("infinity"));
        assert_eq!(date_text(19_787).as_deref(), Some("2024-03-05"));
        assert_eq!(date_text(2_932_897), None);
        assert_eq!(date_text(-719_162).as_deref(), Some("0001-01-01"));
        assert_eq!(date_text(-719_163), None);
        assert_eq!(timestamp_text(i64::MIN).as_deref(), Some("-infinity"));
        assert_eq!(timestamp_text(1_500_000).as_deref(), Some("1970-01-01 00:00:01.500000"));
        assert_eq!(timestamp_text(i64::MAX - 1), None);
    }
}
