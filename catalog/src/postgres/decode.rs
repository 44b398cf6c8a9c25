//! Binary COPY output to Arrow batches, without a row object in between.
//!
//! Format (PostgreSQL 17, `COPY`, binary format): a header, then per row a field count and per field a length and
//! its bytes, then -1. A stream that ends without the -1 was cut and is an error, never an end. Every length is
//! checked; nothing a server sends can make this module read outside its input.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};

use self::builder::Builder;
use super::numeric;
use crate::declared::DeclaredType;
use crate::federation::Fragment;
use crate::source::{PG_TYPE_KEY, SourceError, SourceErrorKind, TableDef};

mod builder;

/// `PGCOPY\n\377\r\n\0`.
const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";
/// Rows per batch at most.
const BATCH_ROWS: usize = 8_192;
/// Bytes of input per batch at most.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Decodes one COPY stream. Feed it bytes in any portions, then call [`Decoder::finish`].
pub(super) struct Decoder {
    table: Arc<TableDef>,
    source: String,
    schema: SchemaRef,
    builders: Vec<Builder>,
    /// Tables and fields that the columns come from, where they are known.
    origins: Vec<Option<(String, Field)>>,
    /// Input that is not a whole row yet.
    pending: Vec<u8>,
    state: State,
    rows: usize,
    bytes: usize,
    done: Vec<RecordBatch>,
}

#[derive(PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

/// Why a value or a stream cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The bytes are not what the type sends.
    Malformed,
    /// The value is outside the Arrow type.
    OutOfRange,
    /// A date, timestamp or interval beyond what 64 bits from 1970 hold: 294247-01-10 is the last timestamp.
    Time(&'static str),
    /// The array has more than one dimension.
    Dimensions,
}

impl Decoder {
    pub(super) fn new(source: &str, table: Arc<TableDef>, schema: SchemaRef) -> Result<Self, SourceError> {
        let mut builders = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let builder = Builder::of(field).ok_or_else(|| {
                SourceError::new(
                    SourceErrorKind::Unsupported,
                    format!(
                        "column \"{source}.{}.{}\" has a type no PostgreSQL value becomes",
                        table.name,
                        field.name()
                    ),
                )
            })?;
            builders.push(builder);
        }
        Ok(Self {
            table,
            source: source.to_owned(),
            schema,
            builders,
            origins: Vec::new(),
            pending: Vec::new(),
            state: State::Header,
            rows: 0,
            bytes: 0,
            done: Vec::new(),
        })
    }

    /// The same, of which errors name the columns that a fragment reads.
    pub(super) fn reading(self, fragment: &Fragment) -> Self {
        let origin =
            |output| fragment.origin(output).map(|(table, field)| (table.name.clone(), field.clone()));
        Self { origins: (0..self.builders.len()).map(origin).collect(), ..self }
    }

    /// Takes the next portion of the stream; returns the batches that are full.
    pub(super) fn push(&mut self, input: &[u8]) -> Result<Vec<RecordBatch>, SourceError> {
        if self.pending.is_empty() {
            let used = self.consume(input)?;
            self.pending.extend_from_slice(input.get(used..).unwrap_or_default());
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(input);
            let used = self.consume(&pending)?;
            pending.drain(..used);
            self.pending = pending;
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// The rest, once the stream has ended.
    pub(super) fn finish(mut self) -> Result<Option<RecordBatch>, SourceError> {
        if self.state != State::Ended || !self.pending.is_empty() {
            return Err(self.broken("ended before its last row"));
        }
        self.flush()?;
        Ok(self.done.pop())
    }

    fn consume(&mut self, input: &[u8]) -> Result<usize, SourceError> {
        let mut rest = input;
        if self.state == State::Header {
            match header(rest) {
                Some(Ok(after)) => rest = after,
                Some(Err(())) => return Err(self.broken("does not start as one")),
                None => return Ok(0),
            }
            self.state = State::Rows;
        }
        while self.state == State::Rows {
            let Some((count, fields)) =
                take::<2>(rest).map(|(count, rest)| (i16::from_be_bytes(count), rest))
            else {
                break;
            };
            if count == -1 {
                self.state = State::Ended;
                rest = fields;
                break;
            }
            if usize::try_from(count) != Ok(self.builders.len()) {
                return Err(self.broken("has another number of columns than was asked for"));
            }
            let Some(length) = row_length(fields, self.builders.len()) else {
                return Err(self.broken("has a field of impossible length"));
            };
            let Some((mut row, after)) = length.and_then(|length| fields.split_at_checked(length)) else {
                break;
            };
            self.bytes += row.len();
            for index in 0..self.builders.len() {
                let (value, next) = field(row).unwrap_or((None, &[]));
                row = next;
                let appended = match self.builders.get_mut(index) {
                    Some(builder) => builder.append(value),
                    None => Err(Flaw::Malformed),
                };
                if let Err(flaw) = appended {
                    return Err(self.misfit(index, flaw, value));
                }
            }
            self.rows += 1;
            rest = after;
            if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
                self.flush()?;
            }
        }
        if self.state == State::Ended && !rest.is_empty() {
            return Err(self.broken("goes on after its end"));
        }
        Ok(input.len() - rest.len())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| self.broken("does not have the promised columns").with_cause(error))?;
        self.done.push(batch);
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn broken(&self, how: &str) -> SourceError {
        let message =
            format!("the answer of source \"{}\" for table \"{}\" {how}", self.source, self.table.name);
        SourceError::new(SourceErrorKind::Unreachable, message).with_hint("run the query again")
    }

    fn misfit(&self, index: usize, flaw: Flaw, value: Option<&[u8]>) -> SourceError {
        let origin = self.origins.get(index).and_then(Option::as_ref);
        let (table, column) = match (origin, self.schema.fields().get(index)) {
            (Some((table, field)), _) => (table.as_str(), field.name().as_str()),
            (None, field) => (self.table.name.as_str(), field.map_or("?", |field| field.name().as_str())),
        };
        let path = format!("{}.{table}.{column}", self.source);
        let declare = |declared: DeclaredType| {
            format!(
                "write {} for source \"{}\" in the port's file",
                declared.line(table, column),
                self.source
            )
        };
        match flaw {
            Flaw::Malformed => self.broken(&format!("has an unreadable value in \"{column}\"")),
            Flaw::OutOfRange => SourceError::new(
                SourceErrorKind::Data,
                format!("a value of column \"{path}\" does not fit its type"),
            )
            .with_hint(
                match origin.zip(value).and_then(|((_, field), value)| fitting_type(field, value)) {
                    Some(declared) => declare(declared),
                    None => "expose a view without such values".to_owned(),
                },
            ),
            Flaw::Time(what) => SourceError::new(
                SourceErrorKind::Data,
                format!("{what} out of range: a value of column \"{path}\" is beyond what can be read"),
            )
            .with_remote_code("22008")
            .with_hint("expose a view without such values, or with 'infinity' in their place"),
            Flaw::Dimensions => SourceError::new(
                SourceErrorKind::Unsupported,
                format!("an array of column \"{path}\" has more than one dimension"),
            )
            .with_hint(declare(DeclaredType::Json)),
        }
    }
}

