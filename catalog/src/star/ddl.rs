//! PostgreSQL statements that create the star, idempotently and in order.

use super::{NOT_APPLICABLE, StarTable, UNKNOWN, UNRESOLVED, dimensions, tables};
use crate::postgres::quote_identifier;

/// Statements that create schema, tables, keys, comments, constraints and reserved members.
///
/// To be run in order, in one transaction, on an empty schema; if the schema's fact exists already, nothing needs
/// to run. Each element is one statement.
#[must_use]
pub fn ddl(schema: &str) -> Vec<String> {
    let mut statements = vec![format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(schema))];
    for table in tables() {
        statements.push(create_table(schema, &table));
        statements.extend(comments(schema, &table));
        let name = qualified(schema, table.name);
        statements.extend(table.extra_ddl.iter().map(|statement| statement.replace("{table}", &name)));
        if table.name.starts_with("dim_") {
            statements.push(reserved_members(schema, &table));
        }
    }
    statements
}

/// A table's quoted name with its schema.
#[must_use]
pub fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(table))
}

fn create_table(schema: &str, table: &StarTable) -> String {
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let not_null = if column.nullable { "" } else { " NOT NULL" };
            format!("{} {}{not_null}", quote_identifier(column.name), column.pg_type)
        })
        .collect();
    lines.push(format!("PRIMARY KEY ({})", quote_identifier(table.primary_key)));
    for key in &table.foreign_keys {
        lines.push(format!(
            "FOREIGN KEY ({}) REFERENCES {} ({})",
            quote_identifier(key.column),
            qualified(schema, key.to_table),
            quote_identifier(key.to_column)
        ));
    }
    format!("CREATE TABLE {} (\n  {}\n)", qualified(schema, table.name), lines.join(",\n  "))
}

fn comments(schema: &str, table: &StarTable) -> Vec<String> {
    let name = qualified(schema, table.name);
    // The comments are ours and contain no NUL; doubling quotes is all they need.
    let text = |comment: &str| comment.replace('\'', "''");
    let mut statements = vec![format!("COMMENT ON TABLE {name} IS '{}'", text(table.comment))];
    statements.extend(table.columns.iter().map(|column| {
        format!("COMMENT ON COLUMN {name}.{} IS '{}'", quote_identifier(column.name), text(column.comment))
    }));
    statements
}

fn reserved_members(schema: &str, table: &StarTable) -> String {
    let values = dimensions::reserved_values(table.name);
    let mut names = vec![quote_identifier(table.primary_key)];
    names.extend(values.iter().map(|(name, _)| quote_identifier(name)));
    let rows: Vec<String> = [UNKNOWN, NOT_APPLICABLE, UNRESOLVED]
        .iter()
        .enumerate()
        .map(|(member, key)| {
            let mut row = vec![key.to_string()];
            row.extend(
                values.iter().filter_map(|(_, each)| each.get(member)).map(|value| (*value).to_owned()),
            );
            format!("({})", row.join(", "))
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING",
        qualified(schema, table.name),
        names.join(", "),
        rows.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Columns the shipped KPI files and pipelines name.
    const NAMED: [&str; 33] = [
        "op_key",
        "port_call_id",
        "visit_id",
        "agent",
        "vessel_key",
        "terminal_key",
        "cargo_key",
        "is_call_row",
        "is_visit_row",
        "tonnes",
        "teu",
        "boxes",
        "units",
        "crane_hours",
        "gross_work_h",
        "stop_h",
        "berth_h",
        "idle_h",
        "weather_stop_h",
        "arrival_dev_h",
        "waiting_h",
        "shift_h",
        "port_h",
        "weather_wait_h",
        "weather_wait_strict_h",
        "weather_unknown_h",
        "ata_pbp_ts",
        "ata_berth_ts",
        "ats_ts",
        "atc_ts",
        "atd_berth_ts",
        "atd_last_ts",
        "src_hash",
    ];

    #[test]
    fn the_fact_has_every_named_column_once_and_commented() {
        let fact = tables().pop().unwrap();
        let names: Vec<&str> = fact.columns.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
        for name in NAMED {
            assert!(names.contains(&name), "{name}");
        }
        for table in tables() {
            assert!(table.columns.iter().all(|column| column.comment.ends_with('.')), "{}", table.name);
            assert_eq!(table.columns[0].name, table.primary_key.to_owned());
        }
    }

    #[test]
    fn dimensions_come_before_the_fact() {
        let created: Vec<String> =
            ddl("star").into_iter().filter(|statement| statement.starts_with("CREATE TABLE")).collect();
        assert_eq!(created.len(), 5);
        assert!(created[4].contains("REFERENCES \"star\".\"dim_cargo\" (\"cargo_key\")"));
    }
}
