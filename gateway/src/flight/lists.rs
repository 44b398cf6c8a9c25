//! The commands whose answer is a list about the server: their columns, and their rows.

use arrow_flight::sql::Command;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::FlightConfig;
use super::info;
use super::metadata::{self, Place};
use super::session::FlightSession;
use crate::error::QueryError;
use crate::session::CATALOG;

/// The columns of a list; `None` for a command that is no list.
///
/// # Errors
/// XX000 when they cannot be laid out.
pub(super) fn schema(command: &Command) -> Result<Option<SchemaRef>, QueryError> {
    Ok(Some(match command {
        Command::CommandGetCatalogs(list) => list.into_builder().schema(),
        Command::CommandGetDbSchemas(list) => list.clone().into_builder().schema(),
        Command::CommandGetTables(list) => list.clone().into_builder().schema(),
        Command::CommandGetTableTypes(list) => list.into_builder().schema(),
        Command::CommandGetSqlInfo(_) => info::sql_info()?.schema(),
        Command::CommandGetXdbcTypeInfo(_) => info::types()?.schema(),
        Command::CommandGetPrimaryKeys(_) => metadata::primary_key_schema(),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => metadata::foreign_key_schema(),
        _ => return Ok(None),
    }))
}

/// The rows of a list; `None` for a command that is no list.
///
/// # Errors
/// XX000 when they cannot be laid out.
pub(super) async fn rows(
    config: &FlightConfig,
    session: &FlightSession,
    command: Command,
) -> Result<Option<RecordBatch>, QueryError> {
    let opened = || session.open(&config.engine);
    let model = || config.names.model();
    let batch = match command {
        Command::CommandGetCatalogs(list) => {
            let mut builder = list.into_builder();
            builder.append(CATALOG);
            builder.build().map_err(|error| QueryError::internal(&error))?
        }
        Command::CommandGetDbSchemas(list) => metadata::schemas(&opened(), list)?,
        Command::CommandGetTables(list) => {
            let (opened, model) = (opened(), model());
            Box::pin(metadata::tables(&opened, &model, list)).await?
        }
        Command::CommandGetTableTypes(list) => {
            let mut builder = list.into_builder();
            metadata::TABLE_TYPES.iter().for_each(|name| builder.append(name));
            builder.build().map_err(|error| QueryError::internal(&error))?
        }
        Command::CommandGetSqlInfo(list) => {
            list.into_builder(&info::sql_info()?).build().map_err(|error| QueryError::internal(&error))?
        }
        Command::CommandGetXdbcTypeInfo(list) => {
            list.into_builder(&info::types()?).build().map_err(|error| QueryError::internal(&error))?
        }
        Command::CommandGetPrimaryKeys(key) => {
            metadata::primary_keys(&model(), Place::new(&key.catalog, &key.db_schema, &key.table))?
        }
        Command::CommandGetExportedKeys(key) => {
            let to = Place::new(&key.catalog, &key.db_schema, &key.table);
            metadata::foreign_keys(&model(), Some(to), None)?
        }
        Command::CommandGetImportedKeys(key) => {
            let from = Place::new(&key.catalog, &key.db_schema, &key.table);
            metadata::foreign_keys(&model(), None, Some(from))?
        }
        Command::CommandGetCrossReference(key) => {
            let to = Place::new(&key.pk_catalog, &key.pk_db_schema, &key.pk_table);
            let from = Place::new(&key.fk_catalog, &key.fk_db_schema, &key.fk_table);
            metadata::foreign_keys(&model(), Some(to), Some(from))?
        }
        _ => return Ok(None),
    };
    Ok(Some(batch))
}
