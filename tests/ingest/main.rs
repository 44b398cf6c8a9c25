//! The record's way, end to end: a simulated port through bronze, silver and gold into the star of a real
//! PostgreSQL, and back against the simulator's truth. This binary is also the embedded servers' child.

mod desk;
mod hong_kong;
mod kpis;
mod kpis_by_hand;
mod worked_example;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{TimeZone, Utc};
use datafusion::prelude::SessionContext;
use libtest_mimic::{Arguments, Failed, Trial};
use portolan_catalog::Catalog;
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres, ServeArgs, serve_embedded};
use portolan_catalog::files::{ColumnConfig, FileFormat, FileTableConfig, FilesConfig, FilesSource};
use portolan_catalog::lake::{Lake, TablePath};
use portolan_catalog::postgres::{PostgresPool, PostgresSource, copy_in};
use portolan_catalog::rest::{RestConfig, RestSource, StationConfig};
use portolan_catalog::source::SourceName;
use portolan_ingest::{Ingest, IngestConfig, Interval, NoProgress, RunReport, shipped_pipelines};
use portolan_simulator::{Port, SimConfig, Weather, simulate, weather_router};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "embedded-postgres") {
        let served = ServeArgs::parse(arguments).and_then(|arguments| serve_embedded(&arguments));
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == hong_kong::AS_PROGRAM) {
        return portolan::cli::main(std::env::args_os().skip(1));
    }
    let mut trials = vec![
        Trial::test("clean_feeds_give_the_truth_exactly", || run(0.0)),
        Trial::test("dirty_feeds_give_the_truth_within_tolerance_and_lose_no_row", || run(1.0)),
        Trial::test("the_worked_weather_example_gives_its_numbers", worked_example::run),
    ];
    trials.extend(hong_kong::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn run(dirt: f64) -> Result<(), Failed> {
    runtime()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let fixture = Fixture::start(directory.path(), dirt).await?;
        let outcome = Box::pin(fixture.check(dirt)).await;
        fixture.warehouse.shutdown().await;
        fixture.tos.shutdown().await;
        outcome
    })
}

struct Fixture {
    port: Port,
    tos: EmbeddedPostgres,
    warehouse: EmbeddedPostgres,
    ingest: Ingest,
    lake: Lake,
    interval: Interval,
}

fn column(name: &str) -> Result<ColumnConfig, Failed> {
    let kind = "text".to_owned().try_into().map_err(|error| Failed::from(format!("{error:?}")))?;
    Ok(ColumnConfig::new(name, "$", kind))
}

async fn postgres(directory: &Path, name: &str) -> Result<EmbeddedPostgres, Failed> {
    let config = EmbeddedConfig {
        name: name.into(),
        data_dir: directory.join(name),
        executable: std::env::current_exe()?,
        database: name.into(),
    };
    Ok(EmbeddedPostgres::start(config).await?)
}

impl Fixture {
    async fn start(directory: &Path, dirt: f64) -> Result<Self, Failed> {
        let at = |month| Utc.with_ymd_and_hms(2026, month, 1, 0, 0, 0).single().ok_or("date");
        let interval = Interval { start: at(7)?, end: at(10)? };
        let config = SimConfig {
            from: interval.start,
            to: interval.end,
            seed: 7,
            dirt,
            ais_secs: Some(14_400),
            traffic: 1.0,
        };
        let port = simulate(&config, &|_, _, _| {})?;
        let feeds = directory.join("feeds");
        std::fs::create_dir_all(&feeds)?;
        port.write_events(&feeds)?;
        port.write_ais(&feeds)?;
        let tos = postgres(directory, "tos").await?;
        let lease = tos.lease().await?;
        for table in port.tos_tables() {
            lease.batch_execute(&table.ddl).await?;
            copy_in(&lease, &format!("tos.{}", table.name), &table.batches).await?;
        }
        lease.release();
        let weather = Arc::clone(&port.weather);
        Self::assemble(directory, interval, port, weather, tos).await
    }

