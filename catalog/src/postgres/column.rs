//! Which Arrow type a PostgreSQL type becomes, and how its values are asked for.
//!
//! No column is refused: a type without an exact counterpart is read as the server's own text. The choice is kept in
//! the field's metadata, so the gate and the renderer need nothing but the table's definition.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::source::{COMMENT_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY};

/// Field metadata: the cast a column is read and compared through, such as `text`.
pub(super) const READ_AS_KEY: &str = "portolan.postgres.read_as";
/// Field metadata: present if equal text is not equal bytes in the column's collation.
pub(super) const LOOSE_COLLATION_KEY: &str = "portolan.postgres.loose_collation";
/// Arrow's own metadata key of an extension type.
const EXTENSION_KEY: &str = "ARROW:extension:name";

/// One column as `pg_catalog` describes it; for a domain, its base type.
#[derive(Debug, Clone)]
pub(super) struct RemoteColumn {
    pub(super) name: String,
    /// Name of the base type in `pg_type`, such as `int4` or `_text`.
    pub(super) type_name: String,
    /// Schema of the base type.
    pub(super) type_schema: String,
    /// `format_type` of the declared type.
    pub(super) declared: String,
    pub(super) type_modifier: i32,
    pub(super) not_null: bool,
    pub(super) comment: Option<String>,
    pub(super) deterministic: bool,
}

/// How one type is read.
struct Reading {
    arrow: DataType,
    /// Cast in the SELECT list and in filters.
    read_as: Option<&'static str>,
    /// Wire type for clients, where the Arrow type does not tell it.
    pg_type: Option<String>,
    extension: Option<&'static str>,
}

impl Reading {
    fn plain(arrow: DataType) -> Self {
        Self { arrow, read_as: None, pg_type: None, extension: None }
    }
}

/// The Arrow field of a column, with everything later steps need in its metadata.
pub(super) fn field(column: &RemoteColumn) -> Field {
    let reading = if column.type_schema == "pg_catalog" {
        reading(&column.type_name, column.type_modifier, &column.declared)
    } else {
        as_text()
    };
    let mut metadata = HashMap::from([(SOURCE_TYPE_KEY.to_owned(), column.declared.clone())]);
    if let Some(comment) = &column.comment {
        metadata.insert(COMMENT_KEY.to_owned(), comment.clone());
    }
    if let Some(cast) = reading.read_as {
        metadata.insert(READ_AS_KEY.to_owned(), cast.to_owned());
    }
    if let Some(pg_type) = reading.pg_type {
        metadata.insert(PG_TYPE_KEY.to_owned(), pg_type);
    }
    if let Some(extension) = reading.extension {
        metadata.insert(EXTENSION_KEY.to_owned(), extension.to_owned());
    }
    if !column.deterministic {
        metadata.insert(LOOSE_COLLATION_KEY.to_owned(), "true".to_owned());
    }
    Field::new(&column.name, reading.arrow, !column.not_null).with_metadata(metadata)
}

fn as_text() -> Reading {
    Reading { read_as: Some("text"), pg_type: Some("text".into()), ..Reading::plain(DataType::Utf8View) }
}

fn reading(type_name: &str, type_modifier: i32, declared: &str) -> Reading {
    let microseconds = TimeUnit::Microsecond;
    match type_name {
        "bool" => Reading::plain(DataType::Boolean),
        "int2" => Reading::plain(DataType::Int16),
        "int4" => Reading::plain(DataType::Int32),
        "int8" => Reading::plain(DataType::Int64),
        "oid" => Reading { read_as: Some("int8"), ..Reading::plain(DataType::Int64) },
        "float4" => Reading::plain(DataType::Float32),
        "float8" => Reading::plain(DataType::Float64),
        "numeric" => numeric(type_modifier),
        "text" => Reading::plain(DataType::Utf8View),
        "varchar" => {
            let pg_type = declared.replace("character varying", "varchar");
            Reading { pg_type: Some(pg_type), ..Reading::plain(DataType::Utf8View) }
        }
        "name" => Reading { pg_type: Some("name".into()), ..Reading::plain(DataType::Utf8View) },
        // The cast removes the padding, which is not part of the value.
        "bpchar" => Reading {
            read_as: Some("text"),
            pg_type: Some(declared.replace("character", "bpchar")),
            ..Reading::plain(DataType::Utf8View)
        },
        "bytea" => Reading::plain(DataType::Binary),
        "uuid" => Reading {
            pg_type: Some("uuid".into()),
            extension: Some("arrow.uuid"),
            ..Reading::plain(DataType::FixedSizeBinary(16))
        },
        "json" | "jsonb" => Reading {
            pg_type: Some(type_name.into()),
            extension: Some("arrow.json"),
            ..Reading::plain(DataType::Utf8View)
        },
        "date" => Reading::plain(DataType::Date32),
        "time" => Reading::plain(DataType::Time64(microseconds)),
        "timestamp" => Reading::plain(DataType::Timestamp(microseconds, None)),
        "timestamptz" => Reading::plain(DataType::Timestamp(microseconds, Some("UTC".into()))),
        "interval" => Reading::plain(DataType::Interval(IntervalUnit::MonthDayNano)),
        _ => match type_name.strip_prefix('_') {
            Some(element) => array(element, type_modifier, declared),
            None => as_text(),
        },
    }
}

