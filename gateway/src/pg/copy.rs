//! `COPY … TO STDOUT`: options, and rows as text, CSV or binary.
//!
//! PostgreSQL 17, `copyto.c`. Options are checked as PostgreSQL checks them; one that is not offered is refused.

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::copy::CopyDone;

use crate::pg::backend::{Column, Format};
use crate::pg::encode::RowEncoder;
use crate::pg::fault::Fault;
use crate::pg::message::Outgoing;
use crate::pg::rows::fields;
use crate::pg::style::Style;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Text,
    Csv,
    Binary,
}

/// How rows of a COPY are written.
#[derive(Debug)]
pub(crate) struct CopyWriter {
    layout: Layout,
    delimiter: u8,
    null: Vec<u8>,
    header: bool,
    quote: u8,
    escape: u8,
    force_quote_all: bool,
    force_quote: Vec<String>,
}

fn bad(message: impl Into<String>) -> Fault {
    Fault::new("22023", message)
}

fn one_byte(name: &str, value: Option<&str>) -> Result<u8, Fault> {
    match value.map(str::as_bytes) {
        Some([byte]) => Ok(*byte),
        _ => Err(Fault::new("0A000", format!("COPY {name} must be a single one-byte character"))),
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, Fault> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "on" | "1") => Ok(true),
        Some("false" | "off" | "0") => Ok(false),
        Some(_) => Err(Fault::new("42601", format!("{name} requires a Boolean value"))),
    }
}

