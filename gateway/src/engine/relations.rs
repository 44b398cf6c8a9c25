//! The tables a statement names, looked up before the statement is adapted, which knows only what has been listed.
//!
//! A table that nobody listed yet is asked for here, so that the first statement after a start finds it; one that its
//! source cannot show, because a file of it is damaged, is that error and not an unknown relation.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement, visit_relations};
use portolan_catalog::federation::FederatedTable;
use portolan_catalog::source::TableDef;

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
    for name in names(statement) {
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

/// Tables by schema and name.
pub(super) type Tables = HashMap<(String, String), Arc<TableDef>>;

/// The tables a statement names whose stores see to it that their primary keys are unique. What cannot be had is left
/// out: whoever reads it will say why.
pub(super) async fn keyed(
    statement: &Statement,
    search_path: &[String],
    catalog: &dyn CatalogProvider,
) -> Tables {
    let mut keyed = Tables::new();
    for name in names(statement) {
        let places: Vec<(&str, &str)> = match name.as_slice() {
            [table] => search_path.iter().map(|schema| (schema.as_str(), table.as_str())).collect(),
            [schema, table] | [_, schema, table] => vec![(schema.as_str(), table.as_str())],
            _ => Vec::new(),
        };
        for (schema, table) in places {
            let Some(found) = catalog.schema(schema).filter(|schema| schema.table_exist(table)) else {
                continue;
            };
            let Ok(Some(provider)) = found.table(table).await else { continue };
            if let Some(federated) = provider.downcast_ref::<FederatedTable>()
                && !federated.enforced_key().is_empty()
            {
                keyed.insert((schema.to_owned(), table.to_owned()), Arc::clone(federated.definition()));
            }
        }
    }
    keyed
}

fn names(statement: &Statement) -> Vec<Vec<String>> {
    let mut names = Vec::new();
    let _ = visit_relations(statement, |name: &ObjectName| {
        names.push(folded(name));
        ControlFlow::<()>::Continue(())
    });
    names
}
