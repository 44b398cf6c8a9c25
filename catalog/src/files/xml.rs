//! Rows of an XML document: one element a row, its children the fields.
//!
//! The kind of a document is its root tag, never its file's name. External entities are not resolved.

use std::sync::Arc;

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use super::{RawRecord, XmlOptions};

/// The root tag of a document.
pub(super) fn root_tag(text: &str) -> Result<String, String> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) | Event::Empty(start) => return Ok(start.name().as_ref().to_owned()),
            Event::Eof => return Err("it has no root element".to_owned()),
            _ => {}
        }
    }
}

/// Every row of a document. A row with nested children or unknown entities is malformed; a document that is not
/// well-formed, or ends in the middle, is an error.
pub(super) fn rows(file: &Arc<str>, text: &str, options: &XmlOptions) -> Result<Vec<RawRecord>, String> {
    let mut reader = Reader::from_str(text);
    let mut records: Vec<RawRecord> = Vec::new();
    let mut depth = 0_usize;
    loop {
        let before = position(&reader);
        match reader.read_event().map_err(|error| not_well_formed(&error, &reader))? {
            Event::Start(start) if start.name().as_ref() == options.row && depth == 1 => {
                let (fields, malformed) = fields(&mut reader)?;
                let payload = text.get(before..position(&reader)).unwrap_or_default();
                let record_no = u64::try_from(records.len()).unwrap_or(u64::MAX).saturating_add(1);
                records.push(RawRecord {
                    file: Arc::clone(file),
                    record_no,
                    payload: Bytes::copy_from_slice(payload.as_bytes()),
                    fields,
                    malformed,
                });
            }
            Event::Empty(start) if start.name().as_ref() == options.row && depth == 1 => {
                let payload = text.get(before..position(&reader)).unwrap_or_default();
                let record_no = u64::try_from(records.len()).unwrap_or(u64::MAX).saturating_add(1);
                records.push(RawRecord {
                    file: Arc::clone(file),
                    record_no,
                    payload: Bytes::copy_from_slice(payload.as_bytes()),
                    fields: vec![],
                    malformed: None,
                });
            }
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof if depth > 0 => return Err("it ends in the middle of an element".to_owned()),
            Event::Eof => return Ok(records),
            _ => {}
        }
    }
}

type Fields = (Vec<(String, Option<String>)>, Option<String>);

/// Reads to the end of a row.
fn fields(reader: &mut Reader<&[u8]>) -> Result<Fields, String> {
    let mut fields: Vec<(String, Option<String>)> = Vec::new();
    let mut malformed = None;
    let mut open: Option<(String, String)> = None;
    let mut nested = 0_usize;
    loop {
        match reader.read_event().map_err(|error| not_well_formed(&error, reader))? {
            Event::Start(start) => match &open {
                None => open = Some((start.name().as_ref().to_owned(), String::new())),
                Some((name, _)) => {
                    malformed.get_or_insert_with(|| format!("element \"{name}\" has children"));
                    nested += 1;
                }
            },
            Event::Empty(start) => match &open {
                None => fields.push((start.name().as_ref().to_owned(), Some(String::new()))),
                Some((name, _)) => {
                    malformed.get_or_insert_with(|| format!("element \"{name}\" has children"));
                }
            },
            Event::End(_) if nested > 0 => nested -= 1,
            Event::End(_) => match open.take() {
                Some((name, value)) => fields.push((name, Some(value))),
                None if malformed.is_some() => return Ok((vec![], malformed)),
                None => return Ok((fields, None)),
            },
            Event::Text(text) => {
                if let Some((_, value)) = &mut open {
                    value.push_str(&text.xml10_content());
                } else if !text.xml10_content().trim().is_empty() {
                    malformed.get_or_insert_with(|| "text between the elements of a row".to_owned());
                }
            }
            Event::CData(text) => {
                if let Some((_, value)) = &mut open {
                    value.push_str(&text.xml10_content());
                }
            }
            Event::GeneralRef(entity) => match (resolve(&entity), &mut open) {
                (Some(character), Some((_, value))) => value.push(character),
                (Some(_), None) => {}
                (None, _) => {
                    malformed.get_or_insert_with(|| format!("unknown entity \"{}\"", entity.xml10_content()));
                }
            },
            Event::Eof => return Err("it ends in the middle of a row".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn resolve(entity: &BytesRef<'_>) -> Option<char> {
    if entity.is_char_ref() {
        return entity.resolve_char_ref().ok().flatten();
    }
    match entity.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn not_well_formed(error: &quick_xml::Error, reader: &Reader<&[u8]>) -> String {
    format!("it is not well-formed at byte {}: {error}", reader.buffer_position())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> XmlOptions {
        XmlOptions { root: "R".into(), row: "G".into() }
    }

    #[test]
    fn rows_keep_blanks_entities_absence_and_their_own_bytes() {
        let text = "<?xml version=\"1.0\"?>\n<R>\n <G>\n  <A>x &amp; y &#233; </A>\n  <B/>\n  <C><![CDATA[<z>]]></C>\n </G>\n <G><A>1</A></G>\n</R>";
        let rows = rows(&"f".into(), text, &options()).unwrap();
        assert_eq!(root_tag(text).unwrap(), "R");
        assert_eq!(
            rows[0].fields,
            [
                ("A".into(), Some("x & y é ".into())),
                ("B".into(), Some(String::new())),
                ("C".into(), Some("<z>".into())),
            ]
        );
        assert_eq!(rows[1].fields, [("A".into(), Some("1".into()))]);
        assert_eq!(&rows[1].payload[..], b"<G><A>1</A></G>");
        assert_eq!(rows[1].record_no, 2);
    }

    #[test]
    fn a_bad_row_is_malformed_and_a_broken_document_an_error() {
        let nested = "<R><G><A>1<B>2</B></A></G><G><A>&x;</A></G><G><A>3</A></G></R>";
        let rows_read = rows(&"f".into(), nested, &options()).unwrap();
        assert_eq!(rows_read[0].malformed.as_deref(), Some("element \"A\" has children"));
        assert_eq!(rows_read[1].malformed.as_deref(), Some("unknown entity \"x\""));
        assert_eq!(rows_read[2].malformed, None);
        for broken in ["<R><G><A>1</A></G>", "<R><G><A>1", "<R><G></R>", "<R></S>"] {
            assert!(rows(&"f".into(), broken, &options()).is_err(), "{broken}");
        }
        assert!(root_tag("  ").is_err());
    }
}
