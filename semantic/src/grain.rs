//! Time columns: the clock itself and its buckets in the model's zone.
//!
//! `date_trunc` follows the value's zone, so a business day is a cast into the model's zone first; dates are taken
//! afterwards. Nothing here depends on the session's zone.

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::{Expr, cast, lit};

use crate::Grain;

impl Grain {
    /// Every grain, finest first.
    pub const ALL: [Self; 6] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// Returns the column name.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// Finds a grain by its column name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grain| grain.as_str() == text)
    }

    /// Returns the column's type: `hour` is timestamptz, the others are dates.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Hour => timestamptz(),
            _ => DataType::Date32,
        }
    }

    /// Returns the bucket of an instant.
    pub(crate) fn of(self, instant: Expr, zone: Tz) -> Expr {
        let local = cast(instant, DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(zone.name()))));
        match self {
            Self::Hour => cast(datafusion::functions::expr_fn::date_trunc(lit("hour"), local), timestamptz()),
            Self::Day => cast(local, DataType::Date32),
            _ => {
                cast(datafusion::functions::expr_fn::date_trunc(lit(self.as_str()), local), DataType::Date32)
            }
        }
    }
}

/// The type of `time`.
pub(crate) fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}
