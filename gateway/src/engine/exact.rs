//! Numeric parameters with digits that a plan has no room for.
//!
//! PostgreSQL's `numeric` has the digits of its value; a decimal in a plan has those of the column beside the parameter, or
//! a default. A value is never rounded to them: its statement is planned again, with the parameter declared to be of the
//! digits it is written with.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::Prepared;
use crate::pgtypes::PgType;

/// What the parameters must be declared as; `None` if the plan keeps the digits of them all.
pub(super) fn declared(prepared: &Prepared, params: &[ScalarValue]) -> Option<Vec<Option<PgType>>> {
    if !params.iter().any(|value| digits(&value.data_type()).is_some()) {
        return None;
    }
    let fields = prepared.plan.get_parameter_fields().ok()?;
    let mut declared = prepared.declared.clone();
    declared.resize(params.len(), None);
    let mut changed = false;
    for (index, (value, declared)) in params.iter().zip(&mut declared).enumerate() {
        let of = value.data_type();
        let number = prepared.parameters.get(index).is_some_and(|pg| {
            pg.oid == PgType::NUMERIC.oid || pg.element().is_some_and(|of| of.oid == PgType::NUMERIC.oid)
        });
        if !number {
            continue;
        }
        let Some((precision, scale)) = digits(&of).filter(|_| !value.is_null()) else { continue };
        let Some(planned) = fields.get(&format!("${}", index + 1)).cloned().flatten() else { continue };
        if has_room(planned.data_type(), precision, scale) {
            continue;
        }
        let number = PgType::numeric(precision, scale);
        *declared = if matches!(of, DataType::List(_)) { number.array() } else { Some(number) };
        changed = true;
    }
    changed.then_some(declared)
}

/// Precision and scale of a decimal, or of an array's.
fn digits(of: &DataType) -> Option<(u8, i8)> {
    match of {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((*precision, *scale))
        }
        DataType::List(item) => digits(item.data_type()),
        _ => None,
    }
}

/// Whether a value keeps its digits in a plan's type. A number of no column's type shows digits of its own; those in an
/// array are only compared.
fn has_room(planned: &DataType, precision: u8, scale: i8) -> bool {
    let Some((of, behind)) = digits(planned) else { return false };
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let default = PgType::NUMERIC.to_arrow().is_some_and(|default| digits(&default) == Some((of, behind)));
    let room = behind >= scale && whole(of, behind) >= whole(precision, scale);
    room && (behind == scale || !default || matches!(planned, DataType::List(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_room_where_no_digit_is_lost() {
        for (planned, precision, scale, expected) in [
            (DataType::Decimal128(14, 3), 4, 3, true),
            (DataType::Decimal128(14, 3), 5, 4, false),
            (DataType::Decimal128(14, 3), 11, 0, true),
            (DataType::Decimal128(14, 3), 12, 0, false),
            (DataType::Decimal128(38, 10), 12, 10, true),
            (DataType::Decimal128(38, 10), 2, 1, false),
            (DataType::UInt64, 2, 1, false),
            (DataType::new_list(DataType::Decimal128(14, 3), true), 5, 4, false),
            (DataType::new_list(DataType::Decimal128(38, 10), true), 5, 4, true),
        ] {
            assert_eq!(has_room(&planned, precision, scale), expected, "{planned} {precision} {scale}");
        }
    }
}
