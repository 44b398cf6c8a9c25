//! Inputs of tables, taken from their SQL, and an order in which they can be made.
//!
//! Unknown inputs, tables made twice and cycles are reported; whatever is left is put in order anyway.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::parser::DFParser;
use datafusion::sql::resolve::resolve_table_references;

use super::Diagnostic;
use super::model::{Make, Pipelines, TableName, TableSpec, Zone};
use crate::yaml::nearest;

fn zone(name: &str) -> Option<Zone> {
    [Zone::Bronze, Zone::Silver, Zone::Gold].into_iter().find(|zone| zone.name() == name)
}

/// Parses `zone.name`.
pub(crate) fn table_name(text: &str) -> Option<TableName> {
    let (schema, name) = text.split_once('.')?;
    Some(TableName { zone: zone(schema)?, name: name.to_owned() })
}

/// Tables a query names, or what is wrong with it and where (line and column inside the SQL text).
fn referenced(sql: &str) -> Result<Vec<TableName>, (String, u64, u64)> {
    let whole = |message: String| (message, 1, 1);
    let statements = DFParser::parse_sql(sql).map_err(|error| {
        let text = error.strip_backtrace();
        let (line, column) = place_in(&text).unwrap_or((1, 1));
        (text, line, column)
    })?;
    if statements.len() != 1 {
        return Err(whole(format!("one query expected, found {} statements", statements.len())));
    }
    let Some(statement) = statements.front() else { return Err(whole("no query".into())) };
    let (tables, _ctes) =
        resolve_table_references(statement, true).map_err(|error| whole(error.strip_backtrace()))?;
    let mut names = BTreeSet::new();
    for table in tables {
        let name = format!("{}.{}", table.schema().unwrap_or("public"), table.table());
        let parsed = table_name(&name)
            .ok_or_else(|| whole(format!("input \"{name}\" is not a table of bronze, silver or gold")))?;
        names.insert(parsed);
    }
    Ok(names.into_iter().collect())
}

/// Finds `Line: 3, Column: 14` in a parser's text.
pub(crate) fn place_in(text: &str) -> Option<(u64, u64)> {
    let rest = text.split("Line: ").nth(1)?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.trim().parse().ok()?, digits.parse().ok()?))
}

/// Fills in all inputs, checks them and puts the tables in order.
pub(super) fn arrange(pipelines: &mut Pipelines, found: &mut Vec<Diagnostic>) {
    let mut made: BTreeMap<TableName, usize> = BTreeMap::new();
    let mut bronze = BTreeSet::new();
    for pipeline in &pipelines.pipelines {
        if pipeline.source.is_some() {
            bronze.insert(TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() });
        }
    }
    for (index, spec) in pipelines.tables.iter().enumerate() {
        if made.insert(spec.table.clone(), index).is_some() {
            found.push(at(spec, format!("table \"{}\" is made twice", spec.table), None));
        }
    }
    for spec in &mut pipelines.tables {
        let inputs = match &spec.make {
            Make::Transform(transform) => transform.inputs(),
            Make::Sql { text, file } => match referenced(text) {
                Ok(inputs) => inputs,
                Err((message, line, column)) => {
                    let (file, line, column) = if *file == spec.file {
                        (&spec.file, spec.line, spec.column)
                    } else {
                        (file, line, column)
                    };
                    found.push(Diagnostic { file: file.clone(), line, column, message, hint: None });
                    continue;
                }
            },
        };
        spec.inputs = inputs;
    }
    for spec in &pipelines.tables {
        for input in &spec.inputs {
            if !bronze.contains(input) && !made.contains_key(input) {
                let all: Vec<String> = bronze.iter().chain(made.keys()).map(ToString::to_string).collect();
                let hint = nearest(&input.to_string(), all.iter().map(String::as_str))
                    .map(|name| format!("did you mean \"{name}\"?"));
                found.push(at(
                    spec,
                    format!("no pipeline makes input \"{input}\" of \"{}\"", spec.table),
                    hint,
                ));
            }
        }
    }
    order(pipelines, found);
}

fn order(pipelines: &mut Pipelines, found: &mut Vec<Diagnostic>) {
    let mut waiting: Vec<TableSpec> = std::mem::take(&mut pipelines.tables);
    let mut open: BTreeSet<TableName> = waiting.iter().map(|spec| spec.table.clone()).collect();
    while !waiting.is_empty() {
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|spec| spec.inputs.iter().all(|input| !open.contains(input)));
        if ready.is_empty() {
            let names: Vec<String> = rest.iter().map(|spec| spec.table.to_string()).collect();
            if let Some(first) = rest.first() {
                found.push(at(first, format!("tables need each other: {}", names.join(", ")), None));
            }
            pipelines.tables.extend(rest);
            return;
        }
        for spec in &ready {
            open.remove(&spec.table);
        }
        pipelines.tables.extend(ready);
        waiting = rest;
    }
}

fn at(spec: &TableSpec, message: String, hint: Option<String>) -> Diagnostic {
    Diagnostic { file: spec.file.clone(), line: spec.line, column: spec.column, message, hint }
}
