//! Constant regular expressions of PostgreSQL in the words of the engine's own (PostgreSQL 17, Pattern Matching).
//!
//! The two differ where nobody looks: `.` and a newline, what a letter behind a backslash means, doubled signs in brackets,
//! classes that know more letters than ASCII, `$` in a replacement. What the engine has no equal of is refused by name.
//! Where a result shows which text was matched, alternatives of different lengths are refused too: the engine takes the
//! first that matches, PostgreSQL the longest.

use crate::error::{ErrorCode, QueryError};

/// The engine's pattern for one of PostgreSQL's; `shown` if a result tells which text was matched.
pub(super) fn translated(pattern: &str, shown: bool) -> Result<String, QueryError> {
    let (prefix, rest) = options(pattern)?;
    let mut walk =
        Walk { rest: rest.chars().collect(), at: 0, out: String::new(), dots: false, branches: false };
    walk.pattern()?;
    if shown && walk.branches && !alike(rest) {
        return Err(refused("alternatives where the text that is matched is shown")
            .with_hint("write each alternative as a statement of its own, or as a set of characters"));
    }
    let dots = if walk.dots { "(?s)" } else { "" };
    // Of a bare text with a backslash the optimizer would make a LIKE, in which it is an escape.
    Ok(if !shown && walk.out.contains("\\\\") {
        format!("{prefix}{dots}({})", walk.out)
    } else {
        format!("{prefix}{dots}{}", walk.out)
    })
}

/// Whether the first of some alternatives that matches is the longest one too, as far as that is plain to see.
fn alike(pattern: &str) -> bool {
    let branches: Vec<&str> = pattern.split('|').collect();
    let one = |branch: &&str| {
        let mut characters = branch.chars();
        match (characters.next(), characters.next(), characters.next()) {
            (Some('\\'), Some('d' | 's' | 'w'), None) => true,
            (Some(only), None, None) => !"\\^$()[]{}*+?".contains(only),
            _ => false,
        }
    };
    let plain = |branch: &&str| branch.chars().all(|c| c.is_alphanumeric() || " _-,;:/@#".contains(c));
    // `^\s+|\s+$` takes the same from both ends.
    let ends = |branches: &[&str]| match branches {
        [start, end] => start.strip_prefix('^').is_some_and(|start| end.strip_suffix('$') == Some(start)),
        _ => false,
    };
    branches.iter().all(one)
        || ends(&branches) && !pattern.contains('(')
        || branches.iter().all(plain)
            && branches.iter().enumerate().all(|(place, branch)| {
                branches.iter().skip(place + 1).all(|later| later == branch || !later.starts_with(branch))
            })
}

/// `SIMILAR TO` as a regular expression over the whole text.
pub(super) fn of_similar(pattern: &str) -> Result<String, QueryError> {
    let mut regex = String::from("^(?:");
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '.' | '^' | '$' => regex.extend(['\\', character]),
            '\\' => match characters.next() {
                Some(escaped) => regex.extend(['\\', escaped]),
                None => regex.push_str("\\\\"),
            },
            '[' => {
                regex.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    regex.push('^');
                }
                if characters.next_if_eq(&']').is_some() {
                    regex.push(']');
                }
                let mut before = '[';
                for inner in characters.by_ref() {
                    regex.push(inner);
                    // The end of a class, `[:alpha:]`, is none of the brackets'.
                    if inner == ']' && !matches!(before, ':' | '.' | '=') {
                        break;
                    }
                    before = inner;
                }
            }
            '(' => regex.push_str("(?:"),
            other => regex.push(other),
        }
    }
    regex.push_str(")$");
    translated(&regex, false)
}

/// The engine's replacement for one of PostgreSQL's: `\1` to `\9`, `\&` and `\\`.
pub(super) fn replacement(written: &str) -> Result<String, QueryError> {
    let mut out = String::new();
    let mut characters = written.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek().copied()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some(digit @ '1'..='9')) => {
                characters.next();
                out.push_str(&format!("${{{digit}}}"));
            }
            ('\\', Some('&')) => {
                characters.next();
                out.push_str("${0}");
            }
            ('\\', next) => {
                if next == Some('\\') {
                    characters.next();
                }
                // The engine would take it for a group.
                if characters.peek().is_some_and(char::is_ascii_digit) {
                    return Err(refused("a backslash before a digit in a replacement"));
                }
                out.push('\\');
            }
            (other, _) => out.push(other),
        }
    }
    Ok(out)
}

fn refused(what: &str) -> QueryError {
    QueryError::unsupported(format!("{what} of a regular expression"))
}

fn invalid(why: &str) -> QueryError {
    QueryError::new(ErrorCode::InvalidRegularExpression, format!("invalid regular expression: {why}"))
}

