//! The SELECT of a whole fragment: tables, joins, conditions, columns or an aggregate, a top-N.
//!
//! What `shape` allows is what is written here, and nothing else. There is no NULLS FIRST, so nulls are placed by a key
//! of their own. Text is ordered, grouped and joined by its bytes. An aggregate below a top-N, or below conditions over
//! its groups, is a derived table, so that a key is a plain column and no value is bound twice. Dates that are grouped,
//! ordered or aggregated are checked row by row. Values are bound in the order of their places in the text; nothing is
//! ever written into it.

use datafusion::arrow::datatypes::Field;
use mysql_async::Value;

use super::config::ZeroDates;
use super::literal::quote_identifier;
use super::render::operand::{Class, Scope, class_of};
use super::render::{Statement, Walked, as_bytes, condition, guard};
use super::shape::is_temporal;
use crate::federation::{
    AggregateCall, AggregateFunction, Fragment, FragmentAggregate, FragmentJoin, FragmentJoinKind,
    FragmentSort, Reason,
};

const NO_COLUMN: Reason = Reason::Borrowed("the fragment names a column it does not have");

/// The SELECT of a fragment. `Err` names a part that never passed the gate.
pub(super) fn select(database: &str, zero_dates: ZeroDates, fragment: &Fragment) -> Walked<Statement> {
    let aliases = match fragment.joins.len() {
        // Tables get an alias only if there are several.
        0 => vec![],
        joins => (0..=joins).map(|place| format!("t{place}")).collect(),
    };
    Writer { database, zero_dates, fragment, aliases }.select()
}

/// One column of the SELECT list.
struct Output {
    sql: String,
    values: Vec<Value>,
    /// In which order it sorts here; nothing for what is only shown.
    class: Option<Class>,
    /// What it is grouped by, if it is a group.
    group: Option<String>,
}

struct Writer<'a> {
    database: &'a str,
    zero_dates: ZeroDates,
    fragment: &'a Fragment,
    aliases: Vec<String>,
}

/// Conditions joined by AND, and the names whose dates they check.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
    guarded: Vec<String>,
}

impl Conditions {
    fn add(&mut self, condition: Statement) {
        self.sql.push(condition.sql);
        self.values.extend(condition.values);
        self.guarded.extend(condition.guarded);
    }

    fn guard(&mut self, name: String) {
        self.sql.push(format!("({})", guard(&name)));
        self.guarded.push(name);
    }
}

