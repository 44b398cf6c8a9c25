//! What is known of a database's collections: columns from a validator, else from a bounded sample.
//!
//! The sample is the first and the last documents, so that a collection that changed shape is seen to have. It only
//! ever proposes: a value of another type later is an error that names the column, or NULL and counted, as
//! configured. An empty collection fixes no schema: any guess would stick in clients and be wrong with its first
//! document, so it is shown once it has one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::{Field, Schema};
use futures::{StreamExt as _, TryStreamExt as _};
use mongodb::Database;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::Result;

use super::check::{mark, pins};
use super::kind::{Kind, found, schema_type, type_name};
use super::render::{COLLATION_KEY, PLAIN_KEY};
use super::shape::TableShape;
use crate::source::{TableDef, TableKind};

/// Bytes of a sample at most.
const SAMPLE_BYTES: usize = 16 * 1024 * 1024;
/// Time for a sample at most.
const SAMPLE_TIME: Duration = Duration::from_secs(10);
/// Columns of a table at most; beyond, field names are data.
pub(super) const MAX_COLUMNS: usize = 1_000;

/// One collection or view, as the server lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: String,
    kind: ListedKind,
    /// Properties of its validator, in order.
    properties: Vec<Property>,
    /// Whether the validator allows no other fields.
    closed: bool,
    /// Whether no document may be written that the validator refuses.
    enforced: bool,
    /// A collation that is not the simple one.
    collation: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListedKind {
    Collection,
    View,
    TimeSeries,
}

#[derive(Debug, Clone)]
struct Property {
    name: String,
    /// Types it allows, null aside; `None` if the validator does not say.
    types: Option<BTreeSet<&'static str>>,
    comment: Option<String>,
}

