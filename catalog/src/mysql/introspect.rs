//! What a database contains: one statement for columns, one for tables, one for keys. Nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row, Value};

use super::column::{RemoteColumn, field};
use super::config::ZeroDates;
use crate::source::{ForeignKey, TableDef, TableKind};

/// The server compares schema names without case: the spelling is compared here.
const TABLES: &str = "
SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, t.TABLE_ROWS, t.TABLE_COMMENT, @@global.lower_case_table_names
FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = ? ORDER BY t.TABLE_NAME";

const COLUMNS: &str = "
SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE, c.NUMERIC_PRECISION,
       c.NUMERIC_SCALE, c.IS_NULLABLE, c.CHARACTER_SET_NAME, c.COLLATION_NAME, c.COLUMN_COMMENT
FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = ? ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION";

/// MariaDB's JSON is text with a check of the same name as the column.
const DOCUMENTS: &str = "
SELECT k.CONSTRAINT_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.CHECK_CLAUSE
FROM information_schema.CHECK_CONSTRAINTS k WHERE k.CONSTRAINT_SCHEMA = ? AND k.CHECK_CLAUSE LIKE 'json_valid(%'";

/// Primary keys, and foreign keys that stay inside the database; one row per column, in key order.
const KEYS: &str = "
SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA,
       k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE k
WHERE k.TABLE_SCHEMA = ? AND (k.CONSTRAINT_NAME = 'PRIMARY' OR k.REFERENCED_TABLE_NAME IS NOT NULL)
ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION";

/// Reads every table and view of a database, to be shown in `schema`.
pub(super) async fn tables(
    conn: &mut Conn,
    database: &str,
    schema: &str,
    maria: bool,
    zero_dates: ZeroDates,
) -> Result<Vec<Arc<TableDef>>, Error> {
    let listed: Vec<Row> = conn.exec(TABLES, (database,)).await?;
    // Servers that fold names tell them in another spelling than ours.
    let folded = listed.first().and_then(|row| text(row, 5)).is_some_and(|mode| mode != "0");
    let ours = |row: &Row| {
        text(row, 0).is_some_and(|told| told == database || (folded && told.eq_ignore_ascii_case(database)))
    };
    let mut documents = BTreeSet::new();
    if maria {
        for row in conn.exec::<Row, _, _>(DOCUMENTS, (database,)).await? {
            if let (true, Some(table), Some(column)) = (ours(&row), text(&row, 1), text(&row, 2)) {
                documents.insert((table, column));
            }
        }
    }
    let mut columns: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for row in conn.exec::<Row, _, _>(COLUMNS, (database,)).await? {
        let (true, Some(table)) = (ours(&row), text(&row, 1)) else { continue };
        let name = text(&row, 2).unwrap_or_default();
        let json = documents.contains(&(table.clone(), name.clone()));
        columns.entry(table).or_default().push(field(&remote_column(&row, name, json), zero_dates));
    }
    let mut keys = Keys::default();
    for row in conn.exec::<Row, _, _>(KEYS, (database,)).await? {
        if ours(&row) {
            keys.add(&row, schema);
        }
    }
    let mut tables = Vec::new();
    for row in &listed {
        let (true, Some(name), Some(kind)) = (ours(row), text(row, 1), text(row, 2)) else { continue };
        let kind = match kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => TableKind::Table,
            "VIEW" | "SYSTEM VIEW" => TableKind::View,
            _ => continue,
        };
        // Nothing of a view whose tables are gone can be read.
        let Some(fields) = columns.remove(&name) else { continue };
        // Every view has the comment "VIEW".
        let comment = text(row, 4).filter(|comment| !comment.is_empty() && kind == TableKind::Table);
        tables.push(Arc::new(TableDef {
            schema: schema.to_owned(),
            arrow: Arc::new(Schema::new(fields)),
            comment,
            primary_key: keys.primary.remove(&name).unwrap_or_default(),
            foreign_keys: keys.foreign_of(&name),
            row_estimate: if kind == TableKind::Table { number(row, 3) } else { None },
            kind,
            name,
        }));
    }
    Ok(tables)
}

fn remote_column(row: &Row, name: String, json: bool) -> RemoteColumn {
    RemoteColumn {
        name,
        declared: text(row, 3).unwrap_or_default(),
        base: text(row, 4).unwrap_or_default(),
        precision: number(row, 5),
        scale: number(row, 6),
        nullable: text(row, 7).is_none_or(|answer| answer.eq_ignore_ascii_case("yes")),
        charset: text(row, 8),
        collation: text(row, 9),
        comment: text(row, 10).filter(|comment| !comment.is_empty()),
        json,
    }
}

/// A value as text; `None` for NULL.
pub(super) fn text(row: &Row, index: usize) -> Option<String> {
    match row.as_ref(index)? {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(row: &Row, index: usize) -> Option<u64> {
    text(row, index)?.parse().ok()
}

#[derive(Default)]
struct Keys {
    primary: BTreeMap<String, Vec<String>>,
    /// By table and constraint name.
    foreign: BTreeMap<(String, String), ForeignKey>,
}

impl Keys {
    fn add(&mut self, row: &Row, schema: &str) {
        let (Some(table), Some(constraint), Some(column)) = (text(row, 1), text(row, 2), text(row, 3)) else {
            return;
        };
        let (Some(to_database), Some(to_table), Some(to_column)) = (text(row, 4), text(row, 5), text(row, 6))
        else {
            self.primary.entry(table).or_default().push(column);
            return;
        };
        // A key into another database points at a table nobody can see here.
        if text(row, 0).is_none_or(|own| own != to_database) {
            return;
        }
        let key = self.foreign.entry((table, constraint)).or_insert_with(|| ForeignKey {
            columns: vec![],
            to_schema: schema.to_owned(),
            to_table,
            to_columns: vec![],
        });
        key.columns.push(column);
        key.to_columns.push(to_column);
    }

    fn foreign_of(&self, table: &str) -> Vec<ForeignKey> {
        self.foreign.iter().filter(|((of, _), _)| of == table).map(|(_, key)| key.clone()).collect()
    }
}
