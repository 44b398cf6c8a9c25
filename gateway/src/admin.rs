//! Health and figures over HTTP, for orchestrators and people on this machine.
//!
//! Sources never make the gateway unready: one that is down costs its own queries only. Nothing here shows a
//! statement's text or a value, and nothing can be changed.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use portolan_catalog::Catalog;
use portolan_catalog::source::HealthState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, QUERY_SECONDS};
use crate::pg::connections::Connections;

/// Upper bounds of the durations' buckets, seconds.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// What the endpoints tell about.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The sources.
    pub catalog: Arc<Catalog>,
    /// The engine, for what runs and what it holds.
    pub engine: Arc<Engine>,
    /// The PostgreSQL connections.
    pub connections: Arc<Connections>,
    /// Cancelled when the front doors close; the gateway is then draining.
    pub closing: CancellationToken,
}

/// Serves `/livez`, `/readyz` and `/metrics` until told to stop.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) {
    // From now on, so that the first query is counted.
    let _ = figures();
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "health endpoint ended");
    }
}

/// One line for the gateway, then one per source with its kind and number of tables. 503 while draining.
async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    if admin.closing.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let mut text = "ready\n".to_owned();
    for status in admin.catalog.statuses() {
        let tables =
            status.tables.map_or_else(|| "tables unknown".to_owned(), |count| format!("{count} tables"));
        text.push_str(&format!("{} {} {tables}\n", status.name, status.kind));
    }
    (StatusCode::OK, text)
}

/// The figures in Prometheus' text format 0.0.4. Counters are kept where things happen; what is now is read now.
async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let Some(figures) = figures() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "another recorder of figures is installed\n")
            .into_response();
    };
    gauge!("portolan_queries_running").set(count(admin.engine.running().list().len()));
    gauge!("portolan_connections", "protocol" => "postgres").set(count(admin.connections.count()));
    gauge!("portolan_connections", "protocol" => "flight").set(count(admin.connections.logins()));
    gauge!("portolan_memory_reserved_bytes").set(count(admin.engine.memory_reserved()));
    for status in admin.catalog.statuses() {
        let (source, kind) = (status.name.to_string(), status.kind.to_string());
        let up = !matches!(status.health.state, HealthState::Down);
        gauge!("portolan_source_up", "source" => source.clone(), "kind" => kind.clone())
            .set(count(usize::from(up)));
        counter!("portolan_source_drift_total", "source" => source.clone(), "kind" => kind.clone())
            .absolute(status.drifts);
        if let Some(tables) = status.tables {
            gauge!("portolan_source_tables", "source" => source, "kind" => kind).set(count(tables));
        }
    }
    figures.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], figures.render()).into_response()
}

/// What each figure means, for its line of HELP.
fn describe() {
    describe_counter!("portolan_queries_total", "Statements that ended, by protocol and how they ended");
    describe_counter!("portolan_rows_total", "Rows given to clients");
    describe_histogram!(QUERY_SECONDS, "From a statement's start to its last row");
    describe_counter!(
        "portolan_audits_total",
        "Statements answered a second time without push-down, by result: equal, different or inconclusive"
    );
    describe_counter!(
        "portolan_stale_answers_total",
        "Answers of old data given while a source was down, by source and by what stood in: answer or copies"
    );
    describe_gauge!("portolan_queries_running", "Statements that run now");
    describe_gauge!(
        "portolan_connections",
        "Connections of PostgreSQL's protocol and logins of Flight SQL now"
    );
    describe_gauge!("portolan_memory_reserved_bytes", "Memory that running statements hold");
    describe_gauge!("portolan_source_up", "Whether the last contact with a source succeeded");
    describe_counter!(
        "portolan_source_drift_total",
        "How often tables or columns of a source were found to be gone or of another type"
    );
    describe_gauge!("portolan_source_tables", "Tables of a source when it was last asked");
}

/// A number as a gauge has it; beyond 2^32 it is rounded.
fn count(value: usize) -> f64 {
    u32::try_from(value).map_or_else(|_| value.to_string().parse().unwrap_or(f64::MAX), f64::from)
}

/// The process's one recorder; `None` if something else has installed its own.
fn figures() -> Option<&'static PrometheusHandle> {
    static FIGURES: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let installed = FIGURES.get_or_init(|| {
        let matcher = Matcher::Full(QUERY_SECONDS.to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(matcher, &SECONDS).ok()?;
        let installed = builder.install_recorder().ok()?;
        describe();
        Some(installed)
    });
    installed.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;
    use crate::mirror::SourceTables;

    #[tokio::test]
    async fn who_drains_is_alive_and_not_ready_and_every_figure_is_explained() {
        let catalog = Catalog::builder().build().unwrap();
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(SourceTables(Arc::clone(&catalog))),
            semantics: None,
            system: Vec::new(),
            memory_bytes: 64 << 20,
            partitions: 1,
        })
        .unwrap();
        let closing = CancellationToken::new();
        let admin = Admin {
            catalog,
            engine: Arc::new(engine),
            connections: Connections::new(1),
            closing: closing.clone(),
        };
        let (status, text) = readyz(State(admin.clone())).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "ready\n"));
        closing.cancel();
        let (status, text) = readyz(State(admin.clone())).await;
        assert_eq!((status, text.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "draining\n"));

        let answer = metrics(State(admin)).await.into_response();
        assert_eq!(answer.status(), StatusCode::OK);
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(!types.is_empty(), "{text}");
        for line in types {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in {text}");
        }
    }
}
