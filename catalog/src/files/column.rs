//! Column types of file tables, and the exact reading of a value's text into them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use serde::Deserialize;

/// A declared column type, written as PostgreSQL writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ColumnType {
    /// `text`
    Text,
    /// `jsonb`: canonical JSON text.
    Json,
    /// `bool`
    Bool,
    /// `int2`
    Int16,
    /// `int4`
    Int32,
    /// `int8`
    Int64,
    /// `float8`
    Float64,
    /// `numeric(p,s)`
    Decimal(u8, i8),
    /// `date`
    Date,
    /// `timestamp`, µs
    Timestamp,
    /// `timestamptz`, µs, UTC
    TimestampTz,
}

impl TryFrom<String> for ColumnType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "text" => Self::Text,
            "jsonb" => Self::Json,
            "bool" | "boolean" => Self::Bool,
            "int2" | "smallint" => Self::Int16,
            "int4" | "integer" => Self::Int32,
            "int8" | "bigint" => Self::Int64,
            "float8" | "double precision" => Self::Float64,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            other => return Self::decimal(other).ok_or_else(|| unknown_type(&text)),
        })
    }
}

fn unknown_type(text: &str) -> String {
    format!(
        "unknown column type \"{text}\"; known are text, jsonb, bool, int2, int4, int8, float8, numeric(p,s), \
         date, timestamp, timestamptz"
    )
}

impl ColumnType {
    fn decimal(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("numeric(")?.strip_suffix(')')?;
        let (precision, scale) = inner.split_once(',')?;
        let precision: u8 = precision.trim().parse().ok()?;
        let scale: i8 = scale.trim().parse().ok()?;
        let scale_fits = u8::try_from(scale).is_ok_and(|scale| scale <= precision);
        ((1..=38).contains(&precision) && scale_fits).then_some(Self::Decimal(precision, scale))
    }

    /// The Arrow type values are read into.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// The type as PostgreSQL writes it.
    #[must_use]
    pub fn sql_name(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Json => "jsonb".into(),
            Self::Bool => "bool".into(),
            Self::Int16 => "int2".into(),
            Self::Int32 => "int4".into(),
            Self::Int64 => "int8".into(),
            Self::Float64 => "float8".into(),
            Self::Decimal(precision, scale) => format!("numeric({precision},{scale})"),
            Self::Date => "date".into(),
            Self::Timestamp => "timestamp".into(),
            Self::TimestampTz => "timestamptz".into(),
        }
    }
}
