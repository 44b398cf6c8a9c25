//! A weather API of Open-Meteo's shape, as one table.

use serde::Deserialize;

/// A weather API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// Base URL, such as `http://127.0.0.1:8090`; `/v1/forecast` is appended.
    pub url: String,
    /// Places that are asked for, each one station of the table.
    pub stations: Vec<StationConfig>,
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
