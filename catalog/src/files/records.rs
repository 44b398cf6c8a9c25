//! Records of files as received, whatever the format, as a stream.
//!
//! Files are read on a blocking thread that stops when the stream is dropped. Line formats are read line by line;
//! CSV and XML files are read whole, so their size is bounded.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::listing::{FoundFile, find, unreadable};
use super::{CsvOptions, FileFormat, FileTableConfig, lines, xml};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Largest CSV or XML file that is read.
const WHOLE_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// Records handed over at a time.
const CHUNK: usize = 1_024;

/// One record of a file, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Path relative to the source's root, with `/`.
    pub file: Arc<str>,
    /// Number of the record in its file, from 1 in file order; headers and blank lines are no records.
    pub record_no: u64,
    /// The record's own bytes: the line without its end, or the row element.
    pub payload: Bytes,
    /// Fields in order of appearance; `None` where the format itself says null. Text is not trimmed.
    pub fields: Vec<(String, Option<String>)>,
    /// Why the record could not be read, if so; its fields are then empty.
    pub malformed: Option<String>,
}

/// What a reading thread needs.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) source: SourceName,
    pub(super) root: Arc<Path>,
    pub(super) table: Arc<FileTableConfig>,
}

/// Records in chunks, or the error that ended the reading.
pub(super) type Chunk = Result<Vec<RawRecord>, SourceError>;

impl Reading {
    /// The table's files, ordered by path; of XML those with the declared root only.
    pub(super) fn files(&self) -> Result<Vec<FoundFile>, SourceError> {
        let found = find(&self.source, &self.root, &self.table.path)?;
        let FileFormat::Xml(options) = &self.table.format else { return Ok(found) };
        let mut belonging = Vec::new();
        for file in found {
            let text = self.whole_text(&file)?;
            let root = xml::root_tag(&text).map_err(|why| self.broken(&file, &why))?;
            if root == options.root {
                belonging.push(file);
            }
        }
        Ok(belonging)
    }

    /// Reads every file into the channel; returns early when nobody listens any more.
    pub(super) fn send_all(&self, sender: &Sender<Chunk>) {
        match self.files() {
            Ok(files) => self.send_files(&files, sender),
            // A closed channel means that nobody wants the error either.
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
            }
        }
    }

    /// The same for files that are listed already.
    pub(super) fn send_files(&self, files: &[FoundFile], sender: &Sender<Chunk>) {
        for file in files {
            match self.send_file(file, sender) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    /// False if nobody listens any more.
    fn send_file(&self, file: &FoundFile, sender: &Sender<Chunk>) -> Result<bool, SourceError> {
        let name = Arc::clone(&file.name);
        match &self.table.format {
            FileFormat::Ndjson => self.send_items(file, lines::ndjson(name, self.open(file)?), sender),
            FileFormat::Text(options) => {
                self.send_items(file, lines::text(name, self.open(file)?, options), sender)
            }
            FileFormat::Csv(options) => {
                let text = self.whole_bytes(file)?;
                self.send_items(file, csv_records(&name, &text, options)?.into_iter().map(Ok), sender)
            }
            FileFormat::Xml(options) => {
                let text = self.whole_text(file)?;
                let rows = xml::rows(&name, &text, options).map_err(|why| self.broken(file, &why))?;
                self.send_items(file, rows.into_iter().map(Ok), sender)
            }
            FileFormat::Parquet => Err(SourceError::new(
                SourceErrorKind::Unsupported,
                format!("parquet file \"{}\" has no records as received", file.name),
            )
            .with_source(&self.source)
            .with_hint("read the table's batches instead")),
        }
    }

    fn send_items(
        &self,
        file: &FoundFile,
        items: impl Iterator<Item = lines::Item>,
        sender: &Sender<Chunk>,
    ) -> Result<bool, SourceError> {
        let mut chunk = Vec::with_capacity(CHUNK);
        for item in items {
            chunk.push(item.map_err(|error| unreadable(&self.source, &self.root, &file.path, error))?);
            if chunk.len() == CHUNK && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(false);
            }
        }
        Ok(chunk.is_empty() || sender.blocking_send(Ok(chunk)).is_ok())
    }

    fn open(&self, file: &FoundFile) -> Result<BufReader<File>, SourceError> {
        let opened = File::open(&file.path)
            .map_err(|error| unreadable(&self.source, &self.root, &file.path, error))?;
        Ok(BufReader::with_capacity(128 * 1024, opened))
    }

    fn whole_bytes(&self, file: &FoundFile) -> Result<Vec<u8>, SourceError> {
        if file.size > WHOLE_FILE_BYTES {
            let message = format!("file \"{}\" is larger than {} MiB", file.name, WHOLE_FILE_BYTES >> 20);
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(&self.source)
                .with_hint("split it, or convert it to ndjson or parquet"));
        }
        std::fs::read(&file.path).map_err(|error| unreadable(&self.source, &self.root, &file.path, error))
    }

    fn whole_text(&self, file: &FoundFile) -> Result<String, SourceError> {
        let bytes = self.whole_bytes(file)?;
        String::from_utf8(bytes).map_err(|_| self.broken(file, "it is not UTF-8"))
    }

    fn broken(&self, file: &FoundFile, why: &str) -> SourceError {
        SourceError::new(SourceErrorKind::Data, format!("file \"{}\" cannot be read: {why}", file.name))
            .with_source(&self.source)
    }
}