fn numeric(type_modifier: i32) -> Reading {
    let Some((precision, scale)) = numeric_modifier(type_modifier) else {
        let pg_type = Some("numeric".to_owned());
        return Reading { pg_type, ..Reading::plain(DataType::Decimal128(38, 10)) };
    };
    // A negative scale only rounds on input: the values are whole numbers with that many digits more.
    let (digits, scale) = if scale < 0 { (precision.saturating_sub(scale), 0) } else { (precision, scale) };
    // 0.00005 as numeric(1,5): the scale may exceed the precision, Arrow wants room for both.
    let digits = digits.max(scale);
    match (u8::try_from(digits), i8::try_from(scale)) {
        (Ok(digits @ 1..=38), Ok(scale)) => Reading::plain(DataType::Decimal128(digits, scale)),
        (Ok(digits @ 39..=76), Ok(scale)) => Reading::plain(DataType::Decimal256(digits, scale)),
        _ => as_text(),
    }
}

/// Precision and scale in the type modifier of `numeric` (PostgreSQL 17, numeric.c): eleven bits of signed scale.
fn numeric_modifier(type_modifier: i32) -> Option<(i32, i32)> {
    let packed = type_modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let precision = (packed >> 16) & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 1024) - 1024;
    Some((precision, scale))
}

fn array(element: &str, type_modifier: i32, declared: &str) -> Reading {
    let element_declared = declared.trim_end_matches("[]");
    let inner = reading(element, type_modifier, element_declared);
    // An element that needs a cast of its own makes the whole array text.
    if inner.read_as.is_some() || element.starts_with('_') {
        return as_text();
    }
    let mut metadata = HashMap::new();
    if let Some(pg_type) = inner.pg_type {
        metadata.insert(PG_TYPE_KEY.to_owned(), pg_type);
    }
    if let Some(extension) = inner.extension {
        metadata.insert(EXTENSION_KEY.to_owned(), extension.to_owned());
    }
    let item = Field::new_list_field(inner.arrow, true).with_metadata(metadata);
    Reading::plain(DataType::List(std::sync::Arc::new(item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_of(precision: i32, scale: i32) -> DataType {
        numeric(((precision << 16) | (scale & 0x7FF)) + 4).arrow
    }

    #[test]
    fn numeric_modifiers_are_read_as_postgres_packs_them() {
        assert_eq!(numeric_of(14, 6), DataType::Decimal128(14, 6));
        assert_eq!(numeric_of(3, -2), DataType::Decimal128(5, 0));
        assert_eq!(numeric_of(2, 5), DataType::Decimal128(5, 5));
        assert_eq!(numeric_of(50, 2), DataType::Decimal256(50, 2));
        assert_eq!(numeric(-1).arrow, DataType::Decimal128(38, 10));
        assert_eq!(numeric_of(1000, 2), DataType::Utf8View);
    }

    #[test]
    fn odd_types_are_read_as_text() {
        for name in ["inet", "money", "xml", "timetz", "int4range", "_inet", "_bpchar"] {
            assert_eq!(reading(name, -1, name).read_as, Some("text"), "{name}");
        }
        assert_eq!(reading("bpchar", 11, "character(7)").pg_type.unwrap(), "bpchar(7)");
        assert_eq!(reading("varchar", 12, "character varying(8)").pg_type.unwrap(), "varchar(8)");
    }
}
