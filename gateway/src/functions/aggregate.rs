//! `sum` and `avg` with PostgreSQL's result types: exact over integers and numerics, never wrapping.
//!
//! They delegate to DataFusion where it is right (floats, durations) and take its place under the same name elsewhere.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use super::arithmetic::quotient;
use super::summed::{Frame, GroupsOneNan, OneNan};
use crate::error::{ErrorCode, QueryError};

/// Digits after the point of an average over integers or numerics.
const AVERAGE_SCALE: i8 = 16;

/// Our `sum` and `avg`.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    vec![
        Arc::new(AggregateUDF::from(PgSum { inner: Sum::new(), signature: user_defined() })),
        Arc::new(AggregateUDF::from(PgAvg { inner: Avg::new(), signature: user_defined() })),
    ]
}

fn user_defined() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

fn refuse(name: &str, data_type: &DataType) -> datafusion::error::DataFusionError {
    if matches!(data_type, DataType::Interval(_)) {
        return QueryError::unsupported(format!("{name} of intervals"))
            .with_hint("aggregate extract(epoch from …) instead")
            .into();
    }
    let shown = crate::pgtypes::PgType::from_arrow(data_type).without_typmod().format();
    QueryError::new(ErrorCode::UndefinedFunction, format!("function {name}({shown}) does not exist"))
        .with_hint("no function matches the given name and argument types; you might need to add explicit type casts")
        .into()
}

/// Whether floats are aggregated.
fn is_float(args: &AccumulatorArgs) -> bool {
    args.expr_fields.first().is_some_and(|field| *field.data_type() == DataType::Float64)
}

fn of_groups(floats: bool, inner: Box<dyn GroupsAccumulator>) -> Box<dyn GroupsAccumulator> {
    if floats { Box::new(GroupsOneNan(inner)) } else { inner }
}

/// `sum`: int2 and int4 to int8, int8 to numeric, numeric to numeric.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PgSum {
    inner: Sum,
    signature: Signature,
}

impl AggregateUDFImpl for PgSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let one = types.first().unwrap_or(&DataType::Null);
        Ok(vec![match one {
            // Kept apart from int8; planning puts DataFusion's own sum, which is right for these, in this one's place.
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int32
            }
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Decimal128(38, 0),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _)
            | DataType::Float64
            | DataType::Duration(_) => one.clone(),
            DataType::Float32 | DataType::Float16 => DataType::Float64,
            DataType::Null => DataType::Float64,
            other => return Err(refuse("sum", other)),
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first().unwrap_or(&DataType::Null) {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int64
            }
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Decimal128(38, 0),
            DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => {
                DataType::Decimal128(38, *s)
            }
            DataType::Decimal256(_, s) => DataType::Decimal256(76, *s),
            unit @ DataType::Duration(_) => unit.clone(),
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let floats = is_float(&args);
        let inner = self.inner.accumulator(args)?;
        Ok(if floats { Box::new(OneNan(inner)) } else { inner })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(of_groups(is_float(&args), self.inner.create_groups_accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_float(&args) && !args.is_distinct {
            return Ok(Box::new(Frame::new(false)));
        }
        self.inner.create_sliding_accumulator(args)
    }
}

/// `avg`: integers and numerics to numeric, floats to float8.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PgAvg {
    inner: Avg,
    signature: Signature,
}

fn average_scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal128(_, scale) => Some(AVERAGE_SCALE.max(*scale)),
        _ => None,
    }
}

impl AggregateUDFImpl for PgAvg {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let one = types.first().unwrap_or(&DataType::Null);
        Ok(vec![match one {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64 => DataType::Decimal128(38, 0),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Decimal128(_, _) | DataType::Float64 | DataType::Duration(_) => one.clone(),
            DataType::Float32 | DataType::Float16 | DataType::Null => DataType::Float64,
            // A bare numeric, whose operand takes its place before this is asked again.
            bare if *bare == super::type_planner::BARE_NUMERIC => DataType::Decimal128(38, AVERAGE_SCALE),
            DataType::Decimal256(_, _) => {
                return Err(QueryError::unsupported("avg over more than 38 digits").into());
            }
            other => return Err(refuse("avg", other)),
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first().unwrap_or(&DataType::Null) {
            DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => {
                DataType::Decimal128(38, AVERAGE_SCALE.max(*s))
            }
            DataType::Float32 | DataType::Float16 | DataType::Float64 | DataType::Null => DataType::Float64,
            unit @ DataType::Duration(_) => unit.clone(),
            _ => DataType::Decimal128(38, AVERAGE_SCALE),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        let DataType::Decimal128(_, scale) = input else {
            let floats = is_float(&args);
            let inner = self.inner.accumulator(args)?;
            return Ok(if floats { Box::new(OneNan(inner)) } else { inner });
        };
        if args.is_distinct {
            return Err(QueryError::unsupported("avg(DISTINCT …) beside other aggregates")
                .with_hint("average over a SELECT DISTINCT in FROM")
                .into());
        }
        Ok(Box::new(Average { sum: 0, count: 0, scale }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let input = args.input_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        if average_scale(&input).is_none() {
            return self.inner.state_fields(args);
        }
        let DataType::Decimal128(_, scale) = input else { return exec_err!("an average of decimals") };
        Ok(vec![
            Arc::new(Field::new(format!("{}[sum]", args.name), DataType::Decimal128(38, scale), true)),
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        let decimal =
            args.expr_fields.first().is_some_and(|field| average_scale(field.data_type()).is_some());
        !decimal && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(of_groups(is_float(&args), self.inner.create_groups_accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_float(&args) && !args.is_distinct {
            return Ok(Box::new(Frame::new(true)));
        }
        let decimal =
            args.expr_fields.first().is_some_and(|field| average_scale(field.data_type()).is_some());
        if decimal { self.accumulator(args) } else { self.inner.create_sliding_accumulator(args) }
    }
}

/// An exact average of decimals.
#[derive(Debug)]
struct Average {
    sum: i128,
    count: i64,
    scale: i8,
}

impl Average {
    fn fold(&mut self, values: &ArrayRef, sign: i128) -> Result<()> {
        let overflow = || QueryError::new(ErrorCode::NumericOutOfRange, "numeric value out of range");
        for value in values.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = self.sum.checked_add(sign * value).ok_or_else(overflow)?;
        }
        let seen = i64::try_from(values.len() - values.null_count()).unwrap_or(i64::MAX);
        self.count += if sign < 0 { -seen } else { seen };
        Ok(())
    }
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.fold(values, 1))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.fold(values, -1))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let scale = AVERAGE_SCALE.max(self.scale);
        let value = match self.count {
            0 => None,
            count => Some(quotient(self.sum, i128::from(count), i32::from(scale) - i32::from(self.scale))?),
        };
        Ok(ScalarValue::Decimal128(value, 38, scale))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.sum), 38, self.scale),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [sums, counts] = states else { return exec_err!("an average's state has two parts") };
        let before = self.count;
        self.fold(sums, 1)?;
        self.count = before + counts.as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        Ok(())
    }
}
