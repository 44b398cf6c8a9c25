//! Whether a table still is what the list of columns says, asked inside the transaction that reads it.
//!
//! Binary COPY carries no types: four bytes of an integer are decoded as a float without complaint if the column was
//! retyped after the list was read. So every reading transaction first locks its tables as a SELECT does, then takes
//! its snapshot, and compares the columns it will read, all in the one round trip that opens it. The lock comes first
//! because a table rewritten after the snapshot looks empty to it. Nothing is refreshed here; a difference is an error.
//!
//! The first read of a column asks for all that the list is made from; later ones only for the numbers of its type,
//! modifier and collation, which the server never gives to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::Field;
use datafusion::logical_expr::Expr;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::column::{RemoteColumn, as_listed, field};
use super::{quote_identifier, quote_literal};
use crate::federation::Fragment;
use crate::source::{COMMENT_KEY, SourceError, SourceErrorKind, SourceName};

/// Word in the first column of the rows of [`Expected::question`].
const BRIEF: &str = "portolan numbers";
/// Word in the first column of the rows of [`Expected::full_question`].
const FULL: &str = "portolan columns";
/// Whether a table was rewritten since the transaction's snapshot was taken.
const REWRITTEN: &str =
    "(c.relfilenode <> 0 AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode)::text";

/// The columns that a statement touches, table by table, as the list has them.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    namespace: String,
    tables: Vec<(String, BTreeMap<String, Field>)>,
}

impl Expected {
    /// What a fragment reads, compares, joins or groups by.
    pub(super) fn of(namespace: &str, fragment: &Fragment) -> Self {
        let tables = fragment.tables();
        let mut touched: Vec<BTreeSet<String>> = vec![BTreeSet::new(); tables.len()];
        let note = |touched: &mut Vec<BTreeSet<String>>, place: usize, name: &str| {
            if let Some(names) = touched.get_mut(place) {
                names.insert(name.to_owned());
            }
        };
        let conditions = |touched: &mut Vec<BTreeSet<String>>, place: usize, expr: &Expr| {
            for column in expr.column_refs() {
                note(touched, place, &column.name);
            }
        };
        let mut rows: Vec<usize> = Vec::new();
        match &fragment.aggregate {
            Some(aggregate) => {
                rows.extend(&aggregate.groups);
                rows.extend(aggregate.calls.iter().filter_map(|call| call.column));
                for filter in aggregate.calls.iter().filter_map(|call| call.filter.as_ref()) {
                    conditions(&mut touched, 0, filter);
                }
            }
            None => rows.extend(&fragment.projection),
        }
        for filter in &fragment.filters {
            conditions(&mut touched, 0, &filter.expr);
        }
        for (index, join) in fragment.joins.iter().enumerate() {
            for (row, column) in &join.on {
                rows.push(*row);
                if let Some(field) = join.table.arrow.fields().get(*column) {
                    note(&mut touched, index + 1, field.name());
                }
            }
            for filter in &join.filters {
                conditions(&mut touched, index + 1, &filter.expr);
            }
        }
        for row in rows {
            if let Some((place, field)) = fragment.column(row) {
                note(&mut touched, place, field.name());
            }
        }
        let tables = tables
            .into_iter()
            .zip(touched)
            .map(|(table, names)| {
                let fields = table.arrow.fields().iter().filter(|field| names.contains(field.name()));
                let fields = fields.map(|field| (field.name().clone(), field.as_ref().clone())).collect();
                (table.name.clone(), fields)
            })
            .collect();
        Self { namespace: namespace.to_owned(), tables }
    }

    fn qualified(&self, table: &str) -> String {
        format!("{}.{}", quote_identifier(&self.namespace), quote_identifier(table))
    }

    /// A statement that holds the tables' shape until the transaction ends; empty if none can be locked. To be run
    /// before anything that takes a snapshot.
    pub(super) fn lock(&self, lockable: &BTreeSet<String>) -> String {
        let tables: BTreeSet<String> = self
            .tables
            .iter()
            .filter(|(table, _)| lockable.contains(table))
            .map(|(table, _)| self.qualified(table))
            .collect();
        if tables.is_empty() {
            return String::new();
        }
        let tables: Vec<String> = tables.into_iter().collect();
        format!("LOCK TABLE {} IN ACCESS SHARE MODE; ", tables.join(", "))
    }

