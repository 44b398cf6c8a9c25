//! Reading JSON objects without losing what a number's text says.
//!
//! Values are kept as the text they were received as; 2^53 + 1 stays 2^53 + 1.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in order of appearance, values unparsed.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<'a>(std::marker::PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'a>, M::Error> {
                let mut members: Vec<(String, &'a RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'a RawValue>()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

/// The members of one line's object as text: strings unescaped, null as `None`, everything else as its JSON text.
pub(crate) fn object_fields(line: &[u8]) -> Result<Vec<(String, Option<String>)>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let Members(members) = serde_json::from_str(text).map_err(|error| explain(&error))?;
    members.into_iter().map(|(key, value)| Ok((key, as_text(value)?))).collect()
}

/// A value as text, null as `None`.
pub(super) fn as_text(value: &RawValue) -> Result<Option<String>, String> {
    match value.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => {
            serde_json::from_str(text).map(Some).map_err(|error| explain(&error))
        }
        text => Ok(Some(text.to_owned())),
    }
}

/// The value at a path such as `timestamps[0].dateTime`; `None` where a step is missing.
/// A member whose name is the whole path wins, so that names with dots can be reached.
pub(super) fn at_path<'a>(text: &'a str, path: &str) -> Result<Option<&'a RawValue>, String> {
    let Members(members) = serde_json::from_str(text).map_err(|error| explain(&error))?;
    if let Some((_, value)) = members.iter().rev().find(|(key, _)| key == path) {
        return Ok(Some(value));
    }
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let (name, indexes) = step.split_once('[').map_or((step, None), |(name, rest)| (name, Some(rest)));
    let Some((_, value)) = members.into_iter().rev().find(|(key, _)| key == name) else { return Ok(None) };
    let mut value = value;
    for index in indexes.into_iter().flat_map(|indexes| indexes.split('[')) {
        let Some(index) = index.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()) else {
            return Err(format!("path \"{path}\" has a bad index"));
        };
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else { return Ok(None) };
        let Some(item) = items.get(index) else { return Ok(None) };
        value = item;
    }
    match rest {
        None => Ok(Some(value)),
        Some(rest) if value.get().starts_with('{') => at_path(value.get(), rest),
        Some(_) => Ok(None),
    }
}

/// The parser's message without the position it appends: the caller names file and line.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = text.rfind(" at line ").unwrap_or(text.len());
    format!("not a JSON object: {} (column {})", text.get(..cut).unwrap_or_default(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_members_items_and_dotted_names() {
        let text = r#"{"a":{"b":[{"c":1.10},{"c":null}]},"x.y":7,"n":3}"#;
        let get = |path: &str| at_path(text, path).unwrap().map(|value| value.get().to_owned());
        assert_eq!(get("a.b[0].c").as_deref(), Some("1.10"));
        assert_eq!(get("a.b[1].c").as_deref(), Some("null"));
        assert_eq!(get("a.b[2].c"), None);
        assert_eq!(get("x.y").as_deref(), Some("7"));
        assert_eq!(get("n.z"), None);
        assert_eq!(get("n[0]"), None);
        assert!(at_path(text, "a.b[x]").is_err());
        assert!(at_path("[1]", "a").unwrap_err().starts_with("not a JSON object"));
    }
}
