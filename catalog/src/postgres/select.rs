//! The SELECT of a whole fragment, and the verdicts about its shape.
//!
//! What a verdict allows is what is written here, and nothing else: text is grouped, ordered and compared as bytes by
//! `COLLATE "C"` wherever its own collation may differ; nulls are placed by word; sums are cast to the type that was
//! promised, so the server raises what does not fit. What a row holds that our engine orders otherwise (`-0` and `0`)
//! gets an extra key, or stays.

use datafusion::arrow::datatypes::{DataType, Field};

use super::column::{LOOSE_COLLATION_KEY, may_misfit};
use super::probe::Construct;
use super::quote_identifier;
use super::render::{COLLATE, Class, Walked, class_of_column, column_text, condition};
use crate::federation::{
    AggregateCall, AggregateFunction, Fragment, FragmentAggregate, FragmentJoin, FragmentJoinKind,
    FragmentSort, Reason, Verdict,
};
use crate::source::{DECLARED_KEY, SOURCE_TYPE_KEY};

/// The SELECT of a fragment. `Err` names a part that never passed the gate.
pub(super) fn select(namespace: &str, fragment: &Fragment) -> Walked<String> {
    let writer = Writer { namespace, fragment };
    writer.select()
}

/// May a top-N be taken in the order of a column, or of an aggregate's output?
pub(super) fn sort_verdict(column: &Field, _key: &FragmentSort) -> Verdict {
    match class_of_column(column) {
        Ok(Class::Text) => Verdict::Rewrite(COLLATE.into()),
        Ok(Class::Float) => Verdict::Rewrite("-0 is smaller than 0 by a key of its own".into()),
        Ok(
            Class::Boolean
            | Class::Number
            | Class::Date
            | Class::Timestamp
            | Class::Instant
            | Class::TimeOfDay
            | Class::Uuid,
        ) => Verdict::Exact,
        Err(_) => Verdict::Keep(format!("values of type {} are ordered here", shown(column)).into()),
    }
}

/// What the order of a column rests on, beyond the definition of its type.
pub(super) fn order_rests_on(column: &Field) -> Option<Construct> {
    match class_of_column(column) {
        Ok(Class::Text) => Some(Construct::TextOrder),
        Ok(Class::Float) => Some(Construct::FloatOrder),
        _ => None,
    }
}

/// What an aggregate rests on, beyond the definition of its type.
pub(super) fn call_rests_on(call: &AggregateCall, column: Option<&Field>) -> Option<Construct> {
    match call.function {
        AggregateFunction::Count if call.distinct && column.is_some_and(is_loose) => {
            Some(Construct::TextOrder)
        }
        AggregateFunction::Count => None,
        AggregateFunction::Min | AggregateFunction::Max => match column.and_then(order_rests_on) {
            Some(Construct::FloatOrder) => Some(Construct::FloatExtreme),
            order => order,
        },
        AggregateFunction::Sum => match column.map(Field::data_type) {
            Some(DataType::Decimal128(..) | DataType::Decimal256(..)) => Some(Construct::NumericSum),
            _ => Some(Construct::IntegerSum),
        },
    }
}

/// May rows be grouped by a column?
pub(super) fn group_verdict(column: &Field) -> Verdict {
    match class_of_column(column) {
        Ok(Class::Text) if is_loose(column) => Verdict::Rewrite(COLLATE.into()),
        Ok(Class::Float) => Verdict::Keep("-0 and 0 are one group there and two here".into()),
        Ok(_) => Verdict::Exact,
        Err(_) => Verdict::Keep(format!("values of type {} are grouped here", shown(column)).into()),
    }
}

