//! Files as tables: NDJSON, CSV, Parquet, XML rows and whitespace-separated text, with declared columns.
//!
//! A file is never guessed at: columns and types are declared, numbers are read from their text, and a line that
//! cannot be read is an error naming file and record unless the declaration says otherwise. Ingest reads the same
//! files through [`FilesSource::records`], which gives every record as received, also the unreadable ones.

mod column;
mod config;
mod decode;
mod executor;
mod json;
mod lines;
mod listing;
mod parquet;
mod records;
mod remembered;
mod source;
mod statistics;
#[cfg(test)]
mod tests;
pub(crate) mod value;
mod xml;

pub use column::ColumnType;
pub use config::{
    ColumnConfig, CsvOptions, FileFormat, FileTableConfig, FilesConfig, OnMismatch, TextOptions, XmlOptions,
};
pub use records::RawRecord;
pub use source::FilesSource;

pub(crate) use config::on_mismatch;
pub(crate) use decode::{Decoder, Misfit};
pub(crate) use json::object_fields;
pub(crate) use listing::matches as matches_glob;
pub(crate) use source::declared_fields;
