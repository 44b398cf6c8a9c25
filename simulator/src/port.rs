//! The simulated port as a value: configuration in, truth and feeds out, and the writers of the feeds.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Float64Type, Int64Type, Schema},
};
use chrono::{DateTime, Utc};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    file::properties::WriterProperties,
};

use crate::{
    ais, documents, fleet,
    movements::{self, Movement, Movements},
    rows::{Cell, Rows},
    sim,
    tos_rows::{self, Alias, Defect},
    truth,
    weather::Weather,
};

const DAY: i64 = 86_400;
const WARM_UP: i64 = 60 * DAY;
const FORECAST: i64 = 7 * DAY;

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
    /// One `CREATE TABLE` of MySQL with the same columns, for the current database.
    pub mysql: String,
    /// Rows in key order; columns as in the DDL.
    pub batches: Vec<RecordBatch>,
}

/// A simulated port: truth, and the feeds that tell it.
#[derive(Debug)]
pub struct Port {
    /// Hourly weather of `[from, to)` and seven days of forecast after it, as the weather API serves it.
    pub weather: Arc<Weather>,
    tos: Vec<TosTable>,
    truth: Vec<(&'static str, RecordBatch)>,
    events: String,
    event_lines: u64,
    movements: Movements,
    ais: Option<RecordBatch>,
}

impl Port {
    /// The tables of the port-management system, in creation order.
    pub fn tos_tables(&self) -> &[TosTable] {
        &self.tos
    }

    /// The documents, one JSON object per line, in order of record time.
    pub fn events(&self) -> &str {
        &self.events
    }

    /// The port authority's stream of movements, in the order of sending.
    pub fn movements(&self) -> impl Iterator<Item = Movement<'_>> {
        self.movements.iter()
    }

    /// The AIS positions, if they were asked for.
    pub fn ais(&self) -> Option<&RecordBatch> {
        self.ais.as_ref()
    }

    /// Writes `port_call_events.ndjson` into `dir` and returns the number of lines.
    ///
    /// # Errors
    /// [`SimulatorError::File`] when the file cannot be written.
    pub fn write_events(&self, dir: &Path) -> Result<u64, SimulatorError> {
        let path = dir.join("port_call_events.ndjson");
        std::fs::write(&path, &self.events).map_err(|source| file_error("write", &path, source))?;
        Ok(self.event_lines)
    }

    /// Writes `vessel_movements.ndjson` into `dir` and returns the number of lines.
    ///
    /// # Errors
    /// [`SimulatorError::File`] when the file cannot be written.
    pub fn write_movements(&self, dir: &Path) -> Result<u64, SimulatorError> {
        let path = dir.join("vessel_movements.ndjson");
        std::fs::write(&path, &self.movements.text).map_err(|source| file_error("write", &path, source))?;
        Ok(self.movements.lines())
    }

    /// Writes `ais_positions.parquet` into `dir` and returns the number of rows; an empty table when AIS is off.
    ///
    /// # Errors
    /// [`SimulatorError::File`] or [`SimulatorError::Columnar`] when the file cannot be written.
    pub fn write_ais(&self, dir: &Path) -> Result<u64, SimulatorError> {
        let empty = RecordBatch::new_empty(ais::schema());
        let batch = self.ais.as_ref().unwrap_or(&empty);
        write_parquet(&dir.join("ais_positions.parquet"), batch)?;
        Ok(u64::try_from(batch.num_rows()).unwrap_or(0))
    }

    /// Writes the truth tables (`truth_*.parquet`) into `dir`.
    ///
    /// # Errors
    /// [`SimulatorError::File`] or [`SimulatorError::Columnar`] when a file cannot be written.
    pub fn write_truth(&self, dir: &Path) -> Result<(), SimulatorError> {
        self.truth
            .iter()
            .try_for_each(|(name, batch)| write_parquet(&dir.join(format!("{name}.parquet")), batch))
    }

    /// The truth tables by name: `truth_call`, `truth_visit`, `truth_operation`, `truth_interval`, `truth_closure`
    /// (times timestamptz, durations whole seconds in `*_s`), `truth_vessel_alias`, `truth_defect`.
    pub fn truth_tables(&self) -> &[(&'static str, RecordBatch)] {
        &self.truth
    }
}

fn file_error(verb: &str, path: &Path, source: std::io::Error) -> SimulatorError {
    SimulatorError::File { what: format!("{verb} \"{}\"", path.display()), source }
}

fn columnar(
    what: &str,
    path: &Path,
    source: impl std::error::Error + Send + Sync + 'static,
) -> SimulatorError {
    SimulatorError::Columnar { what: format!("{what} \"{}\"", path.display()), source: Box::new(source) }
}

fn write_parquet(path: &Path, batch: &RecordBatch) -> Result<(), SimulatorError> {
    let file = File::create(path).map_err(|source| file_error("create", path, source))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))
        .map_err(|error| columnar("open", path, error))?;
    writer.write(batch).map_err(|error| columnar("write", path, error))?;
    writer.close().map_err(|error| columnar("finish", path, error))?;
    Ok(())
}

const SERIES: [&str; 6] = ["wind_kmh", "gust_kmh", "direction", "visibility_m", "rain_mm", "wave_m"];

impl Weather {
    fn series(&self) -> [&Vec<f64>; 6] {
        [&self.wind_kmh, &self.gust_kmh, &self.direction, &self.visibility_m, &self.rain_mm, &self.wave_m]
    }