/// May an aggregate be computed, in exactly the promised type?
pub(super) fn aggregate_verdict(call: &AggregateCall, column: Option<&Field>) -> Verdict {
    let Some(column) = column else {
        let counted = call.function == AggregateFunction::Count && !call.distinct;
        return if counted && call.output == DataType::Int64 {
            Verdict::Exact
        } else {
            Verdict::Keep("only rows are counted without a column".into())
        };
    };
    let class = class_of_column(column);
    match call.function {
        AggregateFunction::Count if call.output != DataType::Int64 => {
            Verdict::Keep(format!("a count of type {} is made here", call.output).into())
        }
        AggregateFunction::Count if !call.distinct => Verdict::Exact,
        AggregateFunction::Count if may_misfit(column) => checked_here(column),
        AggregateFunction::Count => group_verdict(column),
        AggregateFunction::Min | AggregateFunction::Max => match class {
            _ if call.output != *column.data_type() => Verdict::Keep("its type is not the column's".into()),
            _ if may_misfit(column) => checked_here(column),
            Ok(Class::Text) => Verdict::Rewrite(COLLATE.into()),
            Ok(Class::Float) => Verdict::Rewrite(SIGNED_ZERO.into()),
            Ok(Class::Boolean) => Verdict::Keep("the least of booleans is found here".into()),
            Ok(_) => Verdict::Exact,
            Err(_) => Verdict::Keep(format!("values of type {} are ordered here", shown(column)).into()),
        },
        AggregateFunction::Sum => sum_verdict(call, column),
    }
}

/// How the least and the greatest of floats are asked for.
pub(super) const SIGNED_ZERO: &str = "a zero has the sign that its text has";

/// A value that does not fit must be read, to be an error.
fn checked_here(column: &Field) -> Verdict {
    let what =
        if column.metadata().contains_key(DECLARED_KEY) { "declared type" } else { "numeric without scale" };
    Verdict::Keep(format!("each value of a {what} is checked here").into())
}

fn sum_verdict(call: &AggregateCall, column: &Field) -> Verdict {
    if may_misfit(column) {
        return checked_here(column);
    }
    match (column.data_type(), &call.output) {
        (DataType::Int16 | DataType::Int32, DataType::Int64) => Verdict::Exact,
        (DataType::Int16 | DataType::Int32 | DataType::Int64, DataType::Decimal128(_, 0)) => Verdict::Exact,
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) if from == to => Verdict::Exact,
        (DataType::Decimal256(_, from), DataType::Decimal256(_, to)) if from == to => Verdict::Exact,
        (DataType::Float32 | DataType::Float64, _) => {
            Verdict::Keep("the sum of floats depends on the order of rows".into())
        }
        (_, to) => Verdict::Keep(format!("a sum of type {to} is made here").into()),
    }
}

/// May two columns be joined on being equal?
pub(super) fn join_verdict(left: &Field, right: &Field) -> Verdict {
    match (class_of_column(left), class_of_column(right)) {
        (Ok(Class::Float), _) | (_, Ok(Class::Float)) => Verdict::Keep("floats are joined here".into()),
        (Ok(left_class), Ok(right_class)) if left_class != right_class => {
            Verdict::Keep("values of different types are joined here".into())
        }
        (Ok(_), Ok(_)) if left.data_type() != right.data_type() => {
            Verdict::Keep("values of different types are joined here".into())
        }
        (Ok(Class::Text), Ok(_)) => Verdict::Rewrite(COLLATE.into()),
        (Ok(_), Ok(_)) => Verdict::Exact,
        _ => Verdict::Keep(format!("values of type {} are joined here", shown(left)).into()),
    }
}

fn shown(column: &Field) -> String {
    column.metadata().get(SOURCE_TYPE_KEY).cloned().unwrap_or_else(|| column.data_type().to_string())
}

fn is_loose(column: &Field) -> bool {
    column.metadata().contains_key(LOOSE_COLLATION_KEY)
}

/// One column of the SELECT list.
struct Output {
    sql: String,
    /// In which order it sorts here; nothing for what is only shown.
    class: Option<Class>,
}

struct Writer<'a> {
    namespace: &'a str,
    fragment: &'a Fragment,
}

