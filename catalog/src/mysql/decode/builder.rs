//! One growing Arrow column per field, fed with the values of the binary protocol.

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, StringViewBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit, i256};
use mysql_async::Value;

use super::Flaw;
use crate::mysql::column::{base, is_doubtful, is_flag};

pub(super) enum Builder {
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Bit(BooleanBuilder),
    Flag(BooleanBuilder),
    Bits(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    Text(StringViewBuilder, Conversion),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Time(IntervalMonthDayNanoBuilder),
}

/// Whether a text's conversion to Unicode may have replaced a character by a question mark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    Faithful,
    Doubtful,
}

impl Builder {
    /// The builder for a column; `None` if no MySQL value has that Arrow type.
    pub(super) fn of(field: &Field) -> Option<Self> {
        let conversion = if is_doubtful(field) { Conversion::Doubtful } else { Conversion::Faithful };
        Some(match field.data_type() {
            DataType::Int16 => Self::Int16(Int16Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::UInt64 if base(field) == "bit" => Self::Bits(UInt64Builder::new()),
            DataType::UInt64 => Self::UInt64(UInt64Builder::new()),
            DataType::Boolean if is_flag(field) => Self::Flag(BooleanBuilder::new()),
            DataType::Boolean => Self::Bit(BooleanBuilder::new()),
            DataType::Float32 => Self::Float32(Float32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            ty @ DataType::Decimal128(precision, scale) => {
                Self::Decimal128(Decimal128Builder::new().with_data_type(ty.clone()), *precision, *scale)
            }
            ty @ DataType::Decimal256(precision, scale) => {
                Self::Decimal256(Decimal256Builder::new().with_data_type(ty.clone()), *precision, *scale)
            }
            DataType::Utf8View => Self::Text(StringViewBuilder::new(), conversion),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            ty @ DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(ty.clone()))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Time(IntervalMonthDayNanoBuilder::new()),
            _ => return None,
        })
    }

    /// Adds one value, or NULL. Nothing is added on an error.
    pub(super) fn append(&mut self, value: &Value) -> Result<(), Flaw> {
        if *value == Value::NULL {
            self.append_null();
            return Ok(());
        }
        match self {
            Self::Int16(builder) => {
                builder.append_value(integer(value)?.try_into().map_err(|_| Flaw::OutOfRange)?)
            }
            Self::Int32(builder) => {
                builder.append_value(integer(value)?.try_into().map_err(|_| Flaw::OutOfRange)?)
            }
            Self::Int64(builder) => {
                builder.append_value(integer(value)?.try_into().map_err(|_| Flaw::OutOfRange)?)
            }
            Self::UInt64(builder) => {
                builder.append_value(integer(value)?.try_into().map_err(|_| Flaw::OutOfRange)?)
            }
            Self::Bit(builder) => builder.append_value(bits(value)? != 0),
            Self::Flag(builder) => builder.append_value(flag(value)?),
            Self::Bits(builder) => builder.append_value(bits(value)?),
            Self::Float32(builder) => match value {
                Value::Float(value) => builder.append_value(*value),
                _ => return Err(Flaw::OtherKind),
            },
            Self::Float64(builder) => match value {
                Value::Double(value) => builder.append_value(*value),
                _ => return Err(Flaw::OtherKind),
            },
            Self::Decimal128(builder, precision, scale) => {
                builder.append_value(decimal_128(bytes(value)?, *precision, *scale)?);
            }
            Self::Decimal256(builder, precision, scale) => {
                builder.append_value(decimal_256(bytes(value)?, *precision, *scale)?);
            }
            Self::Text(builder, conversion) => builder.append_value(text(bytes(value)?, *conversion)?),
            Self::Binary(builder) => builder.append_value(bytes(value)?),
            Self::Date(builder) => builder.append_value(date(value)?),
            Self::Timestamp(builder) => builder.append_value(timestamp(value)?),
            Self::Time(builder) => builder.append_value(time(value)?),
        }
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::UInt64(builder) | Self::Bits(builder) => builder.append_null(),
            Self::Bit(builder) | Self::Flag(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal128(builder, ..) => builder.append_null(),
            Self::Decimal256(builder, ..) => builder.append_null(),
            Self::Text(builder, _) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
        }
    }

    /// The column so far; the builder starts anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int16(builder) => ArrayBuilder::finish(builder),
            Self::Int32(builder) => ArrayBuilder::finish(builder),
            Self::Int64(builder) => ArrayBuilder::finish(builder),
            Self::UInt64(builder) | Self::Bits(builder) => ArrayBuilder::finish(builder),
            Self::Bit(builder) | Self::Flag(builder) => ArrayBuilder::finish(builder),
            Self::Float32(builder) => ArrayBuilder::finish(builder),
            Self::Float64(builder) => ArrayBuilder::finish(builder),
            Self::Decimal128(builder, ..) => ArrayBuilder::finish(builder),
            Self::Decimal256(builder, ..) => ArrayBuilder::finish(builder),
            Self::Text(builder, _) => ArrayBuilder::finish(builder),
            Self::Binary(builder) => ArrayBuilder::finish(builder),
            Self::Date(builder) => ArrayBuilder::finish(builder),
            Self::Timestamp(builder) => ArrayBuilder::finish(builder),
            Self::Time(builder) => ArrayBuilder::finish(builder),
        }
    }
}

