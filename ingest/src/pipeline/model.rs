//! The checked model of all pipelines of a directory.
//!
//! Tables are held in an order in which every table comes after its inputs. A model with diagnostics is still a
//! model, so that `ingest check` can list everything; running one is refused by the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::contract::Contract;
use crate::crosswalk::Crosswalks;
use crate::transform::Transform;

/// Zone of a lake table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Zone {
    Bronze,
    Silver,
    Gold,
}

impl Zone {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

/// A table's full name, `zone.name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    pub(crate) zone: Zone,
    pub(crate) name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.zone.name(), self.name)
    }
}

/// How a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceMode {
    /// Typed rows, as the source's executor gives them; wall-clock times without zone stay text.
    Table,
    /// Records of files, each payload as it stands in the file.
    Records,
}

/// What a pipeline reads: `schema.table` of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSpec {
    pub(crate) mode: SourceMode,
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Bronze is read with every snapshot that was ever landed, not with the latest only.
    pub(crate) all_snapshots: bool,
    /// A snapshot without a single record is data, not a mistake.
    pub(crate) allow_empty: bool,
    /// A snapshot is one file: a folder with two of them is a mistake, not a port with twice the ships.
    pub(crate) one_file: bool,
}

/// How a payload becomes text columns: names and paths into a JSON document. `a[].b` makes one row per element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decode(pub(crate) Vec<(String, String)>);

/// What happens to rows a rule meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Counted only.
    Warn,
    /// The row goes to quarantine.
    Quarantine,
    /// The interval stops.
    Fail,
}

/// One rule over a table's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) condition: String,
    pub(crate) severity: Severity,
}

/// How a table is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Make {
    /// A query over other tables.
    Sql { text: String, file: PathBuf },
    /// A transform that SQL cannot say well.
    Transform(Transform),
}

/// A declared table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableSpec {
    pub(crate) table: TableName,
    pub(crate) pipeline: String,
    pub(crate) file: PathBuf,
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) make: Make,
    /// Tables read, by name; filled in by the graph.
    pub(crate) inputs: Vec<TableName>,
    /// Declared columns; `None` takes what the query gives.
    pub(crate) contract: Option<Contract>,
    pub(crate) key: Vec<String>,
    /// Among rows of one key the greatest of these wins.
    pub(crate) latest: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    /// One input row may give several output rows.
    pub(crate) fan_out: bool,
    /// False for a step that lives only during a run.
    pub(crate) stored: bool,
    /// Table of the star that gets this table's rows.
    pub(crate) publish: Option<String>,
    /// Greatest share of quarantined rows before nothing is published.
    pub(crate) max_share: f64,
    pub(crate) comment: Option<String>,
}

/// One pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) source: Option<SourceSpec>,
    /// Name of the bronze table; only meaningful with a source.
    pub(crate) bronze: String,
    pub(crate) decode: Option<Decode>,
}

/// All pipelines of a directory, checked as one graph.
#[derive(Debug, Clone, Default)]
pub struct Pipelines {
    pub(crate) pipelines: Vec<Pipeline>,
    /// In an order in which inputs come first.
    pub(crate) tables: Vec<TableSpec>,
    pub(crate) crosswalks: Crosswalks,
}

impl Pipelines {
    /// Names of the pipelines, in file order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect()
    }

    /// Lets the pipelines that read `from` (`schema.table`) read `to` instead. Returns how many those are.
    pub fn redirect(&mut self, from: (&str, &str), to: (&str, &str)) -> usize {
        let mut redirected = 0;
        for spec in self.pipelines.iter_mut().filter_map(|pipeline| pipeline.source.as_mut()) {
            if (spec.schema.as_str(), spec.table.as_str()) == from {
                (spec.schema, spec.table) = (to.0.to_owned(), to.1.to_owned());
                redirected += 1;
            }
        }
        redirected
    }

    /// Every lake table the pipelines make, as `zone.name`, bronze first, with its comment.
    #[must_use]
    pub fn tables(&self) -> BTreeMap<String, Option<String>> {
        let bronze = self
            .pipelines
            .iter()
            .filter(|pipeline| pipeline.source.is_some())
            .map(|pipeline| (format!("bronze.{}", pipeline.bronze), None));
        let rest = self.tables.iter().filter(|t| t.stored).map(|t| (t.table.to_string(), t.comment.clone()));
        bronze.chain(rest).collect()
    }

    /// Whether any table is published to the star.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.tables.iter().any(|table| table.publish.is_some())
    }

    pub(crate) fn bronze_of(&self, table: &TableName) -> Option<&Pipeline> {
        if table.zone != Zone::Bronze {
            return None;
        }
        self.pipelines.iter().find(|pipeline| pipeline.source.is_some() && pipeline.bronze == table.name)
    }
}