impl Writer<'_> {
    fn select(&self) -> Walked<Statement> {
        let Fragment { filters, joins, aggregate, having, sort, limit, .. } = self.fragment;
        let mut outputs = match aggregate {
            Some(aggregate) => self.aggregated(aggregate)?,
            None => self.columns()?,
        };
        let mut values: Vec<Value> =
            outputs.iter_mut().flat_map(|output| std::mem::take(&mut output.values)).collect();
        let mut from = self.table(0)?;
        let mut all = Conditions::default();
        for filter in filters {
            all.add(condition(self.scope(0)?, &filter.expr)?);
        }
        let mut guarded = Vec::new();
        for (index, join) in joins.iter().enumerate() {
            let (table, on) = (self.table(index + 1)?, self.on(index + 1, join)?);
            let inside = |word: &str| Statement {
                sql: format!("{word} (SELECT 1 FROM {table} WHERE {})", on.sql),
                ..on.clone()
            };
            match join.kind {
                FragmentJoinKind::Semi => all.add(inside("EXISTS")),
                FragmentJoinKind::Anti => all.add(inside("NOT EXISTS")),
                kind @ (FragmentJoinKind::Inner | FragmentJoinKind::Left) => {
                    let word = if kind == FragmentJoinKind::Left { "LEFT JOIN" } else { "JOIN" };
                    from.push_str(&format!(" {word} {table} ON {}", on.sql));
                    values.extend(on.values);
                    guarded.extend(on.guarded);
                }
            }
        }
        for name in self.dates()? {
            if !all.guarded.contains(&name) {
                all.guard(name);
            }
        }
        values.extend(all.values);
        guarded.extend(all.guarded);
        let condition =
            if all.sql.is_empty() { String::new() } else { format!(" WHERE {}", all.sql.join(" AND ")) };
        let groups: Vec<&str> = outputs.iter().filter_map(|output| output.group.as_deref()).collect();
        let group =
            if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
        let mut sql = if aggregate.is_some() && !(sort.is_empty() && having.is_empty()) {
            let mut named = Vec::with_capacity(outputs.len());
            for (place, output) in outputs.iter_mut().enumerate() {
                let name = quote_identifier(&Fragment::output_name(place));
                named.push(format!("{} AS {name}", output.sql));
                output.sql = name;
            }
            let shown: Vec<&str> = outputs.iter().map(|output| output.sql.as_str()).collect();
            let tests = self.group_tests()?;
            values.extend(tests.values);
            guarded.extend(tests.guarded);
            let tested = if tests.sql.is_empty() {
                String::new()
            } else {
                format!(" WHERE {}", tests.sql.join(" AND "))
            };
            format!(
                "SELECT {} FROM (SELECT {} FROM {from}{condition}{group}) AS g{tested}",
                shown.join(", "),
                named.join(", ")
            )
        } else {
            let shown: Vec<&str> = outputs.iter().map(|output| output.sql.as_str()).collect();
            // Rows without columns are counted by a constant.
            let shown = if shown.is_empty() { "1".to_owned() } else { shown.join(", ") };
            format!("SELECT {shown} FROM {from}{condition}{group}")
        };
        let keys = sort.iter().map(|key| self.order(&outputs, key)).collect::<Walked<Vec<String>>>()?;
        if !keys.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", keys.join(", ")));
        }
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        guarded.sort();
        guarded.dedup();
        Ok(Statement { sql, values, guarded })
    }

    /// The conditions over groups.
    fn group_tests(&self) -> Walked<Conditions> {
        let mut tests = Conditions::default();
        if !self.fragment.having.is_empty() {
            let groups = self.fragment.groups_as_table().ok_or(NO_COLUMN)?;
            let scope = Scope { table: &groups, alias: None, zero_dates: self.zero_dates };
            for test in &self.fragment.having {
                tests.add(condition(scope, &test.expr)?);
            }
        }
        Ok(tests)
    }

    fn scope(&self, place: usize) -> Walked<Scope<'_>> {
        let table = match place.checked_sub(1) {
            None => Some(&self.fragment.table),
            Some(join) => self.fragment.joins.get(join).map(|join| &join.table),
        };
        let table = table.ok_or(Reason::Borrowed("the fragment has no such table"))?;
        Ok(Scope { table, alias: self.aliases.get(place).map(String::as_str), zero_dates: self.zero_dates })
    }

    fn table(&self, place: usize) -> Walked<String> {
        let Scope { table, alias, .. } = self.scope(place)?;
        let name = format!("{}.{}", quote_identifier(self.database), quote_identifier(&table.name));
        Ok(alias.map_or_else(|| name.clone(), |alias| format!("{name} AS {alias}")))
    }

    /// The keys of a join and the conditions over its table.
    fn on(&self, place: usize, join: &FragmentJoin) -> Walked<Statement> {
        let scope = self.scope(place)?;
        let mut on = Conditions::default();
        for (row, column) in &join.on {
            let (left, field) = self.column(*row)?;
            let right = scope.name(join.table.arrow.fields().get(*column).ok_or(NO_COLUMN)?);
            if class_of(field)? == Class::Text {
                // The first comparison is for the index: equal bytes are equal in every collation.
                on.sql.push(format!("{left} = {right} AND {} = {}", as_bytes(&left), as_bytes(&right)));
            } else {
                on.sql.push(format!("{left} = {right}"));
            }
        }
        for filter in &join.filters {
            on.add(condition(scope, &filter.expr)?);
        }
        if join.on.is_empty() {
            return Err("a join without keys is made here".into());
        }
        Ok(Statement { sql: on.sql.join(" AND "), values: on.values, guarded: on.guarded })
    }

    /// A column of the row: its name and field.
    fn column(&self, row: usize) -> Walked<(String, &Field)> {
        let (place, field) = self.fragment.column(row).ok_or(NO_COLUMN)?;
        Ok((self.scope(place)?.name(field), field))
    }

    /// Dates that are looked at by an aggregate or a top-N.
    fn dates(&self) -> Walked<Vec<String>> {
        let rows: Vec<usize> = match &self.fragment.aggregate {
            Some(aggregate) => aggregate
                .groups
                .iter()
                .copied()
                .chain(aggregate.calls.iter().filter_map(|call| call.column))
                .collect(),
            None => {
                let shown = |key: &FragmentSort| self.fragment.projection.get(key.column).copied();
                self.fragment.sort.iter().filter_map(shown).collect()
            }
        };
        let mut names = Vec::new();
        for row in rows {
            let (name, field) = self.column(row)?;
            if is_temporal(field) && !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn columns(&self) -> Walked<Vec<Output>> {
        let mut outputs = Vec::with_capacity(self.fragment.projection.len());
        for row in &self.fragment.projection {
            let (place, field) = self.fragment.column(*row).ok_or(NO_COLUMN)?;
            let sql = self.scope(place)?.shown(field);
            outputs.push(Output { sql, values: vec![], class: class_of(field).ok(), group: None });
        }
        Ok(outputs)
    }

    fn aggregated(&self, aggregate: &FragmentAggregate) -> Walked<Vec<Output>> {
        let mut outputs = Vec::with_capacity(aggregate.outputs.len());
        for row in &aggregate.groups {
            let (name, field) = self.column(*row)?;
            let class = class_of(field)?;
            // All texts of a group are the same bytes: which of them is shown does not matter.
            let (sql, group) = match class {
                Class::Text => (format!("MIN({name})"), as_bytes(&name)),
                _ => (name.clone(), name),
            };
            outputs.push(Output { sql, values: vec![], class: Some(class), group: Some(group) });
        }
        for call in &aggregate.calls {
            outputs.push(self.call(call)?);
        }
        Ok(outputs)
    }

    fn call(&self, call: &AggregateCall) -> Walked<Output> {
        let argument = call.column.map(|row| self.column(row)).transpose()?;
        let filter = match &call.filter {
            Some(filter) if self.fragment.joins.is_empty() => Some(condition(self.scope(0)?, filter)?),
            Some(_) => return Err("a filter beside a join is evaluated here".into()),
            None => None,
        };
        let bytewise =
            call.distinct || matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
        let (value, class) = match argument {
            None if call.function == AggregateFunction::Count && !call.distinct => ("1".to_owned(), None),
            None => return Err("only rows are counted without a column".into()),
            Some((name, field)) => match class_of(field).ok() {
                Some(Class::Text) if bytewise => (as_bytes(&name), Some(Class::Text)),
                class => (name, class),
            },
        };
        let (value, mut values) = match filter {
            None => (value, vec![]),
            Some(filter) => (format!("CASE WHEN {} THEN {value} END", filter.sql), filter.values),
        };
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let (sql, class) = match call.function {
            AggregateFunction::Count => (format!("COUNT({distinct}{value})"), Class::Number),
            AggregateFunction::Sum => (format!("SUM({distinct}{value})"), Class::Number),
            AggregateFunction::Min | AggregateFunction::Max => {
                let word = if call.function == AggregateFunction::Min { "MIN" } else { "MAX" };
                match class {
                    None => return Err("its order is not known".into()),
                    Some(Class::Text) => (format!("CONVERT({word}({value}) USING utf8mb4)"), Class::Text),
                    Some(Class::Float64) => {
                        values = std::iter::repeat_n(values, EXTREME_NAMES).flatten().collect();
                        (extreme(word, &value), Class::Float64)
                    }
                    Some(class) => (format!("{word}({value})"), class),
                }
            }
        };
        Ok(Output { sql, values, class: Some(class), group: None })
    }

    /// One key of ORDER BY, after one that places the nulls.
    fn order(&self, outputs: &[Output], key: &FragmentSort) -> Walked<String> {
        let Output { sql, class, .. } = outputs.get(key.column).ok_or(NO_COLUMN)?;
        let by = match class {
            None => return Err("its order is not known".into()),
            Some(Class::Text) => as_bytes(sql),
            // Bits are text there, unless they are a number.
            Some(Class::Boolean) => format!("({sql} + 0)"),
            Some(_) => sql.clone(),
        };
        let (way, nulls) = match (key.descending, key.nulls_first) {
            (false, true) => ("ASC", "DESC"),
            (false, false) => ("ASC", "ASC"),
            (true, true) => ("DESC", "DESC"),
            (true, false) => ("DESC", "ASC"),
        };
        let schema = self.fragment.schema().map_err(|_unknown| NO_COLUMN)?;
        let nullable = schema.fields().get(key.column).is_none_or(|field| field.is_nullable());
        // Without the first key an index gives the order.
        Ok(if nullable { format!("({sql} IS NULL) {nulls}, {by} {way}") } else { format!("{by} {way}") })
    }
}

/// How often [`extreme`] names its value.
const EXTREME_NAMES: usize = 4;

/// The least or the greatest of floats. Zeros are equal there and not here: the least zero is negative if any is, the
/// greatest if all are. An angle tells, where a text may not.
pub(super) fn extreme(word: &str, value: &str) -> String {
    let (wanted, found, none) =
        if word == "MIN" { ("<", "-1e0 * 0e0", "0e0") } else { (">", "0e0", "-1e0 * 0e0") };
    format!(
        "CASE WHEN {word}({value}) = 0 THEN \
         IF(MAX(CASE WHEN {value} = 0 THEN ATAN2({value}, -1e0) {wanted} 0 END), {found}, {none}) \
         ELSE {word}({value}) END"
    )
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
