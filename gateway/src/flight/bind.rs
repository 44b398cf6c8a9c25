//! The values of a prepared statement's parameters, from the batches a client puts.
//!
//! A value whose type the statement wants is brought to it as PostgreSQL would assign it: whole numbers with a check,
//! texts as the other door reads them, nothing rounded or cut. A value of another type declares its parameter, and the
//! statement is planned again for it; the operator then exists or does not, as in PostgreSQL.

use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use futures::{Stream, TryStreamExt};
use tonic::Status;

use super::statement::Values;
use super::status::from_fault;
use crate::error::{ErrorCode, QueryError};
use crate::pg::backend::Format;
use crate::pg::decode::decode;
use crate::pg::style::Zone;
use crate::pgtypes::PgType;

/// Executions one binding may ask for.
const ROWS: usize = 10_000;

/// Reads what a client puts.
///
/// # Errors
/// 08P01 for another number of columns or a broken stream, 54000 for too many rows.
pub(super) async fn read(
    stream: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    parameters: usize,
) -> Result<Vec<RecordBatch>, QueryError> {
    let mut stream = FlightRecordBatchStream::new_from_flight_data(stream.map_err(FlightError::from));
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await.map_err(|error| broken(&error))? {
        if batch.num_columns() != parameters {
            return Err(QueryError::new(
                ErrorCode::ProtocolViolation,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {parameters}",
                    batch.num_columns(),
                ),
            ));
        }
        rows += batch.num_rows();
        if rows > ROWS {
            return Err(QueryError::new(
                ErrorCode::ProgramLimitExceeded,
                format!("a binding may have at most {ROWS} rows"),
            )
            .with_hint("bind in several steps, or join with a VALUES list"));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// The types the values declare where the statement's own will not take them; all `None` when it takes them as it is.
pub(super) fn declared(batches: &[RecordBatch], types: &[PgType]) -> Vec<Option<PgType>> {
    let Some(batch) = batches.first() else { return vec![None; types.len()] };
    batch
        .columns()
        .iter()
        .zip(types)
        .map(|(column, pg)| {
            let from = match column.data_type() {
                DataType::Dictionary(_, value) => value.as_ref(),
                other => other,
            };
            let fitting = from.is_null()
                || from.is_string()
                || pg.to_arrow().is_some_and(|to| *from == to || fits(from, &to));
            (!fitting).then(|| PgType::from_arrow(from))
        })
        .collect()
}

/// The values of all rows: one execution each.
///
/// # Errors
/// 22P02, 22003 and the like for a value its parameter cannot have, 42804 for a type it cannot have.
pub(super) fn values(
    batches: &[RecordBatch],
    types: &[PgType],
    zone: &str,
) -> Result<Vec<Values>, QueryError> {
    let zone = Zone::parse(zone).unwrap_or(Zone::Utc);
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let columns = batch.columns().iter().zip(types).enumerate();
            let values = columns.map(|(index, (column, pg))| value(column, row, *pg, index, zone));
            rows.push(values.collect::<Result<Values, _>>()?);
        }
    }
    Ok(rows)
}

fn broken(error: &FlightError) -> QueryError {
    tracing::debug!(%error, "parameters cannot be read");
    QueryError::new(ErrorCode::ProtocolViolation, "the parameters are no Arrow record batches")
}

fn value(
    column: &ArrayRef,
    row: usize,
    pg: PgType,
    index: usize,
    zone: Zone,
) -> Result<ScalarValue, QueryError> {
    if column.is_null(row) {
        return decode(pg.oid, Format::Text, None, index, zone).map_err(from_fault);
    }
    let given = ScalarValue::try_from_array(column, row).map_err(QueryError::from)?;
    let given = match given {
        ScalarValue::Dictionary(_, value) => *value,
        other => other,
    };
    if let Some(Some(text)) = given.try_as_str() {
        return decode(pg.oid, Format::Text, Some(text.as_bytes()), index, zone).map_err(from_fault);
    }
    let Some(wanted) = pg.to_arrow() else { return Err(mismatch(&given, pg, index)) };
    let from = given.data_type();
    if from == wanted {
        return Ok(given);
    }
    // The plan settles precision and scale of a numeric; here the value keeps its own.
    if matches!(wanted, DataType::Decimal128(..)) && from.is_decimal() {
        return Ok(given);
    }
    if !fits(&from, &wanted) {
        return Err(mismatch(&given, pg, index));
    }
    let wanted = match wanted {
        DataType::Decimal128(..) => DataType::Decimal128(38, 0),
        other => other,
    };
    given.cast_to(&wanted).map_err(|_| {
        QueryError::new(
            ErrorCode::NumericOutOfRange,
            format!("the value of parameter ${} is out of range for type {}", index + 1, pg.format()),
        )
    })
}

