//! Arrow columns as PostgreSQL values, text and binary.
//!
//! A [`ColumnEncoder`] is made once per column and batch: it widens, casts and rescales whole columns, so that
//! writing a value is one match and no allocation. The wire type decides the form; an Arrow type that differs from
//! it is cast first, never narrowed silently. No value ever appears in an error text.

mod array;
pub(crate) mod calendar;
mod json;
pub(crate) mod number;
mod row;
mod shape;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};

use crate::pg::backend::Format;
use crate::pg::fault::Fault;
use crate::pg::style::Style;
use crate::pgtypes::{PgType, oid};
use shape::{Values, plain, values};

pub use row::{RowEncoder, format_at};

/// Writes the values of one column of one batch.
pub struct ColumnEncoder {
    values: Values,
    nulls: Option<arrow::buffer::NullBuffer>,
    pg: PgType,
    format: Format,
    name: Arc<str>,
}

impl std::fmt::Debug for ColumnEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnEncoder")
            .field("name", &self.name)
            .field("pg", &self.pg)
            .finish_non_exhaustive()
    }
}

impl ColumnEncoder {
    /// Prepares a column for its wire type and format.
    ///
    /// # Errors
    /// 22003 when a value does not fit the announced type, 22008 for a time beyond 64-bit microseconds, 0A000 for a
    /// pair of types that cannot be converted.
    pub fn new(array: &ArrayRef, pg: PgType, format: Format, name: &str) -> Result<Self, Fault> {
        let array = plain(array, name)?;
        let nulls = array.logical_nulls();
        let values = values(&array, pg, name)?;
        Ok(Self { values, nulls, pg, format, name: Arc::from(name) })
    }

    pub(crate) fn for_json(array: &ArrayRef, pg: PgType) -> Result<Self, Fault> {
        Self::new(array, pg, Format::Text, "?column?")
    }

