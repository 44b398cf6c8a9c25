//! Health over HTTP, for orchestrators and people on this machine. Sources never make the gateway unready: one that is
//! down costs its own queries only.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use portolan_catalog::Catalog;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `/livez` and `/readyz` until told to stop.
pub async fn serve(listener: TcpListener, catalog: Arc<Catalog>, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(catalog);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "health endpoint ended");
    }
}

/// One line for the gateway, then one per source with its kind and number of tables.
async fn readyz(State(catalog): State<Arc<Catalog>>) -> String {
    let mut text = "ready\n".to_owned();
    for status in catalog.statuses() {
        let tables =
            status.tables.map_or_else(|| "tables unknown".to_owned(), |count| format!("{count} tables"));
        text.push_str(&format!("{} {} {tables}\n", status.name, status.kind));
    }
    text
}
