//! Places in the client's text: from line and column of a token to the character count PostgreSQL reports.

use datafusion::sql::sqlparser::tokenizer::Location;

/// The position, counted in characters from 1, of a token's location. `None` if the location is unknown.
#[must_use]
pub fn char_position(sql: &str, location: Location) -> Option<usize> {
    let (mut line, mut column) = (1u64, 1u64);
    if location.line == 0 {
        return None;
    }
    for (index, character) in sql.chars().enumerate() {
        if line == location.line && column == location.column {
            return Some(index + 1);
        }
        if character == '\n' {
            if line == location.line {
                return Some(index + 1);
            }
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    Some(sql.chars().count() + 1)
}

/// The position of the first occurrence of an identifier as a word of its own, outside string literals. Used only
/// where no token location is at hand.
#[must_use]
pub fn find_identifier(sql: &str, name: &str) -> Option<usize> {
    let characters: Vec<char> = sql.chars().collect();
    let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    if wanted.is_empty() {
        return None;
    }
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut in_string = false;
    let mut index = 0;
    while let Some(&character) = characters.get(index) {
        if character == '\'' {
            in_string = !in_string;
        }
        if !in_string && index + wanted.len() <= characters.len() {
            let here = characters.iter().skip(index).take(wanted.len()).flat_map(|c| c.to_lowercase());
            let before = index.checked_sub(1).and_then(|i| characters.get(i)).is_some_and(|c| word(*c));
            let after = characters.get(index + wanted.len()).is_some_and(|c| word(*c));
            if !before && !after && here.eq(wanted.iter().copied()) {
                let quoted = index.checked_sub(1).and_then(|i| characters.get(i)) == Some(&'"');
                return Some(if quoted { index } else { index + 1 });
            }
        }
        index += 1;
    }
    None
}
