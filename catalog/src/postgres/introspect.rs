//! What a namespace contains: one statement for columns, one for tables, one for keys. Nothing is guessed.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use tokio_postgres::{Client, Error, Row};

use super::column::{RemoteColumn, field};
use crate::source::{ForeignKey, TableDef, TableKind};

/// Ordinary and partitioned tables, views, materialized views and foreign tables. `reltuples` is -1 when unknown.
const TABLES: &str = "
SELECT c.relname::text, c.relkind::text, c.reltuples::float8, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
ORDER BY c.relname";

/// Columns with their base type: domains are followed down.
const COLUMNS: &str = "
WITH RECURSIVE base AS (
  SELECT t.oid AS declared, t.oid AS base, t.typbasetype AS next, -1 AS typmod FROM pg_catalog.pg_type t
  UNION ALL
  SELECT b.declared, t.oid, t.typbasetype, CASE WHEN b.typmod = -1 THEN d.typtypmod ELSE b.typmod END
  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.next JOIN pg_catalog.pg_type d ON d.oid = b.base
  WHERE b.next <> 0)
SELECT c.relname::text, a.attname::text, t.typname::text, tn.nspname::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.atttypmod = -1 THEN b.typmod ELSE a.atttypmod END,
       a.attnotnull, pg_catalog.col_description(c.oid, a.attnum),
       coalesce(col.collisdeterministic, true)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN base b ON b.declared = a.atttypid AND b.next = 0
JOIN pg_catalog.pg_type t ON t.oid = b.base
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_collation col ON col.oid = a.attcollation
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
ORDER BY c.relname, a.attnum";

/// Primary keys, and foreign keys that stay inside the namespace; one row per column, in key order.
const KEYS: &str = "
SELECT c.relname::text, k.conname::text, k.contype::text, a.attname::text, f.relname::text, fa.attname::text
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS p(attnum, fattnum, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid AND f.relnamespace = n.oid
LEFT JOIN pg_catalog.pg_attribute fa ON fa.attrelid = f.oid AND fa.attnum = p.fattnum
WHERE n.nspname = $1 AND k.contype IN ('p', 'f') AND k.conparentid = 0
ORDER BY c.relname, k.conname, p.place";

/// Reads every table of a namespace, to be shown in `schema`.
pub(super) async fn tables(
    client: &Client,
    namespace: &str,
    schema: &str,
) -> Result<Vec<Arc<TableDef>>, Error> {
    let mut columns: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for row in client.query(COLUMNS, &[&namespace]).await? {
        let (table, column) = remote_column(&row)?;
        columns.entry(table).or_default().push(field(&column));
    }
    let mut keys = Keys::default();
    for row in client.query(KEYS, &[&namespace]).await? {
        keys.add(&row, schema)?;
    }
    let mut tables = Vec::new();
    for row in client.query(TABLES, &[&namespace]).await? {
        let name: String = row.try_get(0)?;
        let kind: String = row.try_get(1)?;
        let rows: f64 = row.try_get(2)?;
        tables.push(Arc::new(TableDef {
            schema: schema.to_owned(),
            arrow: Arc::new(Schema::new(columns.remove(&name).unwrap_or_default())),
            comment: row.try_get(3)?,
            primary_key: keys.primary.remove(&name).unwrap_or_default(),
            foreign_keys: keys.foreign_of(&name),
            row_estimate: estimate(rows),
            kind: if matches!(kind.as_str(), "v" | "m") { TableKind::View } else { TableKind::Table },
            name,
        }));
    }
    Ok(tables)
}

fn remote_column(row: &Row) -> Result<(String, RemoteColumn), Error> {
    let column = RemoteColumn {
        name: row.try_get(1)?,
        type_name: row.try_get(2)?,
        type_schema: row.try_get(3)?,
        declared: row.try_get(4)?,
        type_modifier: row.try_get(5)?,
        not_null: row.try_get(6)?,
        comment: row.try_get(7)?,
        deterministic: row.try_get(8)?,
    };
    Ok((row.try_get(0)?, column))
}

/// A whole number of rows, or nothing if the server never counted.
fn estimate(rows: f64) -> Option<u64> {
    if rows < 0.0 || !rows.is_finite() { None } else { format!("{rows:.0}").parse().ok() }
}

#[derive(Default)]
struct Keys {
    primary: BTreeMap<String, Vec<String>>,
    /// By table and constraint name.
    foreign: BTreeMap<(String, String), ForeignKey>,
}

impl Keys {
    fn add(&mut self, row: &Row, schema: &str) -> Result<(), Error> {
        let table: String = row.try_get(0)?;
        let kind: String = row.try_get(2)?;
        let column: String = row.try_get(3)?;
        if kind == "p" {
            self.primary.entry(table).or_default().push(column);
            return Ok(());
        }
        // A key into another namespace points at a table nobody can see here.
        let (Some(to_table), Some(to_column)) = (row.try_get(4)?, row.try_get(5)?) else { return Ok(()) };
        let key = self.foreign.entry((table, row.try_get(1)?)).or_insert_with(|| ForeignKey {
            columns: vec![],
            to_schema: schema.to_owned(),
            to_table,
            to_columns: vec![],
        });
        key.columns.push(column);
        key.to_columns.push(to_column);
        Ok(())
    }

    fn foreign_of(&self, table: &str) -> Vec<ForeignKey> {
        self.foreign.iter().filter(|((of, _), _)| of == table).map(|(_, key)| key.clone()).collect()
    }
}
