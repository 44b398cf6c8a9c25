//! Dates and timestamps of text that is no literal, read as a literal is: where no offset is written, the session's zone
//! is meant for an instant, and one that is written is ignored for a wall clock (PostgreSQL 17, timestamp.c).
//!
//! It must never be Arrow's cast, which takes UTC for the zone and knows no infinities.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};

use super::arithmetic::returned;
use super::literal;
use super::operators::STAMP;
use super::time::{self, zoned};
use crate::error::QueryError;

/// A cast of text to a date or a timestamp in microseconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    target: DataType,
    signature: Signature,
}

fn function(target: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Read { target, signature: Signature::any(2, Volatility::Immutable) }))
}

/// All such casts.
pub(super) fn all() -> [Arc<ScalarUDF>; 3] {
    [DataType::Date32, STAMP, zoned()].map(function)
}

/// The cast of a text to one of these types, in the session's zone.
pub(super) fn read(text: Expr, target: &DataType, zone: chrono_tz::Tz) -> Expr {
    function(target.clone()).call(vec![text, lit(zone.name())])
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        match &self.target {
            DataType::Date32 => "date_of_text",
            DataType::Timestamp(_, Some(_)) => "timestamptz_of_text",
            _ => "timestamp_of_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.target.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone)))] = args.args.as_slice() else {
            return exec_err!("a cast of a text has a zone that is a constant");
        };
        let zone = time::zone(zone)?;
        let scalar = matches!(text, ColumnarValue::Scalar(_));
        let texts = cast(&text.to_array(args.number_rows)?, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>().iter();
        let made: ArrayRef = if self.target == DataType::Date32 {
            let days = texts.map(|text| text.map(day).transpose());
            Arc::new(days.collect::<Result<Date32Array, QueryError>>()?)
        } else {
            let with_zone = matches!(self.target, DataType::Timestamp(_, Some(_)));
            let times = texts.map(|text| text.map(|text| moment(text, with_zone, zone)).transpose());
            let times = times.collect::<Result<TimestampMicrosecondArray, QueryError>>()?;
            Arc::new(times.with_data_type(self.target.clone()))
        };
        returned(made, scalar)
    }
}

fn day(text: &str) -> Result<i32, QueryError> {
    match literal::infinite(text) {
        Some(last) => Ok(if last { i32::MAX } else { i32::MIN }),
        None => literal::date(text),
    }
}

fn moment(text: &str, with_zone: bool, zone: chrono_tz::Tz) -> Result<i64, QueryError> {
    match literal::infinite(text) {
        Some(last) => Ok(if last { i64::MAX } else { i64::MIN }),
        None if with_zone => literal::timestamptz(text, zone),
        None => literal::timestamp(text),
    }
}
