//! The shape a column is written from: widened, cast and rescaled once per batch.
//!
//! The wire type decides; an Arrow type that differs from it is cast, never narrowed silently: a value that does not
//! fit is 22003 or 22008 with the column's name.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Int64Type, IntervalUnit, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use super::array::ListValues;
use crate::pg::fault::Fault;
use crate::pgtypes::{PgType, oid};

/// A column's values in the shape they are written from.
pub(super) enum Values {
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

/// Unpacks dictionaries and runs.
pub(super) fn plain(array: &ArrayRef, name: &str) -> Result<ArrayRef, Fault> {
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
pub(super) fn values(array: &ArrayRef, pg: PgType, name: &str) -> Result<Values, Fault> {
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
