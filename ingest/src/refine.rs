//! Derived tables: declared SQL and contracts make silver and gold, and every row gets exactly one fate.
//!
//! A silver query selects `row_id` of its pipeline's bronze rows. Rows it leaves out are filtered; rows a rule meets
//! go to quarantine; among rows of one key the greatest wins, equal ones are deduplicated and others superseded. Rows
//! that multiply are a broken invariant unless the table declares `fan_out`. Nothing here writes to a store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use portolan_catalog::simplify::optimizer_rules;

use crate::contract::Contract;
use crate::crosswalk::Crosswalks;
use crate::digest::row_hashes;
use crate::error::{ErrorClass, IngestError, Result};
use crate::functions;
use crate::pipeline::model::{Make, Severity, TableName, TableSpec, Zone};
use crate::report::Report;

/// Smallest number of refused rows that can stop an interval.
const MIN_REFUSED: u64 = 20;

/// A session for declared SQL: the three zones, our functions, and nothing a user reaches.
pub(crate) fn session(crosswalks: &Crosswalks) -> Result<SessionContext> {
    let mut config = SessionConfig::new().with_target_partitions(2).with_batch_size(16_384);
    config.options_mut().sql_parser.collect_spans = true;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_optimizer_rules(optimizer_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    let catalog =
        context.catalog("datafusion").ok_or_else(|| IngestError::invariant("the session has no catalog"))?;
    for zone in [Zone::Bronze, Zone::Silver, Zone::Gold] {
        catalog.register_schema(zone.name(), Arc::new(MemorySchemaProvider::new()))?;
    }
    for function in functions::all(crosswalks) {
        context.register_udf(function);
    }
    Ok(context)
}

/// Makes a table known to the session's SQL.
pub(crate) fn register(
    context: &SessionContext,
    name: &TableName,
    provider: Arc<dyn TableProvider>,
) -> Result<()> {
    context.register_table(name.to_string(), provider)?;
    Ok(())
}

/// An in-memory table of batches.
pub(crate) fn memory(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

/// A made table.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) counts: Report,
    /// Rows refused, by rule.
    pub(crate) rules: BTreeMap<String, u64>,
    /// Rows met by rules that only warn.
    pub(crate) warnings: BTreeMap<String, u64>,
    /// Refused rows: rule id and the row's number in its bronze table.
    pub(crate) refused: Vec<(String, i64)>,
}

/// Makes one table from the tables registered in the session. `input` are the pipeline's own bronze rows, in number.
pub(crate) async fn make(context: &SessionContext, spec: &TableSpec, input: Option<u64>) -> Result<Made> {
    let doing = |error: IngestError| error.context(format!("make \"{}\"", spec.table));
    match &spec.make {
        Make::Transform(transform) => {
            let mut inputs = Vec::new();
            for name in transform.inputs() {
                let frame = context.table(name.to_string()).await?;
                let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
                let batches = frame.collect().await?;
                let schema = batches.first().map_or(schema, RecordBatch::schema);
                inputs.push(concat_batches(&schema, &batches)?);
            }
            let batch = transform.run(&inputs).map_err(doing)?;
            whole(spec, &batch.schema(), &[batch]).map_err(doing)
        }
        Make::Sql { text, .. } if spec.table.zone == Zone::Silver => {
            Box::pin(silver(context, spec, text, input)).await.map_err(doing)
        }
        Make::Sql { text, .. } => {
            let frame = context.sql(text).await?;
            let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
            whole(spec, &schema, &frame.collect().await?).map_err(doing)
        }
    }
}

/// A table whose rows all count as written.
fn whole(spec: &TableSpec, planned: &SchemaRef, batches: &[RecordBatch]) -> Result<Made> {
    let contract = spec.contract.clone().unwrap_or_else(|| Contract::of(planned));
    let mistakes = contract.mistakes(planned);
    if !mistakes.is_empty() {
        return Err(IngestError::new(ErrorClass::Config, mistakes.join("; ")));
    }
    let schema = contract.schema();
    let batches = batches.iter().map(|batch| contract.conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
    for column in contract.columns.iter().filter(|column| column.required) {
        let nulls: usize =
            batches.iter().filter_map(|b| b.column_by_name(&column.name)).map(|a| a.null_count()).sum();
        if nulls > 0 {
            return Err(IngestError::invariant(format!(
                "required column \"{}\" has {nulls} nulls",
                column.name
            )));
        }
    }
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let counts = Report { read: rows, written: rows, ..Report::default() };
    Ok(Made {
        schema,
        batches,
        counts,
        rules: BTreeMap::new(),
        warnings: BTreeMap::new(),
        refused: Vec::new(),
    })
}

/// The query with the id of the first rule that meets a row as `_rule`.
pub(crate) fn with_rules(spec: &TableSpec, contract: &Contract, sql: &str, severity: Severity) -> String {
    let quote = |text: &str| text.replace('\'', "''");
    let mut cases: Vec<String> = spec
        .rules
        .iter()
        .filter(|rule| rule.severity == severity)
        .map(|rule| format!("WHEN ({}) THEN '{}'", rule.condition, quote(&rule.id)))
        .collect();
    if severity == Severity::Quarantine {
        cases.extend(contract.columns.iter().filter(|column| column.required).map(|column| {
            format!(
                "WHEN \"{}\" IS NULL THEN '{}.required.{}'",
                column.name,
                quote(&spec.table.name),
                column.name
            )
        }));
    }
    let sql = sql.trim().trim_end_matches(';');
    if cases.is_empty() {
        format!("SELECT q.*, CAST(NULL AS VARCHAR) AS _rule FROM ({sql}) q")
    } else {
        format!("SELECT q.*, CASE {} END AS _rule FROM ({sql}) q", cases.join(" "))
    }
}

async fn silver(context: &SessionContext, spec: &TableSpec, sql: &str, input: Option<u64>) -> Result<Made> {
    let contract = spec.contract.clone().unwrap_or_default();
    let mut warnings: BTreeMap<String, u64> = BTreeMap::new();
    for severity in [Severity::Fail, Severity::Warn] {
        if !spec.rules.iter().any(|rule| rule.severity == severity) {
            continue;
        }
        let counted = format!(
            "SELECT _rule FROM ({}) r WHERE _rule IS NOT NULL",
            with_rules(spec, &contract, sql, severity)
        );
        for batch in context.sql(&counted).await?.collect().await? {
            for rule in texts(&batch, "_rule")?.iter().flatten() {
                *warnings.entry(rule.to_owned()).or_default() += 1;
            }
        }
        if severity == Severity::Fail && !warnings.is_empty() {
            let ids: Vec<&str> = warnings.keys().map(String::as_str).collect();
            return Err(IngestError::new(
                ErrorClass::Data,
                format!("rule {} stops the interval", ids.join(", ")),
            )
            .with_hint("nothing was published; look at the rule's condition and the source"));
        }
    }
    let frame = context.sql(&with_rules(spec, &contract, sql, Severity::Quarantine)).await?;
    let planned: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
    let mistakes = contract.mistakes(&planned);
    if !mistakes.is_empty() {
        return Err(IngestError::new(ErrorClass::Config, mistakes.join("; ")));
    }
    let mut rules: BTreeMap<String, u64> = BTreeMap::new();
    let mut good = Vec::new();
    let mut ids: HashSet<i64> = HashSet::new();
    let mut refused = Vec::new();
    let mut candidates = 0_u64;
    for batch in frame.collect().await? {
        candidates += batch.num_rows() as u64;
        let rule = texts(&batch, "_rule")?;
        let row_ids = row_ids(&batch)?;
        ids.extend(row_ids.iter().copied());
        if rule.null_count() == batch.num_rows() {
            good.push(batch);
            continue;
        }
        for (id, rule) in row_ids.iter().zip(rule.iter()) {
            if let Some(rule) = rule {
                *rules.entry(rule.to_owned()).or_default() += 1;
                refused.push((rule.to_owned(), *id));
            }
        }
        let keep: BooleanArray = rule.iter().map(|rule| Some(rule.is_none())).collect();
        good.push(filter_record_batch(&batch, &keep)?);
    }
    if !spec.fan_out && candidates != ids.len() as u64 {
        let message = format!("the query multiplies rows: {candidates} from {} input rows", ids.len());
        return Err(
            IngestError::invariant(message).with_hint("join on a unique key, or declare fan_out: true")
        );
    }
    let filtered = input.map_or(0, |rows| rows.saturating_sub(ids.len() as u64));
    let schema = contract.schema();
    let good = good.iter().map(|batch| contract.conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
    let conformed = concat_batches(&schema, &good)?;
    let (winners, superseded, deduplicated) = dedupe(&conformed, &spec.key, &spec.latest)?;
    let written = take_record_batch(&conformed, &winners)?;
    let counts = Report {
        read: candidates + filtered,
        written: written.num_rows() as u64,
        quarantined: refused.len() as u64,
        deduplicated,
        superseded,
        filtered,
    };
    counts.check(&spec.table.to_string())?;
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more precision")]
    let share = counts.quarantined as f64 / counts.read.max(1) as f64;
    if share > spec.max_share && counts.quarantined >= MIN_REFUSED {
        let message =
            format!("{} of {} rows were refused, more than max_share", counts.quarantined, counts.read);
        return Err(IngestError::new(ErrorClass::Data, message)
            .with_hint("nothing was published; a rule or the source changed: see the rule counts"));
    }
    Ok(Made { schema, batches: vec![written], counts, rules, warnings, refused })
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    let array =
        batch.column_by_name(name).ok_or_else(|| IngestError::invariant(format!("no column \"{name}\"")))?;
    Ok(datafusion::arrow::compute::cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn row_ids(batch: &RecordBatch) -> Result<Vec<i64>> {
    let array = batch.column_by_name("row_id").ok_or_else(|| {
        IngestError::new(ErrorClass::Config, "the query does not select row_id")
            .with_hint("a silver query selects row_id of its bronze table, so that rows can be accounted for")
    })?;
    let array = datafusion::arrow::compute::cast(array, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().values().to_vec())
}

/// Indices of the winning row of each key, in row order; how many rows lost against a different one, and how many
/// were equal to the winner.
fn dedupe(batch: &RecordBatch, key: &[String], latest: &[String]) -> Result<(UInt32Array, u64, u64)> {
    let rows = |names: &[String]| -> Result<Option<datafusion::arrow::row::Rows>> {
        if names.is_empty() {
            return Ok(None);
        }
        let columns: Vec<_> =
            names.iter().filter_map(|name| batch.column_by_name(name).map(Arc::clone)).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        Ok(Some(RowConverter::new(fields)?.convert_columns(&columns)?))
    };
    let (Some(keys), order) = (rows(key)?, rows(latest)?) else {
        let all = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        return Ok((UInt32Array::from_iter_values(0..all), 0, 0));
    };
    let mut winner: HashMap<&[u8], usize> = HashMap::with_capacity(batch.num_rows());
    let key_rows: Vec<_> = keys.iter().collect();
    for (row, key) in key_rows.iter().enumerate() {
        let best = winner.entry(key.as_ref()).or_insert(row);
        if *best != row && order.as_ref().is_none_or(|order| order.row(row) >= order.row(*best)) {
            *best = row;
        }
    }
    if winner.len() == batch.num_rows() {
        let all = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        return Ok((UInt32Array::from_iter_values(0..all), 0, 0));
    }
    let hashes = row_hashes(batch)?;
    let (mut kept, mut superseded, mut equal) = (Vec::with_capacity(winner.len()), 0, 0);
    for (row, key) in key_rows.iter().enumerate() {
        match winner.get(key.as_ref()) {
            Some(best) if *best == row => kept.push(u32::try_from(row).unwrap_or(u32::MAX)),
            Some(best) if hashes.get(*best) == hashes.get(row) => equal += 1,
            _ => superseded += 1,
        }
    }
    Ok((UInt32Array::from(kept), superseded, equal))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::contract::Column;
    use crate::pipeline::model::Rule;

    fn spec(sql: &str, fan_out: bool) -> TableSpec {
        let column = |name: &str, kind, required| Column { name: name.into(), kind, required, comment: None };
        TableSpec {
            table: TableName { zone: Zone::Silver, name: "op".into() },
            pipeline: "ops".into(),
            file: "ops.yaml".into(),
            line: 1,
            column: 1,
            make: Make::Sql { text: sql.into(), file: "ops.yaml".into() },
            inputs: Vec::new(),
            contract: Some(Contract {
                columns: vec![
                    column("id", DataType::Int64, true),
                    column("tonnes", DataType::Decimal128(14, 3), false),
                    column("v", DataType::Int64, false),
                ],
            }),
            key: vec!["id".into()],
            latest: vec!["v".into()],
            rules: vec![Rule {
                id: "OP1".into(),
                condition: "tonnes < 0".into(),
                severity: Severity::Quarantine,
            }],
            fan_out,
            stored: true,
            publish: None,
            max_share: 0.9,
            comment: None,
        }
    }

    fn context() -> SessionContext {
        let context = session(&Crosswalks::default()).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("row_id", Arc::new(Int64Array::from_iter_values(1..=7))),
            (
                "id",
                Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(1), Some(2), None, Some(3), Some(9)])),
            ),
            ("tonnes", Arc::new(Int64Array::from(vec![5, 6, 6, 7, 1, -2, 1]))),
            ("v", Arc::new(Int64Array::from(vec![1, 2, 2, 1, 1, 1, 1]))),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        let name = TableName { zone: Zone::Bronze, name: "op".into() };
        register(&context, &name, memory(batch.schema(), vec![batch]).unwrap()).unwrap();
        context
    }

    #[tokio::test]
    async fn every_row_has_exactly_one_fate() {
        let spec = spec("SELECT row_id, id, tonnes, v FROM bronze.op WHERE id IS NULL OR id <> 9", false);
        let made = make(&context(), &spec, Some(7)).await.unwrap();
        let expected =
            Report { read: 7, written: 2, quarantined: 2, deduplicated: 1, superseded: 1, filtered: 1 };
        assert_eq!(made.counts, expected);
        assert_eq!(made.refused, [("op.required.id".to_owned(), 5), ("OP1".to_owned(), 6)]);
    }

    #[tokio::test]
    async fn a_null_is_neither_in_a_list_nor_out_of_it() {
        let spec =
            spec("SELECT row_id, id, tonnes, v FROM bronze.op WHERE id NOT IN (1) OR id NOT IN (2)", false);
        let made = make(&context(), &spec, Some(7)).await.unwrap();
        let expected =
            Report { read: 7, written: 3, quarantined: 1, deduplicated: 1, superseded: 1, filtered: 1 };
        assert_eq!(made.counts, expected);
        assert_eq!(made.refused, [("OP1".to_owned(), 6)]);
    }

    #[tokio::test]
    async fn a_rule_that_warns_counts_rows_and_refuses_none() {
        let mut spec = spec("SELECT row_id, id, tonnes, v FROM bronze.op WHERE id IS NULL OR id <> 9", false);
        spec.rules.push(Rule { id: "OP2".into(), condition: "id = 1".into(), severity: Severity::Warn });
        let made = make(&context(), &spec, Some(7)).await.unwrap();
        assert_eq!(made.warnings, BTreeMap::from([("OP2".to_owned(), 3)]));
        assert_eq!(made.rules.values().sum::<u64>(), made.counts.quarantined);
        assert!(!made.rules.contains_key("OP2") && made.refused.iter().all(|(rule, _)| rule != "OP2"));
    }

    #[tokio::test]
    async fn rows_that_multiply_are_a_broken_invariant() {
        let sql = "SELECT a.row_id, a.id, a.tonnes, a.v FROM bronze.op a CROSS JOIN bronze.op b";
        let error = make(&context(), &spec(sql, false), Some(7)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Invariant);
        assert!(make(&context(), &spec(sql, true), Some(7)).await.is_ok());
    }
}
