//! Aggregates that choose one of their intervals: the shortest, the longest, and the one a group is shown as.
//!
//! They stand in a plan in the place of `min` and `max` under names of their own, because DataFusion knows those by
//! their names, and prunes the rows below them in Arrow's order of intervals. No statement can name them.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::length::{SPAN, length, spans};

/// Which of the intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    Shortest,
    Longest,
    /// Any of a group of equal ones: that of the first row.
    First,
}

impl Choice {
    /// Whether an interval takes the place of another; of equal ones the later one does, as in PostgreSQL.
    fn takes(self, new: IntervalMonthDayNano, old: IntervalMonthDayNano) -> bool {
        match self {
            Self::Shortest => length(new) <= length(old),
            Self::Longest => length(new) >= length(old),
            Self::First => false,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Chosen {
    choice: Choice,
    signature: Signature,
}

/// The aggregate of a choice.
pub(super) fn chosen(choice: Choice) -> Arc<AggregateUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(AggregateUDF::from(Chosen { choice, signature }))
}

/// All of them, for plans that are told to another process by name.
pub(in crate::functions) fn all() -> Vec<Arc<AggregateUDF>> {
    [Choice::Shortest, Choice::Longest, Choice::First].map(chosen).to_vec()
}

impl AggregateUDFImpl for Chosen {
    fn name(&self) -> &str {
        match self.choice {
            Choice::Shortest => "shortest_of_intervals",
            Choice::Longest => "longest_of_intervals",
            Choice::First => "first_of_intervals",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] if *of == SPAN => Ok(SPAN),
            _ => plan_err!("only intervals of months, days and a time are chosen from"),
        }
    }

    /// A group has at least one row, so that what is shown of it is as null as its column; the least of nothing is null.
    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        let [field] = arg_fields else { return plan_err!("one interval is chosen from one column") };
        self.return_type(&[field.data_type().clone()])?;
        let field = field.as_ref().clone().with_name(self.name());
        let nullable = self.choice != Choice::First || field.is_nullable();
        Ok(Arc::new(field.with_nullable(nullable)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format!("{}[chosen]", args.name);
        Ok(vec![Arc::new(args.return_field.as_ref().clone().with_name(name).with_nullable(true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Best { choice: self.choice, best: None }))
    }

    fn create_sliding_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sliding { choice: self.choice, rivals: VecDeque::new(), came: 0, gone: 0 }))
    }
}

fn value(span: Option<IntervalMonthDayNano>) -> ScalarValue {
    ScalarValue::IntervalMonthDayNano(span)
}

/// The best so far.
#[derive(Debug)]
struct Best {
    choice: Choice,
    best: Option<IntervalMonthDayNano>,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for span in spans(values)?.iter().flatten() {
            if self.best.is_none_or(|best| self.choice.takes(span, best)) {
                self.best = Some(span);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(value(self.best))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![value(self.best)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

/// The best of a window that slides: of its rows those that may still become the best, each better than the next.
#[derive(Debug)]
struct Sliding {
    choice: Choice,
    rivals: VecDeque<(usize, IntervalMonthDayNano)>,
    came: usize,
    gone: usize,
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(values) = values.first() else { return Ok(()) };
        for span in spans(values)?.iter() {
            if let Some(span) = span {
                while self.rivals.back().is_some_and(|(_, last)| self.choice.takes(span, *last)) {
                    self.rivals.pop_back();
                }
                self.rivals.push_back((self.came, span));
            }
            self.came += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gone += values.first().map_or(0, |values| values.len());
        while self.rivals.front().is_some_and(|(row, _)| *row < self.gone) {
            self.rivals.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(value(self.rivals.front().map(|(_, span)| *span)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rivals.capacity() * size_of::<(usize, IntervalMonthDayNano)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array, IntervalMonthDayNanoArray};

    use super::*;

    fn days(days: &[Option<i32>]) -> ArrayRef {
        let spans = days.iter().map(|days| days.map(|days| IntervalMonthDayNano::new(0, days, 0)));
        Arc::new(spans.collect::<IntervalMonthDayNanoArray>())
    }

    fn of_days(days: Option<i32>) -> ScalarValue {
        value(days.map(|days| IntervalMonthDayNano::new(0, days, 0)))
    }

    #[test]
    fn a_window_forgets_what_left_it() {
        let rows = days(&[Some(3), None, Some(5), Some(4), Some(1), None]);
        let mut longest = Sliding { choice: Choice::Longest, rivals: VecDeque::new(), came: 0, gone: 0 };
        let mut seen = Vec::new();
        for row in 0..rows.len() {
            longest.update_batch(&[rows.slice(row, 1)]).unwrap();
            if row >= 2 {
                longest.retract_batch(&[rows.slice(row - 2, 1)]).unwrap();
            }
            seen.push(longest.evaluate().unwrap());
        }
        let expected = [Some(3), Some(3), Some(5), Some(5), Some(4), Some(1)].map(of_days);
        assert_eq!(seen, expected);
        longest.retract_batch(&[rows.slice(4, 2)]).unwrap();
        assert_eq!(longest.evaluate().unwrap(), of_days(None));
    }

    #[test]
    fn of_equal_ones_the_later_is_the_least_and_the_first_is_shown() {
        let day = IntervalMonthDayNano::new(0, 1, 0);
        let hours = IntervalMonthDayNano::new(0, 0, 86_400_000_000_000);
        let rows: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![None, Some(hours), Some(day)]));
        for (choice, expected) in [(Choice::Shortest, day), (Choice::Longest, day), (Choice::First, hours)] {
            let mut best = Best { choice, best: None };
            best.update_batch(&[Arc::clone(&rows)]).unwrap();
            assert_eq!(best.evaluate().unwrap(), value(Some(expected)), "{choice:?}");
        }
    }
}
