//! The door over tables in memory, spoken to by arrow-flight's own client.

mod calls;
mod limits;
mod lists;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::status::SQLSTATE;
use super::{FlightConfig, serve};
use crate::engine::Engine;
use crate::engine::tests::fixture::Fixture;
use crate::mirror::Names;
use crate::pg::connections::Connections;
use crate::pg::scram::{FixedCredentials, Verifier};
use crate::shadow::{MirrorColumn, MirrorForeignKey, MirrorKind, MirrorModel, MirrorSchema, MirrorTable};

type Client = FlightSqlServiceClient<Channel>;

/// A running door.
struct Server {
    engine: Arc<Engine>,
    address: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut FlightConfig)) -> Self {
        let engine = Arc::new(Fixture::open().engine);
        let names = Names::default();
        names.replace(&model());
        let users = [("demo".to_owned(), Verifier::from_password("demo").unwrap())].into();
        let credentials = Arc::new(FixedCredentials(users));
        let mut config =
            FlightConfig::new(Arc::clone(&engine), credentials, Arc::new(names), Connections::new(0));
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, config, stop.clone()));
        Self { engine, address, stop, task }
    }

    async fn anonymous(&self) -> Client {
        let channel = Channel::from_shared(self.address.clone()).unwrap().connect().await.unwrap();
        Client::new(channel)
    }

    async fn client(&self) -> Client {
        let mut client = self.anonymous().await;
        client.handshake("demo", "demo").await.unwrap();
        client
    }

    /// Waits until nothing runs any more.
    async fn idle(&self) {
        let begun = Instant::now();
        while !self.engine.running().list().is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "a statement runs on: {:?}",
                self.engine.running()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn close(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn model() -> MirrorModel {
    let column = |name: &str| MirrorColumn {
        name: name.to_owned(),
        pg_type: "integer".to_owned(),
        not_null: false,
        comment: None,
    };
    let table = |schema: &str, keys: &[&str], foreign_keys| MirrorTable {
        schema: schema.to_owned(),
        name: "t".to_owned(),
        kind: MirrorKind::Table,
        columns: vec![column("i4")],
        primary_key: keys.iter().map(|key| (*key).to_owned()).collect(),
        foreign_keys,
        comment: None,
        row_estimate: None,
    };
    let key = MirrorForeignKey {
        columns: vec!["i8".to_owned(), "i2".to_owned()],
        to_schema: "tos".to_owned(),
        to_table: "t".to_owned(),
        to_columns: vec!["i4".to_owned(), "txt".to_owned()],
    };
    let schemas = ["public", "tos", "system"];
    MirrorModel {
        schemas: schemas.map(|name| MirrorSchema { name: name.to_owned(), comment: None }).into(),
        tables: vec![table("public", &[], vec![key]), table("tos", &["i4", "txt"], Vec::new())],
        ..MirrorModel::default()
    }
}

/// All batches of a flight's one endpoint.
async fn fetch(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    assert_eq!(info.endpoint.len(), 1);
    let announced = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<RecordBatch> = client.do_get(ticket).await?.try_collect().await?;
    for batch in &batches {
        assert_eq!(*batch.schema(), announced);
    }
    Ok(batches)
}

async fn ask(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    fetch(client, info).await
}

/// Names of the columns and rows as text, joined with `|`.
pub(super) fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let formatters: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = formatters.iter().map(|cell| cell.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    lines
}

async fn rows(client: &mut Client, sql: &str) -> Vec<String> {
    let batches = ask(client, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    shown(&batches)
}

/// SQLSTATE, gRPC code and text of a failure.
fn told(error: FlightError) -> (String, tonic::Code, String) {
    let status = match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(ArrowError::IpcError(text)) => panic!("no status: {text}"),
        other => panic!("no status: {other:?}"),
    };
    let state = status.metadata().get(SQLSTATE).map(|state| state.to_str().unwrap().to_owned());
    (state.unwrap_or_else(|| panic!("no SQLSTATE: {status:?}")), status.code(), status.message().to_owned())
}
