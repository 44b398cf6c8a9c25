//! What the shadow catalog must show: the desired state, as plain data.
//!
//! The engine builds a [`MirrorModel`] from its catalog, the KPI views and the roles; [`super::mirror`] makes the
//! embedded server equal to it. The model never holds rows and never says how the state is reached. Types are
//! PostgreSQL's own spelling (`varchar(8)`, `numeric(14,3)`, `timestamptz`), because Describe is answered from them.

use sha2::{Digest, Sha256};

/// Everything that the shadow mirrors. Order of schemas, tables and roles does not matter; order of columns does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorModel {
    /// The engine's catalog version this model was built from; only informative, the digest decides.
    pub version: u64,
    /// Database name the clients see, e.g. `portolan`.
    pub database: String,
    /// Schemas, also those without a table.
    pub schemas: Vec<MirrorSchema>,
    /// Tables and views.
    pub tables: Vec<MirrorTable>,
    /// Login roles of the gateway.
    pub roles: Vec<MirrorRole>,
    /// Functions that only the gateway can run; PostgreSQL must still resolve and list them.
    pub functions: Vec<MirrorFunction>,
}

/// One mirrored schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSchema {
    /// Unquoted name.
    pub name: String,
    /// Text shown by `\dn+`.
    pub comment: Option<String>,
}

/// How PostgreSQL lists a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirrorKind {
    /// `relkind` r, `BASE TABLE`.
    Table,
    /// `relkind` v, `VIEW`.
    View,
}

/// One mirrored relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorTable {
    /// Unquoted schema name; must be among [`MirrorModel::schemas`].
    pub schema: String,
    /// Unquoted relation name.
    pub name: String,
    /// Table or view.
    pub kind: MirrorKind,
    /// Columns in their order.
    pub columns: Vec<MirrorColumn>,
    /// Column names of the primary key; empty for none, ignored for a view.
    pub primary_key: Vec<String>,
    /// Foreign keys; one whose target has no equal primary key is left out of the mirror.
    pub foreign_keys: Vec<MirrorForeignKey>,
    /// Text shown by `\d+` and `\dt+`.
    pub comment: Option<String>,
    /// Rows, for `pg_class.reltuples`; `None` shows -1, as a table never analysed.
    pub row_estimate: Option<u64>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorColumn {
    /// Unquoted name.
    pub name: String,
    /// PostgreSQL type with its modifier.
    pub pg_type: String,
    /// Shown as NOT NULL (tables only: a view's column never is).
    pub not_null: bool,
    /// Text shown by `\d+`.
    pub comment: Option<String>,
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorForeignKey {
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced schema.
    pub to_schema: String,
    /// Referenced table.
    pub to_table: String,
    /// Referenced columns.
    pub to_columns: Vec<String>,
}

/// One login role: never superuser, SELECT on every mirrored relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRole {
    /// Unquoted name.
    pub name: String,
    /// Mirrored roles it is a member of.
    pub member_of: Vec<String>,
}

/// One gateway-only function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFunction {
    /// Unquoted name, created in `pg_catalog` so that every `search_path` resolves it.
    pub name: String,
    /// Argument types as PostgreSQL writes them, e.g. `anyelement`.
    pub arguments: String,
    /// Result type, e.g. `anyelement`.
    pub returns: String,
    /// Whether it aggregates (then `arguments` must be one type, equal to `returns`).
    pub aggregate: bool,
    /// Text shown by `\df+`.
    pub comment: Option<String>,
}

impl MirrorFunction {
    /// The functions of the KPI language: `measure`, `agg` and `aggregate`, all `(anyelement) → anyelement`.
    #[must_use]
    pub fn kpi() -> Vec<Self> {
        ["measure", "agg", "aggregate"]
            .into_iter()
            .map(|name| Self {
                name: name.to_owned(),
                arguments: "anyelement".to_owned(),
                returns: "anyelement".to_owned(),
                aggregate: true,
                comment: Some("value of a KPI for the groups of the query".to_owned()),
            })
            .collect()
    }
}

impl MirrorModel {
    /// Returns the hexadecimal SHA-256 of everything but [`MirrorModel::version`]: equal digests need no DDL.
    #[must_use]
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut schemas: Vec<_> = self.schemas.iter().collect();
        schemas.sort_by(|a, b| a.name.cmp(&b.name));
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let mut roles: Vec<_> = self.roles.iter().collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        let _ = write!(text, "{:?}{schemas:?}{tables:?}{roles:?}{:?}", self.database, self.functions);
        hex_digest(&text)
    }
}

/// Hexadecimal SHA-256.
pub(super) fn hex_digest(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
