//! What a subquery that stands for a value found: the value of its first row, and whether there was another one.
//!
//! It is asked of all groups of the subquery's rows, also of those that no outer row has need of, and so it must never
//! fail: a second row is told by a second element, without its value, and `only_row` fails where an outer row meets
//! it. A null is a row like any other; no row at all is a null list.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, StructArray, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

/// The aggregate. No statement can name it: it is not registered.
pub(crate) fn found() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(FoundRows(Signature::any(1, Volatility::Immutable))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FoundRows(Signature);

/// The list of what was found, of values of a type.
fn list_of(item: &DataType) -> DataType {
    DataType::List(item_of(item))
}

fn item_of(item: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(item.clone(), true))
}

impl FoundRows {
    fn rows(args: &AccumulatorArgs) -> Result<Rows> {
        match args.return_field.data_type() {
            DataType::List(item) => Ok(Rows::of(item.data_type())),
            _ => internal_err!("what was found is a list"),
        }
    }
}

impl AggregateUDFImpl for FoundRows {
    fn name(&self) -> &str {
        "found_rows"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [item] => Ok(list_of(item)),
            _ => exec_err!("one value is found"),
        }
    }

    /// With what is noted of the value: its element is one of the same kind.
    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        match fields {
            [item] => {
                let field = Field::new(self.name(), list_of(item.data_type()), true);
                Ok(Arc::new(field.with_metadata(item.metadata().clone())))
            }
            _ => exec_err!("one value is found"),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Alone(Self::rows(&args)?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Self::rows(&args)?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// What was found of one group.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    /// The chunk of its first value, and the place in it.
    first: Option<(usize, usize)>,
    more: bool,
}

/// What was found of each group.
#[derive(Debug)]
struct Rows {
    item: DataType,
    /// First values, after a null that stands for what is not told.
    chunks: Vec<ArrayRef>,
    groups: Vec<Group>,
    /// Bytes of the chunks.
    bytes: usize,
}

impl Rows {
    fn of(item: &DataType) -> Self {
        Self { item: item.clone(), chunks: vec![new_null_array(item, 1)], groups: Vec::new(), bytes: 0 }
    }

    /// Notes rows: the place of each value, its group, and whether it stands for more rows than one.
    fn see(
        &mut self,
        values: &ArrayRef,
        rows: impl Iterator<Item = (usize, usize, bool)>,
        groups: usize,
    ) -> Result<()> {
        if self.groups.len() < groups {
            self.groups.resize(groups, Group::default());
        }
        let chunk = self.chunks.len();
        let mut firsts = Vec::new();
        for (place, group, more) in rows {
            let Some(group) = self.groups.get_mut(group) else { return internal_err!("a row of no group") };
            if group.first.is_some() {
                group.more = true;
                continue;
            }
            *group = Group { first: Some((chunk, firsts.len())), more };
            firsts.push((0, place));
        }
        if !firsts.is_empty() {
            self.keep(&interleave(&[values.as_ref()], &firsts)?);
        }
        Ok(())
    }

    fn keep(&mut self, chunk: &ArrayRef) {
        let chunk = compacted(chunk);
        self.bytes += chunk.get_array_memory_size();
        self.chunks.push(chunk);
    }

    /// Notes what others found.
    fn merge(&mut self, lists: &ArrayRef, of_groups: &[usize], groups: usize) -> Result<()> {
        let Some(lists) = lists.as_list_opt::<i32>() else { return exec_err!("what was found is a list") };
        let rows = lists.value_offsets().windows(2).zip(of_groups).enumerate();
        let rows = rows.filter_map(|(row, (bounds, group))| match bounds {
            [start, end] if start < end && lists.is_valid(row) => {
                Some((usize::try_from(*start).ok()?, *group, end - start > 1))
            }
            _ => None,
        });
        self.see(lists.values(), rows, groups)
    }

    /// The lists of some groups.
    fn lists(&self, groups: &[Group]) -> Result<ArrayRef> {
        let mut places = Vec::with_capacity(groups.len());
        for group in groups {
            places.extend(group.first);
            // Where the null is.
            places.extend(group.more.then_some((0, 0)));
        }
        let lengths = groups.iter().map(|group| usize::from(group.first.is_some()) + usize::from(group.more));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let known: NullBuffer = groups.iter().map(|group| group.first.is_some()).collect();
        let values = self.gathered(&places)?;
        Ok(Arc::new(ListArray::try_new(item_of(&self.item), offsets, values, Some(known))?))
    }

    fn gathered(&self, places: &[(usize, usize)]) -> Result<ArrayRef> {
        let chunks: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.as_ref()).collect();
        Ok(interleave(&chunks, places)?)
    }

    /// The lists of the first groups, which are forgotten, with their values.
    fn emit(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let gone = emit_to.take_needed(&mut self.groups);
        let lists = self.lists(&gone)?;
        let places: Vec<(usize, usize)> = self.groups.iter().filter_map(|group| group.first).collect();
        let kept = self.gathered(&places)?;
        self.chunks.truncate(1);
        self.bytes = 0;
        if !places.is_empty() {
            self.keep(&kept);
        }
        let firsts = self.groups.iter_mut().filter_map(|group| group.first.as_mut());
        for (place, first) in firsts.enumerate() {
            *first = (1, place);
        }
        Ok(lists)
    }

    fn held(&self) -> usize {
        size_of_val(self) + self.bytes + self.groups.capacity() * size_of::<Group>()
    }
}

