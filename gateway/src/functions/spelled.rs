//! Dates and timestamps of text that is no literal: Arrow reads all but the infinities.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Date32Type, Field, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::literal;
use super::operators::STAMP;
use super::time::zoned;

/// A cast of text to a date or a timestamp in microseconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    target: DataType,
    signature: Signature,
}

fn function(target: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Read { target, signature: Signature::any(1, Volatility::Immutable) }))
}

/// All such casts.
pub(super) fn all() -> [Arc<ScalarUDF>; 3] {
    [DataType::Date32, STAMP, zoned()].map(function)
}

/// The cast of a text to one of these types.
pub(super) fn read(text: Expr, target: &DataType) -> Expr {
    function(target.clone()).call(vec![text])
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
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [array] = arrays.as_slice() else { return exec_err!("a cast has one argument") };
        let texts = cast(array, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let ends: Vec<Option<bool>> = texts.iter().map(|text| text.and_then(literal::infinite)).collect();
        let read = |texts: &ArrayRef| {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(texts, &self.target, &options)
        };
        if ends.iter().all(Option::is_none) {
            return returned(read(array)?, scalar);
        }
        let finite = texts.iter().zip(&ends).map(|(text, end)| if end.is_some() { None } else { text });
        let finite: ArrayRef = Arc::new(finite.collect::<StringArray>());
        let made = read(&finite)?;
        let made: ArrayRef = if self.target == DataType::Date32 {
            let end = |last: &bool| if *last { i32::MAX } else { i32::MIN };
            let days = made.as_primitive::<Date32Type>().iter().zip(&ends);
            Arc::new(days.map(|(day, last)| last.as_ref().map(end).or(day)).collect::<Date32Array>())
        } else {
            let end = |last: &bool| if *last { i64::MAX } else { i64::MIN };
            let times = made.as_primitive::<TimestampMicrosecondType>().iter().zip(&ends);
            let times = times.map(|(at, last)| last.as_ref().map(end).or(at));
            let times = times.collect::<TimestampMicrosecondArray>();
            Arc::new(times.with_data_type(self.target.clone()))
        };
        returned(made, scalar)
    }
}
