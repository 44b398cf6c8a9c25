//! A difference of timestamps beside an interval: whole days and a time of day, as PostgreSQL has it (timestamp.c,
//! timestamp_mi).
//!
//! Alone such a difference is a number of microseconds, shown in days; Arrow would make nanoseconds of it beside an
//! interval, so that a day more than a day and ten hours was `1 day 34:00:00`. A time of day is made an interval here too,
//! of which 24:00 has no day. An infinite difference must never become a finite interval.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalUnit, Time64MicrosecondType, TimeUnit,
};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::moments;
use super::time::DAY;
use crate::error::{ErrorCode, QueryError};

/// An interval of SQL.
pub(super) const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Makes an interval of a difference of timestamps, or of a time of day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DaysAndTime(Signature);

/// The function that makes an interval of a difference of timestamps, or of a time of day.
pub(super) fn days_and_time() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(DaysAndTime(Signature::any(1, Volatility::Immutable))))
}

/// Whether differences of timestamps and intervals are among some types.
pub(super) fn mixed<'a>(types: impl Iterator<Item = &'a DataType>) -> bool {
    let (mut difference, mut interval) = (false, false);
    for of in types {
        difference |= matches!(of, DataType::Duration(_));
        interval |= matches!(of, DataType::Interval(_));
    }
    difference && interval
}

/// A difference of timestamps as an interval; anything else stays.
pub(super) fn as_interval(value: Expr, of: &DataType) -> Expr {
    if matches!(of, DataType::Duration(_)) { days_and_time().call(vec![value]) } else { value }
}

/// Whether values are made intervals before they stand in one column.
pub(super) fn differ(values: &[&Expr], schema: &DFSchema) -> bool {
    let types: Vec<DataType> = values.iter().filter_map(|value| value.get_type(schema).ok()).collect();
    mixed(types.iter())
}

/// Values that are to have one type: intervals, if one is among differences of timestamps.
pub(super) fn alike(values: Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    let types: Vec<DataType> =
        values.iter().map(|value| value.get_type(schema).unwrap_or(DataType::Null)).collect();
    if !mixed(types.iter()) {
        return values;
    }
    values.into_iter().zip(&types).map(|(value, of)| as_interval(value, of)).collect()
}

fn spans(array: &ArrayRef) -> Result<ArrayRef> {
    if matches!(array.data_type(), DataType::Time32(_) | DataType::Time64(_)) {
        let times = cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
        let times = times.as_primitive::<Time64MicrosecondType>().iter();
        let spans = times.map(|micros| micros.map(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000)));
        return Ok(Arc::new(spans.collect::<IntervalMonthDayNanoArray>()));
    }
    let micros = moments::checked(&cast(array, &DataType::Duration(TimeUnit::Microsecond))?)?;
    let micros = cast(&micros, &DataType::Int64)?;
    let micros = micros.as_primitive::<Int64Type>().iter();
    let spans = micros.map(|micros| {
        let Some(micros) = micros else { return Ok(None) };
        let days = i32::try_from(micros / DAY)
            .map_err(|_| QueryError::new(ErrorCode::DatetimeOverflow, "interval out of range"))?;
        Ok(Some(IntervalMonthDayNano::new(0, days, micros % DAY * 1000)))
    });
    Ok(Arc::new(spans.collect::<Result<IntervalMonthDayNanoArray, QueryError>>()?))
}

impl ScalarUDFImpl for DaysAndTime {
    fn name(&self) -> &str {
        "days_and_time"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(SPAN)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [value] = args.args.as_slice() else { return exec_err!("one interval is made of one value") };
        returned(spans(&value.to_array(args.number_rows)?)?, scalar)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, DurationMicrosecondArray, Time64MicrosecondArray};
    use datafusion::arrow::datatypes::IntervalMonthDayNanoType;

    use super::*;

    #[test]
    fn days_are_carried_toward_zero() {
        let hour = DAY / 24;
        let made = |array: ArrayRef| {
            let made = spans(&array).unwrap();
            let made = made.as_primitive::<IntervalMonthDayNanoType>();
            let fields = made.iter().map(|span| span.map(|span| (span.months, span.days, span.nanoseconds)));
            fields.collect::<Vec<_>>()
        };
        let differences = DurationMicrosecondArray::from(vec![Some(34 * hour), Some(-34 * hour), None]);
        assert_eq!(
            made(Arc::new(differences)),
            [Some((0, 1, 10 * hour * 1000)), Some((0, -1, -10 * hour * 1000)), None]
        );
        let times = Time64MicrosecondArray::from(vec![hour, DAY]);
        assert_eq!(made(Arc::new(times)), [Some((0, 0, hour * 1000)), Some((0, 0, DAY * 1000))]);
        let infinite: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![i64::MAX]));
        assert_eq!(QueryError::from(spans(&infinite).unwrap_err()).code.sqlstate(), "0A000");
        assert!(spans(&infinite.slice(0, 0)).unwrap().is_empty());
    }
}
