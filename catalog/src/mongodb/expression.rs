//! Conditions in the form an accumulator takes: the gate's `$match` condition as an aggregation expression.
//!
//! An expression compares values of all types with one another, so this is only right over columns in which there is
//! nothing but null and the column's own type, which is looked for beforehand. Constants are quoted: text that begins
//! with a dollar must never be read as a field.

use mongodb::bson::{Bson, Document, doc};

/// The value of a field, null if it is missing.
pub(super) fn value(key: &str) -> Bson {
    doc! { "$ifNull": [format!("${key}"), Bson::Null] }.into()
}

/// Whether a value is not null.
pub(super) fn is_value(value: Bson) -> Bson {
    doc! { "$ne": [value, Bson::Null] }.into()
}

/// A condition of the gate as an expression that is true or false of every document; `None` for a form the gate does
/// not write.
pub(super) fn expression(condition: &Document) -> Option<Bson> {
    let mut all = Vec::new();
    for (key, tests) in condition {
        match (key.as_str(), tests) {
            ("$and", Bson::Array(inner)) => all.push(doc! { "$and": each(inner)? }.into()),
            ("$or", Bson::Array(inner)) => all.push(doc! { "$or": each(inner)? }.into()),
            ("$nor", Bson::Array(inner)) => all.push(doc! { "$not": [{ "$or": each(inner)? }] }.into()),
            (key, Bson::Document(tests)) if !key.starts_with('$') => {
                for (word, operand) in tests {
                    all.extend(test(key, word, operand)?);
                }
            }
            _ => return None,
        }
    }
    Some(doc! { "$and": all }.into())
}

fn each(conditions: &[Bson]) -> Option<Vec<Bson>> {
    conditions.iter().map(|condition| expression(condition.as_document()?)).collect()
}

/// One test of one field; nothing for a guard against arrays, of which there are none.
fn test(key: &str, word: &str, operand: &Bson) -> Option<Option<Bson>> {
    let constant = || Bson::from(doc! { "$literal": operand.clone() });
    let compared = |word: &str| {
        let mut compared = Document::new();
        compared.insert(word, vec![value(key), constant()]);
        Bson::from(compared)
    };
    let matches = |regex: &Bson| match regex {
        Bson::RegularExpression(regex) => Some(Bson::from(doc! { "$regexMatch": {
            "input": value(key), "regex": { "$literal": &regex.pattern }, "options": &regex.options,
        } })),
        _ => None,
    };
    Some(Some(match word {
        "$eq" | "$ne" | "$gt" | "$gte" | "$in" => compared(word),
        // Null is smaller than every value.
        "$lt" | "$lte" => doc! { "$and": [is_value(value(key)), compared(word)] }.into(),
        "$nin" => doc! { "$not": [compared("$in")] }.into(),
        "$regex" => matches(operand)?,
        "$not" => match operand {
            Bson::Document(guard) if *guard == doc! { "$type": "array" } => return Some(None),
            regex => doc! { "$not": [matches(regex)?] }.into(),
        },
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Regex;

    use super::*;

    #[test]
    fn constants_are_quoted_and_nulls_are_below_nothing() {
        let condition = doc! { "$or": [
            { "s": { "$lt": "$x", "$not": { "$type": "array" } } },
            { "$nor": [{ "n": { "$nin": [1, Bson::Null] } }] },
        ] };
        let value = |key: &str| doc! { "$ifNull": [format!("${key}"), Bson::Null] };
        let expected = doc! { "$and": [{ "$or": [
            { "$and": [{ "$and": [
                { "$ne": [value("s"), Bson::Null] },
                { "$lt": [value("s"), { "$literal": "$x" }] },
            ] }] },
            { "$and": [{ "$not": [{ "$or": [
                { "$and": [{ "$not": [{ "$in": [value("n"), { "$literal": [1, Bson::Null] }] }] }] },
            ] }] }] },
        ] }] };
        assert_eq!(expression(&condition), Some(expected.into()));
    }

    #[test]
    fn what_the_gate_does_not_write_is_not_guessed() {
        let regex = Bson::RegularExpression(Regex { pattern: "a".into(), options: "s".into() });
        assert!(expression(&doc! { "s": { "$not": regex } }).is_some());
        for unknown in [doc! { "s": { "$type": "int" } }, doc! { "$where": "1" }, doc! { "s": 1 }] {
            assert_eq!(expression(&unknown), None, "{unknown}");
        }
    }
}
