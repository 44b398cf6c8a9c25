//! Sums and averages of floats, under one NaN, and within a moving frame from the values that are in it.
//!
//! The sum of both infinities is a NaN with a sign on most processors, which sorts before all numbers here. The engine
//! takes from a running sum what leaves a frame, and so never gets rid of an infinity, nor of what a large number took
//! with it; PostgreSQL adds up each frame (float8 has no inverse of its sum there), and so does this.

use std::collections::VecDeque;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::floats::one_nan;

/// An accumulator whose answer has no NaN but the one.
#[derive(Debug)]
pub(super) struct OneNan(pub(super) Box<dyn Accumulator>);

/// The value under one NaN.
fn under_one_nan(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(value)) if value.is_nan() => ScalarValue::Float64(Some(f64::NAN)),
        other => other,
    }
}

impl Accumulator for OneNan {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.evaluate().map(under_one_nan)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }
}

/// An accumulator of groups whose answers have no NaN but the one.
pub(super) struct GroupsOneNan(pub(super) Box<dyn GroupsAccumulator>);

impl GroupsAccumulator for GroupsOneNan {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.0.evaluate(emit_to).map(|values| one_nan(&values))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.merge_batch(values, group_indices, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.0.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// The values of a moving frame, in their order.
#[derive(Debug)]
pub(super) struct Frame {
    values: VecDeque<f64>,
    average: bool,
}

impl Frame {
    /// An empty frame, to be summed up or averaged.
    pub(super) fn new(average: bool) -> Self {
        Self { values: VecDeque::new(), average }
    }
}

impl Accumulator for Frame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first() {
            self.values.extend(values.as_primitive::<Float64Type>().iter().flatten());
        }
        Ok(())
    }

    /// What leaves is what came first.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first() {
            let gone = (values.len() - values.null_count()).min(self.values.len());
            self.values.drain(..gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values.is_empty() {
            return Ok(ScalarValue::Float64(None));
        }
        // Nothing is added to the first value, which may be a zero with a sign.
        let mut sum: f64 = -0.0;
        let mut count: f64 = 0.0;
        for value in &self.values {
            sum += value;
            count += 1.0;
        }
        Ok(under_one_nan(ScalarValue::Float64(Some(if self.average { sum / count } else { sum }))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a moving frame is never a part of another")
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        exec_err!("a moving frame is never a part of another")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Float64Array;

    use super::*;

    /// PostgreSQL: `sum(x) over (order by id rows between 1 preceding and current row)`.
    #[test]
    fn what_left_a_frame_has_no_part_in_its_sum() {
        let one = |value: Option<f64>| -> Vec<ArrayRef> { vec![Arc::new(Float64Array::from(vec![value]))] };
        let mut frame = Frame::new(false);
        let mut shown = Vec::new();
        let values = [Some(1.0), Some(f64::INFINITY), Some(2.0), Some(1e20), Some(3.0), None, None];
        for (place, value) in values.into_iter().enumerate() {
            frame.update_batch(&one(value)).unwrap();
            if let Some(left) = place.checked_sub(2).and_then(|place| values.get(place)) {
                frame.retract_batch(&one(*left)).unwrap();
            }
            shown.push(frame.evaluate().unwrap());
        }
        let expected =
            [Some(1.0), Some(f64::INFINITY), Some(f64::INFINITY), Some(1e20), Some(1e20), Some(3.0), None];
        assert_eq!(shown, expected.map(ScalarValue::Float64));
        let mut both = Frame::new(true);
        both.update_batch(&one(Some(f64::INFINITY))).unwrap();
        both.update_batch(&one(Some(f64::NEG_INFINITY))).unwrap();
        let ScalarValue::Float64(Some(sum)) = both.evaluate().unwrap() else { panic!("no sum") };
        assert_eq!(sum.to_bits(), f64::NAN.to_bits());
    }
}
