//! SQL in, rows out: measures over a small star held in memory, and every refusal.
//!
//! `fixtures/queries.sql` holds the statements; the snapshot holds each with its rows or its refusal.

use star::{answer, session};

#[tokio::test]
async fn statements_give_the_reviewed_rows() {
    let (context, semantics) = session().await;
    let mut out = String::new();
    for statement in
        include_str!("fixtures/queries.sql").split(';').map(str::trim).filter(|text| !text.is_empty())
    {
        out.push_str(&format!("{statement}\n{}\n\n", answer(&context, &semantics, statement).await));
    }
    insta::assert_snapshot!(out);
}

#[tokio::test]
async fn a_stitch_is_null_safe_in_the_physical_plan() {
    let (context, semantics) = session().await;
    let plan = answer(
        &context,
        &semantics,
        "EXPLAIN SELECT terminal, MEASURE(calls), MEASURE(cargo_tonnes) FROM kpi.port_calls GROUP BY 1",
    )
    .await;
    assert!(plan.contains("NullsEqual: true"), "{plan}");
}

#[tokio::test]
async fn date_trunc_follows_the_session_zone_and_month_the_models() {
    let (context, semantics) = session().await;
    answer(&context, &semantics, "SET datafusion.execution.time_zone = 'Asia/Tokyo'").await;
    let truncated = "SELECT CAST(date_trunc('month', time) AS VARCHAR) AS m, MEASURE(waiting_h) AS w FROM kpi.port_calls GROUP BY 1 ORDER BY 1";
    let text = answer(&context, &semantics, truncated).await;
    assert!(text.contains("2026-01-31T15:00:00Z | 10.000000") && !text.contains("7.5"), "{text}");
    let text = answer(
        &context,
        &semantics,
        "SELECT month, MEASURE(waiting_h) AS w FROM kpi.port_calls GROUP BY 1 ORDER BY 1",
    )
    .await;
    assert!(text.contains("2026-01-01 | 7.500000"), "{text}");
}

#[tokio::test]
async fn measures_equal_hand_written_sql_on_the_star() {
    let (context, semantics) = session().await;
    for (measured, written) in [
        (
            "SELECT terminal k, MEASURE(cargo_tonnes) v FROM kpi.port_calls GROUP BY 1 ORDER BY 1",
            "SELECT t.terminal_code k, sum(tonnes) v FROM warehouse.fact_cargo_operation f JOIN warehouse.dim_terminal t USING (terminal_key) WHERE atc_ts IS NOT NULL GROUP BY 1 ORDER BY 1",
        ),
        (
            "SELECT month k, MEASURE(waiting_h) v FROM kpi.port_calls GROUP BY 1 ORDER BY 1",
            "SELECT date_trunc('month', ata_berth_ts)::date k, sum(waiting_h) v FROM warehouse.fact_cargo_operation WHERE is_call_row AND ata_berth_ts IS NOT NULL GROUP BY 1 ORDER BY 1",
        ),
        (
            "SELECT cargo_class k, MEASURE(calls) v FROM kpi.port_calls GROUP BY 1 ORDER BY 1",
            "SELECT c.cargo_class k, count(DISTINCT port_call_id) v FROM warehouse.fact_cargo_operation f JOIN warehouse.dim_cargo c USING (cargo_key) GROUP BY 1 ORDER BY 1",
        ),
    ] {
        let rows = |text: String| text.lines().skip(3).map(str::to_owned).collect::<Vec<_>>();
        let (measured, written) =
            (answer(&context, &semantics, measured).await, answer(&context, &semantics, written).await);
        assert_eq!(rows(measured), rows(written));
    }
}

#[cfg(test)]
mod star {
    use std::collections::HashMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use async_trait::async_trait;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::catalog::{
        CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
    };
    use datafusion::datasource::MemTable;
    use datafusion::error::DataFusionError;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use portolan_semantic::{SemanticError, Semantics, TableResolver, load};

    #[derive(Debug)]
    struct Tables(HashMap<String, Arc<dyn TableProvider>>);

