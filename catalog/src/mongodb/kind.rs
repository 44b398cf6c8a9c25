//! Which Arrow type a BSON type becomes, and what a column's values are.
//!
//! A column is one of a few kinds; the kind is kept in the field (its Arrow type and metadata), so that gate,
//! renderer and decoder need nothing but the table's definition. What has no exact counterpart is JSON text, never a
//! guess: a date at midnight stays an instant, a mixed field is a document.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use mongodb::bson::RawBsonRef;
use mongodb::bson::spec::BinarySubtype;
use serde::Deserialize;

use crate::files::ColumnType;
use crate::source::{COMMENT_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY};

/// Arrow's own metadata key of an extension type.
const EXTENSION_KEY: &str = "ARROW:extension:name";
/// Source type of a column of object ids.
pub(super) const OBJECT_ID: &str = "objectId";
/// Source type of a column of internal timestamps.
pub(super) const STAMP: &str = "timestamp";

/// A declared column type, written as PostgreSQL writes it, with `objectid` beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MongodbType {
    /// A type that files have as well.
    Plain(ColumnType),
    /// An object id, shown as 24 hexadecimal digits.
    ObjectId,
    /// `uuid`: binary data of the subtype for it.
    Uuid,
    /// `bytea`: generic binary data.
    Bytes,
    /// An array of values of one type.
    List(ColumnType),
}

impl TryFrom<String> for MongodbType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "objectid" => Ok(Self::ObjectId),
            "uuid" => Ok(Self::Uuid),
            "bytea" => Ok(Self::Bytes),
            other => match other.strip_suffix("[]") {
                Some(item) => ColumnType::try_from(item.to_owned()).map(Self::List),
                None => ColumnType::try_from(text).map(Self::Plain),
            }
            .map_err(|error| format!("{error}, objectid, uuid, bytea, and arrays such as text[]")),
        }
    }
}

/// What the values of a column are, seen from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Float,
    Decimal,
    Text,
    ObjectId,
    Instant,
    Day,
    Stamp,
    Uuid,
    Bytes,
    Document,
    List,
}

impl Kind {
    /// The kind of a column; `None` for an Arrow type no BSON value becomes.
    pub(super) fn of(field: &Field) -> Option<Self> {
        let metadata = |key: &str| field.metadata().get(key).map(String::as_str);
        Some(match field.data_type() {
            DataType::Boolean => Self::Boolean,
            DataType::Int64 if metadata(SOURCE_TYPE_KEY) == Some(STAMP) => Self::Stamp,
            DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Integer,
            DataType::Float64 => Self::Float,
            DataType::Decimal128(..) => Self::Decimal,
            DataType::Utf8View if metadata(PG_TYPE_KEY) == Some("jsonb") => Self::Document,
            DataType::Utf8View if metadata(SOURCE_TYPE_KEY) == Some(OBJECT_ID) => Self::ObjectId,
            DataType::Utf8View => Self::Text,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Instant,
            DataType::Date32 => Self::Day,
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::Binary => Self::Bytes,
            DataType::List(_) => Self::List,
            _ => return None,
        })
    }
}

/// The Arrow type of a column, its PostgreSQL type and its extension, where the Arrow type does not tell them.
struct Shape(DataType, Option<&'static str>, Option<&'static str>);

fn plain(column_type: ColumnType) -> Shape {
    match column_type {
        ColumnType::Text => Shape(DataType::Utf8View, None, None),
        ColumnType::Json => document(),
        other => Shape(other.arrow(), None, None),
    }
}

fn document() -> Shape {
    Shape(DataType::Utf8View, Some("jsonb"), Some("arrow.json"))
}

fn uuid() -> Shape {
    Shape(DataType::FixedSizeBinary(16), Some("uuid"), Some("arrow.uuid"))
}

fn decimal() -> Shape {
    Shape(DataType::Decimal128(38, 10), Some("numeric"), None)
}

