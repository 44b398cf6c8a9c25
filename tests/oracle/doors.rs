//! The front doors over the same engine: simple and extended protocol, and Flight SQL, with clients that show what
//! came. Asked of a sample, because a round trip costs more than a small query.
//!
//! Values in the binary format are decoded here from PostgreSQL's rules, never with the gateway's code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use chrono::{NaiveDate, TimeDelta};
use futures::TryStreamExt;
use portolan::engine::Engine;
use portolan::flight::{self, FlightConfig};
use portolan::mirror::Names;
use portolan::pg::bridge::Bridge;
use portolan::pg::connections::Connections;
use portolan::pg::listener::{FrontDoor, FrontDoorConfig};
use portolan::pg::scram::{Credentials, FixedCredentials, Verifier};
use portolan::session::CATALOG;
use tokio::net::TcpListener;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::outcome::{Cell, Outcome, cells, date_text, timestamp_text};

/// A door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Simple,
    Extended,
    Flight,
}

/// Open doors; they close when dropped.
#[derive(Debug)]
pub(crate) struct Doors {
    pg: SocketAddr,
    flight: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const USER: &str = "oracle";

impl Doors {
    /// Opens the doors of an engine on free ports.
    pub(crate) async fn open(engine: &Arc<Engine>) -> Result<Self> {
        let Ok(verifier) = Verifier::from_password(USER) else { bail!("no verifier") };
        let users = BTreeMap::from([(USER.to_owned(), verifier)]);
        let credentials: Arc<dyn Credentials> = Arc::new(FixedCredentials(users));
        let names = Arc::new(Names::default());
        let connections = Connections::new(50);
        let stop = CancellationToken::new();
        let (pg, flight) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let doors = Self { pg: pg.local_addr()?, flight: flight.local_addr()?, stop: stop.clone() };
        let config = FlightConfig::new(
            Arc::clone(engine),
            Arc::clone(&credentials),
            Arc::clone(&names),
            Arc::clone(&connections),
        );
        tokio::spawn(flight::serve(flight, config, stop.clone()));
        let bridge = Bridge::new(Arc::clone(engine), None, names, Arc::clone(&connections));
        let config = FrontDoorConfig::new(vec![CATALOG.to_owned()], credentials);
        tokio::spawn(FrontDoor::new(config, Arc::new(bridge), connections).serve(pg, stop));
        Ok(doors)
    }

    /// Clients of every door.
    pub(crate) async fn enter(&self) -> Result<Visitor> {
        let url =
            format!("host=127.0.0.1 port={} user={USER} password={USER} dbname={CATALOG}", self.pg.port());
        let (postgres, connection) = tokio_postgres::connect(&url, NoTls).await.context("log in")?;
        tokio::spawn(connection);
        let endpoint = Endpoint::from_shared(format!("http://{}", self.flight))?;
        let mut flight = FlightSqlServiceClient::new(endpoint.connect().await?);
        flight.handshake(USER, USER).await?;
        Ok(Visitor { postgres, flight: tokio::sync::Mutex::new(flight) })
    }
}

/// A client of every door.
pub(crate) struct Visitor {
    postgres: tokio_postgres::Client,
    flight: tokio::sync::Mutex<FlightSqlServiceClient<Channel>>,
}

/// The bytes of a value as they came.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(
        _of: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_of: &Type) -> bool {
        true
    }
}

/// An error of the driver as an outcome, unless the connection is gone.
pub(crate) fn refused(error: &tokio_postgres::Error) -> Result<Outcome> {
    match error.as_db_error() {
        Some(error) => Ok(Outcome::Error {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
        }),
        None => bail!("the connection is gone: {error}"),
    }
}

/// Rows of a simple query, whose types another way has told.
pub(crate) fn texts(messages: Vec<SimpleQueryMessage>, types: &[u32]) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let cells = types.iter().enumerate().map(|(index, oid)| match (row.get(index), *oid) {
            (None, _) => Ok(Cell::Null),
            (Some(text), 700 | 701) => {
                Ok(Cell::float(text.replace("Infinity", "inf").parse().context("a float")?))
            }
            (Some(text), _) => Ok(Cell::Text(text.to_owned())),
        });
        rows.push(cells.collect::<Result<_>>()?);
    }
    Ok(rows)
}

