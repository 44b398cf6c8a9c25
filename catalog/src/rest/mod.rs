//! A weather API of Open-Meteo's shape, shown as one table `hourly(station, time, …)` in metric units.
//!
//! The table is declared, so nobody is dialled before its first row is wanted. Times are UTC; units are taken from
//! every answer and converted, or the answer is refused: a wind in km/h must never pass as m/s. Values are never
//! invented: arrays of unequal length refuse the whole answer.

mod answer;
mod client;
mod executor;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{NaiveDate, Utc};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde::Deserialize;

use self::client::Client;
use self::executor::RestExecutor;
use crate::asof::SourceVersion;
use crate::federation::FragmentExecutor;
use crate::source::{
    COMMENT_KEY, Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
    TableKind,
};

/// A weather API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// Base URL, such as `http://127.0.0.1:8090`.
    pub url: String,
    /// Path of the weather endpoint below the base.
    #[serde(default = "forecast_path")]
    pub forecast_path: String,
    /// Path of the marine endpoint below the base; without it there are no wave heights.
    #[serde(default = "marine_path")]
    pub marine_path: Option<String>,
    /// Places that are asked for, each one station of the table.
    pub stations: Vec<StationConfig>,
    /// First day shown, UTC; `history_days` before today by default.
    pub from: Option<NaiveDate>,
    /// Last day shown, UTC; `forecast_days` after today by default.
    pub until: Option<NaiveDate>,
    /// Days before today that are shown without `from`.
    #[serde(default = "history_days")]
    pub history_days: u16,
    /// Days after today that are shown without `until`.
    #[serde(default = "forecast_days")]
    pub forecast_days: u16,
    /// Days asked for in one request.
    #[serde(default = "page_days")]
    pub page_days: u16,
    /// Seconds until a connection must stand.
    #[serde(default = "connect_secs")]
    pub connect_timeout_secs: u16,
    /// Seconds until one request must be answered.
    #[serde(default = "request_secs")]
    pub request_timeout_secs: u16,
}

/// A place with weather.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationConfig {
    /// Value of column `station`.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

fn forecast_path() -> String {
    "/v1/forecast".into()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's own type")]
fn marine_path() -> Option<String> {
    Some("/v1/marine".into())
}

fn history_days() -> u16 {
    92
}

fn forecast_days() -> u16 {
    7
}

fn page_days() -> u16 {
    92
}

fn connect_secs() -> u16 {
    5
}

fn request_secs() -> u16 {
    30
}

impl RestConfig {
    /// A configuration with the defaults of every optional key.
    #[must_use]
    pub fn new(url: impl Into<String>, stations: Vec<StationConfig>) -> Self {
        Self {
            url: url.into(),
            forecast_path: forecast_path(),
            marine_path: marine_path(),
            stations,
            from: None,
            until: None,
            history_days: history_days(),
            forecast_days: forecast_days(),
            page_days: page_days(),
            connect_timeout_secs: connect_secs(),
            request_timeout_secs: request_secs(),
        }
    }
}

/// What a value measures; decides which units are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Shown in m/s.
    Speed,
    /// Shown in m.
    Length,
    /// Shown in mm.
    Depth,
    /// Shown in degrees.
    Angle,
}

/// A measured column: its name here, its variable there.
#[derive(Debug)]
struct Variable {
    column: &'static str,
    variable: &'static str,
    marine: bool,
    measure: Measure,
    comment: &'static str,
}

const fn weather(
    column: &'static str,
    variable: &'static str,
    measure: Measure,
    comment: &'static str,
) -> Variable {
    Variable { column, variable, marine: false, measure, comment }
}

/// The measured columns, in the table's order after `station` and `time`.
const VARIABLES: [Variable; 6] = [
    weather("wind_speed_ms", "wind_speed_10m", Measure::Speed, "mean wind at 10 m, m/s"),
    weather("wind_gust_ms", "wind_gusts_10m", Measure::Speed, "strongest gust of the hour at 10 m, m/s"),
    weather("wind_direction_deg", "wind_direction_10m", Measure::Angle, "degrees true the wind comes from"),
    weather("visibility_m", "visibility", Measure::Length, "visibility, m"),
    weather("precipitation_mm", "precipitation", Measure::Depth, "precipitation of the hour, mm"),
    Variable {
        column: "wave_height_m",
        variable: "wave_height",
        marine: true,
        measure: Measure::Length,
        comment: "significant wave height, m",
    },
];

/// Name of the one table.
const TABLE: &str = "hourly";

/// A weather API as a source.
#[derive(Debug)]
pub struct RestSource {
    name: SourceName,
    table: Arc<TableDef>,
    client: Arc<Client>,
}

impl RestSource {
    /// Declares the table. Contacts nobody.
    ///
    /// # Errors
    /// `Data` when the URL, a path or the stations cannot be right.
    pub fn open(name: SourceName, config: RestConfig) -> Result<Self, SourceError> {
        let refuse = |why: String| SourceError::new(SourceErrorKind::Data, why).with_source(&name);
        if config.stations.is_empty() {
            return Err(refuse(format!("source \"{name}\" has no stations"))
                .with_hint("list name, latitude and longitude under stations:"));
        }
        for station in &config.stations {
            if !(-90.0..=90.0).contains(&station.latitude) || !(-180.0..=180.0).contains(&station.longitude) {
                return Err(refuse(format!("station \"{}\" is nowhere on earth", station.name)));
            }
        }
        if config.page_days == 0 {
            return Err(refuse(format!("source \"{name}\" needs a page_days of at least 1")));
        }
        let client = Arc::new(Client::open(name.clone(), config)?);
        let mut table = definition(name.as_str());
        let (from, until) = client.days();
        let hours = u64::try_from((until - from).num_days() + 1).unwrap_or(0).saturating_mul(24);
        let stations = u64::try_from(client.config.stations.len()).unwrap_or(1);
        table.row_estimate = Some(hours.saturating_mul(stations));
        let table = Arc::new(table);
        Ok(Self { name, table, client })
    }
}

fn definition(schema: &str) -> TableDef {
    let field = |name: &str, data_type: DataType, nullable: bool, comment: &str| {
        Field::new(name, data_type, nullable)
            .with_metadata(HashMap::from([(COMMENT_KEY.to_owned(), comment.to_owned())]))
    };
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        field("station", DataType::Utf8, false, "name of the place"),
        field("time", utc, false, "start of the hour, UTC"),
    ];
    fields.extend(
        VARIABLES.iter().map(|variable| field(variable.column, DataType::Float64, true, variable.comment)),
    );
    TableDef {
        schema: schema.to_owned(),
        name: TABLE.to_owned(),
        arrow: Arc::new(Schema::new(fields)),
        comment: Some("hourly weather as the API tells it now".to_owned()),
        primary_key: vec!["station".to_owned(), "time".to_owned()],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    }
}

#[async_trait]
impl Source for RestSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Rest
    }

    async fn check(&self) -> Health {
        let outcome = self.client.probe().await;
        let (state, error) = match outcome {
            Ok(()) => (HealthState::Up, None),
            Err(error) => (HealthState::Down, Some(error.to_string())),
        };
        Health { state, checked_at: Utc::now(), error, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(vec![Arc::clone(&self.table)])
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::FetchedAt(Utc::now()))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::new(RestExecutor { client: Arc::clone(&self.client) })
    }
}

#[cfg(test)]
mod tests;
