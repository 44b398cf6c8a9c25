//! `div`: the whole part of a quotient of numerics, exact and cut toward zero (PostgreSQL 17, numeric.c,
//! numeric_div_trunc).

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::type_planner::BARE_NUMERIC;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

/// Most digits of a decimal.
const DIGITS: u8 = 38;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Div(Signature);

/// `div(numeric, numeric)`.
pub(super) fn div() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Div(Signature::user_defined(Volatility::Immutable))))
}

/// Digits behind the point of a number that is no float.
fn scale(data_type: &DataType) -> Option<i8> {
    use DataType::{
        Decimal32, Decimal64, Decimal128, Int8, Int16, Int32, Int64, Null, UInt8, UInt16, UInt32, UInt64,
    };
    Some(match data_type {
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Null => 0,
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) => (*scale).max(0),
        // Its operand takes its place before this is asked again.
        bare if *bare == BARE_NUMERIC => 10,
        _ => return None,
    })
}

impl ScalarUDFImpl for Div {
    fn name(&self) -> &str {
        "div"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let [left, right] = types
            && let Some((left, right)) = scale(left).zip(scale(right))
        {
            return Ok(vec![DataType::Decimal128(DIGITS, left.max(right)); 2]);
        }
        let shown: Vec<String> =
            types.iter().map(|of| PgType::from_arrow(of).without_typmod().format()).collect();
        let message = format!("function div({}) does not exist", shown.join(", "));
        Err(QueryError::new(ErrorCode::UndefinedFunction, message)
            .with_hint("no function matches the given name and argument types; you might need to add explicit type casts")
            .into())
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(DIGITS, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("div has two arguments") };
        returned(quotients(left, right)?, scalar)
    }
}

/// Of two columns of one scale.
fn quotients(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Decimal128Type>(), right.as_primitive_opt::<Decimal128Type>())
    else {
        return exec_err!("div has decimals");
    };
    let quotients = left.iter().zip(right).map(|(left, right)| {
        let Some((left, right)) = left.zip(right) else { return Ok(None) };
        if right == 0 {
            return Err(QueryError::new(ErrorCode::DivisionByZero, "division by zero"));
        }
        Ok(left.checked_div(right))
    });
    let quotients = quotients.collect::<Result<Decimal128Array, QueryError>>()?;
    Ok(Arc::new(quotients.with_precision_and_scale(DIGITS, 0)?))
}