/// What a column may be declared as to take a value that it does not take now.
fn fitting_type(field: &Field, value: &[u8]) -> Option<DeclaredType> {
    let kept = field.metadata().get(PG_TYPE_KEY).is_none_or(|ty| ty != "numeric");
    match field.data_type() {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some(numeric::fitting(value, *precision, *scale, kept))
        }
        DataType::List(_) => Some(DeclaredType::Json),
        _ => None,
    }
}

/// Splits `N` bytes off.
fn take<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    input.split_first_chunk::<N>().map(|(head, rest)| (*head, rest))
}

/// What follows the header; `None` while it is incomplete.
fn header(input: &[u8]) -> Option<Result<&[u8], ()>> {
    let (signature, rest) = take::<11>(input)?;
    let (flags, rest) = take::<4>(rest)?;
    let (extension, rest) = take::<4>(rest)?;
    // Critical flags are bits 16 to 31; none is known that these columns could carry.
    if signature != SIGNATURE || u32::from_be_bytes(flags) >> 16 != 0 {
        return Some(Err(()));
    }
    let extension = usize::try_from(u32::from_be_bytes(extension)).ok()?;
    Some(Ok(rest.split_at_checked(extension)?.1))
}

/// Length of a row of so many fields: inner `None` while it is incomplete, outer if a length is impossible.
#[expect(clippy::option_option, reason = "incomplete and impossible are different answers")]
fn row_length(input: &[u8], fields: usize) -> Option<Option<usize>> {
    let mut at = 0_usize;
    for _ in 0..fields {
        let Some((length, _)) = input.get(at..).and_then(take::<4>) else { return Some(None) };
        at += 4;
        match i32::from_be_bytes(length) {
            -1 => {}
            length => at = at.checked_add(usize::try_from(length).ok()?)?,
        }
    }
    Some(if at <= input.len() { Some(at) } else { None })
}

/// One field of a complete row: its bytes, `None` for NULL, and what follows.
fn field(input: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = take::<4>(input)?;
    match i32::from_be_bytes(length) {
        -1 => Some((None, rest)),
        length => {
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(value), rest))
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
