//! The simulated feeds on disk: documents, movements, positions, weather and the truth, made once for one plan.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, Months, SecondsFormat, Utc};
use portolan_simulator::{Port, SimConfig, simulate};
use serde::{Deserialize, Serialize};

/// Layout of the feeds' folder; a change makes older folders unusable.
const FORMAT: u32 = 2;

/// What is simulated. Written beside the feeds and compared at the next start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoPlan {
    format: u32,
    /// Months before `until`.
    pub months: u32,
    /// End of the simulation, exclusive, UTC.
    pub until: DateTime<Utc>,
    /// Seed of everything.
    pub seed: u64,
    /// Dirt of the feeds, 0 to 3.
    pub dirt: f64,
}

impl DemoPlan {
    /// A plan for so many months up to an instant.
    #[must_use]
    pub const fn new(months: u32, until: DateTime<Utc>, seed: u64, dirt: f64) -> Self {
        Self { format: FORMAT, months, until, seed, dirt }
    }

    /// First instant of the feeds, UTC.
    ///
    /// # Errors
    /// When the calendar does not reach back that far.
    pub fn from(&self) -> anyhow::Result<DateTime<Utc>> {
        self.until.checked_sub_months(Months::new(self.months)).context("--months reaches back too far")
    }

    /// Identifies what was simulated; stored in the operational database.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let until = self.until.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("v{} months={} until={until} seed={} dirt={}", self.format, self.months, self.seed, self.dirt)
    }

    fn config(&self) -> anyhow::Result<SimConfig> {
        // One position an hour: enough to follow ships on a map, small enough for a start in seconds.
        Ok(SimConfig {
            from: self.from()?,
            to: self.until,
            seed: self.seed,
            dirt: self.dirt,
            ais_secs: Some(3600),
            traffic: 1.0,
        })
    }
}

/// The feeds' folder of a data directory.
#[derive(Debug, Clone)]
pub struct Feeds {
    folder: PathBuf,
}

impl Feeds {
    /// The feeds below a data directory.
    #[must_use]
    pub fn below(data_dir: &Path) -> Self {
        Self { folder: data_dir.join("feeds") }
    }

    /// The plan of the feeds that are there; `None` if none are.
    ///
    /// # Errors
    /// When the folder was written by another version, or its plan cannot be read.
    pub fn plan(&self) -> anyhow::Result<Option<DemoPlan>> {
        let path = self.folder.join("plan.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("read the plan of the feeds"),
        };
        match serde_json::from_str::<DemoPlan>(&text) {
            Ok(plan) if plan.format == FORMAT => Ok(Some(plan)),
            _ => bail!("the data directory was made by another version; start once with --reset"),
        }
    }

    /// Simulates and writes the feeds, unless they are there. Returns the port when it was simulated now.
    ///
    /// # Errors
    /// A plan that cannot be simulated, or a directory that cannot be written.
    pub fn ensure(&self, plan: &DemoPlan) -> anyhow::Result<Option<Port>> {
        if self.plan()?.is_some_and(|present| present == *plan) {
            return Ok(None);
        }
        let port = simulate(&plan.config()?, &|_, _, _| {})?;
        let draft = self.folder.with_extension("draft");
        if draft.exists() {
            std::fs::remove_dir_all(&draft).context("remove an unfinished simulation")?;
        }
        for folder in ["events", "movements", "ais", "truth"] {
            std::fs::create_dir_all(draft.join(folder)).with_context(|| {
                format!(
                    "data directory \"{}\" is not writable; name another with --data-dir",
                    self.folder.display()
                )
            })?;
        }
        port.write_events(&draft.join("events"))?;
        port.write_movements(&draft.join("movements"))?;
        port.write_ais(&draft.join("ais"))?;
        port.write_truth(&draft.join("truth"))?;
        port.weather.save(&draft.join("weather.parquet"))?;
        std::fs::write(draft.join("plan.json"), serde_json::to_string_pretty(plan)?)
            .context("write the plan")?;
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).context("remove the feeds of another plan")?;
        }
        std::fs::rename(&draft, &self.folder).context("put the feeds in place")?;
        Ok(Some(port))
    }

    /// The port of a plan, simulated again; the same seed gives the same port.
    ///
    /// # Errors
    /// A plan that cannot be simulated.
    pub fn again(plan: &DemoPlan) -> anyhow::Result<Port> {
        Ok(simulate(&plan.config()?, &|_, _, _| {})?)
    }

    /// Where the documents, movements and positions are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The weather as it was simulated.
    #[must_use]
    pub fn weather_file(&self) -> PathBuf {
        self.folder.join("weather.parquet")
    }
}
