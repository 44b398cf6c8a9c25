//! Casts of floats to `numeric` (PostgreSQL 17, numeric.c, float4_numeric and float8_numeric): of a real six significant
//! digits are kept, of double precision fifteen, and then the digits that the type has.
//!
//! Arrow's cast keeps the digits of the binary value: 0.1 as a real is 0.1000000015 there. A value without a decimal (an
//! infinity, not-a-number) is refused, because decimals here have none.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast, lit,
};

use super::arithmetic::returned;
use super::lower::of_kpi;
use super::type_planner::BARE_NUMERIC;
use crate::error::{ErrorCode, QueryError};

/// The decimal that a float becomes in a cast to `numeric` without precision: room for the digits of common values.
pub(super) const fn bare(of: &DataType) -> DataType {
    match of {
        DataType::Float32 => DataType::Decimal128(38, 10),
        _ => DataType::Decimal128(38, 15),
    }
}

/// The decimal that keeps every digit of two different ones, if there is one.
pub(super) fn of_both(one: &DataType, other: &DataType) -> Option<DataType> {
    let digits = |of: &DataType| match of {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        _ => None,
    };
    let ((one_whole, one_scale), (other_whole, other_scale)) = (digits(one)?, digits(other)?);
    let scale = one_scale.max(other_scale);
    let precision = u8::try_from(one_whole.max(other_whole) + i16::from(scale)).ok()?;
    let both = match precision {
        ..=38 => DataType::Decimal128(precision.max(1), scale),
        39..=76 => DataType::Decimal256(precision, scale),
        _ => return None,
    };
    (one != other).then_some(both)
}

/// Puts our cast in the place of a cast from a float to a decimal.
pub(super) fn settle(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = expr else { return Ok(Transformed::no(expr)) };
    let of = match inner.get_type(schema) {
        Ok(of @ (DataType::Float32 | DataType::Float64)) if !of_kpi(&inner, schema) => of,
        _ => return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field }))),
    };
    let target = field.data_type();
    let target = if *target == BARE_NUMERIC { bare(&of) } else { target.clone() };
    let made = match target {
        DataType::Decimal128(precision, scale) => numeric(*inner, precision, scale),
        DataType::Decimal256(precision, scale) if scale <= 38 => {
            cast(numeric(*inner, 38, scale), DataType::Decimal256(precision, scale))
        }
        _ => return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field }))),
    };
    Ok(Transformed::yes(made))
}

fn numeric(value: Expr, precision: u8, scale: i8) -> Expr {
    function().call(vec![value, lit(i64::from(precision)), lit(i64::from(scale))])
}

/// A float, and precision and scale of the decimal it becomes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatToNumeric(Signature);

/// The cast of a float to a decimal.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(FloatToNumeric(Signature::any(3, Volatility::Immutable))))
}