impl Writer<'_> {
    fn select(&self) -> Walked<String> {
        let Fragment { filters, joins, aggregate, having, sort, limit, table, .. } = self.fragment;
        let mut outputs = match aggregate {
            Some(aggregate) => self.aggregated(aggregate)?,
            None => self.columns()?,
        };
        let list: Vec<&str> = outputs.iter().map(|output| output.sql.as_str()).collect();
        let mut sql = format!("SELECT {} FROM {}", list.join(", "), self.table(0)?);
        let mut conditions = Vec::with_capacity(filters.len());
        for filter in filters {
            conditions.push(condition(table, self.alias(0).as_deref(), &filter.expr)?);
        }
        for (index, join) in joins.iter().enumerate() {
            let place = index + 1;
            let on = self.on(place, join)?;
            let table = self.table(place)?;
            match join.kind {
                FragmentJoinKind::Inner => sql.push_str(&format!(" JOIN {table} ON {on}")),
                FragmentJoinKind::Left => sql.push_str(&format!(" LEFT JOIN {table} ON {on}")),
                FragmentJoinKind::Semi => {
                    conditions.push(format!("EXISTS (SELECT 1 FROM {table} WHERE {on})"))
                }
                FragmentJoinKind::Anti => {
                    conditions.push(format!("NOT EXISTS (SELECT 1 FROM {table} WHERE {on})"));
                }
            }
        }
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some(aggregate) = aggregate.as_ref().filter(|aggregate| !aggregate.groups.is_empty()) {
            let groups: Vec<&str> = list.iter().take(aggregate.groups.len()).copied().collect();
            sql.push_str(&format!(" GROUP BY {}", groups.join(", ")));
        }
        if !having.is_empty() {
            let groups = self.fragment.groups_as_table().ok_or(NO_COLUMN)?;
            let tests = having.iter().map(|test| condition(&groups, None, &test.expr));
            let tests = tests.collect::<Walked<Vec<String>>>()?;
            let names: Vec<String> =
                (0..outputs.len()).map(|number| quote_identifier(&Fragment::output_name(number))).collect();
            let inner = list.iter().zip(&names).map(|(sql, name)| format!("{sql} AS {name}"));
            let inner = inner.collect::<Vec<_>>().join(", ");
            let from = sql.split_off(format!("SELECT {}", list.join(", ")).len());
            sql = format!(
                "SELECT {} FROM (SELECT {inner}{from}) AS g WHERE {}",
                names.join(", "),
                tests.join(" AND ")
            );
            outputs = outputs.into_iter().zip(names).map(|(output, sql)| Output { sql, ..output }).collect();
        }
        let keys = sort.iter().map(|key| order(&outputs, key)).collect::<Walked<Vec<String>>>()?;
        if !keys.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        Ok(sql)
    }

    /// Tables get an alias only if there are several.
    fn alias(&self, place: usize) -> Option<String> {
        (!self.fragment.joins.is_empty()).then(|| format!("t{place}"))
    }

    fn table(&self, place: usize) -> Walked<String> {
        let table = match place.checked_sub(1) {
            None => Some(&self.fragment.table),
            Some(join) => self.fragment.joins.get(join).map(|join| &join.table),
        };
        let table = table.ok_or(Reason::Borrowed("the fragment has no such table"))?;
        let name = format!("{}.{}", quote_identifier(self.namespace), quote_identifier(&table.name));
        Ok(self.alias(place).map_or_else(|| name.clone(), |alias| format!("{name} AS {alias}")))
    }

    fn on(&self, place: usize, join: &FragmentJoin) -> Walked<String> {
        let alias = self.alias(place);
        let mut conditions = Vec::with_capacity(join.on.len() + join.filters.len());
        for (row, column) in &join.on {
            let (left_sql, left) = self.column(*row)?;
            let right = join.table.arrow.fields().get(*column).ok_or(NO_COLUMN)?;
            let right_sql = column_text(alias.as_deref(), right);
            if class_of_column(left)? == Class::Text {
                conditions.push(format!("{left_sql} COLLATE \"C\" = {right_sql} COLLATE \"C\""));
            } else {
                conditions.push(format!("{left_sql} = {right_sql}"));
            }
        }
        for filter in &join.filters {
            conditions.push(condition(&join.table, alias.as_deref(), &filter.expr)?);
        }
        if conditions.is_empty() {
            return Err("a join without keys is made here".into());
        }
        Ok(conditions.join(" AND "))
    }

    /// A column of the row, as it is read.
    fn column(&self, row: usize) -> Walked<(String, &Field)> {
        let (place, field) = self.fragment.column(row).ok_or(NO_COLUMN)?;
        Ok((column_text(self.alias(place).as_deref(), field), field))
    }

    fn columns(&self) -> Walked<Vec<Output>> {
        let mut outputs = Vec::with_capacity(self.fragment.projection.len());
        for row in &self.fragment.projection {
            let (sql, field) = self.column(*row)?;
            outputs.push(Output { sql, class: class_of_column(field).ok() });
        }
        Ok(outputs)
    }

    fn aggregated(&self, aggregate: &FragmentAggregate) -> Walked<Vec<Output>> {
        let mut outputs = Vec::with_capacity(aggregate.outputs.len());
        for row in &aggregate.groups {
            let (sql, field) = self.column(*row)?;
            let sql = if is_loose(field) { format!("({sql} COLLATE \"C\")") } else { sql };
            outputs.push(Output { sql, class: class_of_column(field).ok() });
        }
        for call in &aggregate.calls {
            outputs.push(self.call(call)?);
        }
        Ok(outputs)
    }

    fn call(&self, call: &AggregateCall) -> Walked<Output> {
        let argument = call.column.map(|row| self.column(row)).transpose()?;
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let filter = match &call.filter {
            Some(filter) if self.fragment.joins.is_empty() => {
                format!(" FILTER (WHERE {})", condition(&self.fragment.table, None, filter)?)
            }
            Some(_) => return Err("a filter beside a join is evaluated here".into()),
            None => String::new(),
        };
        let name = call.function.name();
        let (sql, class) = match (call.function, argument) {
            (AggregateFunction::Count, None) => (format!("count(*){filter}"), Class::Number),
            (_, None) => return Err("only rows are counted without a column".into()),
            (AggregateFunction::Count, Some((sql, field))) => {
                let sql = if call.distinct && is_loose(field) { format!("{sql} COLLATE \"C\"") } else { sql };
                (format!("count({distinct}{sql}){filter}"), Class::Number)
            }
            (AggregateFunction::Min | AggregateFunction::Max, Some((sql, field))) => {
                match class_of_column(field)? {
                    Class::Text => (format!("{name}({sql}::text COLLATE \"C\"){filter}"), Class::Text),
                    Class::Float => {
                        let ty = if *field.data_type() == DataType::Float32 { "float4" } else { "float8" };
                        (extreme(name, &sql, ty, &filter), Class::Float)
                    }
                    class => (format!("{name}({sql}){filter}"), class),
                }
            }
            (AggregateFunction::Sum, Some((sql, _))) => {
                let to = match call.output {
                    DataType::Int64 => "int8",
                    DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
                    _ => return Err("this sum is made here".into()),
                };
                (format!("(sum({distinct}{sql}){filter})::{to}"), Class::Number)
            }
        };
        Ok(Output { sql, class: Some(class) })
    }
}

