//! The names a FROM clause gives to columns, `FROM t AS x(a, b)`: there may be fewer than columns, and the rest keep
//! theirs (PostgreSQL 17, parse_relation.c, buildRelationAliases).
//!
//! DataFusion wants a name for each. How many there are is known when what is named has been planned, so they are counted
//! between that and the naming; nothing else is planned here.

use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{TableAlias, TableAliasColumnDef, TableFactor};

use super::adapt;
use crate::error::{ErrorCode, QueryError};

/// Completes lists of column names.
#[derive(Debug)]
pub(crate) struct ColumnAliases;

impl RelationPlanner for ColumnAliases {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut alias) =
            alias(&mut relation).and_then(|alias| alias.take_if(|own| !own.columns.is_empty()))
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let plan = context.plan(relation)?;
        complete(&mut alias, plan.schema(), context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, Some(alias)))))
    }
}

/// The place of a relation's alias.
fn alias(relation: &mut TableFactor) -> Option<&mut Option<TableAlias>> {
    match relation {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => Some(alias),
        _ => None,
    }
}

fn complete(
    alias: &mut TableAlias,
    schema: &DFSchema,
    context: &dyn RelationPlannerContext,
) -> Result<(), QueryError> {
    let available = schema.fields().len();
    let given = alias.columns.len();
    if given > available {
        let name = context.normalize_ident(alias.name.clone());
        return Err(QueryError::new(
            ErrorCode::InvalidColumnReference,
            format!("table \"{name}\" has {available} columns available but {given} columns specified"),
        ));
    }
    if given == available {
        return Ok(());
    }
    let names = alias.columns.iter().map(|column| context.normalize_ident(column.name.clone()));
    // A name that had to be made unique below may be so here without.
    let own = |name: &str| name.split(adapt::MARK).next().unwrap_or_default().to_owned();
    let kept = schema.fields().iter().skip(given).map(|field| own(field.name()));
    let names: Vec<String> = names.chain(kept).collect();
    alias.columns = adapt::distinct(&names)
        .into_iter()
        .map(|name| TableAliasColumnDef { name, data_type: None })
        .collect();
    Ok(())
}
