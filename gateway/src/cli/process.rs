//! What commands that serve share: their doors and how these are announced, the shadow, and the signal that ends them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::output;
use crate::serve::{Listeners, Serving};
use crate::shadow::{Shadow, ShadowConfig};

/// Where a serving command listens, and how it tells.
#[derive(Debug, Clone, Args)]
pub(super) struct Doors {
    /// Port of the PostgreSQL protocol; 0 takes a free one
    #[arg(long, default_value_t = 5433)]
    pg_port: u16,
    /// Port of Arrow Flight SQL; 0 takes a free one
    #[arg(long, default_value_t = 50051)]
    flight_port: u16,
    /// Port of health and status; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// Write one JSON object to standard output when ready
    #[arg(long)]
    json: bool,
}

impl Doors {
    /// Opens the sockets, before anything slow is begun.
    pub(super) async fn listen(&self) -> anyhow::Result<Listeners> {
        Ok(Listeners {
            pg: listen(self.pg_port, "--pg-port").await?,
            flight: listen(self.flight_port, "--flight-port").await?,
            http: listen(self.http_port, "--http-port").await?,
        })
    }

    /// Tells that `what` is ready and where; `login` is how psql's URL names the user.
    pub(super) fn announce(&self, what: &str, login: &str, started: Instant, serving: &Serving) {
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (pg, flight, http) = (serving.pg, serving.flight, serving.http);
        if self.json {
            let line = serde_json::json!({
                "pg": pg.to_string(), "flight": flight.to_string(), "http": http.to_string(), "ready_ms": elapsed,
            });
            output::data(&line.to_string());
        }
        output::say(&format!("{what} after {elapsed} ms\n"));
        output::say(&format!("  PostgreSQL   psql postgresql://{login}@{pg}/portolan"));
        output::say(&format!("  Flight SQL   grpc+tcp://{flight}"));
        output::say(&format!("  health       http://{http}/livez  /readyz  /metrics"));
    }
}

/// Opens the catalog that clients browse, kept in the data directory.
pub(super) async fn open_shadow(data_dir: &Path, executable: PathBuf) -> anyhow::Result<Arc<Shadow>> {
    let config = ShadowConfig {
        data_dir: data_dir.join("shadow"),
        executable,
        database: crate::session::CATALOG.to_owned(),
        deadline: Duration::from_secs(2),
    };
    Shadow::open(config).await.map_err(|error| anyhow::anyhow!(error.message))
}

/// Listens on the loopback address; a port that is taken is one sentence naming the option.
async fn listen(port: u16, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("port {port} cannot be opened; choose another with {option}"))
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