/// All collections and views but the server's own.
pub(super) async fn list(database: &Database) -> Result<Vec<Listed>> {
    let mut cursor = database.run_cursor_command(doc! { "listCollections": 1 }).await?;
    let mut all = Vec::new();
    while let Some(document) = cursor.try_next().await? {
        if let Some(listed) = listed(&document).filter(|listed| !listed.name.starts_with("system.")) {
            all.push(listed);
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn listed(document: &Document) -> Option<Listed> {
    let options = document.get_document("options").ok();
    let kind = match document.get_str("type") {
        Ok("view") => ListedKind::View,
        Ok("timeseries") => ListedKind::TimeSeries,
        _ => ListedKind::Collection,
    };
    let schema = options
        .and_then(|options| options.get_document("validator").ok())
        .and_then(|validator| validator.get_document("$jsonSchema").ok());
    let says = |key: &str, strictest: &str| {
        options.is_none_or(|options| options.get_str(key).map_or(true, |said| said == strictest))
    };
    let collation = options
        .and_then(|options| options.get_document("collation").ok())
        .and_then(|collation| collation.get_str("locale").ok())
        .filter(|locale| *locale != "simple");
    Some(Listed {
        name: document.get_str("name").ok()?.to_owned(),
        kind,
        properties: schema.map(properties).unwrap_or_default(),
        closed: schema.is_some_and(|schema| schema.get_bool("additionalProperties").is_ok_and(|open| !open)),
        enforced: says("validationLevel", "strict") && says("validationAction", "error"),
        collation: collation.map(str::to_owned),
    })
}

fn properties(schema: &Document) -> Vec<Property> {
    let Ok(properties) = schema.get_document("properties") else { return Vec::new() };
    properties
        .iter()
        .filter_map(|(name, property)| {
            let property = property.as_document()?;
            let text = |key: &str| property.get_str(key).ok().map(str::to_owned);
            let types = property.get("bsonType").or_else(|| property.get("type")).and_then(allowed);
            Some(Property {
                name: name.clone(),
                types,
                comment: text("description").or_else(|| text("title")),
            })
        })
        .collect()
}

/// The types a validator's `bsonType` allows; `None` if one of its names says too little.
fn allowed(types: &Bson) -> Option<BTreeSet<&'static str>> {
    let names: Vec<&str> = match types {
        Bson::String(name) => vec![name],
        Bson::Array(names) => names.iter().filter_map(Bson::as_str).collect(),
        _ => return None,
    };
    let known: Option<BTreeSet<_>> =
        names.into_iter().filter(|name| *name != "null").map(schema_type).collect();
    known.filter(|known| !known.is_empty())
}

/// The table of a collection, or why it is not shown.
pub(super) async fn describe(
    database: &Database,
    schema: &str,
    table: &str,
    listed: &Listed,
    shape: &TableShape,
    sample: u32,
) -> Result<std::result::Result<TableDef, &'static str>> {
    let mut fields = shape.columns.clone();
    if fields.is_empty() {
        let mut seen = Seen::default();
        if !listed.closed {
            look(database, listed, sample, &mut seen).await?;
        }
        fields = match columns(listed, &seen) {
            Ok(fields) => fields,
            Err(reason) => return Ok(Err(reason)),
        };
    }
    if listed.kind == ListedKind::View
        && let Some(collation) = &listed.collation
    {
        for field in &mut fields {
            if Kind::of(field) == Some(Kind::Text) {
                field.metadata_mut().insert(COLLATION_KEY.to_owned(), collation.clone());
            }
        }
    }
    if listed.collation.is_none() {
        for field in &mut fields {
            if Kind::of(field) == Some(Kind::Text) {
                field.metadata_mut().insert(PLAIN_KEY.to_owned(), String::new());
            }
        }
    }
    let pinned = proven(listed, &fields);
    mark(&mut fields, shape, &pinned);
    let view = listed.kind == ListedKind::View;
    let row_estimate = match listed.kind {
        ListedKind::Collection => {
            database.collection::<Document>(&listed.name).estimated_document_count().await.ok()
        }
        ListedKind::View | ListedKind::TimeSeries => None,
    };
    let keyed = listed.kind == ListedKind::Collection && fields.iter().any(|field| field.name() == "_id");
    Ok(Ok(TableDef {
        schema: schema.to_owned(),
        name: table.to_owned(),
        arrow: Arc::new(Schema::new(fields)),
        comment: shape.comment.clone(),
        primary_key: if keyed && !shape.declares("_id") { vec!["_id".into()] } else { vec![] },
        foreign_keys: vec![],
        row_estimate,
        kind: if view { TableKind::View } else { TableKind::Table },
    }))
}

/// Columns whose values the validator lets be of their own type only. What was there before it is not looked for.
fn proven(listed: &Listed, fields: &[Field]) -> BTreeSet<String> {
    if !listed.enforced {
        return BTreeSet::new();
    }
    let pinned = |property: &&Property| {
        let field = fields.iter().find(|field| *field.name() == property.name);
        field.zip(property.types.as_ref()).is_some_and(|(field, types)| pins(field, types))
    };
    listed.properties.iter().filter(pinned).map(|property| property.name.clone()).collect()
}

/// The table of a declaration alone, for a server that is not asked.
pub(super) fn declared(schema: &str, table: &str, shape: &TableShape) -> TableDef {
    let mut fields = shape.columns.clone();
    mark(&mut fields, shape, &BTreeSet::new());
    TableDef {
        schema: schema.to_owned(),
        name: table.to_owned(),
        arrow: Arc::new(Schema::new(fields)),
        comment: shape.comment.clone(),
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    }
}

/// Fields seen in a sample: when first, and with which types.
#[derive(Debug, Default)]
struct Seen {
    fields: BTreeMap<String, (usize, BTreeSet<&'static str>)>,
    bytes: usize,
}

impl Seen {
    fn document(&mut self, document: &RawDocumentBuf) {
        self.bytes += document.as_bytes().len();
        for element in document.iter_elements().map_while(std::result::Result::ok) {
            let Ok(value) = element.value() else { continue };
            let next = self.fields.len();
            let (_, types) = self.fields.entry(element.key().to_owned()).or_insert((next, BTreeSet::new()));
            if type_name(value) != "null" {
                types.insert(type_name(value));
            }
        }
    }
}

/// The first and the last documents; only the first ones where there is no order to turn around.
async fn look(database: &Database, listed: &Listed, sample: u32, seen: &mut Seen) -> Result<()> {
    let half = i64::from(sample.max(2)) / 2;
    let mut looks = vec![vec![doc! { "$limit": half }]];
    if listed.kind == ListedKind::Collection {
        looks.push(vec![doc! { "$sort": { "_id": -1 } }, doc! { "$limit": half }]);
    }
    let collection = database.collection::<Document>(&listed.name);
    for stages in looks {
        let mut replies = collection.aggregate(stages).max_time(SAMPLE_TIME).batch().await?;
        while let Some(reply) = replies.next().await {
            for item in reply?.doc_slices()? {
                if let Some(document) = item.ok().and_then(|item| item.as_document()) {
                    seen.document(&document.to_raw_document_buf());
                }
            }
            if seen.bytes > SAMPLE_BYTES {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Columns: those of the validator first, then the others as they were first seen, `_id` before all.
fn columns(listed: &Listed, seen: &Seen) -> std::result::Result<Vec<Field>, &'static str> {
    let mut columns: Vec<(usize, Field)> = Vec::new();
    let nothing = BTreeSet::new();
    for property in &listed.properties {
        let sampled = seen.fields.get(&property.name).map_or(&nothing, |(_, types)| types);
        let types = property.types.as_ref().unwrap_or(sampled);
        columns.push((0, found(&property.name, types, property.comment.as_deref())));
    }
    for (name, (order, types)) in &seen.fields {
        if !listed.properties.iter().any(|property| property.name == *name) {
            columns.push((order + 1, found(name, types, None)));
        }
    }
    columns.sort_by_key(|(order, field)| (field.name() != "_id", *order));
    columns.retain(|(_, field)| !field.name().is_empty());
    if columns.is_empty() {
        return Err("it is empty, and no validator names its fields");
    }
    if columns.len() > MAX_COLUMNS {
        return Err("it has more than 1,000 fields: declare those that are columns");
    }
    Ok(columns.into_iter().map(|(_, field)| field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_decides_and_a_sample_adds_what_it_leaves_open() {
        let listed = listed(&doc! {
            "name": "calls", "type": "collection",
            "options": { "validator": { "$jsonSchema": { "properties": {
                "gt": { "bsonType": ["int", "null"], "description": "gross tonnage" },
                "any": { "bsonType": "number" },
            } } } },
        })
        .unwrap();
        let mut seen = Seen::default();
        for document in
            [doc! { "_id": 1, "z": 1, "gt": "x", "any": 1 }, doc! { "a": 2_i64, "z": Bson::Null, "any": 1.5 }]
        {
            seen.document(&RawDocumentBuf::from_document(&document).unwrap());
        }
        let columns = columns(&listed, &seen).unwrap();
        let shown: Vec<String> =
            columns.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        assert_eq!(shown, ["_id Int32", "gt Int32", "any Float64", "z Int32", "a Int64"]);
        assert_eq!(columns[1].metadata()[crate::source::COMMENT_KEY], "gross tonnage");
        assert!(super::columns(&Listed { properties: vec![], ..listed }, &Seen::default()).is_err());
    }
}
