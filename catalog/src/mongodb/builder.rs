//! One growing Arrow column per field, fed with BSON values of any type.
//!
//! A value is taken if it becomes the column's type without loss, as a long of 5 does in a column of int4; whatever
//! would change on the way is a flaw, and nothing is appended for it.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float64Builder, Int16Builder, Int32Builder, Int64Builder, ListArray,
    StringViewBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use mongodb::bson::RawBsonRef;
use mongodb::bson::spec::BinarySubtype;

use super::decimal::{scaled, scaled_integer};
use super::json;
use super::kind::{Kind, type_name};

/// Integers up to this size are exact as floats, and floats as integers.
const EXACT: i64 = 1 << 53;
const MILLIS_A_DAY: i64 = 86_400_000;

/// Why a value is not a column's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is of another type, which is named.
    Type(&'static str),
    /// It is a number the type cannot hold exactly.
    Range,
    /// It is an instant the type cannot hold.
    Time,
    /// It is text with a NUL.
    Nul,
    /// Its bytes are no BSON.
    Malformed,
    /// An item of a list is flawed; the list was appended with NULL in its place.
    Item(Box<Flaw>),
}

pub(super) enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Stamp(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringViewBuilder),
    ObjectId(StringViewBuilder),
    Document(StringViewBuilder),
    Instant(TimestampMicrosecondBuilder),
    Day(Date32Builder),
    Uuid(FixedSizeBinaryBuilder),
    Bytes(BinaryBuilder),
    List(Box<ListBuilder>),
}

