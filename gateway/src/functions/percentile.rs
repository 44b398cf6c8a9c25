//! `percentile_cont` to the last digit (PostgreSQL 17, orderedsetaggs.c, percentile_cont_final_common).
//!
//! DataFusion's own cuts the distance between two values to a millionth of it, which shows in the seventh digit.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, RecordBatch};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, Signature,
};

use crate::error::{ErrorCode, QueryError};

/// Our `percentile_cont`.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Percentile { inner: percentile_cont_udaf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let plain = args.expr_fields.first().is_some_and(|field| *field.data_type() == DataType::Float64);
        if !plain || args.is_distinct {
            return self.inner.accumulator(args);
        }
        let descending = args.order_bys.first().is_some_and(|key| key.options.descending);
        Ok(Box::new(Values { all: vec![], fraction: fraction(&args)?, descending }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The constant between 0 and 1; nothing for null.
fn fraction(args: &AccumulatorArgs) -> Result<Option<f64>> {
    let Some(expr) = args.exprs.get(1) else { return exec_err!("percentile_cont has a fraction") };
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let Ok(ColumnarValue::Scalar(ScalarValue::Float64(fraction))) = expr.evaluate(&nothing) else {
        return Err(QueryError::unsupported("a fraction of percentile_cont that is no constant").into());
    };
    match fraction {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            let message = format!("percentile value {value} is not between 0 and 1");
            Err(QueryError::new(ErrorCode::NumericOutOfRange, message).into())
        }
        fraction => Ok(fraction),
    }
}

/// All values that are not null.
#[derive(Debug)]
struct Values {
    all: Vec<f64>,
    fraction: Option<f64>,
    descending: bool,
}

impl Values {
    fn percentile(&mut self) -> Option<f64> {
        let fraction = self.fraction?;
        let last = self.all.len().checked_sub(1)?;
        self.all.sort_unstable_by(f64::total_cmp);
        let nth = |place: usize| {
            let place = if self.descending { last.checked_sub(place)? } else { place };
            self.all.get(place).copied()
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place among values in memory"
        )]
        let (place, low, high) = {
            let place = fraction * last as f64;
            (place, place.floor() as usize, place.ceil() as usize)
        };
        let (first, second) = (nth(low)?, nth(high)?);
        Some(if low == high { first } else { first + (place - place.floor()) * (second - first) })
    }

    fn add(&mut self, values: &dyn Array) {
        self.all.extend(values.as_primitive::<Float64Type>().iter().flatten());
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first() {
            self.add(values.as_ref());
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().map(|lists| lists.as_list::<i32>());
        for list in lists.into_iter().flat_map(|lists| lists.iter().flatten()) {
            self.add(list.as_ref());
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = std::mem::take(&mut self.all);
        let field = Arc::new(Field::new_list_field(DataType::Float64, true));
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        let list = ListArray::try_new(field, offsets, Arc::new(Float64Array::from(values)), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.percentile()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.all.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: PostgreSQL's.
    #[test]
    fn the_distance_between_two_values_is_not_cut() {
        for (all, fraction, descending, expected) in [
            (vec![0.0, 1e6], 0.333_333_333_3, false, Some(333_333.333_3)),
            (vec![10.0, 1.0, 3.0, 2.0], 0.9, false, Some(7.900_000_000_000_001)),
            (vec![1.0, 2.0, 4.0], 0.25, true, Some(3.0)),
            (vec![7.0], 0.3, false, Some(7.0)),
            (vec![], 0.5, false, None),
        ] {
            let mut values = Values { all, fraction: Some(fraction), descending };
            assert_eq!(values.percentile(), expected);
        }
        let mut none = Values { all: vec![1.0], fraction: None, descending: false };
        assert_eq!(none.percentile(), None);
    }
}
