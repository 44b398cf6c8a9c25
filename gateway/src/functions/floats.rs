//! Floats as PostgreSQL calculates with them (PostgreSQL 17, float.c): what leaves the range of its type is 22003, what
//! has no value is 2201E, 2201F or 22012, and only infinity makes infinity.
//!
//! The engine's own operators and functions answer infinity, zero or NaN instead. Those of a KPI's columns stay the
//! engine's own expressions, because grains are recognised by them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{cast, kernels::numeric};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::arithmetic::returned;
use crate::error::{ErrorCode, QueryError};

fn overflow() -> QueryError {
    QueryError::new(ErrorCode::NumericOutOfRange, "value out of range: overflow")
}

fn underflow() -> QueryError {
    QueryError::new(ErrorCode::NumericOutOfRange, "value out of range: underflow")
}

/// An operator over floats of one width.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatOperator {
    operator: Operator,
    signature: Signature,
}

/// The checked form of `+`, `-`, `*` or `/`; both arguments are real or both double precision.
pub(super) fn checked(operator: Operator) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(FloatOperator { operator, signature }))
}

impl ScalarUDFImpl for FloatOperator {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "float_add",
            Operator::Minus => "float_subtract",
            Operator::Multiply => "float_multiply",
            _ => "float_divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = self.return_type(types)?;
        Ok(vec![wanted; types.len()])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let narrow = types.iter().all(|kind| *kind == DataType::Float32);
        Ok(if narrow { DataType::Float32 } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else {
            return exec_err!("an operator over floats has two arguments");
        };
        let (a, b) = (wide(left)?, wide(right)?);
        let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
        let divides = !matches!(self.operator, Operator::Plus | Operator::Minus | Operator::Multiply);
        if divides && a.iter().zip(b).any(|(a, b)| a.is_some() && b == Some(0.0)) {
            return Err(QueryError::new(ErrorCode::DivisionByZero, "division by zero").into());
        }
        let result = match self.operator {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            Operator::Multiply => numeric::mul(left, right),
            _ => numeric::div(left, right),
        }?;
        let result = one_nan(&result);
        let scales = divides || self.operator == Operator::Multiply;
        for ((a, b), made) in a.iter().zip(b).zip(wide(&result)?.as_primitive::<Float64Type>()) {
            let (Some(a), Some(b), Some(made)) = (a, b, made) else { continue };
            if made.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(overflow().into());
            }
            if scales && made == 0.0 && a != 0.0 && b != 0.0 && b.is_finite() {
                return Err(underflow().into());
            }
        }
        returned(result, scalar)
    }
}

/// Under one NaN: where there is none processors make one with a sign, which sorts before all numbers here.
pub(super) fn one_nan(array: &ArrayRef) -> ArrayRef {
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        return Arc::new(floats.unary::<_, Float64Type>(|x| if x.is_nan() { f64::NAN } else { x }));
    }
    match array.as_primitive_opt::<Float32Type>() {
        Some(floats) => Arc::new(floats.unary::<_, Float32Type>(|x| if x.is_nan() { f32::NAN } else { x })),
        None => Arc::clone(array),
    }
}

/// `-x` of a float, which for NaN is NaN and for a zero the other one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Negated(Signature);

/// The negative of a float.
pub(super) fn negated() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Negated(Signature::any(1, Volatility::Immutable))))
}

impl ScalarUDFImpl for Negated {
    fn name(&self) -> &str {
        "float_negative"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Float64))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [field] = args.arg_fields else { return exec_err!("one float has one negative") };
        Ok(Arc::new(Field::new(self.name(), field.data_type().clone(), field.is_nullable())))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // NaN stays last, so that no order is turned around.
        Ok(if inputs.iter().all(|input| input.sort_properties == SortProperties::Singleton) {
            SortProperties::Singleton
        } else {
            SortProperties::Unordered
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [array] = arrays.as_slice() else { return exec_err!("one float has one negative") };
        returned(one_nan(&numeric::neg(array)?), scalar)
    }
}