    #[async_trait]
    impl TableResolver for Tables {
        async fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
            self.0.get(&format!("{schema}.{name}")).map(Arc::clone)
        }
    }

    const STAR: &[(&str, &str)] = &[
        (
            "dim_terminal",
            "SELECT column1 AS terminal_key, column2 AS terminal_code, column3 AS berth_no FROM (VALUES (1, 'TAC', 1), (2, 'MOLE', 82), (-1, NULL, NULL))",
        ),
        ("dim_vessel", "SELECT column1 AS vessel_key, column2 AS type FROM (VALUES (1, 'container'), (2, 'bulk'))"),
        (
            "dim_cargo",
            "SELECT column1 AS cargo_key, column2 AS cargo_class, column3 AS commodity, column4 AS direction, column5 AS trade
             FROM (VALUES (1, 'dry', 'rice', 'D', 'IM'), (2, 'dry', 'wheat', 'L', 'EX'), (3, 'box', 'boxes', 'D', 'XX'), (-2, NULL, NULL, NULL, NULL))",
        ),
        // Call 1: two visits and three operations; call 2: one operation; call 3: without cargo, still waiting;
        // call 4: an unknown terminal and an unmatched vessel.
        (
            "fact_cargo_operation",
            "SELECT column1 AS op_key, column2 AS port_call_id, column3 AS visit_id, column4 AS terminal_key, column5 AS vessel_key, column6 AS cargo_key,
                    column7 AS is_call_row, column8 AS is_visit_row,
                    CAST(column9 AS decimal(14,3)) AS tonnes, CAST(column10 AS decimal(10,2)) AS teu,
                    CAST(column11 AS decimal(14,6)) AS waiting_h, CAST(column12 AS decimal(14,6)) AS berth_h, CAST(column13 AS decimal(14,6)) AS idle_h,
                    CAST(column14 AS decimal(14,6)) AS weather_wait_h, CAST(column15 AS decimal(14,6)) AS weather_stop_h,
                    CAST(column16 AS decimal(14,6)) AS arrival_dev_h, CAST(column17 AS decimal(14,6)) AS port_h,
                    arrow_cast(column18, 'Timestamp(Microsecond, Some(\"UTC\"))') AS ata_pbp_ts,
                    arrow_cast(column19, 'Timestamp(Microsecond, Some(\"UTC\"))') AS ata_berth_ts,
                    arrow_cast(column20, 'Timestamp(Microsecond, Some(\"UTC\"))') AS atc_ts,
                    arrow_cast(column21, 'Timestamp(Microsecond, Some(\"UTC\"))') AS atd_berth_ts,
                    arrow_cast(column22, 'Timestamp(Microsecond, Some(\"UTC\"))') AS atd_last_ts
             FROM (VALUES
              (1, 1, 11, 1, 1, 1, true,  true,  100.5, 0,   7.5,  14.0, 5.5,  4.0,  4.0,  3.0,  30.0, '2026-01-30T02:00:00', '2026-01-31T22:00:00', '2026-02-01T10:00:00', '2026-02-01T12:00:00', '2026-02-01T20:00:00'),
              (2, 1, 11, 1, 1, 3, false, false, 50.25, 40,  NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-01-30T02:00:00', '2026-01-31T22:00:00', '2026-02-01T11:00:00', '2026-02-01T12:00:00', '2026-02-01T20:00:00'),
              (3, 1, 12, 2, 1, 2, false, true,  10,    0,   NULL, 6.0,  1.0,  NULL, 0.5,  NULL, NULL, '2026-01-30T02:00:00', '2026-02-01T14:00:00', '2026-02-01T18:00:00', '2026-02-01T20:00:00', '2026-02-01T20:00:00'),
              (4, 2, 21, 2, 2, 1, true,  true,  1000,  0,   0.0,  20.0, 2.0,  0.0,  0.0,  -1.0, 22.0, '2026-02-03T02:00:00', '2026-02-03T02:00:00', '2026-02-03T20:00:00', '2026-02-03T22:00:00', '2026-02-03T22:00:00'),
              (5, 3, 31, 1, 1, -2, true, true,  0,     0,   NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-02-05T02:00:00', NULL, NULL, NULL, NULL),
              (6, 4, 41, -1, 9, 1, true, true,  5,     0,   2.5,  10.0, 1.0,  NULL, NULL, 0.0,  13.0, '2026-02-06T02:00:00', '2026-02-06T04:30:00', '2026-02-06T14:00:00', '2026-02-06T14:30:00', '2026-02-06T14:30:00'))",
        ),
    ];

    pub(super) async fn session() -> (SessionContext, Semantics) {
        let plain =
            SessionContext::new_with_state(SessionStateBuilder::new().with_default_features().build());
        let mut tables: HashMap<String, Arc<dyn TableProvider>> = HashMap::new();
        let warehouse = MemorySchemaProvider::new();
        for (name, sql) in STAR {
            let frame = plain.sql(sql).await.unwrap();
            let schema = Arc::new(frame.schema().as_arrow().clone());
            let table: Arc<dyn TableProvider> =
                Arc::new(MemTable::try_new(schema, vec![frame.collect().await.unwrap()]).unwrap());
            warehouse.register_table((*name).to_owned(), Arc::clone(&table)).unwrap();
            tables.insert(format!("warehouse.{name}"), table);
        }
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../kpis/port_calls.yaml")).unwrap();
        let loaded = load(&[(PathBuf::from("port_calls.yaml"), text)]);
        let semantics = Semantics::new(loaded.model, Arc::new(Tables(tables)));
        let config = SessionConfig::new().with_target_partitions(2).with_information_schema(false);
        let state =
            semantics.install(SessionStateBuilder::new().with_default_features().with_config(config)).build();
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("warehouse", Arc::new(warehouse)).unwrap();
        for (name, schema) in semantics.schemas() {
            catalog.register_schema(&name, schema).unwrap();
        }
        let context = SessionContext::new_with_state(state);
        context.register_catalog("datafusion", Arc::new(catalog));
        (context, semantics)
    }

    pub(super) async fn answer(context: &SessionContext, semantics: &Semantics, sql: &str) -> String {
        match run(context, sql).await {
            Ok(rows) => rows,
            Err(error) => match semantics.explain(&error) {
                Some(SemanticError { rule, sqlstate, message, hint }) => {
                    format!("{rule} {sqlstate} {message}\n  hint: {}", hint.unwrap_or_default())
                }
                None => format!("unexplained: {}", error.strip_backtrace()),
            },
        }
    }

    async fn run(context: &SessionContext, sql: &str) -> Result<String, DataFusionError> {
        let frame = context.sql(sql).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            let columns: Vec<String> = schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), field.data_type()))
                .collect();
            return Ok(format!("no rows: {}", columns.join(", ")));
        }
        Ok(pretty_format_batches(&batches)?.to_string())
    }
}