/// The same values without what they were taken from: views keep whole buffers alive.
fn compacted(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Utf8View => Arc::new(values.as_string_view().gc()),
        DataType::BinaryView => Arc::new(values.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let rows = values.as_struct();
            let columns = rows.columns().iter().map(compacted).collect();
            StructArray::try_new(fields.clone(), columns, rows.nulls().cloned())
                .map_or_else(|_unlike| Arc::clone(values), |rows| Arc::new(rows) as ArrayRef)
        }
        _ => Arc::clone(values),
    }
}

impl GroupsAccumulator for Rows {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let [values] = values else { return exec_err!("one value is found") };
        let passes = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let rows = group_indices.iter().enumerate().filter(|(row, _)| passes(*row));
        self.see(values, rows.map(|(row, group)| (row, *group, false)), total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emit(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let [lists] = values else { return exec_err!("one list was found") };
        self.merge(lists, group_indices, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let [values] = values else { return exec_err!("one value is found") };
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, values.len()));
        let known = opt_filter.map(|filter| filter.iter().map(|passes| passes == Some(true)).collect());
        let lists = ListArray::try_new(item_of(&self.item), offsets, Arc::clone(values), known)?;
        Ok(vec![Arc::new(lists)])
    }

    fn size(&self) -> usize {
        self.held()
    }
}

/// What was found where there are no groups.
#[derive(Debug)]
struct Alone(Rows);

impl Alone {
    fn list(&self) -> Result<ScalarValue> {
        let group = self.0.groups.first().copied().unwrap_or_default();
        ScalarValue::try_from_array(&self.0.lists(&[group])?, 0)
    }
}

impl Accumulator for Alone {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else { return exec_err!("one value is found") };
        self.0.see(values, (0..values.len()).map(|row| (row, 0, false)), 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.list()
    }

