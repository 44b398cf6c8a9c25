//! The demo's stores as sources: what a configuration file would declare for a real port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use portolan_catalog::Catalog;
use portolan_catalog::embedded::EmbeddedPostgres;
use portolan_catalog::files::{
    ColumnConfig, FileFormat, FileTableConfig, FilesConfig, FilesSource, OnMismatch,
};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::rest::{RestConfig, RestSource, StationConfig};
use portolan_catalog::source::{Source, SourceName};
use portolan_simulator::{TOS_SCHEMA, Weather, weather_router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::feeds::{DemoPlan, Feeds};

/// Serves the simulated weather on a free loopback port until told to stop. Weather that cannot be read costs its own
/// table and not the demo: then nobody answers at the address.
///
/// # Errors
/// When no port is free.
pub async fn serve_weather(feeds: &Feeds, stop: CancellationToken) -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind("127.0.0.1:0").await.context("open a loopback port for the weather API")?;
    let address = listener.local_addr()?;
    let weather = match Weather::load(&feeds.weather_file()) {
        Ok(weather) => weather,
        Err(error) => {
            let file = feeds.weather_file();
            tracing::warn!(file = %file.display(), %error, "the weather API stays down: start once with --reset");
            return Ok(address);
        }
    };
    let router = weather_router(Arc::new(weather));
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "weather API ended");
        }
    });
    Ok(address)
}

/// The demo's catalog: `tos`, `events`, `movements`, `weather` and what ingest keeps; and the files, for records as received.
///
/// # Errors
/// When a declaration cannot be right; no store is contacted.
pub fn catalog(
    plan: &DemoPlan,
    feeds: &Feeds,
    operational: EmbeddedPostgres,
    weather: SocketAddr,
    kept: Vec<Arc<dyn Source>>,
) -> anyhow::Result<(Arc<Catalog>, Arc<FilesSource>)> {
    let name = |text: &str| SourceName::try_new(text).map_err(anyhow::Error::msg);
    let tos = PostgresSource::new(name("tos")?, PostgresPool::Embedded(operational), TOS_SCHEMA);
    let events = Arc::new(FilesSource::open(name("events")?, files(feeds)?)?);
    let movements = FilesSource::open(name("movements")?, movements(feeds)?)?;
    let dakar = StationConfig { name: "SNDKR".to_owned(), latitude: 14.68, longitude: -17.42 };
    let mut rest = RestConfig::new(format!("http://{weather}"), vec![dakar]);
    rest.from = Some(plan.from()?.date_naive());
    rest.until = Some(plan.until.date_naive());
    let weather = RestSource::open(name("weather")?, rest)?;
    let own: [Arc<dyn Source>; 4] =
        [Arc::new(tos), Arc::clone(&events) as _, Arc::new(movements), Arc::new(weather)];
    let builder = own.into_iter().chain(kept).fold(Catalog::builder(), |builder, source| builder.add(source));
    Ok((builder.build()?, events))
}

fn column(name: &str, from: &str, sql: &str, comment: &str) -> anyhow::Result<ColumnConfig> {
    let column_type = sql.to_owned().try_into().map_err(anyhow::Error::msg)?;
    let mut column = ColumnConfig::new(name, from, column_type);
    column.comment = Some(comment.to_owned());
    Ok(column)
}

/// Columns of the movements, as a port in production declares them for its topic.
const MOVEMENT: [(&str, &str, &str); 16] = [
    ("schema_version", "int4", "version of the message"),
    ("event_id", "text", "a message that came twice has it twice"),
    ("port_call_id", "text", "port call, as in tos.port_calls"),
    ("movement_id", "text", "way in, shift or way out, numbered within the call"),
    ("phase", "text", "INBD, ALGS, SHIF or OUTB: inbound, alongside, shifting, outbound"),
    ("berth_visit_id", "int8", "visit, as in tos.berth_visits"),
    ("berth_id", "int4", "berth, as in tos.berths"),
    ("service", "text", "port call service, DCSA JIT 2.0"),
    ("event", "text", "ARRI, DEPA, STRT or CMPL"),
    ("classifier", "text", "EST, PLN or ACT: estimated, planned, actual"),
    ("event_time", "timestamptz", "when it happened or is to happen"),
    ("record_time", "timestamptz", "when it was said"),
    ("reporter", "text", "who said it"),
    ("imo_no", "text", "IMO number as sent, not to be trusted"),
    ("mmsi", "text", "MMSI of the ship"),
    ("vessel_name", "text", "name of the ship"),
];

fn movements(feeds: &Feeds) -> anyhow::Result<FilesConfig> {
    let columns = MOVEMENT.iter().map(|(name, sql, comment)| column(name, name, sql, comment));
    let columns = columns.collect::<anyhow::Result<_>>()?;
    let mut table = FileTableConfig::new("movements/*.ndjson", FileFormat::Ndjson, columns);
    // As with the documents: what cannot be read is null, and counted.
    table.on_mismatch = OnMismatch::Null;
    table.comment = Some("movements of ships, as the port authority's stream tells them".to_owned());
    Ok(FilesConfig {
        root: feeds.folder().to_owned(),
        schema: None,
        tables: BTreeMap::from([("vessel_movements".to_owned(), table)]),
    })
}

fn files(feeds: &Feeds) -> anyhow::Result<FilesConfig> {
    let documents = vec![
        column("call", "callNo|portcallId|portCallId|portCallID", "text", "port call the document is about")?,
        column("doc", "$", "jsonb", "the document as received, one of four generations")?,
    ];
    let mut events = FileTableConfig::new("events/*.ndjson", FileFormat::Ndjson, documents);
    // Dirty feeds have lines that are cut off; such a line is a row of nulls, and counted.
    events.on_mismatch = OnMismatch::Null;
    events.comment = Some("port call documents as the senders wrote them".to_owned());
    let mut positions = FileTableConfig::new("ais/*.parquet", FileFormat::Parquet, Vec::new());
    positions.comment = Some("AIS positions, one an hour and ship".to_owned());
    Ok(FilesConfig {
        root: feeds.folder().to_owned(),
        schema: Some("events".to_owned()),
        tables: BTreeMap::from([
            ("port_call_events".to_owned(), events),
            ("ais_positions".to_owned(), positions),
        ]),
    })
}