fn field(name: &str, shape: Shape, source_type: &str, comment: Option<&str>) -> Field {
    let Shape(arrow, pg_type, extension) = shape;
    let mut metadata = HashMap::from([(SOURCE_TYPE_KEY.to_owned(), source_type.to_owned())]);
    for (key, value) in [(PG_TYPE_KEY, pg_type), (EXTENSION_KEY, extension), (COMMENT_KEY, comment)] {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    Field::new(name, arrow, true).with_metadata(metadata)
}

/// The column of a declaration.
pub(super) fn declared(name: &str, column_type: MongodbType, comment: Option<&str>) -> Field {
    match column_type {
        MongodbType::Plain(plain_type) => {
            field(name, plain(plain_type), &format!("declared {}", plain_type.sql_name()), comment)
        }
        MongodbType::ObjectId => field(name, Shape(DataType::Utf8View, None, None), OBJECT_ID, comment),
        MongodbType::Uuid => field(name, uuid(), "uuid", comment),
        MongodbType::Bytes => field(name, Shape(DataType::Binary, None, None), "binData", comment),
        MongodbType::List(item) => {
            let inner = field(Field::LIST_FIELD_DEFAULT_NAME, plain(item), "item", None);
            let shape = Shape(DataType::List(Arc::new(inner)), None, None);
            field(name, shape, &format!("declared {}[]", item.sql_name()), comment)
        }
    }
}

/// The column of a field in which values of the given BSON types were seen, `null` aside.
pub(super) fn found(name: &str, types: &BTreeSet<&'static str>, comment: Option<&str>) -> Field {
    let only = |allowed: &[&str]| !types.is_empty() && types.iter().all(|ty| allowed.contains(ty));
    let shape = if only(&["int"]) {
        Shape(DataType::Int32, None, None)
    } else if only(&["int", "long"]) {
        Shape(DataType::Int64, None, None)
    } else if only(&["int", "long", "double"]) {
        Shape(DataType::Float64, None, None)
    } else if only(&["int", "long", "decimal"]) {
        decimal()
    } else if only(&["string"]) || only(&[OBJECT_ID]) {
        Shape(DataType::Utf8View, None, None)
    } else if only(&["bool"]) {
        Shape(DataType::Boolean, None, None)
    } else if only(&["date"]) {
        Shape(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), None, None)
    } else if only(&[STAMP]) {
        Shape(DataType::Int64, None, None)
    } else if only(&["uuid"]) {
        uuid()
    } else {
        document()
    };
    let names: Vec<&str> = types.iter().copied().collect();
    let source_type = if names.is_empty() { "null".to_owned() } else { names.join("|") };
    field(name, shape, &source_type, comment)
}

/// The name of a value's BSON type as `$type` tells it; `uuid` for binary data of that subtype.
pub(super) fn type_name(value: RawBsonRef<'_>) -> &'static str {
    match value {
        RawBsonRef::Double(_) => "double",
        RawBsonRef::String(_) => "string",
        RawBsonRef::Array(_) => "array",
        RawBsonRef::Document(_) => "object",
        RawBsonRef::Boolean(_) => "bool",
        RawBsonRef::Null => "null",
        RawBsonRef::RegularExpression(_) => "regex",
        RawBsonRef::JavaScriptCode(_) => "javascript",
        RawBsonRef::JavaScriptCodeWithScope(_) => "javascriptWithScope",
        RawBsonRef::Int32(_) => "int",
        RawBsonRef::Int64(_) => "long",
        RawBsonRef::Timestamp(_) => STAMP,
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => "uuid",
        RawBsonRef::Binary(_) => "binData",
        RawBsonRef::ObjectId(_) => OBJECT_ID,
        RawBsonRef::DateTime(_) => "date",
        RawBsonRef::Symbol(_) => "symbol",
        RawBsonRef::Decimal128(_) => "decimal",
        RawBsonRef::Undefined => "undefined",
        RawBsonRef::MaxKey => "maxKey",
        RawBsonRef::MinKey => "minKey",
        RawBsonRef::DbPointer(_) => "dbPointer",
    }
}

/// The same for the type names of a `$jsonSchema`; `None` where the schema's name says too little.
pub(super) fn schema_type(name: &str) -> Option<&'static str> {
    ["double", "string", "array", "object", "bool", "int", "long", "decimal", "date"]
        .into_iter()
        .chain([STAMP, OBJECT_ID, "regex", "javascript", "minKey", "maxKey"])
        .find(|known| *known == name)
        .or(if name == "boolean" { Some("bool") } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_numbers_widen_and_mixed_types_become_documents() {
        for (types, arrow, kind) in [
            (&["int"][..], DataType::Int32, Kind::Integer),
            (&["int", "long"], DataType::Int64, Kind::Integer),
            (&["long", "double"], DataType::Float64, Kind::Float),
            (&["decimal"], DataType::Decimal128(38, 10), Kind::Decimal),
            (&["decimal", "double"], DataType::Utf8View, Kind::Document),
            (&["string"], DataType::Utf8View, Kind::Text),
            (&["objectId"], DataType::Utf8View, Kind::ObjectId),
            (&["objectId", "string"], DataType::Utf8View, Kind::Document),
            (&["timestamp"], DataType::Int64, Kind::Stamp),
            (&["uuid"], DataType::FixedSizeBinary(16), Kind::Uuid),
            (&["binData"], DataType::Utf8View, Kind::Document),
            (&[], DataType::Utf8View, Kind::Document),
        ] {
            let field = found("f", &types.iter().copied().collect(), None);
            assert_eq!((field.data_type(), Kind::of(&field)), (&arrow, Some(kind)), "{types:?}");
        }
    }

    #[test]
    fn declared_types_are_read_as_written() {
        let read = |text: &str| MongodbType::try_from(text.to_owned());
        assert_eq!(read("ObjectId"), Ok(MongodbType::ObjectId));
        assert_eq!(read("int8[]"), Ok(MongodbType::List(ColumnType::Int64)));
        assert_eq!(read("numeric(38,20)"), Ok(MongodbType::Plain(ColumnType::Decimal(38, 20))));
        assert!(read("int3").unwrap_err().contains("objectid"));
        let day = declared("d", MongodbType::Plain(ColumnType::Date), None);
        assert_eq!(Kind::of(&day), Some(Kind::Day));
    }
}
