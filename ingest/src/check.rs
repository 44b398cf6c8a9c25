//! Plans every declared query against its contract, without touching a source or a lake.
//!
//! What a run would refuse after minutes of landing is known before it: a column nobody gives, a type that cannot be
//! cast, a condition that is no condition. Tables that read a source whose columns only the source knows are taken at
//! the word of their contract.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use crate::contract::{Contract, instant};
use crate::error::Result;
use crate::pipeline::Diagnostic;
use crate::pipeline::model::{Make, Pipeline, Pipelines, Severity, SourceMode, TableName, TableSpec, Zone};
use crate::refine;

/// A mistake, and where it is in the query's own text if the planner knows.
struct Mistake {
    message: String,
    place: Option<(u64, u64)>,
}

impl Pipelines {
    /// Plans every query and transform on tables without rows. Gives the mistakes, by file and place.
    ///
    /// # Errors
    /// Only when no planning session can be made at all.
    pub async fn check_plans(&self) -> Result<Vec<Diagnostic>> {
        let context = refine::session(&self.crosswalks)?;
        let mut known: HashSet<TableName> = HashSet::new();
        for pipeline in &self.pipelines {
            if let Some(schema) = bronze_schema(pipeline) {
                let name = TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() };
                refine::register(&context, &name, refine::memory(schema, Vec::new())?)?;
                known.insert(name);
            }
        }
        let mut found = Vec::new();
        for spec in &self.tables {
            let spec = spec.resolved();
            let mut schema = spec.contract.as_ref().map(Contract::schema);
            if spec.inputs.iter().all(|input| known.contains(input)) {
                match Box::pin(plan(&context, &spec)).await {
                    Ok(planned) => schema = schema.or(Some(planned)),
                    Err(mistakes) => found.extend(mistakes.iter().map(|mistake| placed(&spec, mistake))),
                }
            }
            if let Some(schema) = schema {
                refine::register(&context, &spec.table, refine::memory(schema, Vec::new())?)?;
                known.insert(spec.table.clone());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The columns a query sees of a bronze table; `None` when only the source knows them.
fn bronze_schema(pipeline: &Pipeline) -> Option<SchemaRef> {
    pipeline.source.as_ref().filter(|source| source.mode == SourceMode::Records)?;
    let envelope = [
        ("row_id", DataType::Int64),
        ("_src", DataType::Utf8),
        ("_batch_seq", DataType::Int64),
        ("_row_no", DataType::Int64),
        ("_pos", DataType::Utf8),
        ("_captured_at", instant()),
        ("_ingested_on", DataType::Date32),
        ("_file", DataType::Utf8),
        ("_record_no", DataType::Int64),
        ("payload", DataType::Utf8),
        ("fields", DataType::Utf8),
    ];
    let mut fields: Vec<Field> =
        envelope.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    if let Some(decode) = &pipeline.decode {
        let own = ["array_path", "decode_error"];
        for name in decode.0.iter().map(|(name, _)| name.as_str()).chain(own) {
            if !fields.iter().any(|field| field.name() == name) {
                fields.push(Field::new(name, DataType::Utf8, true));
            }
        }
    }
    Some(Arc::new(Schema::new(fields)))
}

/// The columns a table will have, or what is wrong with it.
async fn plan(context: &SessionContext, spec: &TableSpec) -> Result<SchemaRef, Vec<Mistake>> {
    let text = match &spec.make {
        Make::Transform(transform) => {
            let mut inputs = Vec::new();
            for name in transform.inputs() {
                let frame = context.table(name.to_string()).await.map_err(|error| vec![mistake(&error)])?;
                inputs.push(RecordBatch::new_empty(Arc::new(frame.schema().as_arrow().clone())));
            }
            let made = transform.run(&inputs).map_err(|error| vec![plain(error.message)])?;
            return fits(spec, made.schema());
        }
        Make::Sql { text, .. } => text,
    };
    let planned = planned(context, text).await?;
    if spec.table.zone != Zone::Silver {
        return fits(spec, planned);
    }
    if planned.field_with_name("row_id").is_err() {
        return Err(vec![plain(
            "the query does not select row_id, so its rows cannot be accounted for".into(),
        )]);
    }
    let planned = fits(spec, planned)?;
    let contract = spec.contract.clone().unwrap_or_default();
    let mut mistakes = Vec::new();
    for severity in [Severity::Warn, Severity::Quarantine, Severity::Fail] {
        if !spec.rules.iter().any(|rule| rule.severity == severity) {
            continue;
        }
        if let Err(found) = self::planned(context, &refine::with_rules(spec, &contract, text, severity)).await
        {
            // Places in the wrapped query mean nothing in the author's text.
            mistakes.extend(found.into_iter().map(|found| plain(format!("in the rules: {}", found.message))));
        }
    }
    if mistakes.is_empty() { Ok(planned) } else { Err(mistakes) }
}

async fn planned(context: &SessionContext, sql: &str) -> Result<SchemaRef, Vec<Mistake>> {
    let frame = context.sql(sql).await.map_err(|error| vec![mistake(&error)])?;
    Ok(Arc::new(frame.schema().as_arrow().clone()))
}

/// The planned columns, if the contract can be met with them.
fn fits(spec: &TableSpec, planned: SchemaRef) -> Result<SchemaRef, Vec<Mistake>> {
    let mistakes = spec.contract.as_ref().map(|contract| contract.mistakes(&planned)).unwrap_or_default();
    if mistakes.is_empty() { Ok(planned) } else { Err(mistakes.into_iter().map(plain).collect()) }
}

fn plain(message: String) -> Mistake {
    Mistake { message, place: None }
}

fn mistake(error: &DataFusionError) -> Mistake {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let text = ["Schema error: ", "Error during planning: "]
        .into_iter()
        .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.map(|span| (span.start.line, span.start.column));
    Mistake { message: text.trim_end_matches('.').to_owned(), place }
}

/// A mistake where its reader finds it: in the SQL file, or at the table's name when the query is in the YAML itself.
fn placed(spec: &TableSpec, mistake: &Mistake) -> Diagnostic {
    let own = match &spec.make {
        Make::Sql { file, .. } if *file != spec.file => Some(file),
        Make::Sql { .. } | Make::Transform(_) => None,
    };
    let (file, line, column) = match own {
        Some(file) => {
            let (line, column) = mistake.place.unwrap_or((1, 1));
            (file, line, column)
        }
        None => (&spec.file, spec.line, spec.column),
    };
    let message = format!("table \"{}\": {}", spec.table, mistake.message);
    Diagnostic { file: file.clone(), line, column, message, hint: None }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::{load_pipelines, shipped_pipelines};

    #[tokio::test]
    async fn the_shipped_pipelines_plan() {
        let (pipelines, _) = shipped_pipelines();
        assert_eq!(pipelines.check_plans().await.unwrap(), []);
    }

    #[tokio::test]
    async fn mistakes_of_queries_are_found_without_a_source() {
        let directory = tempfile::tempdir().unwrap();
        let yaml = "pipeline: p\nsource: {records: {from: a.b}}\ndecode: {json: [x, v]}\nsilver:\n  good:\n    sql: SELECT \
                    row_id, x FROM bronze.p\n    key: [x]\n    rules:\n      - {id: R1, where: \"z > 1\"}\n    columns: {x: \
                    {type: text}}\n  other:\n    sql: other.sql\n    key: [x]\n    columns: {x: {type: text}, w: {type: \
                    bigint}}\ngold:\n  g: {sql: SELECT w FROM silver.other}\n  h: {sql: h.sql}\n";
        for (name, text) in [
            ("p.yaml", yaml),
            ("other.sql", "SELECT row_id, x\nFROM bronze.p"),
            ("h.sql", "SELECT w,\n       nosuch FROM silver.other"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let (pipelines, mistakes) = load_pipelines(directory.path());
        assert_eq!(mistakes, []);
        let found: Vec<String> = pipelines
            .check_plans()
            .await
            .unwrap()
            .iter()
            .map(|mistake| {
                let name = mistake.file.file_name().unwrap().to_string_lossy();
                format!("{name}:{}:{}: {}", mistake.line, mistake.column, mistake.message)
            })
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("h.sql:2:8: table \"gold.h\": ") && found[0].contains("nosuch"),
            "{found:?}"
        );
        assert!(
            found[1].contains("other.sql:1:1: table \"silver.other\": the query does not give column \"w\"")
        );
        assert!(found[2].starts_with("p.yaml:5:3: table \"silver.good\": in the rules: "), "{found:?}");
    }
}
