//! Copies of a source's tables in a lake, which may answer in its place while it is down.
//!
//! A copy must never pass for younger than it is, nor be put together from different runs: only commits count that say
//! when and in which run all their rows were read at the source, and all tables of a statement are pinned to commits of
//! one run. What cannot be shown to be so is refused with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as PlanResult, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use crate::federation::{FederatedTable, FederationOptions};
use crate::registry::{Catalog, CatalogSource};
use crate::source::{
    PG_TYPE_KEY, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

/// Zones that hold one state of each table. Bronze keeps every state ever read, quarantine what was refused.
const ZONES: [&str; 2] = ["silver", "gold"];

/// Where the copies of a source's tables are: a zone of a lake, written as `lake.silver`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    lake: SourceName,
    zone: String,
}

impl FromStr for Fallback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (lake, zone) = text.split_once('.').unwrap_or((text, ""));
        if !ZONES.contains(&zone) {
            return Err(format!(
                "fallback \"{text}\" must be a lake and one of its zones {}, such as lake.silver",
                ZONES.join(", ")
            ));
        }
        Ok(Self { lake: SourceName::try_new(lake)?, zone: zone.to_owned() })
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lake, self.zone)
    }
}

impl<'de> Deserialize<'de> for Fallback {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Fallback {
    /// Whether there is such a lake.
    pub(crate) fn check<'a>(&self, sources: impl Iterator<Item = &'a dyn Source>) -> Result<(), SourceError> {
        let mut lakes: Vec<&str> = Vec::new();
        for source in sources.filter(|source| source.kind() == SourceKind::Lake) {
            if *source.name() == self.lake {
                return Ok(());
            }
            lakes.push(source.name().as_str());
        }
        let error = SourceError::new(
            SourceErrorKind::Data,
            format!("fallback \"{self}\" names no lake of this port"),
        );
        Err(error.with_hint(format!("lakes are {}", lakes.join(", "))))
    }
}

/// What the rows of a commit were read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When reading at the sources began, UTC; of several reads the oldest.
    pub read_at: DateTime<Utc>,
    /// The run that read them; `None` when they were read in several.
    pub run: Option<String>,
}

impl Origin {
    /// What is made of several inputs: as old as the oldest of them. `None` if one of them does not say, or there are
    /// none.
    #[must_use]
    pub fn of_all<'a>(inputs: impl IntoIterator<Item = Option<&'a Self>>) -> Option<Self> {
        let mut whole: Option<Self> = None;
        for input in inputs {
            let input = input?;
            whole = Some(match whole {
                None => input.clone(),
                Some(before) => Self {
                    read_at: before.read_at.min(input.read_at),
                    run: before.run.filter(|run| input.run.as_ref() == Some(run)),
                },
            });
        }
        whole
    }
}

/// A commit of a table that may be a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyCommit {
    /// The table's version that it made.
    pub version: i64,
    /// What its rows were read from, if it says.
    pub origin: Option<Origin>,
}

/// Versions that tables of lakes must be read at, by source and table as `zone.table`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<(SourceName, String), i64>);

impl Pins {
    /// The version a table must be read at, if it must be.
    #[must_use]
    pub fn of(&self, source: &SourceName, table: &str) -> Option<i64> {
        self.0.get(&(source.clone(), table.to_owned())).copied()
    }

    /// Pins as well what others pin.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().map(|(key, version)| (key.clone(), *version)));
    }
}

/// Copies of some tables of one source, all of one run.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The source they stand for.
    pub source: SourceName,
    /// Where they are, as configured.
    pub place: Fallback,
    /// When they were read at the source, UTC; of several the oldest.
    pub read_at: DateTime<Utc>,
    /// The versions of that run.
    pub pins: Pins,
    lake: Arc<CatalogSource>,
    /// SQL schemas of the source.
    schemas: BTreeSet<String>,
    tables: Vec<Copied>,
}

/// One table and its copy.
#[derive(Debug, Clone)]
struct Copied {
    original: Arc<TableDef>,
    copy: Arc<TableDef>,
}