fn wide(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(array, &DataType::Float64)?)
}

/// A cast of double precision to real.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Narrow(Signature);

/// The checked cast of double precision to real.
pub(super) fn narrow() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Narrow(Signature::exact(vec![DataType::Float64], Volatility::Immutable))))
}

impl ScalarUDFImpl for Narrow {
    fn name(&self) -> &str {
        "float4"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(from) = arrays.first() else { return exec_err!("a cast has one argument") };
        let from = cast(from, &DataType::Float64)?;
        let made = cast(&from, &DataType::Float32)?;
        let pairs = from.as_primitive::<Float64Type>().iter().zip(made.as_primitive::<Float32Type>());
        for (from, made) in pairs {
            let (Some(from), Some(made)) = (from, made) else { continue };
            if made.is_infinite() && from.is_finite() {
                return Err(overflow().into());
            }
            if made == 0.0 && from != 0.0 {
                return Err(underflow().into());
            }
        }
        returned(made, scalar)
    }
}

/// Where a function has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Domain {
    /// Above zero, every argument.
    Logarithm,
    /// Everywhere, but the value may leave the range.
    Exponential,
    /// A base and an exponent.
    Power,
    /// From -1 to 1.
    Unit,
    /// 1 and above.
    FromOne,
    /// Finite numbers.
    Finite,
}

/// Functions by their name, with where they have a value.
const DOMAINS: [(&str, Domain); 14] = [
    ("ln", Domain::Logarithm),
    ("log", Domain::Logarithm),
    ("log10", Domain::Logarithm),
    ("log2", Domain::Logarithm),
    ("exp", Domain::Exponential),
    ("power", Domain::Power),
    ("asin", Domain::Unit),
    ("acos", Domain::Unit),
    ("atanh", Domain::Unit),
    ("acosh", Domain::FromOne),
    ("sin", Domain::Finite),
    ("cos", Domain::Finite),
    ("tan", Domain::Finite),
    ("cot", Domain::Finite),
];

/// The function itself, or the same one that refuses what PostgreSQL refuses.
pub(super) fn in_domain(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match DOMAINS.iter().find(|(name, _)| *name == function.name()) {
        Some((_, domain)) => Arc::new(ScalarUDF::from(InDomain { inner: function, domain: *domain })),
        None => function,
    }
}

/// A function of floats that is asked only where it has a value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InDomain {
    inner: Arc<ScalarUDF>,
    domain: Domain,
}

impl InDomain {
    fn check(&self, arguments: &[f64]) -> Result<(), QueryError> {
        let refuse = |code, message: &str| Err(QueryError::new(code, message));
        match (self.domain, arguments) {
            (Domain::Logarithm, _) => {
                if arguments.contains(&0.0) {
                    return refuse(ErrorCode::InvalidLogarithm, "cannot take logarithm of zero");
                }
                if arguments.iter().any(|value| *value < 0.0) {
                    return refuse(ErrorCode::InvalidLogarithm, "cannot take logarithm of a negative number");
                }
                if arguments.len() == 2 && arguments.first() == Some(&1.0) {
                    return refuse(ErrorCode::DivisionByZero, "division by zero");
                }
            }
            (Domain::Power, [base, exponent]) => {
                if *base == 0.0 && *exponent < 0.0 {
                    return refuse(ErrorCode::InvalidPower, "zero raised to a negative power is undefined");
                }
                if *base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
                    return refuse(
                        ErrorCode::InvalidPower,
                        "a negative number raised to a non-integer power yields a complex result",
                    );
                }
            }
            (Domain::Unit, [value]) if value.abs() > 1.0 => {
                return refuse(ErrorCode::NumericOutOfRange, "input is out of range");
            }
            (Domain::FromOne, [value]) if *value < 1.0 => {
                return refuse(ErrorCode::NumericOutOfRange, "input is out of range");
            }
            (Domain::Finite, [value]) if value.is_infinite() => {
                return refuse(ErrorCode::NumericOutOfRange, "input is out of range");
            }
            _ => {}
        }
        Ok(())
    }

    fn check_result(&self, arguments: &[f64], made: f64) -> Result<(), QueryError> {
        if !matches!(self.domain, Domain::Exponential | Domain::Power)
            || arguments.iter().any(|value| !value.is_finite())
        {
            return Ok(());
        }
        if made.is_infinite() {
            return Err(overflow());
        }
        let nothing_given = self.domain == Domain::Power && arguments.first() == Some(&0.0);
        if made == 0.0 && !nothing_given {
            return Err(underflow());
        }
        Ok(())
    }
}

