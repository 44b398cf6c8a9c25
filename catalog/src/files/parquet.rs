//! Parquet files through the engine's own scan: row groups and pages are pruned by the filters, columns by the
//! projection, and every filter is evaluated again on what is left.

use std::fs::File;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::listing::FoundFile;
use super::statistics::{Figures, of_file};

/// What a file's footer tells.
#[derive(Debug, Clone)]
pub(super) struct Footer {
    /// Columns as the gateway shows them.
    pub(super) schema: SchemaRef,
    pub(super) rows: u64,
    /// Of each column; none where they are not kept.
    pub(super) figures: Arc<[Figures]>,
}

/// Looks into a file's footer.
pub(super) fn describe(file: &FoundFile) -> std::result::Result<Footer, parquet::errors::ParquetError> {
    let opened = File::open(&file.path)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened)?;
    let rows = builder.metadata().file_metadata().num_rows();
    let fields: Vec<Field> = builder.schema().fields().iter().map(|field| shown(field.as_ref())).collect();
    Ok(Footer {
        schema: Arc::new(Schema::new(fields)),
        rows: u64::try_from(rows).unwrap_or(0),
        figures: of_file(builder.metadata(), builder.schema()).into(),
    })
}

/// Times become microseconds, whatever their unit, every zoned one UTC and bytes of one width plain ones, which are no
/// UUIDs; the scan casts.
fn shown(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, None) => field.data_type().clone(),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::FixedSizeBinary(_) => DataType::Binary,
        other => other.clone(),
    };
    Field::new(field.name(), data_type, true)
}

/// A provider over the given files.
pub(super) fn provider(files: &[FoundFile], schema: SchemaRef) -> Result<ListingTable> {
    let urls = files
        .iter()
        .map(|file| {
            let path = std::path::absolute(&file.path)?;
            ListingTableUrl::parse(path.to_string_lossy())
        })
        .collect::<Result<Vec<_>, DataFusionError>>()?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    ListingTable::try_new(
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_the_gateway_knows() {
        let shown = |of: DataType| shown(&Field::new("c", of, false)).data_type().clone();
        assert_eq!(shown(DataType::FixedSizeBinary(16)), DataType::Binary);
        assert_eq!(
            shown(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            DataType::Timestamp(TimeUnit::Microsecond, None)
        );
        assert_eq!(shown(DataType::Int32), DataType::Int32);
    }
}
