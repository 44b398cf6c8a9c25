//! What the configuration says of one table: its collection, its columns' paths, and what becomes of misfits.

use std::collections::BTreeMap;

use super::config::{MongodbConfig, MongodbTableConfig};
use super::kind::declared;
use crate::config::OnMismatch;
use crate::source::{SourceError, SourceErrorKind, SourceName};
use datafusion::arrow::datatypes::Field;

/// One table, declared or not.
#[derive(Debug, Clone)]
pub(super) struct TableShape {
    /// Collection or view that is read.
    pub(super) collection: String,
    pub(super) on_mismatch: OnMismatch,
    pub(super) comment: Option<String>,
    /// Declared columns, in order.
    pub(super) columns: Vec<Field>,
    /// Paths of declared columns.
    paths: BTreeMap<String, Vec<String>>,
}

impl TableShape {
    /// A table nothing is declared of.
    pub(super) fn undeclared(collection: &str, on_mismatch: OnMismatch) -> Self {
        Self {
            collection: collection.to_owned(),
            on_mismatch,
            comment: None,
            columns: Vec::new(),
            paths: BTreeMap::new(),
        }
    }

    fn declared(table: &str, config: &MongodbTableConfig, on_mismatch: OnMismatch) -> Result<Self, String> {
        let mut shape = Self::undeclared(
            config.collection.as_deref().unwrap_or(table),
            config.on_mismatch.unwrap_or(on_mismatch),
        );
        shape.comment.clone_from(&config.comment);
        for column in &config.columns {
            let path = match &column.from {
                Some(path) => path.split('.').map(str::to_owned).collect(),
                None => vec![column.name.clone()],
            };
            if column.name.is_empty() || path.iter().any(String::is_empty) {
                return Err(format!("has a column \"{}\" with an empty step in its path", column.name));
            }
            if shape.paths.insert(column.name.clone(), path).is_some() {
                return Err(format!("declares column \"{}\" twice", column.name));
            }
            shape.columns.push(declared(&column.name, column.column_type, column.comment.as_deref()));
        }
        Ok(shape)
    }

    /// Steps from a document to a column's value.
    pub(super) fn path(&self, column: &str) -> Vec<String> {
        self.paths.get(column).cloned().unwrap_or_else(|| vec![column.to_owned()])
    }

    /// Whether the configuration says what the column is.
    pub(super) fn declares(&self, column: &str) -> bool {
        self.paths.contains_key(column)
    }
}

/// The declared tables of a source by name.
///
/// # Errors
/// `Data` naming the table whose declaration cannot be right.
pub(super) fn declared_tables(
    name: &SourceName,
    config: &MongodbConfig,
) -> Result<BTreeMap<String, TableShape>, SourceError> {
    let refuse = |message: String| SourceError::new(SourceErrorKind::Data, message).with_source(name);
    let on_mismatch = config.on_mismatch.unwrap_or_default();
    let mut tables = BTreeMap::new();
    for (table, declaration) in &config.tables {
        let shape = TableShape::declared(table, declaration, on_mismatch)
            .map_err(|why| refuse(format!("table \"{name}.{table}\" {why}")))?;
        tables.insert(table.clone(), shape);
    }
    Ok(tables)
}
