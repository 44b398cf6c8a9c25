//! Values that are not their column's are looked for before the server judges by that column.
//!
//! A condition, an order or a group at the server passes over a value of another type without a word, where a local
//! reading refuses it by name. So whatever may be such a value is read first and decoded: what does not fit fails the
//! query with a local reading's own error. The look may find more than misfits, never fewer; a column for which no
//! such look can be written is judged here. A validator that allows only the column's own types proves there are none.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, Field};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Decimal128, Document, Timestamp, doc};

use super::decode::Wanted;
use super::kind::{Kind, OBJECT_ID, STAMP};
use super::matcher::Matcher;
use super::pipeline::{fields_of, wanted_at};
use super::render::key;
use super::shape::TableShape;
use crate::config::OnMismatch;
use crate::federation::{Fragment, Reason};

/// Field metadata: present where the server may judge by the column, because misfits are found or cannot be.
pub(super) const TYPES_KEY: &str = "portolan.mongodb.types";
const CHECKED: &str = "checked";
const PROVEN: &str = "proven";

/// All types but null, as `$type` names them.
const TYPES: [&str; 20] = [
    "double",
    "string",
    "object",
    "array",
    "binData",
    "undefined",
    OBJECT_ID,
    "bool",
    "date",
    "regex",
    "dbPointer",
    "javascript",
    "symbol",
    "javascriptWithScope",
    "int",
    STAMP,
    "long",
    "decimal",
    "minKey",
    "maxKey",
];
/// Integers up to this size are exact as floats.
const EXACT: i64 = 1 << 53;
/// Milliseconds that are microseconds, too.
const MILLIS: i64 = i64::MAX / 1_000;

/// Marks the columns by which the server may judge. `proven` are those whose types a validator pins.
pub(super) fn mark(fields: &mut [Field], shape: &TableShape, proven: &BTreeSet<String>) {
    if shape.on_mismatch != OnMismatch::Error {
        return;
    }
    for field in fields {
        let path = shape.path(field.name());
        if doubtful(field, &path).is_none() {
            continue;
        }
        let proven = matches!(path.as_slice(), [name] if proven.contains(name));
        let how = if proven { PROVEN } else { CHECKED };
        field.metadata_mut().insert(TYPES_KEY.to_owned(), how.to_owned());
    }
}

/// Whether a validator that allows these types only leaves nothing to look for. NUL in text aside.
pub(super) fn pins(field: &Field, types: &BTreeSet<&'static str>) -> bool {
    let only = |allowed: &[&str]| !types.is_empty() && types.iter().all(|ty| allowed.contains(ty));
    match (Kind::of(field), field.data_type()) {
        (Some(Kind::Boolean), _) => only(&["bool"]),
        (Some(Kind::Integer), DataType::Int32) => only(&["int"]),
        (Some(Kind::Integer), DataType::Int64) => only(&["int", "long"]),
        (Some(Kind::Float), _) => only(&["int", "double"]),
        (Some(Kind::Text), _) => only(&["string"]),
        (Some(Kind::ObjectId), _) => only(&[OBJECT_ID]),
        (Some(Kind::Instant), _) => only(&["date"]),
        _ => false,
    }
}

/// What is asked before a fragment, and how its answer is decoded.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) stages: Vec<Document>,
    pub(super) wanted: Vec<Wanted>,
}

impl Check {
    /// The look for a fragment's columns; `None` if there is nothing to look for. `Err` names a column the server
    /// must not judge by.
    pub(super) fn of(shape: &TableShape, fragment: &Fragment) -> Result<Option<Self>, Reason> {
        if shape.on_mismatch != OnMismatch::Error {
            return Ok(None);
        }
        let (mut any, mut wanted) = (Matcher::Nothing, Vec::new());
        for index in judged(fragment) {
            let column = wanted_at(shape, fragment, index)?;
            if column.field.metadata().get(TYPES_KEY).is_some_and(|how| how == PROVEN) {
                continue;
            }
            let doubtful = doubtful(&column.field, &column.path)
                .ok_or(Reason::Borrowed("values of another type in such a column are only seen here"))?;
            any = any.or(doubtful);
            wanted.push(column);
        }
        let Some(condition) = any.into_document().filter(|_| !wanted.is_empty()) else { return Ok(None) };
        let mut stages = vec![doc! { "$match": condition }];
        stages.extend(fields_of(&wanted).map(|fields| doc! { "$project": fields }));
        Ok(Some(Self { stages, wanted }))
    }