impl Catalog {
    /// Copies of tables of a source, at the newest run that wrote all of them. `None` if none are configured.
    ///
    /// # Errors
    /// Why there are none that could stand for them together.
    pub async fn copies(
        &self,
        source: &SourceName,
        tables: &[Arc<TableDef>],
    ) -> Result<Option<Copies>, SourceError> {
        let Some(entry) = self.source(source.as_str()) else { return Ok(None) };
        let Some(place) = entry.fallback() else { return Ok(None) };
        let refused = |why: String| SourceError::new(SourceErrorKind::NotFound, why).with_source(source);
        let Some(lake) = self.source(place.lake.as_str()) else { return Ok(None) };
        let schemas = lake.source().schemas();
        let named =
            |schema: &&String| **schema == place.zone || **schema == format!("{}_{}", place.lake, place.zone);
        let Some(schema) = schemas.iter().find(named) else {
            return Err(refused(format!("\"{place}\" has no schema")));
        };
        let mut copied = Vec::with_capacity(tables.len());
        let mut commits = Vec::with_capacity(tables.len());
        for original in tables {
            let Some((_, copy)) = self.find_table(schema, &original.name).await? else {
                return Err(refused(format!("\"{place}\" has no table \"{}\"", original.name)));
            };
            commits.push(lake.source().copies(schema, &original.name).await?);
            copied.push(Copied { original: Arc::clone(original), copy });
        }
        let Some(run) = newest_common_run(commits.iter().map(|(_, commits)| commits.as_slice())) else {
            let names: Vec<_> = tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
            return Err(refused(format!(
                "no run of ingest has read and written all of {}",
                names.join(", ")
            )));
        };
        let mut pins = Pins::default();
        let mut read_at: Option<DateTime<Utc>> = None;
        for (key, commits) in commits {
            let Some((version, at)) = commits.iter().find_map(|commit| of_run(commit, &run)) else {
                continue;
            };
            pins.0.insert((place.lake.clone(), key), version);
            read_at = Some(read_at.map_or(at, |before| before.min(at)));
        }
        let Some(read_at) = read_at else { return Ok(None) };
        Ok(Some(Copies {
            source: source.clone(),
            place: place.clone(),
            read_at,
            pins,
            lake,
            schemas: entry.schemas(),
            tables: copied,
        }))
    }
}

/// The version a commit made and when its rows were read, if they were read in this run.
fn of_run(commit: &CopyCommit, run: &str) -> Option<(i64, DateTime<Utc>)> {
    let origin = commit.origin.as_ref().filter(|origin| origin.run.as_deref() == Some(run))?;
    Some((commit.version, origin.read_at))
}

/// The newest run that read what all tables were written of. Commits come newest first.
fn newest_common_run<'a>(tables: impl Iterator<Item = &'a [CopyCommit]>) -> Option<String> {
    let tables: Vec<&[CopyCommit]> = tables.collect();
    let (first, others) = tables.split_first()?;
    let runs = first.iter().filter_map(|commit| commit.origin.as_ref()?.run.as_deref());
    let mut common = runs
        .filter(|run| others.iter().all(|table| table.iter().any(|commit| of_run(commit, run).is_some())));
    common.next().map(str::to_owned)
}

impl Copies {
    /// Whether a schema is one of the source's.
    #[must_use]
    pub fn covers(&self, schema: &str) -> bool {
        self.schemas.contains(schema)
    }

    /// The table that is read in place of one of the source, under its name and columns.
    ///
    /// # Errors
    /// `NotFound` for a table that was not asked for when the copies were looked up: another run may have made it.
    pub fn provider(
        &self,
        schema: &str,
        name: &str,
        options: Arc<FederationOptions>,
    ) -> Result<Arc<dyn TableProvider>, SourceError> {
        let found =
            self.tables.iter().find(|table| table.original.schema == schema && table.original.name == name);
        let Some(Copied { original, copy }) = found else {
            let message = format!("no copy of \"{schema}.{name}\" was looked up");
            return Err(SourceError::new(SourceErrorKind::NotFound, message).with_source(&self.source));
        };
        // The lake reads columns by name, so it is asked in the order and the types of the original.
        let table = TableDef {
            schema: copy.schema.clone(),
            name: copy.name.clone(),
            arrow: Arc::clone(&original.arrow),
            comment: None,
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            row_estimate: None,
            kind: TableKind::Table,
        };
        let inner =
            FederatedTable::new(self.lake.name().clone(), Arc::new(table), self.lake.executor(), options);
        Ok(Arc::new(CopiedTable {
            inner,
            stored: Arc::clone(&copy.arrow),
            shown: format!("{}.{}", copy.schema, copy.name),
        }))
    }
}

/// A copy under the columns of what it stands for. What is read of it must be there and of the same type.
#[derive(Debug)]
struct CopiedTable {
    inner: FederatedTable,
    stored: SchemaRef,
    /// As `schema.table`.
    shown: String,
}

#[async_trait]
impl TableProvider for CopiedTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let schema = self.inner.schema();
        let mut used: BTreeSet<String> = match projection {
            Some(projection) => {
                schema.project(projection)?.fields().iter().map(|field| field.name().clone()).collect()
            }
            None => schema.fields().iter().map(|field| field.name().clone()).collect(),
        };
        for filter in filters {
            used.extend(filter.column_refs().into_iter().map(|column| column.name.clone()));
        }
        // Without push-down a scan asks for every column.
        let all = !self.inner.options().pushdown();
        for field in schema.fields().iter().filter(|field| all || used.contains(field.name())) {
            if let Some(why) = differs(&self.shown, field, &self.stored) {
                return Err(SourceError::new(SourceErrorKind::NotFound, why).into());
            }
        }
        self.inner.scan(state, projection, filters, limit).await
    }
}

