//! The length of an interval, which is what PostgreSQL compares it by, and the longest and shortest of several.
//!
//! A month counts 30 days and a day 24 hours here and nowhere else: a length is never shown and never added to a time.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray, ListArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::functions::arithmetic::returned;
use crate::functions::time::DAY;

/// The type of an interval's value.
pub(super) const SPAN: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// The type of a length: whole microseconds, of which an interval may have more than 64 bits hold.
const LENGTH: DataType = DataType::Decimal128(38, 0);

/// The name of [`interval_value`].
pub(super) const NAME: &str = "interval_value";

/// What intervals are compared by: microseconds, a month as 30 days. Of a list the same of each element.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalValue(Signature);

/// The length of an interval for comparison.
pub(in crate::functions) fn interval_value() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(IntervalValue(Signature::any(1, Volatility::Immutable))))
}

/// Microseconds, a month as 30 days and a day as 24 hours (PostgreSQL 17, timestamp.c, interval_cmp_value).
pub(super) fn length(span: IntervalMonthDayNano) -> i128 {
    let days = i128::from(span.months) * 30 + i128::from(span.days);
    days * i128::from(DAY) + i128::from(span.nanoseconds / 1000)
}

/// The intervals of an array.
pub(super) fn spans(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    Ok(cast(array, &SPAN)?.as_primitive::<IntervalMonthDayNanoType>().clone())
}

fn type_of_length(of: &DataType) -> DataType {
    match of {
        DataType::List(item) => {
            let length = type_of_length(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(length)))
        }
        _ => LENGTH,
    }
}

fn lengths(array: &ArrayRef) -> Result<ArrayRef> {
    if let DataType::List(item) = array.data_type() {
        let lists = array.as_list::<i32>();
        let values = lengths(lists.values())?;
        let item = Arc::new(item.as_ref().clone().with_data_type(values.data_type().clone()));
        let lists = ListArray::try_new(item, lists.offsets().clone(), values, lists.nulls().cloned())?;
        return Ok(Arc::new(lists));
    }
    let values: Vec<Option<i128>> = if matches!(array.data_type(), DataType::Duration(_)) {
        let micros = cast(&cast(array, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?;
        // Longer than the longest interval that has an end.
        let value = |micros: i64| match micros {
            i64::MAX => i128::MAX >> 4,
            i64::MIN => -(i128::MAX >> 4),
            micros => i128::from(micros),
        };
        micros.as_primitive::<Int64Type>().iter().map(|micros| micros.map(value)).collect()
    } else {
        spans(array)?.iter().map(|span| span.map(length)).collect()
    };
    Ok(Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 0)?))
}

impl ScalarUDFImpl for IntervalValue {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] => Ok(type_of_length(of)),
            _ => plan_err!("only one interval at a time"),
        }
    }

    /// As null as the interval is.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => {
                let length = type_of_length(field.data_type());
                Ok(Arc::new(field.as_ref().clone().with_name(NAME).with_data_type(length)))
            }
            _ => plan_err!("only one interval at a time"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("a comparison has arguments") };
        returned(lengths(array)?, scalar)
    }
}

/// The longest or the shortest of the intervals of its arguments, lists among them; of equal ones the first, and null
/// only if there is none: GREATEST and LEAST, and the ends of a list.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Furthest {
    longest: bool,
    signature: Signature,
}

/// [`Furthest`], the longest or the shortest.
pub(in crate::functions) fn furthest(longest: bool) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Furthest { longest, signature }))
}

impl ScalarUDFImpl for Furthest {
    fn name(&self) -> &str {
        if self.longest { "longest_interval" } else { "shortest_interval" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(SPAN)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = arrays.first().map_or(0, |array| array.len());
        let mut best: Vec<Option<(i128, IntervalMonthDayNano)>> = vec![None; rows];
        let offer = |best: &mut Option<(i128, IntervalMonthDayNano)>, span: IntervalMonthDayNano| {
            let length = length(span);
            let better =
                best.is_none_or(|(than, _)| if self.longest { length > than } else { length < than });
            if better {
                *best = Some((length, span));
            }
        };
        for array in &arrays {
            if let Some(lists) = array.as_list_opt::<i32>() {
                for (best, list) in best.iter_mut().zip(lists.iter()) {
                    let Some(list) = list else { continue };
                    spans(&list)?.iter().flatten().for_each(|span| offer(best, span));
                }
            } else {
                for (best, span) in best.iter_mut().zip(spans(array)?.iter()) {
                    span.into_iter().for_each(|span| offer(best, span));
                }
            }
        }
        let chosen: IntervalMonthDayNanoArray =
            best.into_iter().map(|best| best.map(|(_, span)| span)).collect();
        returned(Arc::new(chosen), scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs that PostgreSQL has as equal, and as the first being shorter.
    #[test]
    fn a_month_is_thirty_days_and_a_day_twenty_four_hours() {
        let hour = 3_600_000_000_000;
        let span = IntervalMonthDayNano::new;
        for (left, right) in [
            (span(0, 1, 0), span(0, 0, 24 * hour)),
            (span(1, 0, 0), span(0, 30, 0)),
            (span(1, -1, 0), span(0, 29, 0)),
            (span(-1, 30, 0), span(0, 0, 0)),
            (span(i32::MAX, 0, 0), span(i32::MAX - 1, 30, 0)),
        ] {
            assert_eq!(length(left), length(right), "{left:?} {right:?}");
        }
        for (left, right) in [
            (span(0, 100, 0), span(4, 0, 0)),
            (span(1, -2, 0), span(0, 29, 0)),
            (span(0, 1, 0), span(0, 0, 24 * hour + 1000)),
            (span(i32::MIN, i32::MIN, i64::MIN), span(i32::MIN, i32::MIN, 0)),
        ] {
            assert!(length(left) < length(right), "{left:?} {right:?}");
        }
    }
}
