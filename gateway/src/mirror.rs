//! The gateway's catalog in the three forms its parts need: tables for a session, names for the classifier, and the
//! model the shadow catalog mirrors. One catalog behind all three, so that what is listed is what can be queried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use futures::future::join_all;
use portolan_catalog::Catalog;
use portolan_catalog::copies::Copies;
use portolan_catalog::federation::{FederationOptions, Fragment};
use portolan_catalog::source::{COMMENT_KEY, SourceError, SourceName, TableDef, TableKind};

use crate::error::{ErrorCode, QueryError};
use crate::pg::classify::RelationNames;
use crate::pgtypes::PgType;
use crate::session::TableCatalog;
use crate::shadow::{
    MirrorColumn, MirrorForeignKey, MirrorFunction, MirrorKind, MirrorModel, MirrorRole, MirrorSchema,
    MirrorTable,
};

/// The sources' tables, as sessions see them.
#[derive(Debug)]
pub struct SourceTables(pub Arc<Catalog>);

#[async_trait::async_trait]
impl TableCatalog for SourceTables {
    fn provider(
        &self,
        options: Arc<FederationOptions>,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider> {
        self.0.catalog_provider(options, extra)
    }

    fn version(&self) -> u64 {
        self.0.generation()
    }

    async fn refresh(&self, source: Option<&str>) -> Result<String, QueryError> {
        let known = self.0.sources();
        let asked: Vec<_> =
            known.iter().filter(|entry| source.is_none_or(|name| entry.name().as_str() == name)).collect();
        if let (Some(name), true) = (source, asked.is_empty()) {
            let names: Vec<&str> = known.iter().map(|entry| entry.name().as_str()).collect();
            let error =
                QueryError::new(ErrorCode::UndefinedObject, format!("source \"{name}\" does not exist"));
            return Err(error.with_hint(format!("sources are {}", names.join(", "))));
        }
        let found = join_all(asked.iter().map(|entry| entry.refresh())).await;
        let mut lines = Vec::with_capacity(asked.len());
        for (entry, found) in asked.iter().zip(found) {
            lines.push(match found {
                Ok(found) => format!("{}: {}", entry.name(), found.summary()),
                Err(error) if source.is_some() => return Err(error.into()),
                Err(error) => format!("{}: {error}", entry.name()),
            });
        }
        Ok(lines.join("\n"))
    }

    fn distrust(&self, source: &str, fragment: &Fragment, sample: &str) {
        if let Some(entry) = self.0.source(source) {
            entry.distrust(fragment, sample);
        }
    }

    fn fallback(&self, source: &SourceName) -> Option<String> {
        self.0.source(source.as_str())?.fallback().map(ToString::to_string)
    }

    async fn copies(
        &self,
        source: &SourceName,
        tables: &[Arc<TableDef>],
    ) -> Result<Option<Copies>, SourceError> {
        self.0.copies(source, tables).await
    }

    fn stood_in(&self, source: &str, read_at: DateTime<Utc>) {
        if let Some(entry) = self.0.source(source) {
            entry.health().stood_in(read_at);
        }
    }
}

/// The relations the gateway serves, by schema; replaced whole when the catalog changes.
#[derive(Debug, Default)]
pub struct Names(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    names: Arc<BTreeMap<String, BTreeSet<String>>>,
    model: Arc<MirrorModel>,
}

impl Names {
    /// Takes over the names of a model.
    pub fn replace(&self, model: &MirrorModel) {
        let mut names: BTreeMap<String, BTreeSet<String>> =
            model.schemas.iter().map(|schema| (schema.name.clone(), BTreeSet::new())).collect();
        for table in &model.tables {
            names.entry(table.schema.clone()).or_default().insert(table.name.clone());
        }
        let known = Known { names: Arc::new(names), model: Arc::new(model.clone()) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// The model the names came from: kinds, keys and comments of what is served.
    #[must_use]
    pub fn model(&self) -> Arc<MirrorModel> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).model)
    }

    fn get(&self) -> Arc<BTreeMap<String, BTreeSet<String>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).names)
    }
}

impl RelationNames for Names {
    fn has_relation(&self, schema: &str, name: &str) -> bool {
        self.get().get(schema).is_some_and(|tables| tables.contains(name))
    }

    fn has_schema(&self, schema: &str) -> bool {
        self.get().contains_key(schema)
    }

    fn is_engine_function(&self, name: &str) -> bool {
        matches!(
            name,
            "approx_distinct"
                | "approx_median"
                | "approx_percentile_cont"
                | "measure"
                | "agg"
                | "aggregate"
                | "portolan_refresh"
        )
    }
}

/// What the shadow must show of these tables to these users.
#[must_use]
pub fn model(
    version: u64,
    schemas: &BTreeSet<String>,
    tables: &[Arc<TableDef>],
    users: &[&str],
) -> MirrorModel {
    let known: BTreeSet<(&str, &str)> =
        tables.iter().map(|table| (table.schema.as_str(), table.name.as_str())).collect();
    MirrorModel {
        version,
        database: crate::session::CATALOG.to_owned(),
        schemas: schemas.iter().map(|name| MirrorSchema { name: name.clone(), comment: None }).collect(),
        tables: tables.iter().map(|table| mirrored(table, &known)).collect(),
        roles: users
            .iter()
            .map(|user| MirrorRole { name: (*user).to_owned(), member_of: Vec::new() })
            .collect(),
        functions: MirrorFunction::kpi(),
    }
}

fn mirrored(table: &TableDef, known: &BTreeSet<(&str, &str)>) -> MirrorTable {
    let columns = table
        .arrow
        .fields()
        .iter()
        .map(|field| MirrorColumn {
            name: field.name().clone(),
            pg_type: PgType::from_field(field).format(),
            not_null: !field.is_nullable(),
            comment: field.metadata().get(COMMENT_KEY).cloned(),
        })
        .collect();
    // A key may name a table that this source does not show; PostgreSQL would refuse such a constraint.
    let foreign_keys = table
        .foreign_keys
        .iter()
        .filter(|key| known.contains(&(key.to_schema.as_str(), key.to_table.as_str())))
        .map(|key| MirrorForeignKey {
            columns: key.columns.clone(),
            to_schema: key.to_schema.clone(),
            to_table: key.to_table.clone(),
            to_columns: key.to_columns.clone(),
        })
        .collect();
    MirrorTable {
        schema: table.schema.clone(),
        name: table.name.clone(),
        kind: match table.kind {
            TableKind::Table => MirrorKind::Table,
            TableKind::View => MirrorKind::View,
        },
        columns,
        primary_key: table.primary_key.clone(),
        foreign_keys,
        comment: table.comment.clone(),
        row_estimate: table.row_estimate,
    }
}