    /// A SELECT of the numbers of the columns' types, for [`Expected::recognised`].
    pub(super) fn question(&self) -> String {
        let mut parts = Vec::with_capacity(self.tables.len());
        for (place, (table, fields)) in self.tables.iter().enumerate() {
            let names: Vec<String> = fields.keys().filter_map(|name| quote_literal(name)).collect();
            let named = if names.is_empty() {
                "false".to_owned()
            } else {
                format!("a.attname IN ({})", names.join(", "))
            };
            let table = quote_literal(&self.qualified(table)).unwrap_or_default();
            parts.push(format!(
                "SELECT '{BRIEF}', {place}::text, a.attname::text, \
                 concat_ws(' ', a.atttypid, a.atttypmod, a.attcollation, a.attnotnull), {REWRITTEN} \
                 FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_attribute a \
                 ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND {named} \
                 WHERE c.oid = {table}::pg_catalog.regclass"
            ));
        }
        parts.join(" UNION ALL ")
    }

    /// Whether the answer to [`Expected::question`] is what it was when the columns were last compared; otherwise the
    /// numbers, to be noted once they are compared.
    ///
    /// # Errors
    /// `Conflict` for a table rewritten after the snapshot was taken.
    pub(super) fn recognised(
        &self,
        source: &SourceName,
        known: &Known,
        said: &[SimpleQueryMessage],
    ) -> Result<Option<Numbers>, SourceError> {
        let mut numbers: Numbers = vec![BTreeMap::new(); self.tables.len()];
        for row in rows(said, BRIEF) {
            let place = place(row);
            if row.get(4) == Some("true") {
                return Err(self.rewritten(source, place));
            }
            if let (Some(table), Some(name), Some(text)) = (numbers.get_mut(place), row.get(2), row.get(3)) {
                table.insert(name.to_owned(), text.to_owned());
            }
        }
        Ok(if known.recognises(self, &numbers) { None } else { Some(numbers) })
    }

    /// A SELECT of what the server now says of each table, for [`Expected::compare`].
    pub(super) fn full_question(&self) -> String {
        let mut parts = Vec::with_capacity(self.tables.len());
        for (place, (table, _)) in self.tables.iter().enumerate() {
            let table = quote_literal(&self.qualified(table)).unwrap_or_default();
            parts.push(format!(
                "SELECT '{FULL}', {place}::text AS place, a.attname::text, b.typname::text, b.nspname::text, \
                 pg_catalog.format_type(a.atttypid, a.atttypmod), \
                 (CASE WHEN a.atttypmod = -1 THEN b.typmod ELSE a.atttypmod END)::text, a.attnotnull::text, \
                 coalesce(l.collisdeterministic, true)::text, {REWRITTEN} \
                 FROM pg_catalog.pg_class c \
                 LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
                 LEFT JOIN LATERAL ( \
                   WITH RECURSIVE d AS ( \
                     SELECT t.typname, t.typnamespace, t.typbasetype, t.typtypmod, -1 AS typmod \
                     FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid \
                     UNION ALL \
                     SELECT t.typname, t.typnamespace, t.typbasetype, t.typtypmod, \
                            CASE WHEN d.typmod = -1 THEN d.typtypmod ELSE d.typmod END \
                     FROM d JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype) \
                   SELECT d.typname, n.nspname, d.typmod FROM d JOIN pg_catalog.pg_namespace n ON n.oid = d.typnamespace \
                   WHERE d.typbasetype = 0) b ON true \
                 WHERE c.oid = {table}::pg_catalog.regclass"
            ));
        }
        parts.join(" UNION ALL ")
    }

    /// Compares the list with the answer to [`Expected::full_question`].
    ///
    /// # Errors
    /// `NotFound` for a column that is gone or another; `Conflict` for a table rewritten after the snapshot was taken.
    pub(super) fn compare(
        &self,
        source: &SourceName,
        said: &[SimpleQueryMessage],
    ) -> Result<(), SourceError> {
        let mut found: Vec<BTreeMap<String, Field>> = vec![BTreeMap::new(); self.tables.len()];
        for row in rows(said, FULL) {
            let place = place(row);
            if row.get(9) == Some("true") {
                return Err(self.rewritten(source, place));
            }
            let (Some(table), Some(column)) = (found.get_mut(place), remote_column(row)) else { continue };
            table.insert(column.name.clone(), field(&column));
        }
        for ((table, expected), found) in self.tables.iter().zip(&found) {
            for (name, listed) in expected {
                let how = match found.get(name) {
                    None => "is not there any more",
                    Some(now) if same(listed, &as_listed(listed, now)) => continue,
                    Some(_) => "has another type than its source said before",
                };
                let message = format!("column \"{source}.{table}.{name}\" {how}");
                return Err(SourceError::new(SourceErrorKind::NotFound, message)
                    .with_source(source)
                    .with_hint("run the query again: the list of columns is read anew"));
            }
        }
        Ok(())
    }

