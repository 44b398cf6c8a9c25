//! The type of `$1` in `x = ANY ($1)`: an array of what stands on the left (PostgreSQL 17, parse_oper.c,
//! make_scalar_array_op).
//!
//! A driver that asks for the types of parameters, as asyncpg does, sends an array only where it is told of one, and
//! DataFusion infers types from operators alone. A parameter that has a type keeps it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::pgtypes::PgType;

/// Gives the parameters without a type that are arrays the type of those arrays.
pub(crate) fn typed_arrays(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found: HashMap<String, FieldRef> = HashMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(ScalarFunction { func, args }) = part
                    && func.name() == "array_has"
                    && let [Expr::Placeholder(Placeholder { id, field: None }), value] = args.as_slice()
                    && let Ok(element) = value.get_type(&merge_schema(&node.inputs()))
                    && let Some(array) = array_of(element)
                {
                    found.insert(id.clone(), Arc::new(Field::new(id.clone(), array, true)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if found.is_empty() {
        return Ok(plan);
    }
    let typed = plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| {
            expr.transform_up(|part| match part {
                Expr::Placeholder(Placeholder { id, field: None }) => {
                    let field = found.get(&id).cloned();
                    let changed = field.is_some();
                    let part = Expr::Placeholder(Placeholder { id, field });
                    Ok(Transformed::new_transformed(part, changed))
                }
                other => Ok(Transformed::no(other)),
            })
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(typed.data)
}

/// An array of values of a type, as a parameter of it comes back.
fn array_of(element: DataType) -> Option<DataType> {
    if element.is_null() || matches!(element, DataType::List(_)) {
        return None;
    }
    let array = DataType::List(Arc::new(Field::new_list_field(element, true)));
    PgType::from_arrow(&array).without_typmod().to_arrow()
}