    /// The column's public name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the value is NULL.
    #[must_use]
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Writes length and value as `DataRow` has them; -1 for NULL.
    ///
    /// # Errors
    /// 22021 for text with a NUL byte, 22008 for a date or time PostgreSQL does not have, 2202E for ragged arrays,
    /// 54000 for a value over 1 GiB.
    pub fn field(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        if self.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let at = out.len();
        out.put_i32(0);
        self.value(row, style, out)?;
        let length = i32::try_from(out.len() - at - 4)
            .map_err(|_| Fault::new("54000", format!("value of column \"{}\" is too large", self.name)))?;
        if let Some(slot) = out.get_mut(at..at + 4) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Writes a value that is not NULL in the column's format, without length.
    ///
    /// # Errors
    /// As [`ColumnEncoder::field`].
    pub fn value(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        match self.format {
            Format::Text => self.text(row, style, out),
            Format::Binary => self.binary(row, style, out),
        }
    }

    pub(crate) fn text(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        match &self.values {
            Values::Null => {}
            Values::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
            Values::Int2(array) => number::integer(out, i64::from(array.value(row))),
            Values::Int4(array) => number::integer(out, i64::from(array.value(row))),
            Values::Int8(array) | Values::Oid(array) => number::integer(out, array.value(row)),
            Values::Float4(array) => number::float4(out, array.value(row), style.float_digits),
            Values::Float8(array) => number::float8(out, array.value(row), style.float_digits),
            Values::Decimal128(array, scale) => {
                let value = array.value(row);
                let mut buffer = [0; 40];
                let digits = number::digits_of(value.unsigned_abs(), &mut buffer);
                number::numeric_text(out, value < 0, digits, *scale);
            }
            Values::Decimal256(array, scale) => {
                let (negative, digits) = wide_digits(array.value(row));
                number::numeric_text(out, negative, digits.as_bytes(), *scale);
            }
            Values::Utf8(array) => self.characters(array.value(row), out)?,
            Values::LargeUtf8(array) => self.characters(array.value(row), out)?,
            Values::Utf8View(array) => self.characters(array.value(row), out)?,
            Values::Uuid(array) => {
                let bytes = uuid::Uuid::from_slice(array.value(row)).unwrap_or_default();
                out.put_slice(bytes.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
            }
            Values::Binary(array) => bytea(array.value(row), style, out),
            Values::LargeBinary(array) => bytea(array.value(row), style, out),
            Values::BinaryView(array) => bytea(array.value(row), style, out),
            Values::FixedBinary(array) => bytea(array.value(row), style, out),
            Values::Date(array) => calendar::date(out, self.date(array.value(row))?),
            Values::Time(array) => calendar::time(out, array.value(row)),
            Values::Timestamp(array, zoned) => {
                let micros = self.timestamp(array.value(row))?;
                calendar::timestamp(out, micros, zoned.then_some(style.zone), false);
            }
            Values::Interval(array) => {
                let value = array.value(row);
                let micros = value.nanoseconds.div_euclid(1000);
                calendar::interval(out, value.months, value.days, micros, style.interval);
            }
            // A difference of timestamps counts whole days (PostgreSQL 17, timestamp.c, timestamp_mi).
            Values::Duration(array) => {
                let (months, days, micros) = self.days(array.value(row))?;
                calendar::interval(out, months, days, micros, style.interval);
            }
            Values::List(list) => list.text(row, style, out)?,
            Values::Json(array) => {
                let mut text = String::new();
                json::write(&mut text, array.as_ref(), row, style)?;
                self.characters(&text, out)?;
            }
        }
        Ok(())
    }

    fn binary(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        match &self.values {
            Values::Null => {}
            Values::Bool(array) => out.put_u8(u8::from(array.value(row))),
            Values::Int2(array) => out.put_i16(array.value(row)),
            Values::Int4(array) => out.put_i32(array.value(row)),
            Values::Int8(array) => out.put_i64(array.value(row)),
            Values::Oid(array) => {
                out.put_u32(u32::try_from(array.value(row)).map_err(|_| self.out_of_range("OID"))?)
            }
            Values::Float4(array) => out.put_f32(array.value(row)),
            Values::Float8(array) => out.put_f64(array.value(row)),
            Values::Decimal128(array, scale) => {
                let value = array.value(row);
                let mut buffer = [0; 40];
                let digits = number::digits_of(value.unsigned_abs(), &mut buffer);
                number::numeric_binary(out, value < 0, digits, *scale);
            }
            Values::Decimal256(array, scale) => {
                let (negative, digits) = wide_digits(array.value(row));
                number::numeric_binary(out, negative, digits.as_bytes(), *scale);
            }
            Values::Utf8(array) => self.binary_characters(array.value(row), out)?,
            Values::LargeUtf8(array) => self.binary_characters(array.value(row), out)?,
            Values::Utf8View(array) => self.binary_characters(array.value(row), out)?,
            Values::Uuid(array) => out.put_slice(array.value(row)),
            Values::Binary(array) => out.put_slice(array.value(row)),
            Values::LargeBinary(array) => out.put_slice(array.value(row)),
            Values::BinaryView(array) => out.put_slice(array.value(row)),
            Values::FixedBinary(array) => out.put_slice(array.value(row)),
            Values::Date(array) => {
                let days = self.date(array.value(row))?;
                let infinite = days == i32::MAX || days == i32::MIN;
                out.put_i32(if infinite { days } else { days - calendar::EPOCH_DAYS });
            }
            Values::Time(array) => out.put_i64(array.value(row)),
            Values::Timestamp(array, _) => {
                let micros = self.timestamp(array.value(row))?;
                let infinite = micros == i64::MAX || micros == i64::MIN;
                out.put_i64(if infinite { micros } else { micros - calendar::EPOCH_MICROS });
            }
            Values::Interval(array) => {
                let value = array.value(row);
                out.put_i64(value.nanoseconds.div_euclid(1000));
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Values::Duration(array) => {
                let (months, days, micros) = self.days(array.value(row))?;
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(months);
            }
            Values::List(list) => list.binary(row, style, out)?,
            Values::Json(array) => {
                let mut text = String::new();
                json::write(&mut text, array.as_ref(), row, style)?;
                self.binary_characters(&text, out)?;
            }
        }
        Ok(())
    }

    /// Months, whole days and the rest of a duration, all with its sign; its ends are the infinities.
    fn days(&self, micros: i64) -> Result<(i32, i32, i64), Fault> {
        match micros {
            i64::MAX => return Ok((i32::MAX, i32::MAX, i64::MAX)),
            i64::MIN => return Ok((i32::MIN, i32::MIN, i64::MIN)),
            _ => {}
        }
        let day = 86_400_000_000;
        let days = i32::try_from(micros / day).map_err(|_| self.out_of_range("interval"))?;
        Ok((0, days, micros % day))
    }

    fn characters(&self, text: &str, out: &mut BytesMut) -> Result<(), Fault> {
        if text.as_bytes().contains(&0) {
            return Err(Fault::new(
                "22021",
                format!(
                    "column \"{}\" holds a character with code 0, which PostgreSQL text cannot have",
                    self.name
                ),
            )
            .with_hint("remove it in the query, for example with replace(column, chr(0), '')"));
        }
        out.put_slice(text.as_bytes());
        Ok(())
    }

    fn binary_characters(&self, text: &str, out: &mut BytesMut) -> Result<(), Fault> {
        match self.pg.oid {
            oid::UUID => {
                let value = uuid::Uuid::parse_str(text).map_err(|_| {
                    Fault::new("22P02", format!("column \"{}\" holds text that is not a uuid", self.name))
                })?;
                out.put_slice(value.as_bytes());
                Ok(())
            }
            oid::JSONB => {
                out.put_u8(1);
                self.characters(text, out)
            }
            _ => self.characters(text, out),
        }
    }

    fn date(&self, days: i32) -> Result<i32, Fault> {
        if calendar::date_in_range(days) { Ok(days) } else { Err(self.out_of_calendar("date")) }
    }

    fn timestamp(&self, micros: i64) -> Result<i64, Fault> {
        if calendar::timestamp_in_range(micros) { Ok(micros) } else { Err(self.out_of_calendar("timestamp")) }
    }

    fn out_of_calendar(&self, what: &str) -> Fault {
        Fault::new("22008", format!("{what} out of range")).with_detail(format!("column \"{}\"", self.name))
    }

    fn out_of_range(&self, what: &str) -> Fault {
        Fault::new("22003", format!("{what} out of range")).with_detail(format!("column \"{}\"", self.name))
    }
}

fn wide_digits(value: i256) -> (bool, String) {
    let text = value.to_string();
    match text.strip_prefix('-') {
        Some(digits) => (true, digits.to_owned()),
        None => (false, text),
    }
}

fn bytea(bytes: &[u8], style: &Style, out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let nibble = |value: u8| HEX.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    if !style.bytea_escape {
        out.reserve(bytes.len() * 2 + 2);
        out.put_slice(b"\\x");
        for byte in bytes {
            out.put_u8(nibble(byte >> 4));
            out.put_u8(nibble(*byte));
        }
        return;
    }
    for byte in bytes {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            0x20..=0x7e => out.put_u8(*byte),
            _ => {
                out.put_u8(b'\\');
                for shift in [6, 3, 0] {
                    out.put_u8(b'0' + (byte >> shift & 7));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
