//! Result columns as an Arrow schema, and batches brought to it.
//!
//! Names are the public ones and may repeat. What a client need not know about is not shown: dictionaries, run ends and
//! view types become plain arrays, times finer than a microsecond are floored, as on the other door. Field metadata
//! says what Arrow cannot: the SQL type's name, precision, scale and the column's comment.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use portolan_catalog::source::COMMENT_KEY;

use crate::engine::ResultColumn;
use crate::error::QueryError;
use crate::pgtypes::PgType;

/// The schema a client sees of a result.
pub(super) fn of_columns(columns: &[ResultColumn]) -> SchemaRef {
    let fields: Vec<Field> =
        columns.iter().map(|column| described(&column.name, &column.arrow, column.pg)).collect();
    Arc::new(Schema::new(fields))
}

/// The schema a client sees of a table.
pub(super) fn of_table(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            described(field.name(), field, PgType::from_field(field)).with_nullable(field.is_nullable())
        })
        .collect();
    Schema::new(fields)
}

/// The metadata that names a column's SQL type.
pub(super) fn type_name(shown: &str) -> HashMap<String, String> {
    HashMap::from([("ARROW:FLIGHT:SQL:TYPE_NAME".to_owned(), shown.to_owned())])
}

/// A column with what Flight SQL says about columns; nullable, since an outer join makes any column so.
fn described(name: &str, field: &Field, pg: PgType) -> Field {
    let data_type = plain(field.data_type());
    let mut metadata = field.metadata().clone();
    metadata.extend(type_name(&pg.format()));
    let mut say = |key: &str, value: String| {
        metadata.insert(format!("ARROW:FLIGHT:SQL:{key}"), value);
    };
    match &data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            say("PRECISION", precision.to_string());
            say("SCALE", scale.to_string());
        }
        _ => {}
    }
    if let Some(comment) = field.metadata().get(COMMENT_KEY) {
        say("REMARKS", comment.clone());
    }
    Field::new(name, data_type, true).with_metadata(metadata)
}

/// The type without what only saves memory inside.
fn plain(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match data_type {
        DataType::Null | DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::RunEndEncoded(_, value) => plain(value.data_type()),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::List(item) | DataType::ListView(item) => DataType::List(inner(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// A batch of the engine as a batch of the client's schema.
///
/// # Errors
/// XX000 when a column is of a type its plan did not announce and that cannot become it.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, QueryError> {
    if batch.num_columns() != schema.fields().len() {
        return Err(QueryError::internal(&"a batch has another number of columns than its plan"));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| to_type(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| QueryError::internal(&error))
}

fn to_type(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, QueryError> {
    if column.data_type() == wanted {
        return Ok(Arc::clone(column));
    }
    if let (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Microsecond, zone)) =
        (column.data_type(), wanted)
    {
        // Arrow's cast rounds towards 1970, which moves earlier instants into the next bucket.
        let floored = column
            .as_primitive::<TimestampNanosecondType>()
            .unary::<_, TimestampMicrosecondType>(|nanos| nanos.div_euclid(1_000));
        return Ok(Arc::new(floored.with_timezone_opt(zone.clone())));
    }
    cast_with_options(column, wanted, &CastOptions { safe: false, ..CastOptions::default() })
        .map_err(|error| QueryError::internal(&error))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        DictionaryArray, Int32Array, NullArray, StringArray, StringViewArray, TimestampNanosecondArray,
    };
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn batches_lose_what_only_saves_memory_inside() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec![Some("a"), None])),
            Arc::new(DictionaryArray::<Int32Type>::new(
                Int32Array::from(vec![0, 0]),
                Arc::new(StringArray::from(vec!["x"])),
            )),
            Arc::new(NullArray::new(2)),
            Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999]).with_timezone("UTC")),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new("c", column.data_type().clone(), true)).collect();
        let inside = Arc::new(Schema::new(fields));
        let outside = Arc::new(of_table(&inside));
        let batch = conform(&RecordBatch::try_new(inside, columns).unwrap(), &outside).unwrap();
        let types: Vec<&DataType> = batch.columns().iter().map(|column| column.data_type()).collect();
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(types, [&DataType::Utf8, &DataType::Utf8, &DataType::Utf8, &zoned]);
        let micros = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(micros.values(), &[-1, 1]);
        assert_eq!(batch.column(2).null_count(), 2);
    }
}
