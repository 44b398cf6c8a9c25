//! Makes the shadow equal to a [`MirrorModel`], in one transaction, touching only what differs.
//!
//! The memory of the present state is the comment of our own schema, written in the same transaction, so it is never
//! ahead of or behind the tables. OIDs stay as long as columns are only added at the end, dropped or retyped; anything
//! else means a new relation. Rows never exist here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::model::{MirrorColumn, MirrorKind, MirrorModel, MirrorTable};
use super::server::{identifier, literal};
use super::walls::{self, SCHEMA, SETUP};

/// What the shadow holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    setup: u64,
    pub(super) version: u64,
    pub(super) digest: String,
    schemas: BTreeMap<String, Option<String>>,
    relations: BTreeMap<String, Relation>,
    roles: Vec<String>,
    functions: Vec<String>,
}

/// One mirrored relation as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Relation {
    view: bool,
    columns: Vec<(String, String)>,
    primary_key: Option<Vec<String>>,
    foreign_keys: Vec<String>,
    /// Everything else that is shown: NOT NULL, comments, estimate.
    decoration: String,
}

/// Reads the state; a new database has none.
pub(super) const READ_STATE: &str =
    "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'pg_portolan'";

impl State {
    pub(super) fn parse(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Whether nothing has to be done.
    pub(super) fn is(&self, digest: &str) -> bool {
        self.setup == SETUP && self.digest == digest
    }
}

/// The DDL that leads from a state to a model.
pub(super) fn plan(state: &State, model: &MirrorModel, digest: String) -> String {
    let mut sql = String::from("BEGIN;\n");
    let mut line = |text: String| {
        sql.push_str(&text);
        sql.push_str(";\n");
    };
    // A rebuilt set-up also drops the stub aggregates' transition function, and with it the stubs.
    let fresh = state.setup != SETUP;
    let stubs: Vec<String> = model
        .functions
        .iter()
        .map(|function| format!("{}({})", identifier(&function.name), function.arguments))
        .collect();
    if fresh {
        line(walls::setup());
    }
    for role in model.roles.iter().filter(|role| !state.roles.contains(&role.name)) {
        let name = identifier(&role.name);
        line(format!(
            "DO $d$ BEGIN CREATE ROLE {name} LOGIN NOSUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $d$"
        ));
    }
    for role in &model.roles {
        for group in &role.member_of {
            line(format!("GRANT {} TO {}", identifier(group), identifier(&role.name)));
        }
    }
    functions(&mut line, state, model, fresh, &stubs);
    let mut schemas = BTreeMap::new();
    for schema in &model.schemas {
        schemas.insert(schema.name.clone(), schema.comment.clone());
    }
    for table in &model.tables {
        schemas.entry(table.schema.clone()).or_insert(None);
    }
    for (name, comment) in &schemas {
        let quoted = identifier(name);
        match state.schemas.get(name) {
            Some(old) if old == comment => continue,
            Some(_) => {}
            None => line(format!("CREATE SCHEMA IF NOT EXISTS {quoted}")),
        }
        line(format!("COMMENT ON SCHEMA {quoted} IS {}", text(comment.as_deref())));
    }
    let wanted: BTreeMap<String, &MirrorTable> =
        model.tables.iter().map(|table| (qualified(&table.schema, &table.name), table)).collect();
    let mut relations: BTreeMap<String, Relation> =
        wanted.iter().map(|(name, table)| (name.clone(), relation(table, &wanted))).collect();
    let keys = |relations: &BTreeMap<String, Relation>| -> Vec<_> {
        relations
            .iter()
            .map(|(name, it)| (name.clone(), it.primary_key.clone(), it.foreign_keys.clone()))
            .collect()
    };
    let keys_changed = keys(&state.relations) != keys(&relations) || rebuilt(state, &relations);
    if keys_changed {
        for (name, old) in &state.relations {
            for (index, _) in old.foreign_keys.iter().enumerate() {
                line(format!(
                    "ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {}",
                    foreign_key_name(name, index)
                ));
            }
        }
    }
    for (name, old) in &state.relations {
        if relations.get(name).is_none_or(|new| steps(old, new).is_none()) {
            line(format!("DROP {} IF EXISTS {name} CASCADE", if old.view { "VIEW" } else { "TABLE" }));
        }
    }
    for (name, table) in &wanted {
        let Some(new) = relations.get_mut(name) else { continue };
        let old = state.relations.get(name);
        let kept = old.and_then(|old| steps(old, new));
        let is_new = kept.is_none();
        match kept {
            Some(steps) => steps.into_iter().for_each(|step| line(format!("ALTER TABLE {name} {step}"))),
            None => line(create(name, table)),
        }
        let old = old.filter(|_| !is_new);
        if old.is_none_or(|old| old.decoration != new.decoration) {
            decorate(&mut line, name, table, old.is_some());
        }
        if old.is_none_or(|old| old.primary_key != new.primary_key) {
            if old.is_some_and(|old| old.primary_key.is_some()) {
                line(format!("ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {} CASCADE", key_name(table)));
            }
            if let Some(columns) = &new.primary_key {
                line(format!(
                    "ALTER TABLE {name} ADD CONSTRAINT {} PRIMARY KEY ({})",
                    key_name(table),
                    list(columns)
                ));
            }
        }
    }
    if keys_changed {
        for (name, new) in &relations {
            for (index, clause) in new.foreign_keys.iter().enumerate() {
                line(format!("ALTER TABLE {name} ADD CONSTRAINT {} {clause}", foreign_key_name(name, index)));
            }
        }
    }
    for (name, table) in wanted.iter().filter(|(_, table)| table.kind == MirrorKind::Table) {
        if keys_changed || state.relations.get(name) != relations.get(name) {
            line(estimate(name, table));
        }
    }
    for (name, _) in state.schemas.iter().filter(|(name, _)| !schemas.contains_key(*name)) {
        line(format!("DROP SCHEMA IF EXISTS {} CASCADE", identifier(name)));
    }
    for role in &model.roles {
        for schema in schemas.keys() {
            let (schema, role) = (identifier(schema), identifier(&role.name));
            line(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
            line(format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"));
        }
    }
    let next = State {
        setup: SETUP,
        version: model.version,
        digest,
        schemas,
        relations,
        roles: model.roles.iter().map(|role| role.name.clone()).collect(),
        functions: stubs,
    };
    // Serialising maps of strings cannot fail; an empty memory would only mean a rebuild.
    let memory = serde_json::to_string(&next).unwrap_or_default();
    line(format!("COMMENT ON SCHEMA {SCHEMA} IS {}", literal(&memory)));
    sql.push_str("COMMIT");
    sql
}

fn functions(
    line: &mut impl FnMut(String),
    state: &State,
    model: &MirrorModel,
    fresh: bool,
    stubs: &[String],
) {
    for gone in state.functions.iter().filter(|stub| fresh || !stubs.contains(stub)) {
        line(format!("DROP ROUTINE IF EXISTS pg_catalog.{gone}"));
    }
    for (function, stub) in model.functions.iter().zip(stubs) {
        if !fresh && state.functions.contains(stub) {
            continue;
        }
        if function.aggregate {
            line(format!(
                "CREATE AGGREGATE pg_catalog.{stub} (SFUNC = {SCHEMA}.last, STYPE = {})",
                function.returns
            ));
        } else {
            line(format!(
                "CREATE FUNCTION pg_catalog.{stub} RETURNS {} LANGUAGE sql AS 'SELECT NULL::{}'",
                function.returns, function.returns
            ));
        }
        line(format!("COMMENT ON ROUTINE pg_catalog.{stub} IS {}", text(function.comment.as_deref())));
    }
}

fn relation(table: &MirrorTable, all: &BTreeMap<String, &MirrorTable>) -> Relation {
    let is_table = table.kind == MirrorKind::Table;
    let mut decoration = format!("{:?}{:?}", table.comment, table.row_estimate);
    for column in &table.columns {
        let _ = write!(decoration, "{}{:?}", column.not_null, column.comment);
    }
    let foreign_keys = table.foreign_keys.iter().filter(|_| is_table).filter_map(|key| {
        let target = qualified(&key.to_schema, &key.to_table);
        let fits = all.get(&target).is_some_and(|to| {
            to.kind == MirrorKind::Table
                && to.primary_key == key.to_columns
                && key.columns.len() == key.to_columns.len()
                && key.columns.iter().zip(&key.to_columns).all(|(from, into)| {
                    column(table, from)
                        .zip(column(to, into))
                        .is_some_and(|(from, into)| from.pg_type == into.pg_type)
                })
        });
        fits.then(|| {
            format!("FOREIGN KEY ({}) REFERENCES {target} ({})", list(&key.columns), list(&key.to_columns))
        })
    });
    Relation {
        view: !is_table,
        columns: table.columns.iter().map(|column| (column.name.clone(), column.pg_type.clone())).collect(),
        foreign_keys: foreign_keys.collect(),
        primary_key: (is_table
            && !table.primary_key.is_empty()
            && table.primary_key.iter().all(|name| column(table, name).is_some()))
        .then(|| table.primary_key.clone()),
        decoration: super::model::hex_digest(&decoration),
    }
}

fn column<'a>(table: &'a MirrorTable, name: &str) -> Option<&'a MirrorColumn> {
    table.columns.iter().find(|column| column.name == name)
}

fn rebuilt(state: &State, relations: &BTreeMap<String, Relation>) -> bool {
    relations.iter().any(|(name, new)| state.relations.get(name).is_some_and(|old| steps(old, new).is_none()))
}

/// ALTER TABLE actions from one form to the next; `None` when it must be made anew.
fn steps(old: &Relation, new: &Relation) -> Option<Vec<String>> {
    if old.view != new.view || (new.view && old.columns != new.columns) {
        return None;
    }
    let mut steps = Vec::new();
    let mut kept = Vec::new();
    for (name, kind) in &old.columns {
        match new.columns.iter().find(|(new_name, _)| new_name == name) {
            None => steps.push(format!("DROP COLUMN {} CASCADE", identifier(name))),
            Some((_, new_kind)) => {
                kept.push(name);
                if new_kind != kind {
                    let name = identifier(name);
                    steps.push(format!("ALTER COLUMN {name} TYPE {new_kind} USING NULL::{new_kind}"));
                }
            }
        }
    }
    let leading = new.columns.iter().take(kept.len()).map(|(name, _)| name);
    if !leading.eq(kept.iter().copied()) {
        return None;
    }
    for (name, kind) in new.columns.iter().skip(kept.len()) {
        steps.push(format!("ADD COLUMN {} {kind}", identifier(name)));
    }
    Some(steps)
}

fn create(name: &str, table: &MirrorTable) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| match table.kind {
            MirrorKind::Table => format!("{} {}", identifier(&column.name), column.pg_type),
            MirrorKind::View => format!("NULL::{} AS {}", column.pg_type, identifier(&column.name)),
        })
        .collect();
    match table.kind {
        MirrorKind::Table => format!("CREATE TABLE {name} ({})", columns.join(", ")),
        MirrorKind::View => format!("CREATE VIEW {name} AS SELECT {}", columns.join(", ")),
    }
}