impl ScalarUDFImpl for FloatToNumeric {
    fn name(&self) -> &str {
        "float_to_numeric"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a cast is told by its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let ([value, ..], [_, Some(precision), Some(scale)]) = (args.arg_fields, args.scalar_arguments)
        else {
            return plan_err!("a cast to numeric needs precision and scale");
        };
        let (ScalarValue::Int64(Some(precision)), ScalarValue::Int64(Some(scale))) = (precision, scale)
        else {
            return plan_err!("precision and scale are whole numbers");
        };
        let (Ok(precision), Ok(scale)) = (u8::try_from(*precision), i8::try_from(*scale)) else {
            return plan_err!("precision and scale are out of range");
        };
        let decimal = DataType::Decimal128(precision, scale);
        Ok(Arc::new(Field::new(self.name(), decimal, value.is_nullable())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
            return exec_err!("a cast to numeric makes decimals");
        };
        let Some(value) = args.args.first() else { return exec_err!("a cast has an argument") };
        let array = value.to_array(if scalar { 1 } else { args.number_rows })?;
        let read = |value: Option<f64>, digits: usize| match value {
            Some(value) => decimal(value, digits, precision, scale).map(Some),
            None => Ok(None),
        };
        let values: Result<Vec<Option<i128>>, QueryError> = match array.data_type() {
            DataType::Float32 => {
                let floats = array.as_primitive::<Float32Type>().iter();
                floats.map(|value| read(value.map(f64::from), 6)).collect()
            }
            DataType::Float64 => {
                array.as_primitive::<Float64Type>().iter().map(|value| read(value, 15)).collect()
            }
            other => return exec_err!("{other} is no float"),
        };
        let made = Decimal128Array::from(values?).with_precision_and_scale(precision, scale)?;
        debug_assert_eq!(made.len(), array.len());
        returned(Arc::new(made), scalar)
    }
}

/// A float's significant digits as a decimal of a scale, half away from zero.
fn decimal(value: f64, digits: usize, precision: u8, scale: i8) -> Result<i128, QueryError> {
    if !value.is_finite() {
        let what = if value.is_nan() { "numeric NaN" } else { "an infinite numeric" };
        return Err(QueryError::unsupported(what).with_hint("keep the value as double precision"));
    }
    let overflow = || QueryError::new(ErrorCode::NumericOutOfRange, "numeric field overflow");
    if value == 0.0 {
        return Ok(0);
    }
    let text = format!("{:.*e}", digits - 1, value.abs());
    let read = || -> Option<(i128, i32, i32)> {
        let (mantissa, exponent) = text.split_once('e')?;
        let whole = mantissa.replace('.', "").parse().ok()?;
        Some((whole, exponent.parse().ok()?, i32::try_from(digits).ok()? - 1))
    };
    let (whole, exponent, behind) = read().ok_or_else(overflow)?;
    let shift = exponent - behind + i32::from(scale);
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let scaled = match (shift >= 0, power) {
        (true, power) => power.and_then(|power| whole.checked_mul(power)).ok_or_else(overflow)?,
        (false, Some(power)) => (whole + power / 2) / power,
        (false, None) => 0,
    };
    let limit = 10_i128.checked_pow(u32::from(precision)).ok_or_else(overflow)?;
    if scaled >= limit {
        return Err(overflow());
    }
    Ok(if value < 0.0 { -scaled } else { scaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_decimals_meet_in_one_that_keeps_both() {
        let of = DataType::Decimal128;
        for (one, other, both) in [
            (of(5, 4), of(14, 3), Some(of(15, 4))),
            (of(38, 10), of(14, 3), Some(of(38, 10))),
            (of(38, 0), of(30, 30), Some(DataType::Decimal256(68, 30))),
            (of(14, 3), of(14, 3), None),
            (of(14, 3), DataType::Int32, None),
            (DataType::Decimal256(76, 0), of(30, 30), None),
        ] {
            assert_eq!(of_both(&one, &other), both, "{one} {other}");
            assert_eq!(of_both(&other, &one), both, "{other} {one}");
        }
    }

    fn real(value: f32, scale: i8) -> i128 {
        decimal(f64::from(value), 6, 38, scale).unwrap()
    }

    fn double(value: f64, scale: i8) -> i128 {
        decimal(value, 15, 38, scale).unwrap()
    }

    /// Digits that PostgreSQL 17 gave.
    #[test]
    fn a_float_has_as_many_digits_as_postgresql_gives_it() {
        assert_eq!(real(0.1, 10), 1_000_000_000);
        assert_eq!(real(16_777_216.0, 0), 16_777_200);
        assert_eq!(real(1.234_567_9, 10), 12_345_700_000);
        assert_eq!(real(1e-10, 10), 1);
        assert_eq!(real(1e20, 0), 100_000_000_000_000_000_000);
        assert_eq!(double(0.1 + 0.2, 15), 300_000_000_000_000);
        assert_eq!(double(123_456_789_012_345_680.0, 0), 123_456_789_012_346_000);
        assert_eq!(double(-123_456.789, 15), -123_456_789_000_000_000_000);
        assert_eq!(double(1e-12, 15), 1000);
    }

    #[test]
    fn digits_that_the_type_has_not_are_rounded_away_from_zero() {
        assert_eq!((double(0.125, 2), double(-0.125, 2), double(0.124, 2)), (13, -13, 12));
        assert_eq!((double(5e-16, 15), double(4e-16, 15), double(1e-300, 15)), (1, 0, 0));
        assert_eq!(double(-0.0, 2), 0);
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        let state =
            |value, precision, scale| decimal(value, 15, precision, scale).unwrap_err().code.sqlstate();
        assert_eq!((state(f64::NAN, 38, 10), state(f64::NEG_INFINITY, 38, 10)), ("0A000", "0A000"));
        assert_eq!(
            (state(1e30, 38, 15), state(99.995, 4, 2), state(1e300, 38, 0)),
            ("22003", "22003", "22003")
        );
        assert_eq!(decimal(99.994, 15, 4, 2).unwrap(), 9999);
    }
}
