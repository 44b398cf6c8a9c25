//! Bronze as silver reads it: the latest snapshot, or all of them, numbered, payloads taken apart.
//!
//! Reading never changes bronze: `row_id` is made here, so a reject can name its row whatever the snapshot.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::{SessionContext, col, lit};
use portolan_catalog::lake::TablePath;

use super::Ingest;
use crate::decode;
use crate::error::{IngestError, Result};
use crate::pipeline::model::Pipeline;

impl Ingest {
    /// The latest snapshot of a bronze table, or all of them, with `row_id`; payloads are taken apart if the pipeline
    /// declares how.
    pub(super) async fn bronze(
        &self,
        context: &SessionContext,
        pipeline: &Pipeline,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let path = TablePath::new("bronze", &pipeline.bronze);
        let seq = self.last_commit(&path).await?.map_or(0, |(_, record)| record.seq);
        let (_, provider) = self.lake().provider(&path, None).await?;
        let schema = provider.schema();
        let frame = context.read_table(provider)?;
        let batches = if pipeline.source.as_ref().is_some_and(|source| source.all_snapshots) {
            // Row numbers begin anew in each snapshot, so the rows are numbered here, oldest first.
            let order = ["_batch_seq", "_row_no"].map(|name| col(name).sort(true, false)).to_vec();
            renumbered(&schema, &frame.sort(order)?.collect().await?)?
        } else {
            frame.filter(col("_batch_seq").eq(lit(seq)))?.collect().await?
        };
        let Some(decode) = &pipeline.decode else {
            let batches = batches
                .iter()
                .map(|batch| with_row_id(batch, batch.column_by_name("_row_no")))
                .collect::<Result<Vec<_>>>()?;
            let schema = match batches.first() {
                Some(batch) => batch.schema(),
                None => with_row_id(&RecordBatch::new_empty(schema), None)?.schema(),
            };
            return Ok((schema, batches));
        };
        let whole = concat_batches(&batches.first().map_or(schema, RecordBatch::schema), &batches)?;
        let text = |name: &str| -> Result<StringArray> {
            let array = whole.column_by_name(name).ok_or_else(|| {
                IngestError::invariant(format!("bronze table \"{}\" has no {name}", pipeline.bronze))
            })?;
            let array = cast(array, &DataType::Utf8)?;
            Ok(array.as_string::<i32>().clone())
        };
        let (payload, fields) = (text("payload")?, text("fields")?);
        let documents =
            fields.iter().zip(payload.iter()).map(|(fields, payload)| fields.or(payload)).collect();
        let decoded = decode::json(decode, &documents)?;
        let base = take_record_batch(&whole, &decoded.origin)?;
        let rows = i64::try_from(base.num_rows()).unwrap_or(i64::MAX);
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=rows));
        let base = with_row_id(&base, Some(&ids))?;
        let mut fields: Vec<Field> =
            base.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        let mut columns = base.columns().to_vec();
        for (name, array) in decoded.columns {
            if fields.iter().any(|field| *field.name() == name) {
                continue;
            }
            fields.push(Field::new(name, array.data_type().clone(), true));
            columns.push(array);
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok((batch.schema(), vec![batch]))
    }
}

/// The batches as one, with `_row_no` counted from 1 through all of them.
fn renumbered(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let whole =
        concat_batches(&batches.first().map_or_else(|| Arc::clone(schema), RecordBatch::schema), batches)?;
    let rows = i64::try_from(whole.num_rows()).unwrap_or(i64::MAX);
    let mut columns = whole.columns().to_vec();
    if let Some(slot) = whole.schema().index_of("_row_no").ok().and_then(|at| columns.get_mut(at)) {
        *slot = Arc::new(Int64Array::from_iter_values(1..=rows));
    }
    Ok(vec![RecordBatch::try_new(whole.schema(), columns)?])
}

/// The batch with a `row_id` column in front.
fn with_row_id(batch: &RecordBatch, ids: Option<&ArrayRef>) -> Result<RecordBatch> {
    let ids: ArrayRef = ids.map_or_else(|| Arc::new(Int64Array::from(Vec::<i64>::new())), Arc::clone);
    let mut fields = vec![Field::new("row_id", ids.data_type().clone(), true)];
    fields.extend(batch.schema().fields().iter().map(|field| field.as_ref().clone()));
    let mut columns = vec![ids];
    columns.extend(batch.columns().iter().map(Arc::clone));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
