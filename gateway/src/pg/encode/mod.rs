//! Arrow columns as PostgreSQL values, text and binary.
//!
//! A [`ColumnEncoder`] is made once per column and batch: it widens, casts and rescales whole columns, so that
//! writing a value is one match and no allocation. The wire type decides the form; an Arrow type that differs from
//! it is cast first, never narrowed silently. No value ever appears in an error text.

mod array;
pub(crate) mod calendar;
mod json;
pub(crate) mod number;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Int64Type, IntervalUnit, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, i256,
};
use bytes::{BufMut, BytesMut};

use crate::pg::backend::{Column, Format};
use crate::pg::fault::Fault;
use crate::pg::oid::{self, PgType};
use crate::pg::style::Style;
use array::ListValues;

/// A column's values in the shape they are written from.
enum Values {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    /// Four bytes in binary.
    Oid(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Uuid(FixedSizeBinaryArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedBinary(FixedSizeBinaryArray),
    Date(Date32Array),
    /// Microseconds since midnight.
    Time(Int64Array),
    /// Microseconds since 1970, and whether they are instants.
    Timestamp(Int64Array, bool),
    Interval(IntervalMonthDayNanoArray),
    /// Microseconds.
    Duration(Int64Array),
    List(Box<ListValues>),
    Json(ArrayRef),
}

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
                let (days, micros) = self.days(array.value(row))?;
                calendar::interval(out, 0, days, micros, style.interval);
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
                let (days, micros) = self.days(array.value(row))?;
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(0);
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

    /// Whole days and the rest of a duration, both with its sign.
    fn days(&self, micros: i64) -> Result<(i32, i64), Fault> {
        let day = 86_400_000_000;
        let days = i32::try_from(micros / day).map_err(|_| self.out_of_range("interval"))?;
        Ok((days, micros % day))
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

/// Writes whole rows of one batch.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<ColumnEncoder>,
    rows: usize,
}

impl RowEncoder {
    /// Prepares a batch. `formats` has one entry per column, one for all, or none (text).
    ///
    /// # Errors
    /// As [`ColumnEncoder::new`]; XX000 when the batch does not have the announced columns.
    pub fn new(batch: &RecordBatch, columns: &[Column], formats: &[Format]) -> Result<Self, Fault> {
        if batch.num_columns() != columns.len() {
            tracing::error!(
                got = batch.num_columns(),
                announced = columns.len(),
                "batch and description differ"
            );
            return Err(Fault::new("XX000", "internal error"));
        }
        let columns = batch
            .columns()
            .iter()
            .zip(columns)
            .enumerate()
            .map(|(index, (array, column))| {
                ColumnEncoder::new(array, column.pg, format_at(formats, index), &column.name)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { columns, rows: batch.num_rows() })
    }

    /// Rows of the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[ColumnEncoder] {
        &self.columns
    }

    /// Appends one `DataRow` message.
    ///
    /// # Errors
    /// As [`ColumnEncoder::field`]; the message is removed again then.
    pub fn data_row(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        let result = self.tuple(row, style, out);
        if let Err(fault) = result {
            out.truncate(start);
            return Err(fault);
        }
        let Ok(length) = i32::try_from(out.len() - start - 1) else {
            out.truncate(start);
            return Err(Fault::new("54000", "row is too large"));
        };
        if let Some(slot) = out.get_mut(start + 1..start + 5) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Appends the number of fields and the fields, as `DataRow` and binary COPY share them.
    ///
    /// # Errors
    /// As [`ColumnEncoder::field`].
    pub fn tuple(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
        for column in &self.columns {
            column.field(row, style, out)?;
        }
        Ok(())
    }
}

/// The format of a column under Bind's rule: none, one for all, or one each.
#[must_use]
pub fn format_at(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(index).copied().unwrap_or_default(),
    }
}

/// Unpacks dictionaries and runs.
fn plain(array: &ArrayRef, name: &str) -> Result<ArrayRef, Fault> {
    match array.data_type() {
        DataType::Dictionary(_, value) => plain(&cast(array, value, name)?, name),
        DataType::RunEndEncoded(_, values) => plain(&cast(array, values.data_type(), name)?, name),
        _ => Ok(Arc::clone(array)),
    }
}

fn cast(array: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef, Fault> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|error| {
        tracing::debug!(%error, column = name, from = %array.data_type(), %to, "column does not fit its wire type");
        Fault::new("22003", format!("a value of column \"{name}\" does not fit its announced type"))
    })
}

/// Multiplies or floors a column of time units to microseconds.
fn micros(array: &Int64Array, unit: TimeUnit, name: &str) -> Result<Int64Array, Fault> {
    let factor = match unit {
        TimeUnit::Microsecond => return Ok(array.clone()),
        TimeUnit::Nanosecond => return Ok(array.unary(|value| value.div_euclid(1000))),
        TimeUnit::Millisecond => 1000,
        TimeUnit::Second => 1_000_000,
    };
    array.try_unary::<_, Int64Type, Fault>(|value| {
        value.checked_mul(factor).ok_or_else(|| {
            Fault::new("22008", "timestamp out of range").with_detail(format!("column \"{name}\""))
        })
    })
}

fn timestamps(array: &ArrayRef, unit: TimeUnit, name: &str) -> Result<Int64Array, Fault> {
    let integers: Int64Array = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().reinterpret_cast(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().reinterpret_cast(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().reinterpret_cast(),
    };
    micros(&integers, unit, name)
}

fn durations(array: &ArrayRef, unit: TimeUnit, name: &str) -> Result<Int64Array, Fault> {
    let integers: Int64Array = match unit {
        TimeUnit::Second => array.as_primitive::<DurationSecondType>().reinterpret_cast(),
        TimeUnit::Millisecond => array.as_primitive::<DurationMillisecondType>().reinterpret_cast(),
        TimeUnit::Microsecond => array.as_primitive::<DurationMicrosecondType>().reinterpret_cast(),
        TimeUnit::Nanosecond => array.as_primitive::<DurationNanosecondType>().reinterpret_cast(),
    };
    micros(&integers, unit, name)
}

fn times(array: &ArrayRef, name: &str) -> Result<Int64Array, Fault> {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            Ok(array.as_primitive::<Time32SecondType>().unary(|value| i64::from(value) * 1_000_000))
        }
        DataType::Time32(_) => {
            Ok(array.as_primitive::<Time32MillisecondType>().unary(|value| i64::from(value) * 1000))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            Ok(array.as_primitive::<Time64NanosecondType>().unary(|value: i64| value.div_euclid(1000)))
        }
        _ => {
            let array = cast(array, &DataType::Time64(TimeUnit::Microsecond), name)?;
            Ok(array.as_primitive::<Time64MicrosecondType>().reinterpret_cast())
        }
    }
}

