//! Functions of the SQL surface: `measure` and its two other names, and the guard that fails on duplicate join keys.
//!
//! The aggregates exist to be planned, never to run: expansion replaces every call. One that is executed anyway answers
//! with KPI904 instead of a number.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SemanticError;

#[derive(Debug, PartialEq, Eq, Hash)]
struct MeasureCall {
    name: &'static str,
    signature: Signature,
}

/// The names of the measure aggregate.
pub(crate) const NAMES: [&str; 3] = ["measure", "agg", "aggregate"];

/// The aggregate that is refused by name until it is computed.
pub(crate) const COVERAGE: &str = "coverage";

/// Makes the aggregates, `measure` first.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    NAMES
        .into_iter()
        .chain([COVERAGE])
        .map(|name| {
            let signature = Signature::variadic_any(Volatility::Immutable);
            Arc::new(AggregateUDF::new_from_impl(MeasureCall { name, signature }))
        })
        .collect()
}

impl AggregateUDFImpl for MeasureCall {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }
    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        Ok(fields.first().map_or_else(
            || Arc::new(Field::new(self.name, DataType::Null, true)),
            |field| Arc::new(field.as_ref().clone().with_name(self.name).with_nullable(true)),
        ))
    }
    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Err(SemanticError::new(
            "KPI904",
            "22023",
            format!("the argument of {} is not a measure of a KPI view", self.name),
        )
        .into())
    }
    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("state", DataType::Null, true))])
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unique {
    table: String,
    signature: Signature,
}

/// Makes `kpi_unique(key, count)`: the key, or KPI940 when its count is above one.
pub(crate) fn unique(table: String) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Unique { table, signature: Signature::any(2, Volatility::Immutable) }))
}

impl ScalarUDFImpl for Unique {
    fn name(&self) -> &'static str {
        "kpi_unique"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [key, count] = arrays.as_slice() else {
            return Err(SemanticError::new("KPI940", "22000", "kpi_unique needs two arguments").into());
        };
        let repeated = count.as_primitive_opt::<Int64Type>().is_none_or(|counts| {
            counts.iter().zip(0..key.len()).any(|(n, row)| n.unwrap_or(0) > 1 && key.is_valid(row))
        });
        if repeated {
            return Err(SemanticError::new(
                "KPI940",
                "22000",
                format!("table \"{}\" has a duplicate join key", self.table),
            )
            .hint("the join would multiply rows; make the key columns unique")
            .into());
        }
        Ok(ColumnarValue::Array(Arc::clone(key)))
    }
}
