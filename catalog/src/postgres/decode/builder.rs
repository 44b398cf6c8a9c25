//! One growing Arrow column per field, fed with the wire form of its type.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, ListArray, StringBuilder, StringViewBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano, IntervalUnit, TimeUnit};

use super::{Flaw, field, take};
use crate::postgres::numeric::{Misfit, decode_128, decode_256};
use crate::source::PG_TYPE_KEY;

/// Microseconds between the two epochs: 2000-01-01 and 1970-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Days between them.
const EPOCH_DAYS: i32 = 10_957;

pub(super) enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Text(StringBuilder, Document),
    TextView(StringViewBuilder, Document),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    List(Box<ListBuilder>),
}

/// Whether a text column carries the version byte of `jsonb`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    Versioned,
    Plain,
}

pub(super) struct ListBuilder {
    item: FieldRef,
    items: Builder,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl Builder {
    /// The builder for a column; `None` if no PostgreSQL value has that Arrow type.
    pub(super) fn of(field: &Field) -> Option<Self> {
        let document = match field.metadata().get(PG_TYPE_KEY).map(String::as_str) {
            Some("jsonb") => Document::Versioned,
            _ => Document::Plain,
        };
        Some(match field.data_type() {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            ty @ DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(ty.clone());
                Self::Decimal128(builder, *precision, *scale)
            }
            ty @ DataType::Decimal256(precision, scale) => {
                let builder = Decimal256Builder::new().with_data_type(ty.clone());
                Self::Decimal256(builder, *precision, *scale)
            }
            DataType::Utf8 => Self::Text(StringBuilder::new(), document),
            DataType::Utf8View => Self::TextView(StringViewBuilder::new(), document),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::FixedSizeBinary(16) => Self::Fixed(FixedSizeBinaryBuilder::new(16)),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(Time64MicrosecondBuilder::new()),
            ty @ DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(ty.clone()))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::Interval(IntervalMonthDayNanoBuilder::new())
            }
            DataType::List(item) => Self::List(Box::new(ListBuilder {
                item: Arc::clone(item),
                items: Self::of(item)?,
                offsets: vec![0],
                valid: Vec::new(),
            })),
            _ => return None,
        })
    }

    /// Adds one value in the wire form of its type, or NULL.
    pub(super) fn append(&mut self, value: Option<&[u8]>) -> Result<(), Flaw> {
        match self {
            Self::Boolean(builder) => builder.append_option(value.map(boolean).transpose()?),
            Self::Int16(builder) => {
                builder.append_option(value.map(exact).transpose()?.map(i16::from_be_bytes))
            }
            Self::Int32(builder) => {
                builder.append_option(value.map(exact).transpose()?.map(i32::from_be_bytes))
            }
            Self::Int64(builder) => {
                builder.append_option(value.map(exact).transpose()?.map(i64::from_be_bytes))
            }
            Self::Float32(builder) => {
                let value = value.map(exact).transpose()?.map(f32::from_be_bytes);
                // Servers may send a negative not-a-number; here it must be the largest value, as it is there.
                builder.append_option(value.map(|value| if value.is_nan() { f32::NAN } else { value }));
            }
            Self::Float64(builder) => {
                let value = value.map(exact).transpose()?.map(f64::from_be_bytes);
                builder.append_option(value.map(|value| if value.is_nan() { f64::NAN } else { value }));
            }
            Self::Decimal128(builder, precision, scale) => {
                let value = value.map(|bytes| decode_128(bytes, *precision, *scale)).transpose()?;
                builder.append_option(value);
            }
            Self::Decimal256(builder, precision, scale) => {
                let value = value.map(|bytes| decode_256(bytes, *precision, *scale)).transpose()?;
                builder.append_option(value);
            }
            Self::Text(builder, document) => {
                builder.append_option(value.map(|bytes| text(bytes, *document)).transpose()?);
            }
            Self::TextView(builder, document) => {
                builder.append_option(value.map(|bytes| text(bytes, *document)).transpose()?);
            }
            Self::Binary(builder) => builder.append_option(value),
            Self::Fixed(builder) => match value {
                Some(bytes) => builder.append_value(bytes).map_err(|_| Flaw::Malformed)?,
                None => builder.append_null(),
            },
            Self::Date(builder) => {
                let days = value.map(exact).transpose()?.map(i32::from_be_bytes);
                builder.append_option(days.map(date).transpose()?);
            }
            Self::Time(builder) => {
                builder.append_option(value.map(exact).transpose()?.map(i64::from_be_bytes))
            }
            Self::Timestamp(builder) => {
                let micros = value.map(exact).transpose()?.map(i64::from_be_bytes);
                builder.append_option(micros.map(timestamp).transpose()?);
            }
            Self::Interval(builder) => builder.append_option(value.map(interval).transpose()?),
            Self::List(builder) => builder.append(value)?,
        }
        Ok(())
    }

    /// The column so far; the builder starts anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => ArrayBuilder::finish(builder),
            Self::Int16(builder) => ArrayBuilder::finish(builder),
            Self::Int32(builder) => ArrayBuilder::finish(builder),
            Self::Int64(builder) => ArrayBuilder::finish(builder),
            Self::Float32(builder) => ArrayBuilder::finish(builder),
            Self::Float64(builder) => ArrayBuilder::finish(builder),
            Self::Decimal128(builder, ..) => ArrayBuilder::finish(builder),
            Self::Decimal256(builder, ..) => ArrayBuilder::finish(builder),
            Self::Text(builder, _) => ArrayBuilder::finish(builder),
            Self::TextView(builder, _) => ArrayBuilder::finish(builder),
            Self::Binary(builder) => ArrayBuilder::finish(builder),
            Self::Fixed(builder) => ArrayBuilder::finish(builder),
            Self::Date(builder) => ArrayBuilder::finish(builder),
            Self::Time(builder) => ArrayBuilder::finish(builder),
            Self::Timestamp(builder) => ArrayBuilder::finish(builder),
            Self::Interval(builder) => ArrayBuilder::finish(builder),
            Self::List(builder) => builder.finish(),
        }
    }
}

