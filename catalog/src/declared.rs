//! What a configuration declares of a database's tables: which are shown, and as what type a column is read.
//!
//! It is applied to what the server tells and never kept with it, so that a list from the disk serves a configuration that
//! has changed as well as a fresh one. A declared type that cannot be exact keeps its table from being used, behind an
//! error that names the line; a line that names nothing is told and does nothing. Nobody is contacted here, and no value
//! is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;
use tracing::warn;

use crate::files::matches_glob;
use crate::source::{
    DECLARED_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY, SourceError, SourceErrorKind, SourceName, TableDef,
};

/// Digits that a decimal can have here.
const MAX_DIGITS: u8 = 76;
/// Digits and places that stand for those of a `numeric` without any while a statement is planned: no column has them.
pub(crate) const UNDECIDED: (u8, u8) = (76, 38);

/// The type a column is declared to be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DeclaredType {
    /// `numeric(p,s)`: so many digits, so many of them behind the point.
    Numeric(u8, i8),
    /// `bool`
    Bool,
    /// `text`
    Text,
    /// `jsonb`
    Json,
}

impl DeclaredType {
    /// The Arrow type of a decimal of so many digits.
    pub(crate) fn decimal(precision: u8, scale: i8) -> DataType {
        if precision <= 38 {
            DataType::Decimal128(precision, scale)
        } else {
            DataType::Decimal256(precision, scale)
        }
    }

    /// What a field is declared as, if it is.
    pub(crate) fn of(field: &Field) -> Option<Self> {
        Self::try_from(field.metadata().get(DECLARED_KEY)?.clone()).ok()
    }

    /// The line of a configuration that declares it for a column.
    pub(crate) fn line(self, table: &str, column: &str) -> String {
        let path = format!("{table}.{column}");
        let bare = path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if bare {
            format!("columns: {{{path}: \"{self}\"}}")
        } else {
            format!("columns: {{{path:?}: \"{self}\"}}")
        }
    }
}

impl fmt::Display for DeclaredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numeric(precision, scale) => write!(f, "numeric({precision},{scale})"),
            Self::Bool => f.write_str("bool"),
            Self::Text => f.write_str("text"),
            Self::Json => f.write_str("jsonb"),
        }
    }
}

impl TryFrom<String> for DeclaredType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.trim().to_ascii_lowercase();
        match name.as_str() {
            "bool" | "boolean" => Ok(Self::Bool),
            "text" => Ok(Self::Text),
            "jsonb" => Ok(Self::Json),
            other => numeric(other).ok_or_else(|| {
                format!(
                    "a column cannot be declared as \"{text}\"; known are numeric(p,s) of up to {MAX_DIGITS} digits, \
                     bool, text and jsonb"
                )
            }),
        }
    }
}

fn numeric(name: &str) -> Option<DeclaredType> {
    let digits = name.strip_prefix("numeric").or_else(|| name.strip_prefix("decimal"))?;
    let digits = digits.trim_start().strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?);
    let known =
        (1..=MAX_DIGITS).contains(&precision) && scale <= precision && (precision, scale) != UNDECIDED;
    known.then_some(DeclaredType::Numeric(precision, i8::try_from(scale).ok()?))
}

/// A column of a source, as `<table>.<column>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct ColumnPath(String);

impl TryFrom<String> for ColumnPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('.') {
            Some((table, column)) if !table.is_empty() && !column.is_empty() => Ok(Self(text)),
            _ => Err(format!("\"{text}\" names no column; write <table>.<column>")),
        }
    }
}

impl ColumnPath {
    /// The column's place, if it is one of the table. Names may have dots in them.
    fn within(&self, table: &TableDef) -> Option<usize> {
        table.arrow.index_of(self.0.strip_prefix(&table.name)?.strip_prefix('.')?).ok()
    }
}

/// Columns that are read as a declared type, by `<table>.<column>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct ColumnTypes(BTreeMap<ColumnPath, DeclaredType>);

impl ColumnTypes {
    /// Whether nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which of a source's tables are shown, by globs (`*`, `?`) over their names; case matters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TablePatterns {
    /// Only these; empty: all.
    pub include: Vec<String>,
    /// None of these.
    pub exclude: Vec<String>,
}

impl TablePatterns {
    /// Whether all tables are shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    fn shows(&self, table: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| matches_glob(pattern, table));
        (self.include.is_empty() || among(&self.include)) && !among(&self.exclude)
    }

    /// Patterns that name nothing though somebody meant something by them: a glob that keeps tables out may be there for
    /// those to come.
    fn unmet<'a>(&'a self, tables: &'a [Arc<TableDef>]) -> impl Iterator<Item = String> + 'a {
        let includes = self.include.iter().map(|pattern| ("include", pattern));
        let excludes = self.exclude.iter().filter(|pattern| !pattern.contains(['*', '?']));
        includes
            .chain(excludes.map(|pattern| ("exclude", pattern)))
            .filter(move |(_, pattern)| !tables.iter().any(|table| matches_glob(pattern, &table.name)))
            .map(|(word, pattern)| format!("\"{pattern}\" of tables.{word} names no table"))
    }
}

