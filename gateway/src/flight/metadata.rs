//! Catalogs, schemas, tables and keys, as the statements of the same session would find them.
//!
//! What is listed is what can be queried: names come from the catalog a session plans with, and the mirrored model adds
//! what tables do not know of themselves, their kind and their keys. A source that is down costs its tables nothing
//! but the columns the model does not know either; it never fails the list.

use std::sync::Arc;

use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::CatalogProvider;
use datafusion::logical_expr::TableType;

use super::schema;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;
use crate::session::{CATALOG, Session};
use crate::shadow::{MirrorForeignKey, MirrorKind, MirrorModel, MirrorTable};

/// The kinds of relations.
pub(super) const TABLE_TYPES: [&str; 2] = ["TABLE", "VIEW"];

fn tables_of(session: &Session) -> Result<Arc<dyn CatalogProvider>, QueryError> {
    session
        .state()
        .catalog_list()
        .catalog(CATALOG)
        .ok_or_else(|| QueryError::new(ErrorCode::InvalidCatalogName, "the catalog is not there"))
}

/// GetDbSchemas.
///
/// # Errors
/// XX000 when the list cannot be laid out.
pub(super) fn schemas(session: &Session, command: CommandGetDbSchemas) -> Result<RecordBatch, QueryError> {
    let mut builder = command.into_builder();
    for name in tables_of(session)?.schema_names() {
        builder.append(CATALOG, name);
    }
    builder.build().map_err(|error| QueryError::internal(&error))
}

/// GetTables, with each table's columns when asked.
///
/// # Errors
/// XX000 when the list cannot be laid out.
pub(super) async fn tables(
    session: &Session,
    model: &MirrorModel,
    command: CommandGetTables,
) -> Result<RecordBatch, QueryError> {
    let include_schema = command.include_schema;
    let mut builder = command.into_builder();
    let catalog = tables_of(session)?;
    let unknown = Schema::empty();
    for schema_name in catalog.schema_names() {
        let Some(provider) = catalog.schema(&schema_name) else { continue };
        for name in provider.table_names() {
            let mirrored =
                model.tables.iter().find(|table| table.schema == schema_name && table.name == name);
            let opened = if include_schema || mirrored.is_none() {
                let opened = provider.table(&name).await;
                opened
                    .inspect_err(|error| tracing::debug!(%error, "a listed table cannot be opened"))
                    .ok()
                    .flatten()
            } else {
                None
            };
            let view = match (mirrored, &opened) {
                (Some(table), _) => table.kind == MirrorKind::View,
                (None, Some(table)) => table.table_type() == TableType::View,
                (None, None) => false,
            };
            let columns = match (opened, mirrored) {
                (Some(table), _) => schema::of_table(&table.schema()),
                (None, Some(table)) => declared(table),
                (None, None) => unknown.clone(),
            };
            let kind = if view { "VIEW" } else { "TABLE" };
            builder
                .append(CATALOG, &schema_name, &name, kind, &columns)
                .map_err(|error| QueryError::internal(&error))?;
        }
    }
    builder.build().map_err(|error| QueryError::internal(&error))
}

/// The columns of a table that cannot be opened, from its mirror.
fn declared(table: &MirrorTable) -> Schema {
    let fields: Vec<Field> = table
        .columns
        .iter()
        .filter_map(|column| {
            let data_type = PgType::parse(&column.pg_type)?.to_arrow()?;
            Some(Field::new(&column.name, data_type, !column.not_null))
        })
        .collect();
    schema::of_table(&Schema::new(fields))
}

/// Narrows a list to one table: its catalog and schema only when they are named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    catalog: Option<&'a str>,
    schema: Option<&'a str>,
    table: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn new(catalog: &'a Option<String>, schema: &'a Option<String>, table: &'a str) -> Self {
        Self { catalog: catalog.as_deref(), schema: schema.as_deref(), table }
    }

    fn is(&self, schema: &str, table: &str) -> bool {
        self.catalog.is_none_or(|catalog| catalog == CATALOG)
            && self.schema.is_none_or(|wanted| wanted == schema)
            && self.table == table
    }
}