/// Chooses the shape for a wire type; `array` is neither a dictionary nor run-encoded.
fn values(array: &ArrayRef, pg: PgType, name: &str) -> Result<Values, Fault> {
    let data_type = array.data_type();
    if *data_type == DataType::Null {
        return Ok(Values::Null);
    }
    if let Some(element) = oid::element_oid(pg.oid) {
        return Ok(Values::List(Box::new(ListValues::new(array, element, pg.typmod, name)?)));
    }
    Ok(match pg.oid {
        oid::BOOL => Values::Bool(cast(array, &DataType::Boolean, name)?.as_boolean().clone()),
        oid::INT2 => Values::Int2(cast(array, &DataType::Int16, name)?.as_primitive().clone()),
        oid::INT4 => Values::Int4(cast(array, &DataType::Int32, name)?.as_primitive().clone()),
        oid::INT8 => Values::Int8(cast(array, &DataType::Int64, name)?.as_primitive().clone()),
        oid::OID | oid::REGCLASS | oid::REGTYPE if data_type.is_integer() => {
            Values::Oid(cast(array, &DataType::Int64, name)?.as_primitive().clone())
        }
        oid::FLOAT4 => Values::Float4(cast(array, &DataType::Float32, name)?.as_primitive().clone()),
        oid::FLOAT8 => Values::Float8(cast(array, &DataType::Float64, name)?.as_primitive().clone()),
        oid::NUMERIC => numeric(array, pg, name)?,
        oid::UUID if *data_type == DataType::FixedSizeBinary(16) => {
            Values::Uuid(array.as_fixed_size_binary().clone())
        }
        oid::BYTEA => match data_type {
            DataType::LargeBinary => Values::LargeBinary(array.as_binary().clone()),
            DataType::BinaryView => Values::BinaryView(array.as_binary_view().clone()),
            DataType::FixedSizeBinary(_) => Values::FixedBinary(array.as_fixed_size_binary().clone()),
            _ => Values::Binary(cast(array, &DataType::Binary, name)?.as_binary().clone()),
        },
        oid::DATE => Values::Date(cast(array, &DataType::Date32, name)?.as_primitive().clone()),
        oid::TIME => Values::Time(times(array, name)?),
        oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let zoned = pg.oid == oid::TIMESTAMPTZ;
            match data_type {
                DataType::Timestamp(unit, _) => Values::Timestamp(timestamps(array, *unit, name)?, zoned),
                _ => {
                    let array = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None), name)?;
                    Values::Timestamp(timestamps(&array, TimeUnit::Microsecond, name)?, zoned)
                }
            }
        }
        oid::INTERVAL => match data_type {
            DataType::Duration(unit) => Values::Duration(durations(array, *unit, name)?),
            _ => Values::Interval(
                cast(array, &DataType::Interval(IntervalUnit::MonthDayNano), name)?.as_primitive().clone(),
            ),
        },
        _ => match data_type {
            DataType::LargeUtf8 => Values::LargeUtf8(array.as_string().clone()),
            DataType::Utf8View => Values::Utf8View(array.as_string_view().clone()),
            DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => {
                Values::Json(Arc::clone(array))
            }
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
                Values::Json(Arc::clone(array))
            }
            _ => Values::Utf8(cast(array, &DataType::Utf8, name)?.as_string().clone()),
        },
    })
}

fn numeric(array: &ArrayRef, pg: PgType, name: &str) -> Result<Values, Fault> {
    match array.data_type() {
        DataType::Decimal256(_, scale) => Ok(Values::Decimal256(array.as_primitive().clone(), *scale)),
        DataType::Decimal128(_, scale) => Ok(Values::Decimal128(array.as_primitive().clone(), *scale)),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            let scale = *scale;
            let wide = cast(array, &DataType::Decimal128(38, scale), name)?;
            Ok(Values::Decimal128(wide.as_primitive().clone(), scale))
        }
        other => {
            let declared =
                if pg.typmod >= 4 { i8::try_from((pg.typmod - 4) & 0x7ff).unwrap_or(0) } else { 0 };
            let scale = if other.is_integer() { declared } else { declared.max(6) };
            let wide = cast(array, &DataType::Decimal128(38, scale), name)?;
            Ok(Values::Decimal128(wide.as_primitive().clone(), scale))
        }
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
