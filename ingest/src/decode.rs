//! Takes payloads apart into text columns by declared paths.
//!
//! A path with `[]` makes one row per element; the arrays of one document that are not nested in each other give
//! their rows one after the other, never multiplied. A document that gives no row at all, or cannot be read, still
//! gives one row, so that nothing disappears here. Values stay text: SQL decides what they mean.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringArray, StringBuilder, UInt32Array};
use serde_json::Value;

use crate::error::Result;
use crate::pipeline::model::Decode;

/// Decoded payloads: text columns by name, and for each row the payload it came from.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) columns: Vec<(String, ArrayRef)>,
    pub(crate) origin: UInt32Array,
}

/// One step of a path: a key, and whether its value is an array to walk through.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    key: String,
    each: bool,
}

fn steps(path: &str) -> Vec<Step> {
    path.split('.')
        .map(|part| match part.strip_suffix("[]") {
            Some(key) => Step { key: key.to_owned(), each: true },
            None => Step { key: part.to_owned(), each: false },
        })
        .collect()
}

/// The part of a path up to and including its last array.
fn array_prefix(path: &str) -> &str {
    path.rfind("[]").map_or("", |at| path.get(..at + 2).unwrap_or(path))
}

#[derive(Debug)]
struct Field {
    prefix: String,
    /// Steps below the prefix.
    rest: Vec<Step>,
}

/// Decodes JSON payloads. Adds the columns `array_path` (which array a row came from, empty for none) and
/// `decode_error`.
pub(crate) fn json(decode: &Decode, payloads: &StringArray) -> Result<Decoded> {
    let fields: Vec<Field> = decode
        .0
        .iter()
        .map(|(_, path)| {
            let prefix = array_prefix(path).to_owned();
            let rest = path.get(prefix.len()..).unwrap_or_default().trim_start_matches('.');
            Field { rest: if rest.is_empty() { Vec::new() } else { steps(rest) }, prefix }
        })
        .collect();
    let mut prefixes: Vec<&str> =
        fields.iter().map(|field| field.prefix.as_str()).filter(|p| !p.is_empty()).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    // Only the innermost arrays make rows; the arrays around them are contexts of theirs.
    let all = prefixes.clone();
    prefixes
        .retain(|prefix| !all.iter().any(|other| other.len() > prefix.len() && other.starts_with(prefix)));
    let mut out = Output {
        columns: fields.iter().map(|_| StringBuilder::new()).collect(),
        array_path: StringBuilder::new(),
        error: StringBuilder::new(),
        origin: Vec::with_capacity(payloads.len()),
    };
    for row in 0..payloads.len() {
        let origin = u32::try_from(row).unwrap_or(u32::MAX);
        let text = if payloads.is_valid(row) { payloads.value(row) } else { "" };
        match serde_json::from_str::<Value>(text) {
            Ok(document) => {
                let mut given = false;
                for prefix in &prefixes {
                    let mut contexts = Vec::new();
                    walk(&document, &steps(prefix), "", &mut vec![(String::new(), &document)], &mut contexts);
                    for context in &contexts {
                        out.push(&fields, context, prefix, None, origin);
                        given = true;
                    }
                }
                if !given {
                    out.push(&fields, &[(String::new(), &document)], "", None, origin);
                }
            }
            Err(_) => out.push(&fields, &[], "", Some("not valid JSON"), origin),
        }
    }
    let Output { columns, mut array_path, mut error, origin } = out;
    let mut named: Vec<(String, ArrayRef)> = decode
        .0
        .iter()
        .zip(columns)
        .map(|((name, _), mut column)| (name.clone(), Arc::new(column.finish()) as ArrayRef))
        .collect();
    named.push(("array_path".to_owned(), Arc::new(array_path.finish())));
    named.push(("decode_error".to_owned(), Arc::new(error.finish())));
    Ok(Decoded { columns: named, origin: UInt32Array::from(origin) })
}

/// Elements of nested arrays: each context lists the array prefixes on the way with the element chosen there.
fn walk<'d>(
    at: &'d Value,
    path: &[Step],
    walked: &str,
    stack: &mut Vec<(String, &'d Value)>,
    contexts: &mut Vec<Vec<(String, &'d Value)>>,
) {
    let Some((step, rest)) = path.split_first() else {
        contexts.push(stack.clone());
        return;
    };
    let Some(next) = at.get(&step.key) else { return };
    let dot = if walked.is_empty() { "" } else { "." };
    if !step.each {
        return walk(next, rest, &format!("{walked}{dot}{}", step.key), stack, contexts);
    }
    let here = format!("{walked}{dot}{}[]", step.key);
    for element in next.as_array().map(Vec::as_slice).unwrap_or_default() {
        stack.push((here.clone(), element));
        walk(element, rest, &here, stack, contexts);
        stack.pop();
    }
}

struct Output {
    columns: Vec<StringBuilder>,
    array_path: StringBuilder,
    error: StringBuilder,
    origin: Vec<u32>,
}

impl Output {
    fn push(
        &mut self,
        fields: &[Field],
        context: &[(String, &Value)],
        prefix: &str,
        error: Option<&str>,
        origin: u32,
    ) {
        for (field, column) in fields.iter().zip(&mut self.columns) {
            let base = context.iter().find(|(prefix, _)| *prefix == field.prefix).map(|(_, value)| *value);
            let value =
                base.and_then(|base| field.rest.iter().try_fold(base, |value, step| value.get(&step.key)));
            match value {
                None | Some(Value::Null) => column.append_null(),
                Some(Value::String(text)) => column.append_value(text),
                Some(other) => column.append_value(other.to_string()),
            }
        }
        self.array_path.append_value(prefix);
        self.error.append_option(error);
        self.origin.push(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sibling_arrays_follow_each_other_and_nothing_disappears() {
        let decode = Decode(
            [
                ("call", "ref"),
                ("eta", "agents[].eta"),
                ("berth", "areas[].berths[].code"),
                ("area", "areas[].code"),
            ]
            .map(|(name, path)| (name.to_owned(), path.to_owned()))
            .to_vec(),
        );
        let payloads = StringArray::from(vec![
            r#"{"ref":"C1","agents":[{"eta":"a"},{"eta":"b"}],"areas":[{"code":"X","berths":[{"code":82},{"code":null}]}]}"#,
            r#"{"ref":"C2"}"#,
            "{cut",
        ]);
        let decoded = json(&decode, &payloads).unwrap();
        let text = |index: usize| -> Vec<Option<String>> {
            let column = decoded.columns[index].1.as_any().downcast_ref::<StringArray>().unwrap().clone();
            column.iter().map(|v| v.map(str::to_owned)).collect()
        };
        let some = |v: &str| Some(v.to_owned());
        assert_eq!(decoded.origin.values().to_vec(), [0, 0, 0, 0, 1, 2]);
        assert_eq!(text(1)[..2], [some("a"), some("b")]);
        assert_eq!(text(2)[2..4], [some("82"), None]);
        assert_eq!(text(3)[2..4], [some("X"), some("X")]);
        assert_eq!(text(0)[4..], [some("C2"), None]);
        assert_eq!(text(5)[5], some("not valid JSON"));
    }
}
