//! How the tables of a file source are declared: where the files are, their format, and their columns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use super::column::ColumnType;

/// Files under one directory, shown as declared tables.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// Directory the tables' paths are relative to.
    pub root: PathBuf,
    /// SQL schema the tables are shown in; the source's name by default.
    pub schema: Option<String>,
    /// Tables by name.
    pub tables: BTreeMap<String, FileTableConfig>,
}

/// One table over the files of one glob.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTableConfig {
    /// Glob relative to the source's root; `*`, `?` within a name, `**` across directories.
    pub path: String,
    /// Format of the files.
    pub format: FileFormat,
    /// Columns, in order.
    #[serde(default)]
    pub columns: Vec<ColumnConfig>,
    /// The table's description.
    pub comment: Option<String>,
    /// Columns of the primary key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// What happens to a value or line that does not fit.
    #[serde(default, deserialize_with = "on_mismatch")]
    pub on_mismatch: OnMismatch,
}

/// File formats.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values, the first line naming the columns.
    Csv(CsvOptions),
    /// Parquet; columns may be left out, they are then those of the first file.
    Parquet,
    /// XML, one element a row.
    Xml(XmlOptions),
    /// Whitespace-separated text.
    Text(TextOptions),
}

/// Options of CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// Separator, one ASCII character.
    pub delimiter: char,
    /// Text that means null, in quotes or not; the empty one, unless said.
    pub null: String,
}

impl<'de> Deserialize<'de> for CsvOptions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CsvKeys)
    }
}

/// Reads the options of CSV by hand: YAML takes a key `null` without quotes for no value.
struct CsvKeys;

impl<'de> Visitor<'de> for CsvKeys {
    type Value = CsvOptions;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mapping of options, such as {delimiter: ';'},")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CsvOptions, A::Error> {
        let (mut delimiter, mut null) = (None, None);
        while let Some(key) = map.next_key::<Option<String>>()? {
            match key.as_deref() {
                Some("delimiter") if delimiter.is_none() => delimiter = Some(map.next_value::<char>()?),
                Some("delimiter") => return Err(A::Error::custom(twice("delimiter"))),
                None | Some("null") if null.is_none() => match map.next_value::<Option<String>>()? {
                    Some(text) => null = Some(text),
                    None => {
                        return Err(A::Error::custom(
                            "the text that means null is missing; write it in quotes, as in null: \"NULL\"",
                        ));
                    }
                },
                None | Some("null") => return Err(A::Error::custom(twice("null"))),
                Some(other) => return Err(A::Error::unknown_field(other, &["delimiter", "null"])),
            }
        }
        Ok(CsvOptions { delimiter: delimiter.unwrap_or(','), null: null.unwrap_or_default() })
    }
}

fn twice(key: &str) -> String {
    format!("key \"{key}\" is written twice; keep one of them")
}

/// Options of XML.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XmlOptions {
    /// Tag of the document's root: only files with this root belong to the table, whatever their name.
    pub root: String,
    /// Tag of a row.
    pub row: String,
}

/// Options of whitespace-separated text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextOptions {
    /// Number of lines before the data. The first of them names the columns, with or without a leading `#`.
    #[serde(default = "one")]
    pub header_lines: usize,
}

fn one() -> usize {
    1
}

/// One column of a file table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// Column name.
    pub name: String,
    /// SQL type: `text`, `int8`, `numeric(14,3)`, `timestamptz`, `jsonb`, …
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Where its value is: a header or element name, or for NDJSON a path such as
    /// `ship.imo`; `$` is the whole record; several text columns are joined by blanks, as in `YY MM DD hh mm`.
    /// Alternatives are separated by `|`; the first that has a value wins.
    /// The column's own name by default.
    pub from: Option<String>,
    /// How a date or time is written, in chrono's notation, where it is not ISO 8601: `%Y/%m/%d %H:%M`.
    pub time_format: Option<String>,
    /// Texts that mean null, such as `99.0`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// The column's description.
    pub comment: Option<String>,
}

impl FileTableConfig {
    /// A table without columns yet, strict about mismatches.
    #[must_use]
    pub fn new(path: impl Into<String>, format: FileFormat, columns: Vec<ColumnConfig>) -> Self {
        Self {
            path: path.into(),
            format,
            columns,
            comment: None,
            primary_key: vec![],
            on_mismatch: OnMismatch::Error,
        }
    }
}

impl ColumnConfig {
    /// A column read from the field, element or path of the second argument.
    #[must_use]
    pub fn new(name: impl Into<String>, from: impl Into<String>, column_type: ColumnType) -> Self {
        Self {
            name: name.into(),
            column_type,
            from: Some(from.into()),
            time_format: None,
            missing: vec![],
            comment: None,
        }
    }
}

/// What happens to a value, or a whole line, that does not fit its declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// The query fails, naming file and line.
    #[default]
    Error,
    /// The value becomes null; a line that cannot be read at all becomes a row of nulls. Counted.
    Null,
}

/// YAML reads an unquoted `null` as no value at all; here it is one.
pub(crate) fn on_mismatch<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<OnMismatch, D::Error> {
    Ok(Option::<OnMismatch>::deserialize(deserializer)?.unwrap_or(OnMismatch::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn read(text: &str) -> Result<(char, String), String> {
        let read = parse::<CsvOptions>(std::path::Path::new("port.yaml"), text);
        read.map(|options| (options.delimiter, options.null)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_key_null_needs_no_quotes() {
        for (text, delimiter, null) in [
            ("{delimiter: ';', null: NA}", ';', "NA"),
            ("null: \"NULL\"", ',', "NULL"),
            ("\"null\": '-'\ndelimiter: \"\\t\"", '\t', "-"),
            ("null: ''", ',', ""),
            ("{}", ',', ""),
        ] {
            assert_eq!(read(text), Ok((delimiter, null.to_owned())), "{text}");
        }
        for (text, told) in [
            ("null:", "the text that means null is missing"),
            ("{null: NULL}", "write it in quotes"),
            ("nul: NA", "did you mean \"null\"?"),
            ("{null: a, \"null\": b}", "written twice"),
            ("delimiter: ab", "port.yaml:1:"),
        ] {
            let shown = read(text).unwrap_err();
            assert!(shown.contains(told), "{text}: {shown}");
        }
    }
}