fn decorate(line: &mut impl FnMut(String), name: &str, table: &MirrorTable, existed: bool) {
    let is_table = table.kind == MirrorKind::Table;
    let kind = if is_table { "TABLE" } else { "VIEW" };
    if existed || table.comment.is_some() {
        line(format!("COMMENT ON {kind} {name} IS {}", text(table.comment.as_deref())));
    }
    for column in &table.columns {
        let quoted = identifier(&column.name);
        let in_key = table.primary_key.contains(&column.name);
        if is_table && (column.not_null || (existed && !in_key)) {
            let verb = if column.not_null { "SET" } else { "DROP" };
            line(format!("ALTER TABLE {name} ALTER COLUMN {quoted} {verb} NOT NULL"));
        }
        if existed || column.comment.is_some() {
            line(format!("COMMENT ON COLUMN {name}.{quoted} IS {}", text(column.comment.as_deref())));
        }
    }
}

/// The statistics a planner would show. After the keys: building an index sets them anew.
fn estimate(name: &str, table: &MirrorTable) -> String {
    let rows = table.row_estimate.map_or_else(|| "-1".to_owned(), |rows| rows.to_string());
    format!("UPDATE pg_catalog.pg_class SET reltuples = {rows} WHERE oid = {}::regclass", literal(name))
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

fn list(columns: &[String]) -> String {
    columns.iter().map(|column| identifier(column)).collect::<Vec<_>>().join(", ")
}

fn text(comment: Option<&str>) -> String {
    comment.map_or_else(|| "NULL".to_owned(), literal)
}

/// PostgreSQL's own name for the constraint, shortened as it shortens names.
fn key_name(table: &MirrorTable) -> String {
    let stem = table.name.get(..table.name.floor_char_boundary(58)).unwrap_or_default();
    identifier(&format!("{stem}_pkey"))
}

fn foreign_key_name(name: &str, index: usize) -> String {
    let table = name.rsplit_once('.').map_or(name, |(_, table)| table).trim_matches('"');
    let stem = table.get(..table.floor_char_boundary(50)).unwrap_or_default();
    identifier(&format!("{stem}_fkey{}", index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(columns: &[(&str, &str)]) -> Relation {
        Relation {
            view: false,
            columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
            primary_key: None,
            foreign_keys: Vec::new(),
            decoration: String::new(),
        }
    }

    #[test]
    fn columns_are_altered_in_place_unless_their_order_changes() {
        let old = relation(&[("a", "int4"), ("b", "text")]);
        let steps_to = |columns: &[(&str, &str)]| steps(&old, &relation(columns));
        assert_eq!(steps_to(&[("a", "int4"), ("b", "text")]), Some(vec![]));
        assert_eq!(
            steps_to(&[("b", "text"), ("c", "date")]),
            Some(vec!["DROP COLUMN \"a\" CASCADE".to_owned(), "ADD COLUMN \"c\" date".to_owned()])
        );
        assert_eq!(
            steps_to(&[("a", "int8"), ("b", "text")]),
            Some(vec!["ALTER COLUMN \"a\" TYPE int8 USING NULL::int8".to_owned()])
        );
        assert_eq!(steps_to(&[("b", "text"), ("a", "int4")]), None);
        assert_eq!(steps_to(&[("c", "int4"), ("a", "int4"), ("b", "text")]), None);
    }

    #[test]
    fn an_unchanged_model_is_known_by_its_digest() {
        let model = MirrorModel::default();
        let sql = plan(&State::default(), &model, model.digest());
        let start = sql.rfind("IS E'").unwrap() + 5;
        let memory = sql[start..].split("';\nCOMMIT").next().unwrap().replace("\\\\", "\\");
        assert!(State::parse(Some(&memory)).is(&model.digest()));
        assert!(!State::parse(None).is(&model.digest()));
    }
}