impl Visitor {
    /// What a door answers.
    pub(crate) async fn ask(&self, door: Door, sql: &str) -> Result<Outcome> {
        if door == Door::Flight {
            return self.over_flight(sql).await;
        }
        let prepared = match self.postgres.prepare(sql).await {
            Ok(prepared) => prepared,
            Err(error) => return refused(&error),
        };
        let types: Vec<u32> = prepared.columns().iter().map(|column| column.type_().oid()).collect();
        if door == Door::Simple {
            return match self.postgres.simple_query(sql).await {
                Ok(messages) => Ok(Outcome::Rows { rows: texts(messages, &types)?, types }),
                Err(error) => refused(&error),
            };
        }
        let rows = match self.postgres.query(&prepared, &[]).await {
            Ok(rows) => rows,
            Err(error) => return refused(&error),
        };
        let mut decoded = Vec::with_capacity(rows.len());
        for row in rows {
            let cells =
                types.iter().enumerate().map(|(index, oid)| match row.try_get::<_, Option<Raw>>(index)? {
                    None => Ok(Cell::Null),
                    Some(raw) => binary(*oid, &raw.0),
                });
            decoded.push(cells.collect::<Result<_>>()?);
        }
        Ok(Outcome::Rows { types, rows: decoded })
    }

    async fn over_flight(&self, sql: &str) -> Result<Outcome> {
        let mut service = self.flight.lock().await;
        let asked = async {
            let info = service.execute(sql.to_owned(), None).await?;
            let mut batches = Vec::new();
            for endpoint in info.endpoint {
                let stream = service.do_get(endpoint.ticket.unwrap_or_default()).await?;
                batches.extend(stream.try_collect::<Vec<_>>().await?);
            }
            Ok::<_, FlightError>(batches)
        };
        match asked.await {
            Ok(batches) => {
                let mut rows = Vec::new();
                for batch in &batches {
                    rows.extend(cells(batch)?);
                }
                // Types are told as names; the corpus compares those.
                Ok(Outcome::Rows { types: Vec::new(), rows })
            }
            Err(FlightError::Tonic(status)) => {
                let state = status.metadata().get("portolan-sqlstate").and_then(|state| state.to_str().ok());
                Ok(Outcome::Error {
                    sqlstate: state.unwrap_or_default().to_owned(),
                    message: status.message().to_owned(),
                })
            }
            Err(error) => bail!("no answer over Flight: {error}"),
        }
    }
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N]> {
    <[u8; N]>::try_from(raw).context("a value of another length")
}

/// A value in PostgreSQL's binary format.
fn binary(oid: u32, raw: &[u8]) -> Result<Cell> {
    const DAYS_TO_2000: i64 = 10_957;
    const MICROS_OF_DAY: i64 = 86_400_000_000;
    Ok(Cell::Text(match oid {
        16 => if raw == [1] { "t" } else { "f" }.to_owned(),
        20 => i64::from_be_bytes(fixed(raw)?).to_string(),
        21 => i16::from_be_bytes(fixed(raw)?).to_string(),
        23 => i32::from_be_bytes(fixed(raw)?).to_string(),
        25 => String::from_utf8(raw.to_vec())?,
        700 => return Ok(Cell::float(f64::from(f32::from_be_bytes(fixed(raw)?)))),
        701 => return Ok(Cell::float(f64::from_be_bytes(fixed(raw)?))),
        1082 => {
            let days = i64::from(i32::from_be_bytes(fixed(raw)?)) + DAYS_TO_2000;
            date_text(NaiveDate::default().checked_add_signed(TimeDelta::days(days)).context("a date")?)
        }
        1114 | 1184 => {
            let micros = i64::from_be_bytes(fixed(raw)?).saturating_add(DAYS_TO_2000 * MICROS_OF_DAY);
            timestamp_text(micros, oid == 1184)?
        }
        1700 => numeric(raw)?,
        other => bail!("no rule for the binary format of the type with OID {other}"),
    }))
}

/// A numeric: groups of four digits, the first of them standing at a weight.
fn numeric(raw: &[u8]) -> Result<String> {
    let word = |index: usize| -> Result<i16> {
        Ok(i16::from_be_bytes(fixed(raw.get(index * 2..index * 2 + 2).context("a word")?)?))
    };
    let (count, weight, sign, scale) = (word(0)?, i32::from(word(1)?), word(2)?, usize::try_from(word(3)?)?);
    let groups = (0..usize::try_from(count)?).map(|index| word(index + 4)).collect::<Result<Vec<_>>>()?;
    let group = |position: i32| {
        usize::try_from(weight - position).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|position| format!("{:04}", group(position))).collect();
    let whole = whole.trim_start_matches('0');
    let below = i32::try_from(scale.div_ceil(4))?;
    let decimals: String = (1..=below).map(|position| format!("{:04}", group(-position))).collect();
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(decimals.get(..scale).context("decimals")?);
    }
    Ok(text)
}
