//! Arithmetic as PostgreSQL does it: integers that refuse to wrap, exact quotients, no division by zero anywhere.
//!
//! Each operator is a function whose result type follows from its argument types alone, so that coercion can run
//! before or after it. The scale of a quotient is its third argument: PostgreSQL chooses it by value (PostgreSQL 17,
//! numeric.c, select_div_scale), which is possible for constants; quotients of columns carry at least 16 digits.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, i256};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{ErrorCode, QueryError};

/// An operator over integers that fails with 22003 instead of wrapping.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: IntOperator,
    signature: Signature,
}

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum IntOperator {
    Add,
    Subtract,
    Multiply,
    Modulo,
}

/// The checked form of an integer operator.
pub(super) fn checked(operator: IntOperator) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Checked { operator, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// `mod(a, b)` of integers.
pub(super) fn modulo() -> Arc<ScalarUDF> {
    checked(IntOperator::Modulo)
}

fn wider_integer(left: &DataType, right: &DataType) -> Option<DataType> {
    let rank = |data_type: &DataType| match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Some(1),
        DataType::UInt16 | DataType::Int32 => Some(2),
        DataType::UInt32 | DataType::Int64 => Some(3),
        DataType::Null => Some(0),
        _ => None,
    };
    Some(match rank(left)?.max(rank(right)?) {
        1 => DataType::Int16,
        3 => DataType::Int64,
        _ => DataType::Int32,
    })
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operator {
            IntOperator::Add => "int_add",
            IntOperator::Subtract => "int_subtract",
            IntOperator::Multiply => "int_multiply",
            IntOperator::Modulo => "mod",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wider = self.return_type(types)?;
        Ok(vec![wider.clone(), wider])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => match wider_integer(left, right) {
                Some(wider) => Ok(wider),
                None => plan_err!("Cannot coerce arithmetic expression {left} + {right} to valid types"),
            },
            _ => plan_err!("an integer operator has two arguments"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else {
            return exec_err!("an integer operator has two arguments");
        };
        let result = match self.operator {
            IntOperator::Add => numeric::add(left, right),
            IntOperator::Subtract => numeric::sub(left, right),
            IntOperator::Multiply => numeric::mul(left, right),
            IntOperator::Modulo => numeric::rem(left, right),
        };
        let result = result.map_err(|error| {
            if matches!(error, datafusion::arrow::error::ArrowError::DivideByZero) {
                return QueryError::new(ErrorCode::DivisionByZero, "division by zero");
            }
            let name = match left.data_type() {
                DataType::Int16 => "smallint",
                DataType::Int32 => "integer",
                _ => "bigint",
            };
            QueryError::new(ErrorCode::NumericOutOfRange, format!("{name} out of range"))
        })?;
        returned(result, scalar)
    }
}

/// Gives a one-row result back as a scalar where all arguments were scalars.
pub(super) fn returned(array: ArrayRef, scalar: bool) -> Result<ColumnarValue> {
    if scalar {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

/// `numeric / numeric` with the scale as third argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericDivide(Signature, i8);

/// The quotient of numerics with so many digits after the point.
pub(super) fn numeric_divide(scale: i8) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(NumericDivide(Signature::user_defined(Volatility::Immutable), scale)))
}

fn as_decimal(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Decimal128(_, _) => data_type.clone(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::UInt16 | DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::UInt32 | DataType::Int64 => DataType::Decimal128(19, 0),
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Null => DataType::Decimal128(38, 0),
        _ => return None,
    })
}

impl ScalarUDFImpl for NumericDivide {
    fn name(&self) -> &str {
        "numeric_divide"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        types
            .iter()
            .map(|data_type| match as_decimal(data_type) {
                Some(decimal) => Ok(decimal),
                None => Err(QueryError::unsupported("division of these numeric types").into()),
            })
            .collect()
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(38, self.1))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("a quotient has two arguments") };
        let (DataType::Decimal128(_, left_scale), DataType::Decimal128(_, right_scale)) =
            (left.data_type(), right.data_type())
        else {
            return exec_err!("a quotient needs decimals");
        };
        let shift = i32::from(self.1) + i32::from(*right_scale) - i32::from(*left_scale);
        let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
        let mut values = Vec::with_capacity(left.len());
        for (left, right) in left.iter().zip(right.iter()) {
            values.push(match (left, right) {
                (Some(left), Some(right)) => Some(quotient(left, right, shift)?),
                _ => None,
            });
        }
        let array = Decimal128Array::from(values).with_precision_and_scale(38, self.1)?;
        returned(Arc::new(array), scalar)
    }
}

/// Largest magnitude of 38 digits, plus one.
const TEN_TO_38: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;