/// Whether PostgreSQL would assign a value of one type to a parameter of the other.
fn fits(from: &DataType, to: &DataType) -> bool {
    let micros_or_coarser = |unit: &TimeUnit| *unit != TimeUnit::Nanosecond;
    match (from, to) {
        (from, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(..)) => {
            from.is_integer()
        }
        (
            DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::Float16,
            DataType::Float32,
        ) => true,
        (
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::Float16
            | DataType::Float32,
            DataType::Float64,
        ) => true,
        // Python's floats are doubles; a parameter that is compared with a real is one.
        (DataType::Float64, DataType::Float32) => true,
        (DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_), DataType::Binary) => {
            true
        }
        (DataType::Date64, DataType::Date32) => true,
        (DataType::Time32(_), DataType::Time64(_)) => true,
        (DataType::Date32, DataType::Timestamp(_, None)) => true,
        (DataType::Timestamp(unit, from), DataType::Timestamp(_, to)) => {
            micros_or_coarser(unit) && from.is_some() == to.is_some()
        }
        (DataType::Duration(_), DataType::Interval(_)) => true,
        _ => false,
    }
}

fn mismatch(given: &ScalarValue, pg: PgType, index: usize) -> QueryError {
    QueryError::new(
        ErrorCode::DatatypeMismatch,
        format!(
            "parameter ${} is of type {} but a value of Arrow type {} was bound",
            index + 1,
            pg.format(),
            given.data_type()
        ),
    )
    .with_hint("bind a value of the type the parameter schema names, or cast the parameter in the statement")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn bound(column: &ArrayRef, pg: PgType) -> Result<ScalarValue, ErrorCode> {
        value(column, 0, pg, 0, Zone::Utc).map_err(|error| error.code)
    }

    #[test]
    fn values_are_brought_to_the_type_or_refused() {
        let int = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let text = |value| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let float = Arc::new(Float64Array::from(vec![2.7])) as ArrayRef;
        assert_eq!(bound(&int(Some(7)), PgType::INT4), Ok(ScalarValue::Int32(Some(7))));
        assert_eq!(bound(&int(Some(1 << 40)), PgType::INT4), Err(ErrorCode::NumericOutOfRange));
        assert_eq!(bound(&int(None), PgType::INT4), Ok(ScalarValue::Int32(None)));
        assert_eq!(bound(&int(Some(7)), PgType::FLOAT8), Ok(ScalarValue::Float64(Some(7.0))));
        assert_eq!(bound(&float, PgType::INT4), Err(ErrorCode::DatatypeMismatch));
        assert_eq!(bound(&float, PgType::FLOAT8), Ok(ScalarValue::Float64(Some(2.7))));
        assert_eq!(bound(&text("12"), PgType::INT4), Ok(ScalarValue::Int32(Some(12))));
        assert_eq!(bound(&text("x"), PgType::INT4), Err(ErrorCode::InvalidTextRepresentation));
        assert_eq!(bound(&int(Some(1)), PgType::TEXT), Err(ErrorCode::DatatypeMismatch));
        let batch = |column| vec![RecordBatch::try_from_iter([("p", column)]).unwrap()];
        assert_eq!(declared(&batch(int(Some(1))), &[PgType::INT4]), [None]);
        assert_eq!(declared(&batch(int(Some(1))), &[PgType::TEXT]), [Some(PgType::INT8)]);
        assert_eq!(declared(&batch(text("1")), &[PgType::DATE]), [None]);
        let zoned = TimestampMicrosecondArray::from(vec![1]).with_timezone("+02:00");
        let instant = ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into()));
        assert_eq!(bound(&(Arc::new(zoned) as ArrayRef), PgType::TIMESTAMPTZ), Ok(instant));
    }
}