    /// Writes the served weather as one Parquet file.
    ///
    /// # Errors
    /// [`SimulatorError::File`] or [`SimulatorError::Columnar`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SimulatorError> {
        let mut fields = vec![Field::new("hour", DataType::Int64, false)];
        let hours = (0_i64..).take(self.wind_kmh.len()).map(|step| self.start + step * 3600);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(hours))];
        for (name, values) in SERIES.iter().zip(self.series()) {
            fields.push(Field::new(*name, DataType::Float64, false));
            columns.push(Arc::new(Float64Array::from(values.clone())));
        }
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| columnar("build", path, error))?;
        write_parquet(path, &batch)
    }

    /// Reads what [`Weather::save`] wrote.
    ///
    /// # Errors
    /// [`SimulatorError::File`] when the file cannot be opened, [`SimulatorError::Columnar`] when it is not such a file.
    pub fn load(path: &Path) -> Result<Self, SimulatorError> {
        let file = File::open(path).map_err(|source| file_error("open", path, source))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| columnar("read", path, error))?;
        let mut weather = Self::default();
        let mut first = true;
        for batch in reader {
            let batch = batch.map_err(|error| columnar("read", path, error))?;
            let hours =
                batch.column_by_name("hour").and_then(|column| column.as_primitive_opt::<Int64Type>());
            let Some(hours) = hours.filter(|hours| !hours.is_empty()) else { continue };
            if first {
                weather.start = hours.value(0);
                first = false;
            }
            let targets = [
                &mut weather.wind_kmh,
                &mut weather.gust_kmh,
                &mut weather.direction,
                &mut weather.visibility_m,
                &mut weather.rain_mm,
                &mut weather.wave_m,
            ];
            for (name, target) in SERIES.iter().zip(targets) {
                let column =
                    batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Float64Type>());
                let Some(column) = column else {
                    return Err(SimulatorError::Config(format!(
                        "\"{}\" has no column \"{name}\"",
                        path.display()
                    )));
                };
                target.extend(column.values());
            }
        }
        Ok(weather)
    }
}

fn text_schema(names: &[&str]) -> Arc<Schema> {
    Arc::new(Schema::new(
        names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect::<Vec<_>>(),
    ))
}

/// Simulates a port. `progress` gets (step, done, total) a few times.
///
/// # Errors
/// [`SimulatorError::Config`] when `from >= to`, or dirt or traffic are out of range;
/// [`SimulatorError::Columnar`] when a table cannot be built.
pub fn simulate(config: &SimConfig, progress: &dyn Fn(&str, u64, u64)) -> Result<Port, SimulatorError> {
    let &SimConfig { from, to, seed, dirt, ais_secs, traffic } = config;
    let (from, to) = (from.timestamp(), to.timestamp());
    if from >= to {
        return Err(SimulatorError::Config("the end of the simulation is not after its start".into()));
    }
    if !(0.0..=3.0).contains(&dirt) || !(0.1..=10.0).contains(&traffic) {
        return Err(SimulatorError::Config("dirt must be 0 to 3 and traffic 0.1 to 10".into()));
    }
    progress("weather", 0, 1);
    let start = from - WARM_UP;
    let all = Weather::generate(seed, start, to + FORECAST);
    let mut served = all.since(from);
    // The feeds' closures start open at the first served hour; ships of the warm-up meet those of the whole series.
    let closures = all.closures().then(served.start, &served.closures());
    progress("weather", 1, 1);
    progress("port calls", 0, 1);
    let calls = sim::run(seed, traffic, (start, from, to), &closures);
    let ships = fleet::ships(seed);
    progress("port calls", 1, 1);
    let mut truth = truth::tables(&calls, (from, to), &served)?;
    let tos_rows::Tos { tables, mut defects, aliases } =
        tos_rows::build(seed, dirt, (from, to), &ships, &calls)?;
    // The two feeds made of text take longest, and neither reads what the other draws.
    let (documents, mut movements) = std::thread::scope(|scope| {
        let movements = scope.spawn(|| movements::build(seed, dirt, to, &ships, &calls));
        let documents = documents::build(seed, dirt, to, &ships, &calls, &closures, progress);
        (documents, movements.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    defects.extend(documents.defects);
    defects.append(&mut movements.defects);
    let ais = match ais_secs {
        Some(secs) => {
            let (batch, ais_defects) = ais::build(seed, dirt, (from, to), secs, &ships, &calls)?;
            defects.extend(ais_defects);
            Some(batch)
        }
        None => None,
    };
    for at in served.lose_samples(seed, 0.003 * dirt, to) {
        defects.push(Defect {
            feed: "weather.hourly",
            row: at.to_string(),
            kind: "null_sample",
            original: String::new(),
        });
    }
    let mut rows = Rows::new(text_schema(&["feed", "row_id", "kind", "original"]));
    for Defect { feed, row, kind, original } in &defects {
        rows.push(&[Cell::Text(feed), Cell::Text(row), Cell::Text(kind), Cell::Text(original)]);
    }
    truth.push(("truth_defect", rows.finish()?));
    let mut rows = Rows::new(text_schema(&["feed", "row_id", "vessel_nk"]));
    for Alias { feed, row, truth } in &aliases {
        rows.push(&[Cell::Text(feed), Cell::Text(row), Cell::Text(truth)]);
    }
    truth.push(("truth_vessel_alias", rows.finish()?));
    Ok(Port {
        weather: Arc::new(served),
        tos: tables,
        truth,
        events: documents.text,
        event_lines: documents.lines,
        movements,
        ais,
    })
}