    /// The columns looked at, for `EXPLAIN`.
    pub(super) fn columns(&self) -> String {
        self.wanted.iter().map(|column| column.field.name().as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// The columns by which the server decides about rows.
fn judged(fragment: &Fragment) -> BTreeSet<usize> {
    let arrow = &fragment.table.arrow;
    let aggregate = fragment.aggregate.as_ref();
    let calls = || aggregate.iter().flat_map(|aggregate| &aggregate.calls);
    let exprs = fragment
        .filters
        .iter()
        .map(|filter| &filter.expr)
        .chain(calls().filter_map(|call| call.filter.as_ref()));
    let mut judged: BTreeSet<usize> = exprs
        .flat_map(|expr| expr.column_refs())
        .filter_map(|column| arrow.index_of(&column.name).ok())
        .collect();
    match aggregate {
        Some(aggregate) => judged.extend(&aggregate.groups),
        None => judged.extend(fragment.sort.iter().filter_map(|key| fragment.projection.get(key.column))),
    }
    judged.extend(calls().filter_map(|call| call.column));
    judged
}

/// The documents whose value may not be the column's; `None` where that cannot be asked.
pub(super) fn doubtful(field: &Field, path: &[String]) -> Option<Matcher> {
    let key = key(path)?;
    let others = |allowed: &[&str]| of_types(&key, allowed);
    let outside = |ty: &str, low: Bson, high: Bson| {
        both(&key, doc! { "$type": ty }, [doc! { "$lt": low }, doc! { "$gt": high }])
    };
    let own = match (Kind::of(field)?, field.data_type()) {
        (Kind::Boolean, _) => others(&["bool"]),
        (Kind::Integer, DataType::Int64) => others(&["int", "long"]),
        (Kind::Integer, DataType::Int32) => {
            others(&["int", "long"]).or(outside("long", i32::MIN.into(), i32::MAX.into()))
        }
        (Kind::Integer, DataType::Int16) => {
            let (low, high) = (i32::from(i16::MIN), i32::from(i16::MAX));
            let either = |ty| outside(ty, low.into(), high.into());
            others(&["int", "long"]).or(either("long")).or(either("int"))
        }
        (Kind::Float, _) => {
            others(&["double", "int", "long"]).or(outside("long", (-EXACT).into(), EXACT.into()))
        }
        (Kind::Decimal, DataType::Decimal128(precision, scale)) => {
            others(&["decimal", "int", "long"]).or(digits(&key, *precision, *scale)?)
        }
        (Kind::Text, _) => others(&["string"]).or(condition(&key, doc! { "$regex": "\\x00" })),
        (Kind::ObjectId, _) => others(&[OBJECT_ID]),
        (Kind::Instant, _) => {
            let millis = doc! { "$toLong": format!("${key}") };
            let beyond = doc! { "$or": [{ "$lt": [&millis, -MILLIS] }, { "$gt": [&millis, MILLIS] }] };
            others(&["date"]).or(of_type_and(&key, "date", beyond))
        }
        (Kind::Stamp, _) => {
            let end = Timestamp { time: 1 << 31, increment: 0 };
            others(&[STAMP]).or(condition(&key, doc! { "$gte": Bson::Timestamp(end) }))
        }
        (Kind::Uuid, _) => {
            // Binary data is ordered by length, then subtype, then bytes.
            let end = |byte: u8| Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![byte; 16] });
            others(&["binData"]).or(outside("binData", end(0), end(u8::MAX)))
        }
        (Kind::Document, _) => condition(&key, doc! { "$type": "undefined" }),
        (Kind::Integer | Kind::Decimal | Kind::Day | Kind::Bytes | Kind::List, _) => return None,
    };
    let above = (1..path.len()).filter_map(|end| path.get(..end));
    Some(above.fold(own, |any, above| any.or(of_types(&above.join("."), &["object"]))))
}

fn condition(key: &str, tests: Document) -> Matcher {
    let mut condition = Document::new();
    condition.insert(key, tests);
    Matcher::Some(condition)
}

fn of_types(key: &str, allowed: &[&str]) -> Matcher {
    let others: Vec<&str> = TYPES.into_iter().filter(|ty| !allowed.contains(ty)).collect();
    condition(key, doc! { "$type": others })
}

/// One test, and one of the others.
fn both(key: &str, test: Document, others: impl IntoIterator<Item = Document>) -> Matcher {
    let any = others.into_iter().fold(Matcher::Nothing, |any, other| any.or(condition(key, other)));
    condition(key, test).and(any)
}

/// Values of one type for which an expression is true, which would fail over others.
fn of_type_and(key: &str, ty: &str, expression: Document) -> Matcher {
    let typed = doc! { "$eq": [{ "$type": format!("${key}") }, ty] };
    Matcher::Some(doc! { "$expr": { "$cond": [typed, expression, false] } })
}

/// Numbers with more digits than the column's, before or behind the point, and those that are none.
fn digits(key: &str, precision: u8, scale: i8) -> Option<Matcher> {
    let end = |sign: &str| -> Option<Decimal128> {
        format!("{sign}1E{}", i16::from(precision) - i16::from(scale)).parse().ok()
    };
    let number = doc! { "$type": ["decimal", "int", "long"] };
    let large = [doc! { "$lte": end("-")? }, doc! { "$gte": end("")? }, doc! { "$eq": f64::NAN }];
    let path = format!("${key}");
    let finer = doc! { "$ne": [&path, { "$round": [&path, i32::from(scale)] }] };
    Some(both(key, number, large).or(of_type_and(key, "decimal", finer)))
}