    /// Puts the pipelines over feeds that are there: files in `feeds`, a loaded `tos`, and hourly weather.
    async fn assemble(
        directory: &Path,
        interval: Interval,
        port: Port,
        weather: Arc<Weather>,
        tos: EmbeddedPostgres,
    ) -> Result<Self, Failed> {
        let feeds = directory.join("feeds");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = weather_router(weather);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let name = |text: &str| SourceName::try_new(text).map_err(Failed::from);
        let station = StationConfig { name: "SNDKR".into(), latitude: 14.68, longitude: -17.42 };
        let mut rest = RestConfig::new(format!("http://{address}"), vec![station]);
        rest.from = Some(interval.start.date_naive());
        rest.until = Some(interval.end.date_naive());
        let documents = FileTableConfig::new("*.ndjson", FileFormat::Ndjson, vec![column("doc")?]);
        let positions = FileTableConfig::new("*.parquet", FileFormat::Parquet, Vec::new());
        let files = Arc::new(FilesSource::open(
            name("events")?,
            FilesConfig {
                root: feeds,
                schema: Some("events".into()),
                tables: BTreeMap::from([
                    ("port_call_events".to_owned(), documents),
                    ("ais_positions".to_owned(), positions),
                ]),
            },
        )?);
        let catalog = Catalog::builder()
            .add(Arc::new(PostgresSource::new(name("tos")?, PostgresPool::Embedded(tos.clone()), "tos")))
            .add(Arc::clone(&files) as _)
            .add(Arc::new(RestSource::open(name("weather")?, rest)?))
            .build()?;
        let warehouse = postgres(directory, "warehouse").await?;
        let lake = Lake::open_local(&directory.join("lake"))?;
        let (pipelines, diagnostics) = shipped_pipelines();
        if let Some(first) = diagnostics.first() {
            return Err(first.to_string().into());
        }
        let ingest = Ingest::open(IngestConfig {
            catalog,
            files: BTreeMap::from([("events".to_owned(), files)]),
            lake: lake.clone(),
            warehouse: Some(PostgresPool::Embedded(warehouse.clone())),
            pipelines,
        });
        Ok(Self { port, tos, warehouse, ingest, lake, interval })
    }

    async fn check(&self, dirt: f64) -> Result<(), Failed> {
        self.ingest.bootstrap().await?;
        let reports = Box::pin(self.ingest.run_all(self.interval, &NoProgress)).await?;
        balanced(&reports)?;
        self.compare(dirt).await?;
        self.star_equals_gold().await?;
        Box::pin(kpis::check(self, dirt)).await?;
        let again = Box::pin(self.ingest.run_all(self.interval, &NoProgress)).await?;
        if let Some(hop) = again.iter().flat_map(|run| &run.hops).find(|hop| hop.changed) {
            return Err(format!("the same input again wrote {}", hop.table).into());
        }
        self.ingest.prove().await?;
        // Dropping what is derived loses nothing: it is made again, and the star is found to be loaded already.
        let lease = self.warehouse.lease().await?;
        lease.batch_execute("DROP SCHEMA star CASCADE; DELETE FROM portolan.load_batch").await?;
        lease.release();
        self.ingest.bootstrap().await?;
        Box::pin(self.ingest.run_all(self.interval, &NoProgress)).await?;
        self.star_equals_gold().await
    }

