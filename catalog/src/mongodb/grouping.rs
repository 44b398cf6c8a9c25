//! Groups: the stages that send one document of results for each group.
//!
//! Missing is null here, so every value is read as null where it is missing; counts skip nulls by a test of their own.
//! Integers are added as decimals of 34 digits, which a sum of longs needs far too many rows to leave: the server's own
//! sum of longs becomes a double where it overflows. Distinct values are groups of a stage before.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use mongodb::bson::{Bson, Document, doc};

use super::decode::Wanted;
use super::expression::{expression, is_value, value};
use super::kind::Kind;
use super::pipeline::wanted_at;
use super::render::{condition, key};
use super::shape::TableShape;
use crate::federation::{AggregateCall, AggregateFunction, Fragment, FragmentAggregate, Reason};

/// A grouping as stages, what is read of its documents, and the row of no documents at all, if there is one.
pub(super) struct Grouping {
    pub(super) stages: Vec<Document>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) empty: Option<Document>,
}

/// The name of a group's value in the answer.
fn group_name(index: usize) -> String {
    format!("g{index}")
}

/// The name of a call's result in the answer.
fn call_name(index: usize) -> String {
    format!("c{index}")
}

/// The answer's name for an output of the aggregate.
pub(super) fn output_name(aggregate: &FragmentAggregate, output: usize) -> String {
    match output.checked_sub(aggregate.groups.len()) {
        Some(call) => call_name(call),
        None => group_name(output),
    }
}

/// The stages of an aggregate. `Err` names what never passed the gate.
pub(super) fn grouping(
    shape: &TableShape,
    fragment: &Fragment,
    aggregate: &FragmentAggregate,
) -> Result<Grouping, Reason> {
    let FragmentAggregate { groups, calls, outputs } = aggregate;
    let mut stages = Vec::new();
    let distinct = calls.iter().any(|call| call.distinct);
    if distinct {
        stages.push(distinct_values(shape, fragment, aggregate)?);
    }
    let read = |index: usize| -> Result<(Arc<Field>, Bson), Reason> {
        let column = wanted_at(shape, fragment, index)?;
        let value = if distinct { value(&format!("_id.k{index}")) } else { value(&named(&column)?) };
        Ok((column.field, value))
    };
    let (mut id, mut shown) = (Document::new(), doc! { "_id": 0 });
    let (mut made, mut empty) = (Document::new(), Document::new());
    let mut wanted = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let (field, value) = read(*group)?;
        let name = group_name(place);
        id.insert(&name, value);
        shown.insert(&name, format!("$_id.{name}"));
        wanted.push(Wanted { field, path: vec![name] });
    }
    for (place, call) in calls.iter().enumerate() {
        let name = call_name(place);
        let column = call.column.map(read).transpose()?;
        let test = test(shape, fragment, call)?;
        let result = Accumulator { call, column, test, name: &name };
        empty.insert(&name, if call.function == AggregateFunction::Count { 0.into() } else { Bson::Null });
        let field = result.insert(&mut made, &mut shown)?;
        let output = outputs.get(groups.len() + place).ok_or(Reason::Borrowed("a result has no type"))?;
        wanted.push(Wanted { field: field.unwrap_or_else(|| Arc::clone(output)), path: vec![name] });
    }
    let mut group = doc! { "_id": if id.is_empty() { Bson::Null } else { id.into() } };
    group.extend(made);
    stages.push(doc! { "$group": group });
    stages.push(doc! { "$project": shown });
    Ok(Grouping { stages, wanted, empty: groups.is_empty().then_some(empty) })
}

fn named(column: &Wanted) -> Result<String, Reason> {
    key(&column.path).ok_or(Reason::Borrowed("the field's name means something else in a query"))
}

/// One document for each combination of the values that are grouped by or aggregated.
fn distinct_values(
    shape: &TableShape,
    fragment: &Fragment,
    aggregate: &FragmentAggregate,
) -> Result<Document, Reason> {
    let repeats = |call: &AggregateCall| {
        call.filter.is_none()
            && (call.distinct || matches!(call.function, AggregateFunction::Min | AggregateFunction::Max))
    };
    if !aggregate.calls.iter().all(repeats) {
        return Err("distinct values beside other aggregates are kept apart here".into());
    }
    let mut id = Document::new();
    for index in aggregate.groups.iter().copied().chain(aggregate.calls.iter().filter_map(|call| call.column))
    {
        id.insert(format!("k{index}"), value(&named(&wanted_at(shape, fragment, index)?)?));
    }
    Ok(doc! { "$group": { "_id": id } })
}

/// A call's own filter as an expression.
fn test(shape: &TableShape, fragment: &Fragment, call: &AggregateCall) -> Result<Option<Bson>, Reason> {
    let Some(filter) = &call.filter else { return Ok(None) };
    match condition(&fragment.table, shape, filter)?.into_document() {
        None => Ok(None),
        Some(condition) => expression(&condition)
            .map(Some)
            .ok_or(Reason::Borrowed("this condition within an aggregate is evaluated here")),
    }
}

/// One call as it is written.
struct Accumulator<'a> {
    call: &'a AggregateCall,
    column: Option<(Arc<Field>, Bson)>,
    test: Option<Bson>,
    name: &'a str,
}

impl Accumulator<'_> {
    /// Adds the accumulator, and what is shown of it; gives the column whose value comes back, if one does.
    fn insert(self, made: &mut Document, shown: &mut Document) -> Result<Option<Arc<Field>>, Reason> {
        let Self { call, column, test, name } = self;
        let only = |test: Option<Bson>, value: Bson, otherwise: Bson| match test {
            Some(test) => doc! { "$cond": [test, value, otherwise] }.into(),
            None => value,
        };
        shown.insert(name, 1);
        let Some((field, value)) = column else {
            made.insert(name, doc! { "$sum": only(test, 1.into(), 0.into()) });
            return Ok(None);
        };
        let counted = {
            let known = is_value(value.clone());
            let both = match &test {
                Some(test) => doc! { "$and": [test.clone(), known] }.into(),
                None => known,
            };
            doc! { "$sum": only(Some(both), 1.into(), 0.into()) }
        };
        match call.function {
            AggregateFunction::Count => {
                made.insert(name, counted);
                Ok(None)
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                let word = if call.function == AggregateFunction::Min { "$min" } else { "$max" };
                let mut accumulator = Document::new();
                accumulator.insert(word, only(test, value, Bson::Null));
                made.insert(name, accumulator);
                Ok(Some(field))
            }
            AggregateFunction::Sum => {
                let number = match Kind::of(&field) {
                    // A double in a column of integers is whole; its way to a decimal would cut it to 15 digits.
                    Some(Kind::Integer) => doc! { "$toDecimal": { "$toLong": value } },
                    Some(Kind::Decimal) => doc! { "$toDecimal": value },
                    _ => return Err("sums of such columns are made here".into()),
                };
                let values = format!("n{name}");
                made.insert(name, doc! { "$sum": only(test, number.into(), Bson::Null) });
                made.insert(&values, counted);
                let none = doc! { "$eq": [format!("${values}"), 0] };
                shown.insert(name, doc! { "$cond": [none, Bson::Null, format!("${name}")] });
                Ok(None)
            }
        }
    }
}