    fn size(&self) -> usize {
        self.0.held()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.list()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [lists] = states else { return exec_err!("one list was found") };
        self.0.merge(lists, &vec![0; lists.len()], 1)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringViewArray;

    use super::*;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from(values.to_vec()))
    }

    /// Each list as text: `-` for no row, then its elements.
    fn shown(lists: &ArrayRef) -> Vec<String> {
        let lists = lists.as_list::<i32>();
        lists
            .iter()
            .map(|list| match list {
                None => "-".to_owned(),
                Some(list) => {
                    let values: Vec<&str> =
                        list.as_string_view().iter().map(|value| value.unwrap_or("NULL")).collect();
                    values.join(",")
                }
            })
            .collect()
    }

    #[test]
    fn no_row_one_row_and_more_are_told_apart_and_a_null_is_a_row() {
        let mut rows = Rows::of(&DataType::Utf8View);
        let long = "a text that is longer than what a view holds itself";
        rows.update_batch(&[texts(&[Some("a"), None, Some(long)])], &[0, 1, 3], None, 5).unwrap();
        rows.update_batch(&[texts(&[Some("b"), Some("c"), None])], &[0, 4, 4], None, 5).unwrap();
        assert!(rows.size() > 0);
        let lists = rows.evaluate(EmitTo::All).unwrap();
        assert_eq!(shown(&lists), ["a,NULL", "NULL", "-", long, "c,NULL"]);
        assert!(rows.groups.is_empty());
    }

    #[test]
    fn a_filter_keeps_rows_away() {
        let filter = BooleanArray::from(vec![Some(true), Some(false), None]);
        let mut rows = Rows::of(&DataType::Utf8View);
        let values = texts(&[Some("a"), Some("b"), Some("c")]);
        rows.update_batch(&[Arc::clone(&values)], &[0, 0, 1], Some(&filter), 2).unwrap();
        assert_eq!(shown(&rows.evaluate(EmitTo::All).unwrap()), ["a", "-"]);
        let states = rows.convert_to_state(&[values], Some(&filter)).unwrap();
        assert_eq!(shown(&states[0]), ["a", "-", "-"]);
    }

    #[test]
    fn what_parts_found_is_found_together() {
        let part = |values: &[Option<&str>], groups: &[usize], total: usize| {
            let mut rows = Rows::of(&DataType::Utf8View);
            rows.update_batch(&[texts(values)], groups, None, total).unwrap();
            rows.state(EmitTo::All).unwrap()
        };
        let mut whole = Rows::of(&DataType::Utf8View);
        // The groups of the second part are others' first ones.
        whole.merge_batch(&part(&[Some("a"), Some("b"), None], &[0, 1, 1], 3), &[0, 1, 2], 3).unwrap();
        whole.merge_batch(&part(&[Some("c"), None], &[0, 1], 3), &[0, 3, 2], 4).unwrap();
        assert_eq!(shown(&whole.evaluate(EmitTo::All).unwrap()), ["a,NULL", "b,NULL", "-", "NULL"]);
    }

    #[test]
    fn groups_that_are_done_leave_and_the_others_move_up() {
        let mut rows = Rows::of(&DataType::Utf8View);
        let values = texts(&[Some("a"), Some("b"), Some("c"), Some("d")]);
        rows.update_batch(&[values], &[0, 2, 2, 3], None, 4).unwrap();
        assert_eq!(shown(&rows.evaluate(EmitTo::First(2)).unwrap()), ["a", "-"]);
        rows.update_batch(&[texts(&[Some("e"), Some("f")])], &[1, 2], None, 3).unwrap();
        assert_eq!(shown(&rows.evaluate(EmitTo::All).unwrap()), ["b,NULL", "d,NULL", "f"]);
    }

    #[test]
    fn rows_without_groups_are_found_in_parts_too() {
        let list = |alone: &mut Alone| shown(&alone.evaluate().unwrap().to_array().unwrap());
        let mut none = Alone(Rows::of(&DataType::Utf8View));
        assert_eq!(list(&mut none), ["-"]);
        assert!(!none.supports_retract_batch());
        let mut one = Alone(Rows::of(&DataType::Utf8View));
        one.update_batch(&[texts(&[None])]).unwrap();
        assert_eq!(list(&mut one), ["NULL"]);
        let states = |alone: &mut Alone| -> Vec<ArrayRef> {
            alone.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect()
        };
        let mut whole = Alone(Rows::of(&DataType::Utf8View));
        whole.merge_batch(&states(&mut none)).unwrap();
        whole.merge_batch(&states(&mut one)).unwrap();
        assert_eq!(list(&mut whole), ["NULL"]);
        whole.merge_batch(&states(&mut one)).unwrap();
        assert_eq!(list(&mut whole), ["NULL,NULL"]);
    }
}
