//! The terms of a recursive query, said to have columns with the same notes.
//!
//! A field carries notes of where its column comes from. DataFusion runs a recursive query only where those of both terms
//! are the ones it shows, so that one which starts with a column of a source and goes on with a computed one was refused.
//! Its columns are the first term's (PostgreSQL 17, parse_cte.c, analyzeCTE): the other's get its notes. Values, types and
//! names must stay what they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, RecursiveQuery, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Gives the terms of every recursive query the notes of its columns.
pub(super) fn of_one_note(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::RecursiveQuery(query) = node else { return Ok(Transformed::no(node)) };
        let static_term = noted(&query.static_term, &query.schema)?;
        let recursive_term = noted(&query.recursive_term, &query.schema)?;
        if static_term.is_none() && recursive_term.is_none() {
            return Ok(Transformed::no(LogicalPlan::RecursiveQuery(query)));
        }
        Ok(Transformed::yes(LogicalPlan::RecursiveQuery(RecursiveQuery {
            static_term: static_term.unwrap_or(query.static_term),
            recursive_term: recursive_term.unwrap_or(query.recursive_term),
            ..query
        })))
    })?;
    Ok(done.data)
}

/// A term with the notes that are shown, or nothing if it has them.
fn noted(term: &Arc<LogicalPlan>, shown: &DFSchema) -> Result<Option<Arc<LogicalPlan>>> {
    let same = |(own, shown): (&FieldRef, &FieldRef)| own.metadata() == shown.metadata();
    if term.schema().fields().iter().zip(shown.fields()).all(same) {
        return Ok(None);
    }
    let columns = term.schema().iter().zip(shown.fields()).map(|((qualifier, own), shown)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), own.name()));
        if own.metadata() == shown.metadata() {
            return column;
        }
        let said = ScalarUDF::from(Noted::like(shown));
        said.call(vec![column]).alias_qualified(qualifier.cloned(), own.name())
    });
    let projection = Projection::try_new(columns.collect(), Arc::clone(term))?;
    Ok(Some(Arc::new(LogicalPlan::Projection(projection))))
}

/// The value itself, in a field with other notes. No statement can name it: it is not registered.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Noted {
    signature: Signature,
    notes: BTreeMap<String, String>,
}

impl Noted {
    fn like(field: &Field) -> Self {
        let notes = field.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { signature: Signature::any(1, Volatility::Immutable), notes }
    }
}

impl ScalarUDFImpl for Noted {
    fn name(&self) -> &str {
        "noted"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(data_type) => Ok(data_type.clone()),
            None => exec_err!("a note has a value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields.first() {
            Some(field) => {
                let notes = self.notes.clone().into_iter().collect();
                Ok(Arc::new(field.as_ref().clone().with_metadata(notes)))
            }
            None => exec_err!("a note has a value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => exec_err!("a note has a value"),
        }
    }
}