/// `left · 10^shift / right`, half away from zero.
pub(super) fn quotient(left: i128, right: i128, shift: i32) -> Result<i128> {
    if right == 0 {
        return Err(QueryError::new(ErrorCode::DivisionByZero, "division by zero").into());
    }
    let overflow = || QueryError::new(ErrorCode::NumericOutOfRange, "numeric value out of range");
    let ten = i256::from_i128(10);
    let mut numerator = i256::from_i128(left);
    let mut denominator = i256::from_i128(right);
    let grown = if shift >= 0 { &mut numerator } else { &mut denominator };
    for _ in 0..shift.unsigned_abs() {
        *grown = grown.checked_mul(ten).ok_or_else(overflow)?;
    }
    let (negative, numerator, denominator) = (
        (left < 0) != (right < 0),
        numerator.checked_abs().ok_or_else(overflow)?,
        denominator.checked_abs().ok_or_else(overflow)?,
    );
    let whole = numerator.checked_div(denominator).ok_or_else(overflow)?;
    let rest = numerator.checked_rem(denominator).ok_or_else(overflow)?;
    let twice = rest.checked_add(rest).ok_or_else(overflow)?;
    let rounded =
        if twice >= denominator { whole.checked_add(i256::ONE).ok_or_else(overflow)? } else { whole };
    let value = rounded.to_i128().filter(|value| *value < TEN_TO_38).ok_or_else(overflow)?;
    Ok(if negative { -value } else { value })
}

/// The digits after the point PostgreSQL gives a quotient of two constants.
pub(super) fn constant_scale(left: (i128, i8), right: (i128, i8)) -> i8 {
    // Position and value of the first base-10000 digit of a number.
    let first = |(value, scale): (i128, i8)| -> (i32, i128) {
        if value == 0 {
            return (0, 0);
        }
        let magnitude = value.abs();
        let digits = i32::try_from(magnitude.to_string().len()).unwrap_or(39);
        // Decimal exponent of the first digit, then its base-10000 weight.
        let exponent = digits - 1 - i32::from(scale);
        let weight = exponent.div_euclid(4);
        let keep = exponent.rem_euclid(4) + 1;
        let text = magnitude.to_string();
        let mut head: String = text.chars().take(usize::try_from(keep).unwrap_or(1)).collect();
        while i32::try_from(head.len()).unwrap_or(4) < keep {
            head.push('0');
        }
        (weight, head.parse().unwrap_or(1))
    };
    let ((left_weight, left_digit), (right_weight, right_digit)) = (first(left), first(right));
    let mut weight = left_weight - right_weight;
    if left_digit <= right_digit {
        weight -= 1;
    }
    let scale = (16 - weight * 4).max(i32::from(left.1)).max(i32::from(right.1)).clamp(0, 37);
    i8::try_from(scale).unwrap_or(16)
}

/// Rounds to a whole number as a cast to an integer does: numerics half away from zero, floats half to even.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundForCast(Signature);

/// The rounding below a cast to an integer.
pub(super) fn round_for_cast() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(RoundForCast(Signature::any(1, Volatility::Immutable))))
}

impl ScalarUDFImpl for RoundForCast {
    fn name(&self) -> &str {
        "round_for_cast"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first() {
            Some(DataType::Decimal128(_, _)) => DataType::Decimal128(38, 0),
            _ => DataType::Float64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("rounding has one argument") };
        let rounded: ArrayRef = if let DataType::Decimal128(_, scale) = array.data_type() {
            let mut values = Vec::with_capacity(array.len());
            for value in array.as_primitive::<Decimal128Type>() {
                values.push(value.map(|value| quotient(value, 1, -i32::from(*scale))).transpose()?);
            }
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 0)?)
        } else {
            let floats = datafusion::arrow::compute::cast(array, &DataType::Float64)?;
            let floats = floats.as_primitive::<Float64Type>();
            Arc::new(floats.unary::<_, Float64Type>(f64::round_ties_even))
        };
        returned(rounded, scalar)
    }
}

/// A cast to an integer type that raises what does not fit.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Narrow(Signature, DataType);

/// The cast to an integer type of values that may not fit.
pub(super) fn narrow(target: DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Narrow(Signature::any(1, Volatility::Immutable), target)))
}

impl ScalarUDFImpl for Narrow {
    fn name(&self) -> &str {
        match self.1 {
            DataType::Int16 => "to_int2",
            DataType::Int32 => "to_int4",
            _ => "to_int8",
        }
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.1.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.first() else { return exec_err!("a cast has one argument") };
        value.cast_to(&self.1, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: PostgreSQL's `select scale(a / b)`.
    #[test]
    fn the_scale_of_constant_quotients_is_postgresqls() {
        for (left, right, scale) in [
            ((5, 0), (20, 1), 16),
            ((10, 1), (3, 0), 20),
            ((70, 1), (3, 0), 16),
            ((100_000, 0), (30, 1), 12),
            ((1, 0), (300, 2), 20),
        ] {
            assert_eq!(constant_scale(left, right), scale, "{left:?} / {right:?}");
        }
    }

    #[test]
    fn quotients_round_half_away_from_zero() {
        assert_eq!(quotient(25, 10, 0).unwrap(), 3);
        assert_eq!(quotient(-25, 10, 0).unwrap(), -3);
        assert_eq!(quotient(1, 3, 4).unwrap(), 3333);
        assert!(quotient(1, 0, 0).is_err());
    }
}