impl ScalarUDFImpl for InDomain {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arguments = ColumnarValue::values_to_arrays(&args.args)?;
        let arguments = arguments.iter().map(wide).collect::<Result<Vec<_>>>()?;
        let given = |row: usize| -> Option<Vec<f64>> {
            arguments
                .iter()
                .map(|column| {
                    let column = column.as_primitive::<Float64Type>();
                    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
                })
                .collect()
        };
        let asked = arguments.first().map_or(rows, |column| column.len());
        for row in 0..asked {
            if let Some(values) = given(row) {
                self.check(&values)?;
            }
        }
        let made = self.inner.invoke_with_args(args)?;
        if matches!(self.domain, Domain::Exponential | Domain::Power) {
            let floats = wide(&made.to_array(asked)?)?;
            for (row, made) in floats.as_primitive::<Float64Type>().iter().enumerate() {
                if let (Some(values), Some(made)) = (given(row), made) {
                    self.check_result(&values, made)?;
                }
            }
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, arguments: &[f64]) -> Result<(), String> {
        let functions = crate::functions::scalar();
        let function = functions.iter().find(|function| function.name() == name).unwrap();
        let guard = function.inner().downcast_ref::<InDomain>().unwrap();
        guard.check(arguments).map_err(|error| error.code.sqlstate().to_owned())
    }

    /// PostgreSQL: `select x from … order by -x` has NaN last, and `-0` prints its sign.
    #[test]
    fn there_is_one_nan_whatever_made_it() {
        use datafusion::arrow::array::{Float32Array, Float64Array};

        let bits = |array: ArrayRef| -> Vec<u64> {
            array.as_primitive::<Float64Type>().values().iter().map(|x| x.to_bits()).collect()
        };
        let made = one_nan(&(Arc::new(Float64Array::from(vec![-f64::NAN, f64::NAN, -0.0])) as ArrayRef));
        assert_eq!(bits(made), [f64::NAN.to_bits(), f64::NAN.to_bits(), (-0.0_f64).to_bits()]);
        let narrow = one_nan(&(Arc::new(Float32Array::from(vec![-f32::NAN])) as ArrayRef));
        assert_eq!(narrow.as_primitive::<Float32Type>().value(0).to_bits(), f32::NAN.to_bits());
    }

    #[test]
    fn what_has_no_value_is_refused() {
        for (name, arguments, state) in [
            ("ln", &[0.0][..], Some("2201E")),
            ("ln", &[-1.0], Some("2201E")),
            ("ln", &[f64::NAN], None),
            ("ln", &[f64::INFINITY], None),
            ("log", &[2.0, 0.0], Some("2201E")),
            ("log", &[1.0, 2.0], Some("22012")),
            ("power", &[0.0, -1.0], Some("2201F")),
            ("power", &[-8.0, 0.5], Some("2201F")),
            ("power", &[-8.0, 3.0], None),
            ("acos", &[1.5], Some("22003")),
            ("acosh", &[0.5], Some("22003")),
            ("sin", &[f64::INFINITY], Some("22003")),
        ] {
            let expected = state.map_or(Ok(()), |state| Err(state.to_owned()));
            assert_eq!(ask(name, arguments), expected, "{name}{arguments:?}");
        }
    }
}