fn bytes(value: &Value) -> Result<&[u8], Flaw> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Flaw::OtherKind),
    }
}

fn integer(value: &Value) -> Result<i128, Flaw> {
    match value {
        Value::Int(value) => Ok(i128::from(*value)),
        Value::UInt(value) => Ok(i128::from(*value)),
        Value::Bytes(text) => decimal_128(text, 38, 0),
        _ => Err(Flaw::OtherKind),
    }
}

/// A number that stands for true or false.
fn flag(value: &Value) -> Result<bool, Flaw> {
    match integer(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Flaw::NoFlag),
    }
}

/// BIT comes as big-endian bytes, as few as its width needs.
fn bits(value: &Value) -> Result<u64, Flaw> {
    let bytes = bytes(value)?;
    if bytes.len() > 8 {
        return Err(Flaw::OutOfRange);
    }
    Ok(bytes.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
}

fn text(bytes: &[u8], conversion: Conversion) -> Result<&str, Flaw> {
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::BadText)?;
    if conversion == Conversion::Doubtful && text.contains('?') { Err(Flaw::BadText) } else { Ok(text) }
}

/// Days since 1970-01-01.
fn date(value: &Value) -> Result<i32, Flaw> {
    let Value::Date(year, month, day, 0, 0, 0, 0) = value else { return Err(Flaw::OtherKind) };
    let date = calendar(*year, *month, *day)?;
    let epoch = chrono::NaiveDate::default();
    i32::try_from(date.signed_duration_since(epoch).num_days()).map_err(|_| Flaw::OutOfRange)
}

/// Microseconds since 1970-01-01 00:00:00.
fn timestamp(value: &Value) -> Result<i64, Flaw> {
    let Value::Date(year, month, day, hour, minute, second, micro) = value else {
        return Err(Flaw::OtherKind);
    };
    let time = calendar(*year, *month, *day)?
        .and_hms_micro_opt(u32::from(*hour), u32::from(*minute), u32::from(*second), *micro)
        .ok_or(Flaw::OutOfRange)?;
    Ok(time.and_utc().timestamp_micros())
}

fn calendar(year: u16, month: u8, day: u8) -> Result<chrono::NaiveDate, Flaw> {
    if month == 0 || day == 0 {
        return Err(Flaw::ZeroDate);
    }
    chrono::NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day)).ok_or(Flaw::NoDate)
}

/// TIME is a span of up to 838 hours, not a time of day.
fn time(value: &Value) -> Result<IntervalMonthDayNano, Flaw> {
    let Value::Time(negative, days, hours, minutes, seconds, micros) = value else {
        return Err(Flaw::OtherKind);
    };
    let seconds =
        (i64::from(*days) * 24 + i64::from(*hours)) * 3_600 + i64::from(*minutes) * 60 + i64::from(*seconds);
    let nanos = seconds
        .checked_mul(1_000_000_000)
        .and_then(|nanos| nanos.checked_add(i64::from(*micros) * 1_000))
        .ok_or(Flaw::OutOfRange)?;
    Ok(IntervalMonthDayNano::new(0, 0, if *negative { -nanos } else { nanos }))
}

/// The digits of a decimal's text at a scale: sign, and all digits as one number's text.
fn digits(text: &[u8], scale: i8) -> Result<(bool, Vec<u8>), Flaw> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    let scale = usize::try_from(scale).map_err(|_| Flaw::OutOfRange)?;
    let (kept, lost) = fraction.split_at_checked(scale).unwrap_or((fraction, &[]));
    if lost.iter().any(|digit| *digit != b'0') {
        return Err(Flaw::OutOfRange);
    }
    let mut all = Vec::with_capacity(whole.len() + scale);
    all.extend_from_slice(whole);
    all.extend_from_slice(kept);
    all.resize(whole.len() + scale, b'0');
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
        Err(Flaw::OtherKind)
    } else {
        Ok((negative, all))
    }
}

fn decimal_128(text: &[u8], precision: u8, scale: i8) -> Result<i128, Flaw> {
    let (negative, digits) = digits(text, scale)?;
    let mut value = 0_i128;
    for digit in digits {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or(Flaw::OutOfRange)?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision)).ok_or(Flaw::OutOfRange)?;
    if value >= limit {
        return Err(Flaw::OutOfRange);
    }
    Ok(if negative { -value } else { value })
}

fn decimal_256(text: &[u8], precision: u8, scale: i8) -> Result<i256, Flaw> {
    let (negative, digits) = digits(text, scale)?;
    let ten = i256::from_i128(10);
    let mut value = i256::ZERO;
    for digit in digits {
        value = value
            .checked_mul(ten)
            .and_then(|value| value.checked_add(i256::from_i128(i128::from(digit - b'0'))))
            .ok_or(Flaw::OutOfRange)?;
    }
    let limit = ten.checked_pow(u32::from(precision)).ok_or(Flaw::OutOfRange)?;
    if value >= limit {
        return Err(Flaw::OutOfRange);
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}