pub(super) struct ListBuilder {
    item: FieldRef,
    items: Builder,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl Builder {
    /// The builder for a column; `None` if no value of BSON has that Arrow type.
    pub(super) fn of(field: &Field) -> Option<Self> {
        let kind = Kind::of(field)?;
        Some(match (kind, field.data_type()) {
            (Kind::Boolean, _) => Self::Boolean(BooleanBuilder::new()),
            (Kind::Integer, DataType::Int16) => Self::Int16(Int16Builder::new()),
            (Kind::Integer, DataType::Int32) => Self::Int32(Int32Builder::new()),
            (Kind::Integer, _) => Self::Int64(Int64Builder::new()),
            (Kind::Stamp, _) => Self::Stamp(Int64Builder::new()),
            (Kind::Float, _) => Self::Float(Float64Builder::new()),
            (Kind::Decimal, ty @ DataType::Decimal128(precision, scale)) => {
                let builder = Decimal128Builder::new().with_data_type(ty.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            (Kind::Text, _) => Self::Text(StringViewBuilder::new()),
            (Kind::ObjectId, _) => Self::ObjectId(StringViewBuilder::new()),
            (Kind::Document, _) => Self::Document(StringViewBuilder::new()),
            (Kind::Instant, ty) => {
                Self::Instant(TimestampMicrosecondBuilder::new().with_data_type(ty.clone()))
            }
            (Kind::Day, _) => Self::Day(Date32Builder::new()),
            (Kind::Uuid, _) => Self::Uuid(FixedSizeBinaryBuilder::new(16)),
            (Kind::Bytes, _) => Self::Bytes(BinaryBuilder::new()),
            (Kind::List, DataType::List(item)) => Self::List(Box::new(ListBuilder {
                item: Arc::clone(item),
                items: Self::of(item)?,
                offsets: vec![0],
                valid: Vec::new(),
            })),
            (Kind::Decimal | Kind::List, _) => return None,
        })
    }

    /// The column's type in words.
    pub(super) fn sql_name(&self) -> String {
        match self {
            Self::Boolean(_) => "bool".into(),
            Self::Int16(_) => "int2".into(),
            Self::Int32(_) => "int4".into(),
            Self::Int64(_) | Self::Stamp(_) => "int8".into(),
            Self::Float(_) => "float8".into(),
            Self::Decimal(_, precision, scale) => format!("numeric({precision},{scale})"),
            Self::Text(_) => "text".into(),
            Self::ObjectId(_) => "objectid".into(),
            Self::Document(_) => "jsonb".into(),
            Self::Instant(_) => "timestamptz".into(),
            Self::Day(_) => "date".into(),
            Self::Uuid(_) => "uuid".into(),
            Self::Bytes(_) => "bytea".into(),
            Self::List(list) => format!("{}[]", list.items.sql_name()),
        }
    }

    /// Adds one value, or NULL. A flawed value adds nothing, except in a list.
    pub(super) fn append(&mut self, value: Option<RawBsonRef<'_>>) -> Result<(), Flaw> {
        let Some(value) = value else {
            self.append_null();
            return Ok(());
        };
        match self {
            Self::Boolean(builder) => match value {
                RawBsonRef::Boolean(value) => builder.append_value(value),
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Int16(builder) => {
                builder.append_value(i16::try_from(integer(value)?).map_err(|_| Flaw::Range)?);
            }
            Self::Int32(builder) => {
                builder.append_value(i32::try_from(integer(value)?).map_err(|_| Flaw::Range)?);
            }
            Self::Int64(builder) => builder.append_value(integer(value)?),
            Self::Stamp(builder) => match value {
                RawBsonRef::Timestamp(at) => {
                    let packed = (u64::from(at.time) << 32) | u64::from(at.increment);
                    builder.append_value(i64::try_from(packed).map_err(|_| Flaw::Range)?);
                }
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Float(builder) => builder.append_value(float(value)?),
            Self::Decimal(builder, precision, scale) => {
                let scaled = match value {
                    RawBsonRef::Decimal128(value) => scaled(value, *precision, *scale),
                    RawBsonRef::Int32(value) => scaled_integer(value.into(), *precision, *scale),
                    RawBsonRef::Int64(value) => scaled_integer(value, *precision, *scale),
                    other => return Err(Flaw::Type(type_name(other))),
                };
                builder.append_value(scaled.ok_or(Flaw::Range)?);
            }
            Self::Text(builder) => match value {
                RawBsonRef::String(text) if text.contains('\0') => return Err(Flaw::Nul),
                RawBsonRef::String(text) => builder.append_value(text),
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::ObjectId(builder) => match value {
                RawBsonRef::ObjectId(id) => builder.append_value(id.to_hex()),
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Document(builder) => match value {
                RawBsonRef::Undefined => return Err(Flaw::Type("undefined")),
                value => builder.append_value(json::text(value).ok_or(Flaw::Malformed)?),
            },
            Self::Instant(builder) => match value {
                RawBsonRef::DateTime(at) => {
                    builder.append_value(at.timestamp_millis().checked_mul(1_000).ok_or(Flaw::Time)?);
                }
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Day(builder) => match value {
                RawBsonRef::DateTime(at) => builder.append_value(day(at.timestamp_millis())?),
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Uuid(builder) => match value {
                RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
                    builder.append_value(binary.bytes).map_err(|_| Flaw::Range)?;
                }
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::Bytes(builder) => match value {
                RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Generic => {
                    builder.append_value(binary.bytes);
                }
                other => return Err(Flaw::Type(type_name(other))),
            },
            Self::List(builder) => builder.append(value)?,
        }
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) | Self::Stamp(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Decimal(builder, ..) => builder.append_null(),
            Self::Text(builder) | Self::ObjectId(builder) | Self::Document(builder) => builder.append_null(),
            Self::Instant(builder) => builder.append_null(),
            Self::Day(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::List(builder) => builder.close(0, false),
        }
    }

    /// The column so far; the builder starts anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => ArrayBuilder::finish(builder),
            Self::Int16(builder) => ArrayBuilder::finish(builder),
            Self::Int32(builder) => ArrayBuilder::finish(builder),
            Self::Int64(builder) | Self::Stamp(builder) => ArrayBuilder::finish(builder),
            Self::Float(builder) => ArrayBuilder::finish(builder),
            Self::Decimal(builder, ..) => ArrayBuilder::finish(builder),
            Self::Text(builder) | Self::ObjectId(builder) | Self::Document(builder) => {
                ArrayBuilder::finish(builder)
            }
            Self::Instant(builder) => ArrayBuilder::finish(builder),
            Self::Day(builder) => ArrayBuilder::finish(builder),
            Self::Uuid(builder) => ArrayBuilder::finish(builder),
            Self::Bytes(builder) => ArrayBuilder::finish(builder),
            Self::List(builder) => builder.finish(),
        }
    }
}

impl ListBuilder {
    /// Adds a list. Items that do not fit become NULL, and the first of them is reported after the list is whole.
    fn append(&mut self, value: RawBsonRef<'_>) -> Result<(), Flaw> {
        let RawBsonRef::Array(array) = value else { return Err(Flaw::Type(type_name(value))) };
        let mut flaw = None;
        let mut count = 0;
        for item in array {
            let item = item.map_err(|_| Flaw::Malformed)?;
            if let Err(found) = self.items.append(Some(item).filter(|item| *item != RawBsonRef::Null)) {
                self.items.append_null();
                flaw.get_or_insert(found);
            }
            count += 1;
        }
        self.close(count, true);
        match flaw {
            Some(flaw) => Err(Flaw::Item(Box::new(flaw))),
            None => Ok(()),
        }
    }

    fn close(&mut self, count: i32, valid: bool) {
        self.offsets.push(self.offsets.last().copied().unwrap_or_default().saturating_add(count));
        self.valid.push(valid);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        Arc::new(ListArray::new(Arc::clone(&self.item), offsets, self.items.finish(), Some(valid)))
    }
}

fn integer(value: RawBsonRef<'_>) -> Result<i64, Flaw> {
    match value {
        RawBsonRef::Int32(value) => Ok(value.into()),
        RawBsonRef::Int64(value) => Ok(value),
        RawBsonRef::Double(value) => whole(value).ok_or(Flaw::Range),
        RawBsonRef::Decimal128(value) => {
            scaled(value, 38, 0).and_then(|value| i64::try_from(value).ok()).ok_or(Flaw::Range)
        }
        other => Err(Flaw::Type(type_name(other))),
    }
}

/// A float that is a whole number, as that number.
fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the result is compared with the value")]
    let truncated = value as i64;
    #[expect(clippy::float_cmp, reason = "a whole number comes back as itself")]
    let same = float_of(truncated)? == value;
    same.then_some(truncated)
}

fn float_of(value: i64) -> Option<f64> {
    // Exact up to 2^53.
    (-EXACT..=EXACT).contains(&value).then_some(value as f64)
}

fn float(value: RawBsonRef<'_>) -> Result<f64, Flaw> {
    match value {
        // One not-a-number, the positive one: it orders after everything here.
        RawBsonRef::Double(value) => Ok(if value.is_nan() { f64::NAN } else { value }),
        RawBsonRef::Int32(value) => Ok(value.into()),
        RawBsonRef::Int64(value) => float_of(value).ok_or(Flaw::Range),
        other => Err(Flaw::Type(type_name(other))),
    }
}

fn day(millis: i64) -> Result<i32, Flaw> {
    if millis.rem_euclid(MILLIS_A_DAY) != 0 {
        return Err(Flaw::Range);
    }
    i32::try_from(millis.div_euclid(MILLIS_A_DAY)).map_err(|_| Flaw::Time)
}