    async fn compare(&self, dirt: f64) -> Result<(), Failed> {
        let context = SessionContext::new();
        for (table, batch) in self.port.truth_tables() {
            context.register_batch(*table, batch.clone())?;
        }
        for table in ["call", "visit", "closure_interval", "fact_cargo_operation"] {
            let (_, provider) = self.lake.provider(&TablePath::new("gold", table), None).await?;
            context.register_table(format!("g_{table}"), provider)?;
        }
        let within = |tolerance: f64| if dirt > 0.0 { tolerance } else { 0.0 };
        // (what, truth, ours, share by which they may differ)
        let sums = [
            ("calls", "SELECT count(*) FROM truth_call", "SELECT count(*) FROM g_call", within(0.005)),
            (
                "waiting_h",
                "SELECT sum(waiting_s) / 3600.0 FROM truth_call",
                "SELECT sum(waiting_h) FROM g_call",
                within(0.02),
            ),
            (
                "port_h",
                "SELECT sum(port_s) / 3600.0 FROM truth_call",
                "SELECT sum(port_h) FROM g_call",
                within(0.02),
            ),
            (
                "shift_h",
                "SELECT sum(shift_s) / 3600.0 FROM truth_call",
                "SELECT sum(shift_h) FROM g_call",
                within(0.02),
            ),
            (
                "weather_wait_h",
                "SELECT sum(weather_wait_s) / 3600.0 FROM truth_call",
                "SELECT sum(weather_wait_h) FROM g_call",
                within(0.05),
            ),
            (
                "strict",
                "SELECT sum(weather_wait_strict_s) / 3600.0 FROM truth_call",
                "SELECT sum(weather_wait_strict_h) FROM g_call",
                within(0.05),
            ),
            (
                "berth_h",
                "SELECT sum(berth_s) / 3600.0 FROM truth_visit",
                "SELECT sum(berth_h) FROM g_visit",
                within(0.02),
            ),
            (
                "work_h",
                "SELECT sum(work_s) FILTER (WHERE berth_s IS NOT NULL) / 3600.0 FROM truth_visit",
                "SELECT sum(gross_work_h) FROM g_visit",
                within(0.02),
            ),
            (
                "weather_stop_h",
                "SELECT sum(weather_stop_s) / 3600.0 FROM truth_visit",
                "SELECT sum(weather_stop_h) FROM g_visit",
                within(0.05),
            ),
            (
                "tonnes",
                "SELECT sum(tonnes) FROM truth_operation",
                "SELECT sum(tonnes) FROM g_fact_cargo_operation",
                within(0.005),
            ),
            (
                "teu",
                "SELECT sum(teu) FROM truth_operation",
                "SELECT sum(teu) FROM g_fact_cargo_operation",
                within(0.005),
            ),
            (
                "arrival_dev_h",
                "SELECT sum(CAST(ata_pbp AS BIGINT) - CAST(eta_ref AS BIGINT)) / 3600e6 FROM truth_call",
                "SELECT sum(arrival_dev_h) FROM g_call",
                within(0.02),
            ),
        ];
        let mut wrong = Vec::new();
        for (what, truth, ours, tolerance) in sums {
            let (truth, ours) = (number(&context, truth).await?, number(&context, ours).await?);
            let difference = (truth - ours).abs();
            if difference > tolerance * truth.abs() + 0.01 {
                wrong.push(format!("{what}: truth {truth} but {ours}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
    }

    async fn star_equals_gold(&self) -> Result<(), Failed> {
        let context = SessionContext::new();
        let (_, provider) = self.lake.provider(&TablePath::new("gold", "fact_cargo_operation"), None).await?;
        context.register_table("f", provider)?;
        let gold =
            number(&context, "SELECT sum(tonnes) + count(*) + coalesce(sum(waiting_h), 0) FROM f").await?;
        let lease = self.warehouse.lease().await?;
        let sql = "SELECT (sum(tonnes) + count(*) + coalesce(sum(waiting_h), 0))::float8 FROM star.fact_cargo_operation";
        let star: f64 = lease.query_one(sql, &[]).await?.get(0);
        let identities = "SELECT count(*) FROM (SELECT port_call_id, max(port_h) AS port, max(waiting_h) AS wait, \
            sum(berth_h) AS berth, max(shift_h) AS shift FROM star.fact_cargo_operation GROUP BY 1) c \
            WHERE port IS NOT NULL AND port <> wait + berth + shift";
        let broken: i64 = lease.query_one(identities, &[]).await?.get(0);
        lease.release();
        if (gold - star).abs() > 1e-3 || broken != 0 {
            return Err(format!(
                "gold {gold} but star {star}; {broken} calls break port = waiting + berth + shift"
            )
            .into());
        }
        Ok(())
    }
}

async fn number(context: &SessionContext, sql: &str) -> Result<f64, Failed> {
    let sql = format!("SELECT CAST(x AS DOUBLE) FROM ({sql}) AS t(x)");
    let batches = context.sql(&sql).await?.collect().await?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0).ok_or("no rows")?;
    let array = batch.column(0).as_any().downcast_ref::<arrow::array::Float64Array>().ok_or("no number")?;
    Ok(array.value(0))
}

fn balanced(reports: &[RunReport]) -> Result<(), Failed> {
    for hop in reports.iter().flat_map(|run| &run.hops) {
        hop.counts.check(&hop.table)?;
    }
    Ok(())
}