/// Options at the start, and what is left.
fn options(pattern: &str) -> Result<(&'static str, &str), QueryError> {
    if pattern.starts_with("***") {
        return Err(refused("the prefix ***"));
    }
    let Some((letters, rest)) = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')')) else {
        return Ok(("", pattern));
    };
    if letters.is_empty() || !letters.bytes().all(|letter| letter.is_ascii_lowercase()) {
        return Ok(("", pattern));
    }
    let mut prefix = "";
    for letter in letters.chars() {
        match letter {
            'i' => prefix = "(?i)",
            'c' => prefix = "",
            's' | 't' => {}
            other => return Err(refused(&format!("the option {other}"))),
        }
    }
    Ok((prefix, rest))
}

struct Walk {
    rest: Vec<char>,
    at: usize,
    out: String,
    /// Whether any character at all is matched somewhere, a newline among them.
    dots: bool,
    /// Whether there are alternatives.
    branches: bool,
}

impl Walk {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        Some(next)
    }

    fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, character)| self.peek(ahead) == Some(character))
    }

    fn pattern(&mut self) -> Result<(), QueryError> {
        // Whether there is something before a quantifier that it may stand behind.
        let mut atom = false;
        while let Some(character) = self.next() {
            atom = match character {
                '(' => {
                    self.group()?;
                    false
                }
                ')' => {
                    self.out.push(')');
                    true
                }
                '|' => {
                    self.branches = true;
                    self.out.push('|');
                    false
                }
                '^' | '$' => {
                    self.out.push(character);
                    false
                }
                '*' | '+' | '?' => {
                    self.quantified(atom, &character.to_string())?;
                    false
                }
                '{' if self.peek(0).is_some_and(|next| next.is_ascii_digit()) => {
                    let mut bound = String::from("{");
                    loop {
                        match self.next() {
                            Some(next @ ('0'..='9' | ',')) => bound.push(next),
                            Some('}') => break,
                            _ => return Err(invalid("invalid repetition count(s)")),
                        }
                    }
                    bound.push('}');
                    self.quantified(atom, &bound)?;
                    false
                }
                '{' => {
                    self.out.push_str("\\{");
                    true
                }
                '}' | ']' => {
                    self.out.extend(['\\', character]);
                    true
                }
                '.' => {
                    self.dots = true;
                    self.out.push('.');
                    true
                }
                '[' => self.brackets()?,
                '\\' => self.escape()?,
                other => {
                    self.out.push(other);
                    true
                }
            };
        }
        Ok(())
    }

    fn quantified(&mut self, atom: bool, written: &str) -> Result<(), QueryError> {
        if !atom {
            return Err(invalid("quantifier operand invalid"));
        }
        self.out.push_str(written);
        if self.peek(0) == Some('?') {
            self.at += 1;
            self.out.push('?');
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), QueryError> {
        if self.starts("?:") {
            self.at += 2;
            self.out.push_str("(?:");
        } else if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.starts(look)) {
            return Err(refused("a look ahead or behind"));
        } else if self.peek(0) == Some('?') {
            return Err(invalid("quantifier operand invalid"));
        } else {
            self.out.push('(');
        }
        Ok(())
    }

    /// Whether it is something that is matched, and no place.
    fn escape(&mut self) -> Result<bool, QueryError> {
        let Some(letter) = self.next() else { return Err(invalid("invalid escape \\ sequence")) };
        let (written, atom) = match letter {
            'd' => ("[0-9]", true),
            'D' => ("[^0-9]", true),
            's' => ("\\s", true),
            'S' => ("\\S", true),
            'w' => ("[\\p{L}\\p{N}_]", true),
            'W' => ("[^\\p{L}\\p{N}_]", true),
            'm' => ("\\b{start}", false),
            'M' => ("\\b{end}", false),
            'y' => ("\\b", false),
            'Y' => ("\\B", false),
            'A' => ("\\A", false),
            'Z' => ("\\z", false),
            other => {
                let character = self.character(other)?;
                self.literal(character);
                return Ok(true);
            }
        };
        self.out.push_str(written);
        Ok(atom)
    }

    /// The character that is written as a backslash and a letter.
    fn character(&mut self, letter: char) -> Result<char, QueryError> {
        let digits = match letter {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'B' => return Ok('\\'),
            'e' => return Ok('\u{1b}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            'u' => 4,
            'U' => 8,
            '0'..='9' => return Err(refused("a back reference or an octal escape")),
            'x' | 'c' => return Err(refused("\\x or \\c")),
            other if other.is_ascii_alphanumeric() => return Err(invalid("invalid escape \\ sequence")),
            other => return Ok(other),
        };
        let mut code = 0_u32;
        for _ in 0..digits {
            let digit = self.next().and_then(|digit| digit.to_digit(16));
            let Some(digit) = digit else { return Err(invalid("invalid escape \\ sequence")) };
            code = code.saturating_mul(16).saturating_add(digit);
        }
        char::from_u32(code).ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    fn literal(&mut self, character: char) {
        // `\<` would be the start of a word.
        if "\\.+*?()|[]{}^$#&-~".contains(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    fn brackets(&mut self) -> Result<bool, QueryError> {
        for (word, place) in [("[:<:]]", "\\b{start}"), ("[:>:]]", "\\b{end}")] {
            if self.starts(word) {
                self.at += word.len();
                self.out.push_str(place);
                return Ok(false);
            }
        }
        self.out.push('[');
        if self.peek(0) == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let (mut first, mut ranged) = (true, false);
        loop {
            let Some(character) = self.next() else { return Err(invalid("brackets [] not balanced")) };
            match character {
                ']' if !first => break,
                '[' if matches!(self.peek(0), Some('.' | '=')) => {
                    return Err(refused("a collating element in brackets"));
                }
                '[' if self.peek(0) == Some(':') => self.class()?,
                '-' if !first && !ranged && self.peek(0) != Some(']') => {
                    self.out.push('-');
                    ranged = true;
                    continue;
                }
                '\\' => {
                    let Some(letter) = self.next() else { return Err(invalid("brackets [] not balanced")) };
                    match letter {
                        'd' => self.out.push_str("0-9"),
                        's' => self.out.push_str("\\s"),
                        'w' => self.out.push_str("\\p{L}\\p{N}_"),
                        other => {
                            let character = self.character(other)?;
                            self.literal(character);
                        }
                    }
                }
                other => self.literal(other),
            }
            (first, ranged) = (false, false);
        }
        self.out.push(']');
        Ok(true)
    }

    fn class(&mut self) -> Result<(), QueryError> {
        let classes = [
            ("alpha", "\\p{L}"),
            ("digit", "0-9"),
            ("alnum", "\\p{L}\\p{N}"),
            ("upper", "\\p{Lu}"),
            ("lower", "\\p{Ll}"),
            ("space", "\\s"),
            ("blank", " \\t"),
            ("xdigit", "0-9A-Fa-f"),
            ("punct", "\\p{P}\\p{S}"),
        ];
        for (name, members) in classes {
            let word = format!(":{name}:]");
            if self.starts(&word) {
                self.at += word.len();
                self.out.push_str(members);
                return Ok(());
            }
        }
        Err(refused("this class of characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_postgresql_means() {
        for (pattern, expected) in [
            ("^a.*b$", "(?s)^a.*b$"),
            ("^[0-9]+$", "^[0-9]+$"),
            ("(?i)abc", "(?i)abc"),
            ("a{2,3}?b{x", "a{2,3}?b\\{x"),
            ("\\mab\\M\\d", "\\b{start}ab\\b{end}[0-9]"),
            ("[a-c&&b]", "[a-c\\&\\&b]"),
            ("[^]a-]", "[^\\]a\\-]"),
            ("[[:alpha:]_]", "[\\p{L}_]"),
            ("\\.\\<\\B", "(\\.<\\\\)"),
            ("\\u00e9", "é"),
        ] {
            assert_eq!(translated(pattern, false).as_deref(), Ok(expected), "{pattern}");
        }
        for (pattern, state) in [
            ("(a)\\1", "0A000"),
            ("a(?=b)", "0A000"),
            ("***=a", "0A000"),
            ("(?n)a", "0A000"),
            ("a**", "2201B"),
            ("*a", "2201B"),
            ("\\pL", "2201B"),
            ("[a", "2201B"),
        ] {
            let error = translated(pattern, false).unwrap_err();
            assert_eq!(error.code.sqlstate(), state, "{pattern}");
        }
        for (pattern, same) in [
            ("foo|foobar", false),
            ("foobar|foo|x", true),
            ("a|\\d", true),
            ("^\\s+|\\s+$", true),
            ("a+|b", false),
            ("(a|ab)c", false),
        ] {
            assert_eq!(translated(pattern, true).is_ok(), same, "{pattern}");
            assert!(translated(pattern, false).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn sets_of_similar_to_stay_whole() {
        for (pattern, expected) in [
            ("[^a]%", "(?s)^(?:[^a].*)$"),
            ("[%_]b", "^(?:[%_]b)$"),
            ("a\\%_", "(?s)^(?:a%.)$"),
            ("(a|b)c", "^(?:(?:a|b)c)$"),
            ("[[:alpha:]]+", "^(?:[\\p{L}]+)$"),
        ] {
            assert_eq!(of_similar(pattern).as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn a_dollar_in_a_replacement_is_one() {
        for (written, expected) in [("$1", "$$1"), ("\\1x", "${1}x"), ("[\\&]", "[${0}]"), ("\\\\", "\\")] {
            assert_eq!(replacement(written).as_deref(), Ok(expected), "{written}");
        }
        assert!(replacement("\\0").is_err());
    }
}