const NO_COLUMN: Reason = Reason::Borrowed("the fragment names a column it does not have");

/// The least or the greatest of floats, `name` being `min` or `max`. Zeros are equal there and not here: the least zero
/// is negative if any is, the greatest if all are, which their texts tell.
pub(super) fn extreme(name: &str, value: &str, ty: &str, filter: &str) -> String {
    let (is, found, none) = if name == "min" { ("=", "-0", "0") } else { ("<>", "0", "-0") };
    format!(
        "CASE WHEN {name}({value}){filter} = 0 THEN \
         CASE WHEN bool_or(CASE WHEN {value} = 0 THEN ({value})::text {is} '-0' END){filter} \
         THEN '{found}'::{ty} ELSE '{none}'::{ty} END ELSE {name}({value}){filter} END"
    )
}

/// One key of ORDER BY.
fn order(outputs: &[Output], key: &FragmentSort) -> Walked<String> {
    let Output { sql, class } = outputs.get(key.column).ok_or(NO_COLUMN)?;
    let (way, other_way) = if key.descending { ("DESC", "ASC") } else { ("ASC", "DESC") };
    let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
    match class {
        None => Err("its order is not known".into()),
        Some(Class::Text) => Ok(format!("{sql} COLLATE \"C\" {way} NULLS {nulls}")),
        // Among equal floats, -0 comes first here.
        Some(Class::Float) => {
            Ok(format!("{sql} {way} NULLS {nulls}, (({sql})::text = '-0') {other_way} NULLS {nulls}"))
        }
        Some(_) => Ok(format!("{sql} {way} NULLS {nulls}")),
    }
}

#[cfg(test)]
mod tests;
