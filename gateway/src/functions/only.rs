//! The value of a subquery from what it found (see `found`), and the parts of a row of several.
//!
//! [`only_row`] is where a second row is an error: it stands above the join with the outer rows, where it is evaluated for
//! those that are left and for no others. It must never be given to a reader or a source, nor be called strict: a join
//! that keeps outer rows without a match would become one that does not, and it would be evaluated below it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, StructArray};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use crate::error::{ErrorCode, QueryError};

/// Names of functions that no statement can name: they are not registered.
const ONLY_ROW: &str = "only_row";
const A_ROW: &str = "a_row";
const PART_OF: &str = "part_of";

/// The value of the only row that was found; null for none, 21000 for more.
pub(crate) fn only_row(found: Expr) -> Expr {
    ScalarUDF::from(OnlyRow(Signature::any(1, Volatility::Immutable))).call(vec![found])
}

/// Several values as one, which is never null.
pub(crate) fn a_row(values: Vec<Expr>) -> Expr {
    ScalarUDF::from(ARow(Signature::variadic_any(Volatility::Immutable))).call(values)
}

/// A value of a row, by its place in it; `field` knows what is noted of it.
pub(crate) fn part_of(row: Expr, place: usize, field: FieldRef) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(PartOf { signature, place, field }).call(vec![row])
}

/// Whether a call gives a value of a subquery as it is, with what is noted of the value.
pub(super) fn is_value(name: &str) -> bool {
    matches!(name, ONLY_ROW | PART_OF)
}

fn noted(name: &str, data_type: &DataType, of: &FieldRef) -> FieldRef {
    Arc::new(Field::new(name, data_type.clone(), true).with_metadata(of.metadata().clone()))
}

/// The one argument of a call.
fn only_argument(args: &ScalarFunctionArgs) -> Result<(ArrayRef, bool)> {
    let [argument] = args.args.as_slice() else { return exec_err!("it has one argument") };
    let scalar = matches!(argument, ColumnarValue::Scalar(_));
    Ok((argument.to_array(if scalar { 1 } else { args.number_rows })?, scalar))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow(Signature);

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        ONLY_ROW
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::List(item)] => Ok(item.data_type().clone()),
            _ => exec_err!("rows are found as a list"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [found] if let DataType::List(item) = found.data_type() => {
                Ok(noted(ONLY_ROW, item.data_type(), found))
            }
            _ => exec_err!("rows are found as a list"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (found, scalar) = only_argument(&args)?;
        returned(only(&found)?, scalar)
    }
}

fn only(found: &ArrayRef) -> Result<ArrayRef> {
    let Some(lists) = found.as_list_opt::<i32>() else { return exec_err!("rows are found as a list") };
    let mut places = Vec::with_capacity(lists.len());
    for (row, bounds) in lists.value_offsets().windows(2).enumerate() {
        places.push(match bounds {
            [start, end] if start < end && lists.is_valid(row) => {
                if end - start > 1 {
                    return Err(QueryError::new(
                        ErrorCode::CardinalityViolation,
                        "more than one row returned by a subquery used as an expression",
                    )
                    .into());
                }
                Some(*start)
            }
            _ => None,
        });
    }
    Ok(take(lists.values().as_ref(), &Int32Array::from(places), None)?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ARow(Signature);

fn fields(types: impl Iterator<Item = DataType>) -> Fields {
    types.enumerate().map(|(place, of)| Field::new(format!("v{place}"), of, true)).collect()
}

impl ScalarUDFImpl for ARow {
    fn name(&self) -> &str {
        A_ROW
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields(types.iter().cloned())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let values = ColumnarValue::values_to_arrays(&args.args)?;
        let fields = fields(values.iter().map(|values| values.data_type().clone()));
        returned(Arc::new(StructArray::try_new(fields, values, None)?), scalar)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PartOf {
    signature: Signature,
    place: usize,
    field: FieldRef,
}

impl ScalarUDFImpl for PartOf {
    fn name(&self) -> &str {
        PART_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if let [DataType::Struct(fields)] = types
            && let Some(part) = fields.get(self.place)
        {
            return Ok(part.data_type().clone());
        }
        exec_err!("a row has no such part")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(noted(PART_OF, &self.return_type(&types)?, &self.field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (row, scalar) = only_argument(&args)?;
        let Some(rows) = row.as_struct_opt() else { return exec_err!("a row has parts") };
        let Some(part) = rows.columns().get(self.place) else { return exec_err!("a row has no such part") };
        let Some(nulls) = rows.nulls() else { return returned(Arc::clone(part), scalar) };
        // A part of no row is null, whatever stands in its place.
        let places: Int32Array =
            (0_i32..).zip(nulls.iter()).map(|(row, known)| known.then_some(row)).collect();
        returned(take(part.as_ref(), &places, None)?, scalar)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    fn lists(lists: Vec<Option<Vec<Option<i32>>>>) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
    }

    #[test]
    fn a_second_row_is_an_error_and_none_is_null() {
        let found =
            lists(vec![Some(vec![Some(1)]), None, Some(vec![None]), Some(vec![]), Some(vec![Some(2)])]);
        let expected = Int32Array::from(vec![Some(1), None, None, None, Some(2)]);
        assert_eq!(only(&found).unwrap().as_ref(), &expected as &dyn Array);
        // What was not asked for is not there: the error is of the rows that are.
        let several = lists(vec![Some(vec![Some(1)]), Some(vec![Some(1), None]), Some(vec![Some(3)])]);
        let error = QueryError::from(only(&several).unwrap_err());
        assert_eq!(error.code.sqlstate(), "21000");
        assert_eq!(only(&several.slice(0, 1)).unwrap().len(), 1);
        let last = only(&several.slice(2, 1)).unwrap();
        assert_eq!(last.as_ref(), &Int32Array::from(vec![3]) as &dyn Array);
    }
}
