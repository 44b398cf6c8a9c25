//! A session over a catalog, as the gateway makes one, and what came of its statements.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use portolan_catalog::Catalog;
use portolan_catalog::federation::{FederationOptions, physical_optimizer_rules};
use portolan_catalog::source::SourceError;

/// A session whose bare names are a schema's.
pub(crate) fn session(
    catalog: &Arc<Catalog>,
    schema: &str,
    options: &Arc<FederationOptions>,
) -> SessionContext {
    let config =
        SessionConfig::new().with_target_partitions(2).with_default_catalog_and_schema("portolan", schema);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(options), vec![]));
    context
}

/// The source's own error in what a statement failed with.
pub(crate) fn source_error(error: &DataFusionError) -> SourceError {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<SourceError>() {
            return found.clone();
        }
        next = current.source();
    }
    panic!("no error of a source: {error}")
}

/// Rows as text, in the order of that.
pub(crate) fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let format = FormatOptions::default().with_null("∅").with_display_error(true);
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"),
            );
        }
    }
    rows.sort();
    rows
}