    fn rewritten(&self, source: &SourceName, place: usize) -> SourceError {
        let table = self.tables.get(place).map_or("?", |(table, _)| table.as_str());
        let message = format!("table \"{source}.{table}\" was rewritten while the query was reading");
        SourceError::new(SourceErrorKind::Conflict, message)
            .with_source(source)
            .with_hint("run the query again")
    }
}

/// Whether values of a column are read and compared as the list says. Comments do not matter, and a column that can
/// no longer be null is still one that may be.
fn same(listed: &Field, now: &Field) -> bool {
    let meaning = |field: &Field| {
        let mut metadata = field.metadata().clone();
        metadata.remove(COMMENT_KEY);
        metadata
    };
    listed.data_type() == now.data_type()
        && (listed.is_nullable() || !now.is_nullable())
        && meaning(listed) == meaning(now)
}

fn remote_column(row: &SimpleQueryRow) -> Option<RemoteColumn> {
    Some(RemoteColumn {
        name: row.get(2)?.to_owned(),
        type_name: row.get(3)?.to_owned(),
        type_schema: row.get(4)?.to_owned(),
        declared: row.get(5)?.to_owned(),
        type_modifier: row.get(6)?.parse().ok()?,
        not_null: row.get(7)? == "true",
        comment: None,
        deterministic: row.get(8)? == "true",
    })
}

/// The tables and views of a namespace that this account may lock as a SELECT does. Materialized and foreign ones
/// cannot be locked, nor tables of which it may read only some columns.
pub(super) async fn lockable(
    client: &Client,
    namespace: &str,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    let sql = "SELECT c.relname::text FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v') \
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT')";
    client.query(sql, &[&namespace]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Per table of a statement, the numbers of its columns' types.
pub(super) type Numbers = Vec<BTreeMap<String, String>>;

fn rows<'a>(said: &'a [SimpleQueryMessage], mark: &'a str) -> impl Iterator<Item = &'a SimpleQueryRow> {
    said.iter().filter_map(move |message| match message {
        SimpleQueryMessage::Row(row) if row.get(0) == Some(mark) => Some(row),
        _ => None,
    })
}

/// Which table of the statement a row is about.
fn place(row: &SimpleQueryRow) -> usize {
    row.get(1).and_then(|place| place.parse().ok()).unwrap_or(usize::MAX)
}

/// What was learnt of a namespace since its list was last read: which tables can be locked, and which columns were
/// compared.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Learnt>);

#[derive(Debug, Default)]
struct Learnt {
    /// Nothing if nobody asked yet: a list of columns may come from the disk. Refusals are taken out.
    lockable: Option<Arc<BTreeSet<String>>>,
    /// By table and column, as listed, and the numbers it was found to have.
    compared: BTreeMap<String, BTreeMap<String, (Field, String)>>,
}

impl Known {
    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts anew, with the tables that can be locked.
    pub(super) fn begin(&self, lockable: BTreeSet<String>) {
        *self.learnt() = Learnt { lockable: Some(Arc::new(lockable)), compared: BTreeMap::new() };
    }

    /// The tables that can be locked.
    pub(super) async fn lockable(
        &self,
        client: &Client,
        namespace: &str,
    ) -> Result<Arc<BTreeSet<String>>, tokio_postgres::Error> {
        let known = self.learnt().lockable.clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let tables = Arc::new(lockable(client, namespace).await?);
        self.learnt().lockable = Some(Arc::clone(&tables));
        Ok(tables)
    }

    /// Forgets the tables of a statement, because the server refused to lock one of them.
    pub(super) fn refused(&self, expected: &Expected) {
        if let Some(tables) = self.learnt().lockable.as_mut() {
            let tables = Arc::make_mut(tables);
            for (table, _) in &expected.tables {
                tables.remove(table);
            }
        }
    }

    fn recognises(&self, expected: &Expected, numbers: &Numbers) -> bool {
        let learnt = self.learnt();
        expected.tables.iter().zip(numbers).all(|((table, fields), numbers)| {
            let compared = learnt.compared.get(table);
            fields.iter().all(|(name, listed)| {
                let Some((was_listed, were)) = compared.and_then(|columns| columns.get(name)) else {
                    return false;
                };
                was_listed == listed && numbers.get(name) == Some(were)
            })
        })
    }

    /// Notes what was compared.
    pub(super) fn note(&self, expected: &Expected, numbers: Numbers) {
        let mut learnt = self.learnt();
        for ((table, fields), mut numbers) in expected.tables.iter().zip(numbers) {
            let compared = learnt.compared.entry(table.clone()).or_default();
            for (name, listed) in fields {
                if let Some(numbers) = numbers.remove(name) {
                    compared.insert(name.clone(), (listed.clone(), numbers));
                }
            }
        }
    }
}
