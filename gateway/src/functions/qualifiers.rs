//! What stands before a dot: a table.
//!
//! DataFusion takes `vessel.name` for a part of a column `vessel` that is in sight; to PostgreSQL it is a column of a
//! table, and a part of a column is `(vessel).name` (PostgreSQL 17, parse_expr.c, transformColumnRef).

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};

/// Leaves what is named after a column that has no parts to be found as a table's column, or refused as one.
#[derive(Debug)]
pub(super) struct TablesFirst;

impl ExprPlanner for TablesFirst {
    fn plan_compound_identifier(
        &self,
        field: &Field,
        _qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let first = field.name().as_str();
        let has_parts = matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..));
        Ok(match nested_names {
            _ if has_parts => PlannerResult::Original(Vec::new()),
            [name] => PlannerResult::Planned(Expr::Column(Column::new(Some(first), name))),
            [table, name] => {
                let table = TableReference::partial(first, table.as_str());
                PlannerResult::Planned(Expr::Column(Column::new(Some(table), name)))
            }
            _ => PlannerResult::Original(Vec::new()),
        })
    }
}
