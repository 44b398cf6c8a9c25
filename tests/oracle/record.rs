//! A difference as a record of the corpus: its rows are in the statement itself, so it can be asked of anything.
//!
//! A record with the answer of the first way is a proposal; who keeps it looks up what is right.

use crate::outcome::{Cell, Outcome};
use crate::syntax::{Node, Query, literal, quoted};
use crate::table::LogicalTable;

/// Rows that a statement may carry along.
const MOST: usize = 40;

/// The record of a query with an answer as the expected one, under a remark of one or more lines. Without tables, or
/// with too many rows in them, it names tables that only the oracle has.
pub(crate) fn record(query: &Query, outcome: &Outcome, tables: &[LogicalTable], remark: &str) -> String {
    let sql = match rows(query, tables) {
        Some(rows) => format!("{rows} {}", query.sql(&|_, _| String::new())),
        None => query.sql(&|_, _| "mem".to_owned()),
    };
    let mut text: String = remark.lines().map(|line| format!("# {}\n", line.trim())).collect();
    text.push_str(&match outcome {
        Outcome::Error { sqlstate, .. } => format!("statement error ({sqlstate})\n{sql}\n"),
        Outcome::Rows { types, rows } => {
            let letters: String = types.iter().map(|oid| letter(*oid)).collect();
            let mut lines: Vec<String> =
                rows.iter().map(|row| row.iter().map(Cell::shown).collect::<Vec<_>>().join(" ")).collect();
            lines.sort();
            format!("query {letters} rowsort\n{sql}\n----\n{}\n", lines.join("\n"))
        }
    });
    text
}

/// The tables of a query as a WITH clause of those columns that it may read.
fn rows(query: &Query, tables: &[LogicalTable]) -> Option<String> {
    let names = query.tables();
    let read: Vec<&LogicalTable> = tables.iter().filter(|table| names.contains(&table.name)).collect();
    if read.len() < names.len() || read.iter().map(|table| table.rows.len()).sum::<usize>() > MOST {
        return None;
    }
    let mut columns = vec!["id".to_owned()];
    query.walk(&mut |node| {
        if let Node::Column { name, .. } = node {
            columns.push(name.clone());
        }
    });
    let clauses: Vec<String> = read.iter().map(|table| clause(table, &columns)).collect();
    Some(format!("WITH {}", clauses.join(", ")))
}

fn clause(table: &LogicalTable, read: &[String]) -> String {
    let kept: Vec<usize> = (0..table.columns.len())
        .filter(|index| read.iter().any(|name| name == table.columns[*index].name))
        .collect();
    let names: Vec<String> = kept.iter().map(|index| quoted(table.columns[*index].name)).collect();
    let value = |text: Option<&str>, index: usize| {
        let written = text.map_or_else(|| "NULL".to_owned(), literal);
        format!("{written}::{}", table.columns[index].kind.sql())
    };
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|row| {
            let values: Vec<String> =
                kept.iter().map(|index| value(row[*index].as_deref(), *index)).collect();
            format!("({})", values.join(", "))
        })
        .collect();
    let body = if rows.is_empty() {
        let nothing: Vec<String> = kept.iter().map(|index| value(None, *index)).collect();
        format!("SELECT {} WHERE false", nothing.join(", "))
    } else {
        format!("VALUES {}", rows.join(", "))
    };
    format!("{}({}) AS ({body})", table.name, names.join(", "))
}

/// The letter a record's head has for a type.
fn letter(oid: u32) -> char {
    match oid {
        16 => 'b',
        21 => 's',
        23 => 'i',
        20 => 'l',
        1700 => 'n',
        701 => 'd',
        25 => 't',
        1082 => 'D',
        1114 => 'S',
        1184 => 'Z',
        _ => '?',
    }
}
