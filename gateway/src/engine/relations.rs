//! The tables a statement names, looked up before the statement is adapted, which knows only what has been listed.
//!
//! A table that nobody listed yet is asked for here, so that the first statement after a start finds it; one that its
//! source cannot show, because a file of it is damaged, is that error and not an unknown relation.

use std::ops::ControlFlow;

use datafusion::catalog::CatalogProvider;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement, visit_relations};

use super::adapt::folded;

/// Asks for every named table that is not known yet.
///
/// # Errors
/// The source's, when it has the table and cannot show it, or never told its tables.
pub(super) async fn look_up(
    statement: &Statement,
    search_path: &[String],
    catalog: &dyn CatalogProvider,
) -> Result<(), DataFusionError> {
    let mut names: Vec<Vec<String>> = Vec::new();
    let _ = visit_relations(statement, |name: &ObjectName| {
        names.push(folded(name));
        ControlFlow::<()>::Continue(())
    });
    for name in names {
        match name.as_slice() {
            [table] => {
                let known =
                    |schema: &String| catalog.schema(schema).is_some_and(|schema| schema.table_exist(table));
                if search_path.iter().any(known) {
                    continue;
                }
                for schema in search_path.iter().filter_map(|schema| catalog.schema(schema)) {
                    if schema.table(table).await?.is_some() {
                        break;
                    }
                }
            }
            [schema, table] | [_, schema, table] => {
                if let Some(schema) = catalog.schema(schema)
                    && !schema.table_exist(table)
                {
                    schema.table(table).await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