/// The records of a CSV file; the first line names the columns. A record with another number of fields is malformed.
fn csv_records(name: &Arc<str>, bytes: &[u8], options: &CsvOptions) -> Result<Vec<RawRecord>, SourceError> {
    let delimiter = u8::try_from(options.delimiter).unwrap_or(b',');
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes);
    let mut names: Option<Vec<String>> = None;
    let mut records = Vec::new();
    let mut record = csv::ByteRecord::new();
    let unreadable = |error: csv::Error| {
        SourceError::new(SourceErrorKind::Data, format!("file \"{name}\" cannot be read")).with_cause(error)
    };
    loop {
        let start = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        if !reader.read_byte_record(&mut record).map_err(unreadable)? {
            return Ok(records);
        }
        let end = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let Some(names) = &names else {
            names = Some(record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect());
            continue;
        };
        let mut malformed = None;
        let mut fields = Vec::with_capacity(names.len());
        if record.len() != names.len() {
            malformed = Some(format!("{} fields where the header names {}", record.len(), names.len()));
        }
        for (name, value) in names.iter().zip(&record) {
            match std::str::from_utf8(value) {
                Ok(value) => {
                    fields.push((name.clone(), (value != options.null).then(|| value.to_owned())));
                }
                Err(_) => malformed = Some("not UTF-8".to_owned()),
            }
        }
        if malformed.is_some() {
            fields.clear();
        }
        let raw = bytes.get(start..end).unwrap_or_default().trim_ascii();
        records.push(RawRecord {
            file: Arc::clone(name),
            record_no: u64::try_from(records.len()).unwrap_or(u64::MAX).saturating_add(1),
            payload: Bytes::copy_from_slice(raw),
            fields,
            malformed,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_keeps_quotes_line_breaks_and_its_own_bytes() {
        let bytes = b"a,b\r\n1,\"x,\n\"\"y\"\"\"\r\n2,\n3\n";
        let options = CsvOptions { delimiter: ',', null: String::new() };
        let records = csv_records(&"f".into(), bytes, &options).unwrap();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].fields[1], ("b".into(), Some("x,\n\"y\"".into())));
        assert_eq!(&records[0].payload[..], b"1,\"x,\n\"\"y\"\"\"");
        assert_eq!(records[1].fields[1], ("b".into(), None));
        assert_eq!(records[2].malformed.as_deref(), Some("1 fields where the header names 2"));
    }
}