/// How a kind of source reads a column as another type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retyping {
    /// The field as declared, the field itself if that is its type anyway; `None` where that cannot be exact.
    pub(crate) field: fn(&Field, DeclaredType) -> Option<Field>,
    /// What can, in a hint.
    pub(crate) accepts: &'static str,
}

/// What one source's configuration declares, and what came of it.
#[derive(Debug)]
pub(crate) struct Declarations {
    source: SourceName,
    tables: TablePatterns,
    columns: ColumnTypes,
    retyping: Retyping,
    found: Mutex<Found>,
}

/// What came of the declarations when they were last applied.
#[derive(Debug, Default)]
struct Found {
    /// By table, why it cannot be used.
    refused: BTreeMap<String, SourceError>,
    /// The same, and what names nothing, in words.
    told: Vec<String>,
}

impl Declarations {
    pub(crate) fn new(
        source: SourceName,
        tables: TablePatterns,
        columns: ColumnTypes,
        retyping: Retyping,
    ) -> Self {
        Self { source, tables, columns, retyping, found: Mutex::default() }
    }

    /// The tables as they are shown, of those that the server told.
    pub(crate) fn apply(&self, told: Vec<Arc<TableDef>>) -> Vec<Arc<TableDef>> {
        if self.tables.is_empty() && self.columns.is_empty() {
            return told;
        }
        let mut found = Found { told: self.tables.unmet(&told).collect(), ..Found::default() };
        let mut tables: Vec<Arc<TableDef>> =
            told.into_iter().filter(|table| self.tables.shows(&table.name)).collect();
        for (path, declared) in &self.columns.0 {
            let named: Vec<(usize, usize)> = tables
                .iter()
                .enumerate()
                .filter_map(|(place, table)| Some((place, path.within(table)?)))
                .collect();
            match named.as_slice() {
                [] => found
                    .told
                    .push(format!("\"{}\" of columns names no column of a table that is shown", path.0)),
                [(place, column)] => {
                    self.declare(&mut tables, (*place, *column), path, *declared, &mut found)
                }
                several => {
                    let names =
                        several.iter().filter_map(|(place, _)| Some(tables.get(*place)?.name.clone()));
                    for table in names {
                        let message = format!("\"{}\" of columns names columns of several tables", path.0);
                        found.refuse(table, self.refusal(message).with_hint("expose one of them by a view"));
                    }
                }
            }
        }
        tables.retain(|table| !found.refused.contains_key(&table.name));
        let shown: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
        for table in &mut tables {
            // A key to a table that is not shown points at nothing.
            if table.foreign_keys.iter().any(|key| !shown.contains(&key.to_table)) {
                Arc::make_mut(table).foreign_keys.retain(|key| shown.contains(&key.to_table));
            }
        }
        let mut last = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if last.told != found.told && !found.told.is_empty() {
            warn!(source = %self.source, lines = %found.told.join("; "), "not all that is configured can be kept");
        }
        *last = found;
        tables
    }

    /// Retypes one column, or notes why its table cannot be used.
    fn declare(
        &self,
        tables: &mut [Arc<TableDef>],
        (place, column): (usize, usize),
        path: &ColumnPath,
        declared: DeclaredType,
        found: &mut Found,
    ) {
        let Some(table) = tables.get_mut(place) else { return };
        let arrow = Arc::clone(&table.arrow);
        let Some(field) = arrow.fields().get(column) else { return };
        if let Some(retyped) = (self.retyping.field)(field, declared) {
            let mut fields: Vec<Arc<Field>> = arrow.fields().iter().cloned().collect();
            if let Some(field) = fields.get_mut(column) {
                *field = Arc::new(retyped);
            }
            Arc::make_mut(table).arrow =
                Arc::new(Schema::new_with_metadata(fields, arrow.metadata().clone()));
            return;
        }
        let metadata = field.metadata();
        let is = metadata.get(SOURCE_TYPE_KEY).or_else(|| metadata.get(PG_TYPE_KEY));
        let is = is.cloned().unwrap_or_else(|| field.data_type().to_string());
        let name = table.name.clone();
        let message =
            format!("column \"{}.{}\" is {is}, which is not read as {declared}", self.source, path.0);
        let hint = format!(
            "correct the line \"{}: {declared}\" in columns of source \"{}\"; {}",
            path.0, self.source, self.retyping.accepts
        );
        found.refuse(name, self.refusal(message).with_hint(hint));
    }

    fn refusal(&self, message: String) -> SourceError {
        SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.source)
    }

    /// Why a table is not among those shown though the server has it and nothing excludes it.
    pub(crate) fn refused(&self, table: &str) -> Option<SourceError> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).refused.get(table).cloned()
    }

    /// What could not be kept when the declarations were last applied, in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }
}

impl Found {
    /// Notes why a table cannot be used; the first reason stays.
    fn refuse(&mut self, table: String, error: SourceError) {
        self.told.push(error.message.clone());
        self.refused.entry(table).or_insert(error);
    }
}

#[cfg(test)]
#[path = "declared_tests.rs"]
mod tests;
