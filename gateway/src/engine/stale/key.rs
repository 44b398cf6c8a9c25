//! What an answer depends on, and whether it depends on nothing else.
//!
//! Two executions share an answer only if everything is equal here: the text to its last blank, the values and types of
//! its parameters, the user, the settings, and the tables that its names mean, with their columns. A statement that asks for anything beside tables of sources
//! (the time, chance, the gateway itself) has no key at all, so a name that is forgotten here costs an answer that could
//! have been kept and never one that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use portolan_catalog::federation::FederatedTable;
use portolan_catalog::source::{SourceName, TableDef};

use super::super::Prepared;
use super::super::prepare::Environment;
use crate::pgtypes::PgType;
use crate::settings::Settings;

/// Functions that are stable because they read the session's time zone, which the key holds.
const BY_ZONE: [&str; 2] = ["to_text", "date_part"];

/// Everything that an answer depends on, but the data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    sql: Arc<str>,
    parameters: Vec<(PgType, ScalarValue)>,
    declared: Vec<Option<PgType>>,
    environment: Environment,
    settings: Vec<(String, String)>,
    tables: BTreeSet<String>,
}

impl Key {
    pub(super) fn of(
        prepared: &Prepared,
        values: &[ScalarValue],
        environment: &Environment,
        settings: &Settings,
    ) -> Self {
        let parameters = prepared.parameters.iter().copied().zip(values.iter().cloned());
        Self {
            sql: Arc::clone(&prepared.sql),
            parameters: parameters.collect(),
            declared: prepared.declared.clone(),
            environment: environment.of_any_version(),
            settings: settings.deciding(),
            tables: scans(prepared).iter().map(|(source, table)| described(source, table)).collect(),
        }
    }

    /// Bytes it holds, about.
    pub(super) fn bytes(&self) -> usize {
        let settings = self.settings.iter().map(|(name, value)| name.len() + value.len() + 48);
        let values = self.parameters.iter().map(|(_, value)| value.size());
        let tables = self.tables.iter().map(String::len);
        self.sql.len() + settings.sum::<usize>() + values.sum::<usize>() + tables.sum::<usize>() + 256
    }
}

/// The sources a statement reads, if its answer depends on nothing else.
///
/// # Errors
/// What else it depends on, in words.
pub(super) fn reads_only_sources(prepared: &Prepared) -> Result<BTreeSet<SourceName>, &'static str> {
    if prepared.explain.is_some() {
        return Err("it is an EXPLAIN");
    }
    let mut other = None;
    let walked = prepared.plan.apply_with_subqueries(|node: &LogicalPlan| {
        if matches!(node, LogicalPlan::TableScan(_)) && federated(node).is_none() {
            other = Some("it reads more than tables of sources");
        }
        node.apply_expressions(|expr: &Expr| {
            expr.apply(|expr| {
                if !is_steady(expr) {
                    other = Some("it asks for the time, for chance or for the session");
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    let sources: BTreeSet<SourceName> = scans(prepared).into_iter().map(|(source, _)| source).collect();
    match other {
        Some(other) => Err(other),
        None if walked.is_err() => Err("its plan cannot be walked"),
        None if sources.is_empty() => Err("it reads no source"),
        None => Ok(sources),
    }
}

/// A table and its columns in words: a name may come to mean another table, and a table to have other columns.
fn described(source: &SourceName, table: &TableDef) -> String {
    let mut text = format!("{source}: {:?}.{:?}", table.schema, table.name);
    for field in table.arrow.fields() {
        let metadata: BTreeMap<_, _> = field.metadata().iter().collect();
        let null = if field.is_nullable() { "null" } else { "not null" };
        text.push_str(&format!(", {:?} {} {null} {metadata:?}", field.name(), field.data_type()));
    }
    text
}

/// The tables of one source that a statement reads, each once.
pub(super) fn tables_of(prepared: &Prepared, source: &SourceName) -> Vec<Arc<TableDef>> {
    let mut tables: Vec<Arc<TableDef>> = Vec::new();
    for (_, table) in scans(prepared).into_iter().filter(|(of, _)| of == source) {
        if tables.iter().all(|known| known.schema != table.schema || known.name != table.name) {
            tables.push(table);
        }
    }
    tables
}

fn scans(prepared: &Prepared) -> Vec<(SourceName, Arc<TableDef>)> {
    let mut found = Vec::new();
    let _ = prepared.plan.apply_with_subqueries(|node: &LogicalPlan| {
        found.extend(federated(node));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The source's table that a node reads.
fn federated(node: &LogicalPlan) -> Option<(SourceName, Arc<TableDef>)> {
    let LogicalPlan::TableScan(scan) = node else { return None };
    let provider = source_as_provider(&scan.source).ok()?;
    let table: &FederatedTable = provider.downcast_ref()?;
    Some((table.source().clone(), Arc::clone(table.definition())))
}

/// Whether a node of an expression has one value for one input and one set of settings.
fn is_steady(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => match call.func.signature().volatility {
            Volatility::Immutable => true,
            Volatility::Stable => BY_ZONE.contains(&call.func.name()),
            Volatility::Volatile => false,
        },
        Expr::AggregateFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::WindowFunction(call) => call.fun.signature().volatility == Volatility::Immutable,
        Expr::ScalarVariable(..) => false,
        _ => true,
    }
}