/// A type without the way its values lie in memory: the lake knows one way, sources several.
fn held(of: &DataType) -> DataType {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// Why a column of a copy cannot stand for the original's; `None` if it can.
fn differs(table: &str, original: &Field, stored: &Schema) -> Option<String> {
    let name = original.name();
    let Ok(copy) = stored.field_with_name(name) else {
        return Some(format!("\"{table}\" has no column \"{name}\""));
    };
    if held(copy.data_type()) != held(original.data_type()) {
        return Some(format!(
            "column \"{table}.{name}\" is {}, not {}",
            copy.data_type(),
            original.data_type()
        ));
    }
    let declared = |field: &Field| field.metadata().get(PG_TYPE_KEY).cloned();
    match (declared(copy), declared(original)) {
        (Some(copy), original) if original.as_ref() != Some(&copy) => Some(format!(
            "column \"{table}.{name}\" is {copy}, not {}",
            original.unwrap_or_else(|| "that".to_owned())
        )),
        // Any text is a varchar, but not every text is a document.
        (None, Some(document)) if document.starts_with("json") => {
            Some(format!("column \"{table}.{name}\" is text, not {document}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(version: i64, run: Option<&str>) -> CopyCommit {
        let origin = Origin { read_at: DateTime::UNIX_EPOCH, run: run.map(str::to_owned) };
        CopyCommit { version, origin: Some(origin) }
    }

    #[test]
    fn a_fallback_is_a_zone_that_holds_one_state() {
        assert_eq!("lake.silver".parse::<Fallback>().unwrap().to_string(), "lake.silver");
        for wrong in ["lake", "lake.bronze", "lake.quarantine", "Lake.silver", "lake.silver.t", ""] {
            assert!(wrong.parse::<Fallback>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_are_taken_from_the_newest_run_that_read_all_of_them() {
        let calls = [commit(7, Some("r3")), commit(6, Some("r2")), commit(5, Some("r1"))];
        let berths = [commit(3, Some("r2")), commit(2, None), commit(1, Some("r1"))];
        let common = |tables: &[&[CopyCommit]]| newest_common_run(tables.iter().copied());
        assert_eq!(common(&[&calls]).as_deref(), Some("r3"));
        assert_eq!(common(&[&calls, &berths]).as_deref(), Some("r2"));
        assert_eq!(common(&[&calls[..1], &berths]), None);
        assert_eq!(common(&[&[CopyCommit { version: 1, origin: None }]]), None);
        assert_eq!(common(&[]), None);
    }

    #[test]
    fn what_is_made_of_several_reads_is_as_old_as_the_oldest_and_of_one_run_only_if_all_are() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let one = Origin { read_at: at(10), run: Some("r1".into()) };
        let same = Origin { read_at: at(5), run: Some("r1".into()) };
        let other = Origin { read_at: at(20), run: Some("r2".into()) };
        let both = Origin::of_all([Some(&one), Some(&same)]).unwrap();
        assert_eq!((both.read_at, both.run.as_deref()), (at(5), Some("r1")));
        let mixed = Origin::of_all([Some(&one), Some(&other), Some(&one)]).unwrap();
        assert_eq!((mixed.read_at, mixed.run), (at(10), None));
        assert_eq!(Origin::of_all([Some(&one), None]), None);
        assert_eq!(Origin::of_all([]), None);
    }

    #[test]
    fn a_column_stands_for_another_only_if_it_is_of_the_same_type() {
        let stored = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("note", DataType::Utf8, true),
            Field::new("name", DataType::Utf8, true)
                .with_metadata([(PG_TYPE_KEY.to_owned(), "varchar(8)".to_owned())].into()),
        ]);
        let told = |field: Field| differs("silver.t", &field, &stored);
        assert_eq!(told(Field::new("id", DataType::Int64, false)), None);
        let narrower = told(Field::new("id", DataType::Int32, false)).unwrap();
        assert_eq!(narrower, "column \"silver.t.id\" is Int64, not Int32");
        assert_eq!(told(Field::new("note", DataType::Utf8View, true)), None);
        let documents = [(PG_TYPE_KEY.to_owned(), "jsonb".to_owned())];
        let document = Field::new("note", DataType::Utf8View, true).with_metadata(documents.into());
        assert_eq!(told(document).unwrap(), "column \"silver.t.note\" is text, not jsonb");
        assert!(told(Field::new("loa", DataType::Int32, true)).unwrap().contains("no column \"loa\""));
        assert!(told(Field::new("name", DataType::Utf8, true)).unwrap().contains("varchar(8)"));
    }
}
