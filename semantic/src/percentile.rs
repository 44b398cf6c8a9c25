//! The exact continuous percentile: PostgreSQL's, orderedsetaggs.c, `percentile_cont`.
//!
//! DataFusion's function of that name cuts the interpolation weight to millionths, so that of two ships waiting an hour
//! and a month the 90th percentile is seconds off, and differs from the same question asked of the warehouse. Values
//! are kept until the end; NULL is not a value.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// A share as the bits of a float8, so that functions compare by it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    share_bits: u64,
    name: String,
    signature: Signature,
}

/// Makes the percentile of a share from 0 to 1: one float8 argument, float8 or NULL.
pub(crate) fn percentile(share: f64) -> Arc<AggregateUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    let name = format!("kpi_percentile_{share}");
    Arc::new(AggregateUDF::new_from_impl(Percentile { share_bits: share.to_bits(), name, signature }))
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        &self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }
    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values { share: f64::from_bits(self.share_bits), values: Vec::new() }))
    }
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(DataType::Float64, true);
        Ok(vec![Arc::new(Field::new(format!("{}_values", args.name), DataType::List(Arc::new(item)), true))])
    }
}

#[derive(Debug)]
struct Values {
    share: f64,
    values: Vec<f64>,
}

impl Values {
    fn take(&mut self, array: &ArrayRef) {
        if let Some(array) = array.as_primitive_opt::<Float64Type>() {
            self.values.extend(array.iter().flatten());
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().for_each(|array| self.take(array));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states.iter().filter_map(|state| state.as_list_opt::<i32>()) {
            list.iter().flatten().for_each(|array| self.take(&array));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: ArrayRef = Arc::new(Float64Array::from(std::mem::take(&mut self.values)));
        let list = datafusion::common::utils::SingleRowListArrayBuilder::new(values).build_list_scalar();
        Ok(vec![list])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(of(&mut self.values, self.share)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }
}

/// The value a share of the way through the sorted values, interpolated between its two neighbours.
fn of(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "no group has 2^53 values")]
    let place = share * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let (low, high) = (*values.get(low)?, *values.get(high)?);
    Some(low + (place - place.floor()) * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_exact_between_its_neighbours() {
        assert_eq!(of(&mut [], 0.9), None);
        assert_eq!(of(&mut [7.5], 0.9), Some(7.5));
        assert_eq!(of(&mut [3e6, 0.0], 1.0 / 3.0), Some(1e6));
        assert_eq!(of(&mut [3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(of(&mut [2.0, 1.0], 1.0), Some(2.0));
        assert_eq!(of(&mut [2.0, 1.0], 0.0), Some(1.0));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let parts = [vec![Some(4.0), None, Some(1.0)], vec![], vec![Some(2.0), Some(3.0)]];
        let fresh = || Values { share: 0.5, values: Vec::new() };
        let mut whole = fresh();
        for part in parts {
            let mut values = fresh();
            values.update_batch(&[Arc::new(Float64Array::from(part)) as ArrayRef]).unwrap();
            let state: Vec<ArrayRef> =
                values.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect();
            whole.merge_batch(&state).unwrap();
        }
        assert_eq!(whole.evaluate().unwrap(), ScalarValue::Float64(Some(2.5)));
    }
}