impl ListBuilder {
    /// Wire form: dimensions, a flag for NULLs, the element type, per dimension length and lower bound, elements.
    fn append(&mut self, value: Option<&[u8]>) -> Result<(), Flaw> {
        let Some(bytes) = value else {
            self.valid.push(false);
            self.offsets.push(self.offsets.last().copied().unwrap_or_default());
            return Ok(());
        };
        let (dimensions, rest) = take::<4>(bytes).ok_or(Flaw::Malformed)?;
        let (_flags_and_type, rest) = take::<8>(rest).ok_or(Flaw::Malformed)?;
        let mut rest = rest;
        let count = match i32::from_be_bytes(dimensions) {
            0 => 0,
            1 => {
                let (length, after) = take::<4>(rest).ok_or(Flaw::Malformed)?;
                let (_lower_bound, after) = take::<4>(after).ok_or(Flaw::Malformed)?;
                rest = after;
                i32::from_be_bytes(length)
            }
            _ => return Err(Flaw::Dimensions),
        };
        for _ in 0..count {
            let (item, after) = field(rest).ok_or(Flaw::Malformed)?;
            self.items.append(item)?;
            rest = after;
        }
        if count < 0 || !rest.is_empty() {
            return Err(Flaw::Malformed);
        }
        let end =
            self.offsets.last().copied().unwrap_or_default().checked_add(count).ok_or(Flaw::OutOfRange)?;
        self.offsets.push(end);
        self.valid.push(true);
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        Arc::new(ListArray::new(Arc::clone(&self.item), offsets, self.items.finish(), Some(valid)))
    }
}

impl From<Misfit> for Flaw {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Malformed => Self::Malformed,
            Misfit::NotANumber | Misfit::TooManyDigits => Self::OutOfRange,
        }
    }
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Flaw> {
    bytes.try_into().map_err(|_| Flaw::Malformed)
}

fn boolean(bytes: &[u8]) -> Result<bool, Flaw> {
    exact::<1>(bytes).map(|[byte]| byte != 0)
}

fn text(bytes: &[u8], document: Document) -> Result<&str, Flaw> {
    let bytes = match document {
        Document::Versioned => bytes.strip_prefix(&[1]).ok_or(Flaw::Malformed)?,
        Document::Plain => bytes,
    };
    std::str::from_utf8(bytes).map_err(|_| Flaw::Malformed)
}

/// Infinities keep their extreme values.
fn date(days: i32) -> Result<i32, Flaw> {
    match days {
        i32::MIN | i32::MAX => Ok(days),
        days => match days.checked_add(EPOCH_DAYS) {
            None | Some(i32::MIN | i32::MAX) => Err(Flaw::Time("date")),
            Some(days) => Ok(days),
        },
    }
}

/// Infinities keep their extreme values.
fn timestamp(micros: i64) -> Result<i64, Flaw> {
    match micros {
        i64::MIN | i64::MAX => Ok(micros),
        // The end of the integer is infinity, which no finite one may become.
        micros => match micros.checked_add(EPOCH_MICROS) {
            None | Some(i64::MIN | i64::MAX) => Err(Flaw::Time("timestamp")),
            Some(micros) => Ok(micros),
        },
    }
}

fn interval(bytes: &[u8]) -> Result<IntervalMonthDayNano, Flaw> {
    let (micros, rest) = take::<8>(bytes).ok_or(Flaw::Malformed)?;
    let (days, rest) = take::<4>(rest).ok_or(Flaw::Malformed)?;
    let months = exact::<4>(rest)?;
    let nanos = i64::from_be_bytes(micros).checked_mul(1_000).ok_or(Flaw::Time("interval"))?;
    Ok(IntervalMonthDayNano::new(i32::from_be_bytes(months), i32::from_be_bytes(days), nanos))
}