impl CopyWriter {
    /// Reads the options.
    ///
    /// # Errors
    /// 42601 unknown or twice, 22023 or 0A000 for a value that is not offered.
    pub(crate) fn new(options: &[(String, Option<String>)]) -> Result<Self, Fault> {
        let find = |name: &str| options.iter().find(|(key, _)| key == name);
        for (index, (name, value)) in options.iter().enumerate() {
            if options.iter().skip(index + 1).any(|(other, _)| other == name) {
                return Err(Fault::new("42601", "conflicting or redundant options"));
            }
            match name.as_str() {
                "format" | "delimiter" | "null" | "header" | "quote" | "escape" | "force_quote" | "csv"
                | "binary" => {}
                "encoding" => {
                    let encoding = value.as_deref().unwrap_or_default().to_ascii_lowercase();
                    if !matches!(encoding.as_str(), "utf8" | "utf-8" | "unicode") {
                        return Err(bad("argument to option \"encoding\" must be a valid encoding name")
                            .with_hint("only UTF8 is offered"));
                    }
                }
                "freeze" | "oids" | "force_not_null" | "force_null" | "default" | "on_error"
                | "log_verbosity" => {
                    return Err(Fault::new(
                        "0A000",
                        format!("COPY {} cannot be used with COPY TO", name.to_uppercase()),
                    ));
                }
                _ => return Err(Fault::new("42601", format!("option \"{name}\" not recognized"))),
            }
        }
        let layout = match find("format").and_then(|(_, value)| value.as_deref()) {
            Some("text") => Layout::Text,
            Some("csv") => Layout::Csv,
            Some("binary") => Layout::Binary,
            Some(other) => return Err(bad(format!("COPY format \"{other}\" not recognized"))),
            None if find("csv").is_some() => Layout::Csv,
            None if find("binary").is_some() => Layout::Binary,
            None => Layout::Text,
        };
        let csv = layout == Layout::Csv;
        for name in ["quote", "escape", "force_quote"] {
            if find(name).is_some() && !csv {
                return Err(Fault::new("0A000", format!("COPY {} requires CSV mode", name.to_uppercase())));
            }
        }
        for name in ["delimiter", "null", "header"] {
            if find(name).is_some() && layout == Layout::Binary {
                return Err(Fault::new(
                    "42601",
                    format!("cannot specify {} in BINARY mode", name.to_uppercase()),
                ));
            }
        }
        let delimiter = match find("delimiter") {
            Some((_, value)) => one_byte("delimiter", value.as_deref())?,
            None if csv => b',',
            None => b'\t',
        };
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(bad("COPY delimiter cannot be newline or carriage return"));
        }
        if layout == Layout::Text && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            return Err(bad(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
        }
        let null = match find("null") {
            Some((_, value)) => value.clone().unwrap_or_default().into_bytes(),
            None if csv => Vec::new(),
            None => b"\\N".to_vec(),
        };
        if null.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return Err(bad("COPY null representation cannot use newline or carriage return"));
        }
        let quote = find("quote").map_or(Ok(b'"'), |(_, value)| one_byte("quote", value.as_deref()))?;
        if csv && quote == delimiter {
            return Err(bad("COPY delimiter and quote must be different"));
        }
        let escape = find("escape").map_or(Ok(quote), |(_, value)| one_byte("escape", value.as_deref()))?;
        let header = find("header").map_or(Ok(false), |(_, value)| boolean("header", value.as_deref()))?;
        let forced = find("force_quote").and_then(|(_, value)| value.clone()).unwrap_or_default();
        Ok(Self {
            layout,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote_all: forced.trim() == "*",
            force_quote: forced
                .split(',')
                .map(|name| name.trim().trim_matches(['(', ')', ' ', '"']).to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }

    /// The format values must be encoded in.
    pub(crate) fn value_format(&self) -> Format {
        if self.layout == Layout::Binary { Format::Binary } else { Format::Text }
    }

    /// CopyOutResponse, and what stands before the rows.
    pub(crate) fn begin(&self, columns: &[Column], out: &mut Outgoing) {
        out.copy_out(self.value_format(), columns.len());
        if self.layout == Layout::Binary {
            out.copy_data(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        } else if self.header {
            let mut line = BytesMut::new();
            for (index, column) in columns.iter().enumerate() {
                self.separator(index, &mut line);
                self.attribute(column.name.as_bytes(), columns.len() == 1, false, &mut line);
            }
            line.put_u8(b'\n');
            out.copy_data(&line);
        }
    }

    /// What stands after the rows, and CopyDone.
    pub(crate) fn end(&self, out: &mut Outgoing) {
        if self.layout == Layout::Binary {
            out.copy_data(&(-1_i16).to_be_bytes());
        }
        out.send(&CopyDone::new());
    }

    /// One row of a batch.
    ///
    /// # Errors
    /// As [`RowEncoder::tuple`].
    pub(crate) fn row(
        &self,
        rows: &RowEncoder,
        row: usize,
        style: &Style,
        line: &mut BytesMut,
    ) -> Result<(), Fault> {
        if self.layout == Layout::Binary {
            return rows.tuple(row, style, line);
        }
        let mut value = BytesMut::new();
        let sole = rows.columns().len() == 1;
        for (index, column) in rows.columns().iter().enumerate() {
            self.separator(index, line);
            if column.is_null(row) {
                line.put_slice(&self.null);
                continue;
            }
            value.clear();
            column.value(row, style, &mut value)?;
            self.attribute(&value, sole, self.is_forced(column.name()), line);
        }
        line.put_u8(b'\n');
        Ok(())
    }

    /// One `DataRow` of the shadow.
    ///
    /// # Errors
    /// 0A000 when the shadow answered in another format than COPY needs.
    pub(crate) fn relayed(
        &self,
        row: &Bytes,
        columns: &[Column],
        formats: &[Format],
        out: &mut Outgoing,
    ) -> Result<(), Fault> {
        if (0..columns.len()).any(|index| crate::pg::encode::format_at(formats, index) != self.value_format())
        {
            return Err(Fault::unsupported("binary COPY of a catalog query"));
        }
        if self.layout == Layout::Binary {
            out.copy_data(row.get(5..).unwrap_or_default());
            return Ok(());
        }
        let mut line = BytesMut::new();
        for (index, value) in fields(row).into_iter().enumerate() {
            self.separator(index, &mut line);
            match value {
                None => line.put_slice(&self.null),
                Some(value) => {
                    let forced = columns.get(index).is_some_and(|column| self.is_forced(&column.name));
                    self.attribute(&value, columns.len() == 1, forced, &mut line);
                }
            }
        }
        line.put_u8(b'\n');
        out.copy_data(&line);
        Ok(())
    }

    fn is_forced(&self, name: &str) -> bool {
        self.force_quote_all || self.force_quote.iter().any(|forced| forced == name)
    }

    fn separator(&self, index: usize, line: &mut BytesMut) {
        if index > 0 {
            line.put_u8(self.delimiter);
        }
    }

    fn attribute(&self, value: &[u8], sole: bool, forced: bool, line: &mut BytesMut) {
        if self.layout == Layout::Text {
            for byte in value {
                match byte {
                    b'\\' => line.put_slice(b"\\\\"),
                    b'\n' => line.put_slice(b"\\n"),
                    b'\r' => line.put_slice(b"\\r"),
                    b'\t' => line.put_slice(b"\\t"),
                    0x08 => line.put_slice(b"\\b"),
                    0x0c => line.put_slice(b"\\f"),
                    0x0b => line.put_slice(b"\\v"),
                    byte if *byte == self.delimiter => {
                        line.put_u8(b'\\');
                        line.put_u8(*byte);
                    }
                    byte => line.put_u8(*byte),
                }
            }
            return;
        }
        let needed = forced
            || value == self.null
            || (sole && value == b"\\.")
            || value
                .iter()
                .any(|byte| *byte == self.delimiter || *byte == self.quote || matches!(byte, b'\n' | b'\r'));
        if !needed {
            line.put_slice(value);
            return;
        }
        line.put_u8(self.quote);
        for byte in value {
            if *byte == self.quote || *byte == self.escape {
                line.put_u8(self.escape);
            }
            line.put_u8(*byte);
        }
        line.put_u8(self.quote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
    }

    fn attribute(list: &[(&str, &str)], value: &str, sole: bool) -> String {
        let mut line = BytesMut::new();
        CopyWriter::new(&options(list)).unwrap().attribute(value.as_bytes(), sole, false, &mut line);
        String::from_utf8(line.to_vec()).unwrap()
    }

    // Expected texts are PostgreSQL 15's.
    #[test]
    fn attributes_are_quoted_as_postgres_quotes_them() {
        assert_eq!(attribute(&[], "a\tb\\c\nd", false), "a\\tb\\\\c\\nd");
        assert_eq!(attribute(&[("delimiter", "|")], "a|b", false), "a\\|b");
        assert_eq!(attribute(&[("format", "csv")], "a\"b", false), "\"a\"\"b\"");
        assert_eq!(attribute(&[("format", "csv")], "", false), "\"\"");
        assert_eq!(attribute(&[("format", "csv")], "\\.", true), "\"\\.\"");
        assert_eq!(attribute(&[("format", "csv")], "\\.", false), "\\.");
        assert_eq!(attribute(&[("format", "csv"), ("null", "NULL")], "NULL", false), "\"NULL\"");
    }

    #[test]
    fn bad_options_are_refused() {
        for (list, code) in [
            (&[("format", "xml")][..], "22023"),
            (&[("nosuch", "1")], "42601"),
            (&[("header", "true"), ("header", "true")], "42601"),
            (&[("quote", "'")], "0A000"),
            (&[("format", "binary"), ("delimiter", ",")], "42601"),
            (&[("delimiter", "ab")], "0A000"),
            (&[("delimiter", "a")], "22023"),
            (&[("encoding", "latin1")], "22023"),
        ] {
            assert_eq!(CopyWriter::new(&options(list)).unwrap_err().sqlstate, code, "{list:?}");
        }
    }
}