/// Columns of GetPrimaryKeys.
pub(super) fn primary_key_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

/// GetPrimaryKeys, ordered by schema, table and place in the key.
///
/// # Errors
/// XX000 when the list cannot be laid out.
pub(super) fn primary_keys(model: &MirrorModel, place: Place<'_>) -> Result<RecordBatch, QueryError> {
    let mut rows = Vec::new();
    for table in model.tables.iter().filter(|table| place.is(&table.schema, &table.name)) {
        for (column, sequence) in table.primary_key.iter().zip(1_i32..) {
            rows.push((&table.schema, &table.name, primary_key_name(&table.name), sequence, column));
        }
    }
    rows.sort();
    let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let columns = vec![
        text(rows.iter().map(|_| CATALOG).collect()),
        text(rows.iter().map(|row| row.0.as_str()).collect()),
        text(rows.iter().map(|row| row.1.as_str()).collect()),
        text(rows.iter().map(|row| row.4.as_str()).collect()),
        text(rows.iter().map(|row| row.2.as_str()).collect()),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3))),
    ];
    RecordBatch::try_new(primary_key_schema(), columns).map_err(|error| QueryError::internal(&error))
}

/// Columns of the three lists of foreign keys.
pub(super) fn foreign_key_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

/// `NO ACTION` of the list's rules; nothing is ever changed here.
const NO_ACTION: u8 = 3;

/// The foreign keys from one table, to one table, or both; ordered by the referenced table and the key.
///
/// # Errors
/// XX000 when the list cannot be laid out.
pub(super) fn foreign_keys(
    model: &MirrorModel,
    to: Option<Place<'_>>,
    from: Option<Place<'_>>,
) -> Result<RecordBatch, QueryError> {
    let mut rows = Vec::new();
    for table in &model.tables {
        if from.is_some_and(|place| !place.is(&table.schema, &table.name)) {
            continue;
        }
        for key in &table.foreign_keys {
            if to.is_some_and(|place| !place.is(&key.to_schema, &key.to_table)) {
                continue;
            }
            let name = foreign_key_name(&table.name, key);
            for ((column, target), sequence) in key.columns.iter().zip(&key.to_columns).zip(1_i32..) {
                rows.push((
                    &key.to_schema,
                    &key.to_table,
                    primary_key_name(&key.to_table),
                    sequence,
                    target,
                    &table.schema,
                    &table.name,
                    column,
                    name.clone(),
                ));
            }
        }
    }
    rows.sort();
    let text = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
    let catalog = || text(rows.iter().map(|_| CATALOG).collect());
    let rules = || Arc::new(UInt8Array::from_iter_values(rows.iter().map(|_| NO_ACTION))) as ArrayRef;
    let columns = vec![
        catalog(),
        text(rows.iter().map(|row| row.0.as_str()).collect()),
        text(rows.iter().map(|row| row.1.as_str()).collect()),
        text(rows.iter().map(|row| row.4.as_str()).collect()),
        catalog(),
        text(rows.iter().map(|row| row.5.as_str()).collect()),
        text(rows.iter().map(|row| row.6.as_str()).collect()),
        text(rows.iter().map(|row| row.7.as_str()).collect()),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3))),
        text(rows.iter().map(|row| row.8.as_str()).collect()),
        text(rows.iter().map(|row| row.2.as_str()).collect()),
        rules(),
        rules(),
    ];
    RecordBatch::try_new(foreign_key_schema(), columns).map_err(|error| QueryError::internal(&error))
}

/// PostgreSQL's name of a primary key nobody named.
fn primary_key_name(table: &str) -> String {
    format!("{table}_pkey")
}

/// PostgreSQL's name of a foreign key nobody named.
fn foreign_key_name(table: &str, key: &MirrorForeignKey) -> String {
    format!("{table}_{}_fkey", key.columns.join("_"))
}
