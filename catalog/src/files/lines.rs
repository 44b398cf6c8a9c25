//! Records of line-based files: NDJSON and whitespace-separated text, read without holding the file in memory.

use std::io::{BufRead, Read};
use std::sync::Arc;

use bytes::Bytes;

use super::json::object_fields;
use super::{RawRecord, TextOptions};

/// A record, or the error that ended the reading of its file.
pub(super) type Item = Result<RawRecord, std::io::Error>;

/// The lines of a file without their ends; a byte order mark is not part of the first one.
struct Lines<R> {
    reader: R,
    first: bool,
}

/// Longest line that is read: a file without line ends must not fill the memory.
const LINE_BYTES: u64 = 32 * 1024 * 1024;

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Option<Result<Vec<u8>, std::io::Error>> {
        let mut line = Vec::new();
        match self.reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        if line.last() != Some(&b'\n') && u64::try_from(line.len()).unwrap_or(u64::MAX) >= LINE_BYTES {
            let message = format!("a line is longer than {} MiB", LINE_BYTES >> 20);
            return Some(Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message)));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.first) && line.starts_with(b"\xEF\xBB\xBF") {
            line.drain(..3);
        }
        Some(Ok(line))
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// One JSON object a line; blank lines are no records.
pub(super) fn ndjson(file: Arc<str>, reader: impl BufRead) -> impl Iterator<Item = Item> {
    let mut lines = Lines { reader, first: true };
    let mut record_no = 0;
    std::iter::from_fn(move || {
        loop {
            let line = match lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if is_blank(&line) {
                continue;
            }
            record_no += 1;
            let (fields, malformed) = match object_fields(&line) {
                Ok(fields) => (fields, None),
                Err(why) => (vec![], Some(why)),
            };
            let payload = Bytes::from(line);
            return Some(Ok(RawRecord { file: Arc::clone(&file), record_no, payload, fields, malformed }));
        }
    })
}

/// Whitespace-separated columns under header lines, the first of which names them.
pub(super) fn text(
    file: Arc<str>,
    reader: impl BufRead,
    options: &TextOptions,
) -> impl Iterator<Item = Item> {
    let mut lines = Lines { reader, first: true };
    let mut headers_left = options.header_lines;
    let mut names: Option<Vec<String>> = None;
    let mut record_no = 0;
    std::iter::from_fn(move || {
        loop {
            let line = match lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let shown = String::from_utf8_lossy(&line);
            if headers_left > 0 {
                headers_left -= 1;
                names.get_or_insert_with(|| {
                    shown.trim_start_matches('#').split_ascii_whitespace().map(str::to_owned).collect()
                });
                continue;
            }
            if is_blank(&line) {
                continue;
            }
            record_no += 1;
            let values: Vec<&str> = shown.split_ascii_whitespace().collect();
            let names = names.get_or_insert_with(|| (1..=values.len()).map(|n| format!("c{n}")).collect());
            let malformed = if std::str::from_utf8(&line).is_err() {
                Some("not UTF-8".to_owned())
            } else if values.len() != names.len() {
                Some(format!("{} fields where the header names {}", values.len(), names.len()))
            } else {
                None
            };
            let fields = if malformed.is_some() {
                vec![]
            } else {
                names.iter().cloned().zip(values.into_iter().map(|value| Some(value.to_owned()))).collect()
            };
            drop(shown);
            let payload = Bytes::from(line);
            return Some(Ok(RawRecord { file: Arc::clone(&file), record_no, payload, fields, malformed }));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_with_something_on_it_is_one_record() {
        let input: &[u8] = b"\xEF\xBB\xBF{\"a\":1}\r\n\n{\"a\":9007199254740993,\"b\":null,\"c\":\"x\\ny\",\"d\":{\"e\":[1]}}\nnot json\n[1]\n{\"a\":\xff}\n{\"a\":2}";
        let records: Vec<RawRecord> = ndjson("f".into(), input).map(Result::unwrap).collect();
        assert_eq!(records.iter().map(|r| r.record_no).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(records[0].fields, [("a".into(), Some("1".into()))]);
        assert_eq!(
            records[1].fields,
            [
                ("a".into(), Some("9007199254740993".into())),
                ("b".into(), None),
                ("c".into(), Some("x\ny".into())),
                ("d".into(), Some("{\"e\":[1]}".into())),
            ]
        );
        let malformed: Vec<bool> = records.iter().map(|r| r.malformed.is_some()).collect();
        assert_eq!(malformed, [false, false, true, true, true, false]);
        assert_eq!(&records[2].payload[..], b"not json");
    }

    #[test]
    fn a_file_without_line_ends_is_refused_and_not_swallowed() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x').take(LINE_BYTES * 2));
        let first = ndjson("f".into(), endless).next().unwrap();
        assert_eq!(first.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }

    #[test]
    fn text_columns_are_named_by_the_header_and_counted() {
        let input: &[u8] =
            b"#YY  MM DD hh mm WDIR\n#yr mo dy hr mn degT\n2015 12 31 23 00 132\n2015 12 31 23\n\n";
        let options = TextOptions { header_lines: 2 };
        let records: Vec<RawRecord> = text("f".into(), input, &options).map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].fields[5], ("WDIR".into(), Some("132".into())));
        assert_eq!(records[0].fields[1].0, "MM");
        assert_eq!(records[1].malformed.as_deref(), Some("4 fields where the header names 6"));
    }
}
