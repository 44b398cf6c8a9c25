//! Which Arrow type a PostgreSQL type becomes, and how its values are asked for.
//!
//! No column is refused: a type without an exact counterpart is read as the server's own text. The choice is kept in
//! the field's metadata, so the gate and the renderer need nothing but the table's definition.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::declared::{DeclaredType, Retyping};
use crate::source::{COMMENT_KEY, DECLARED_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY};

/// Field metadata: the type a column is read and compared through: `text` and `int8` by a cast, `jsonb` by `to_jsonb`.
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

/// What can be read as another type, exactly: a value either has the declared type or fails who reads it.
pub(super) const RETYPING: Retyping =
    Retyping { field: retyped, accepts: "a numeric may be numeric(p,s) or text, an array jsonb" };

/// A column as it is declared.
fn retyped(field: &Field, declared: DeclaredType) -> Option<Field> {
    let fact = |key: &str| field.metadata().get(key).map(String::as_str);
    let source_type = fact(SOURCE_TYPE_KEY).unwrap_or_default();
    let array = matches!(field.data_type(), DataType::List(_)) || source_type.ends_with("[]");
    // One of more digits than a decimal can have is text by itself.
    let number = matches!(field.data_type(), DataType::Decimal128(..) | DataType::Decimal256(..))
        || (source_type.starts_with("numeric(") && !array);
    let as_it_is = match declared {
        DeclaredType::Bool => *field.data_type() == DataType::Boolean,
        DeclaredType::Text => {
            *field.data_type() == DataType::Utf8View && matches!(fact(PG_TYPE_KEY), None | Some("text"))
        }
        DeclaredType::Json => fact(PG_TYPE_KEY) == Some("jsonb"),
        DeclaredType::Numeric(precision, scale) => {
            *field.data_type() == DeclaredType::decimal(precision, scale)
                && fact(PG_TYPE_KEY) != Some("numeric")
        }
    };
    if as_it_is {
        return Some(field.clone());
    }
    let reading = match declared {
        DeclaredType::Numeric(precision, scale) if number => {
            Reading::plain(DeclaredType::decimal(precision, scale))
        }
        DeclaredType::Text if number => as_text(),
        DeclaredType::Json if array => Reading {
            arrow: DataType::Utf8View,
            read_as: Some("jsonb"),
            pg_type: Some("jsonb".into()),
            extension: Some("arrow.json"),
        },
        _ => return None,
    };
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| ![READ_AS_KEY, PG_TYPE_KEY, EXTENSION_KEY].contains(&key.as_str()));
    let facts = [
        (READ_AS_KEY, reading.read_as.map(str::to_owned)),
        (PG_TYPE_KEY, reading.pg_type),
        (EXTENSION_KEY, reading.extension.map(str::to_owned)),
        (DECLARED_KEY, Some(declared.to_string())),
    ];
    metadata.extend(facts.into_iter().filter_map(|(key, fact)| Some((key.to_owned(), fact?))));
    Some(Field::new(field.name(), reading.arrow, field.is_nullable()).with_metadata(metadata))
}

/// What the server now says of a column, under the declaration that the list has for it.
pub(super) fn as_listed(listed: &Field, now: &Field) -> Field {
    DeclaredType::of(listed).and_then(|declared| retyped(now, declared)).unwrap_or_else(|| now.clone())
}

/// A column's name as the expression that it is read and compared by.
pub(super) fn as_read(name: String, field: &Field) -> String {
    match field.metadata().get(READ_AS_KEY).map(String::as_str) {
        Some("jsonb") => format!("pg_catalog.to_jsonb({name})"),
        Some(cast) => format!("{name}::{cast}"),
        None => name,
    }
}

/// Whether values are documents, of which equal ones may be written differently.
pub(super) fn is_document(field: &Field) -> bool {
    let document =
        |key: &str| field.metadata().get(key).is_some_and(|ty| matches!(ty.as_str(), "json" | "jsonb"));
    document(SOURCE_TYPE_KEY) || document(PG_TYPE_KEY)
}

/// A decimal of which the server may hold values that do not fit its digits: every read of such a value is an error.
pub(super) fn may_misfit(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Decimal128(..) | DataType::Decimal256(..))
        && (field.metadata().contains_key(DECLARED_KEY)
            || field.metadata().get(PG_TYPE_KEY).is_some_and(|ty| ty == "numeric"))
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

    fn column(type_name: &str, type_modifier: i32, declared: &str) -> Field {
        field(&RemoteColumn {
            name: "c".into(),
            type_name: type_name.into(),
            type_schema: "pg_catalog".into(),
            declared: declared.into(),
            type_modifier,
            not_null: true,
            comment: None,
            deterministic: true,
        })
    }

    #[test]
    fn what_is_exact_may_be_declared_and_nothing_else() {
        let (bare, wide) =
            (column("numeric", -1, "numeric"), column("numeric", (1_000 << 16) + 6, "numeric(1000,2)"));
        let (array, odd) = (column("_int4", -1, "integer[]"), column("_inet", -1, "inet[]"));
        let of = |field: &Field, to: &str| retyped(field, DeclaredType::try_from(to.to_owned()).unwrap());
        for number in [&bare, &wide] {
            let narrow = of(number, "numeric(20,4)").unwrap();
            assert_eq!((narrow.data_type(), narrow.is_nullable()), (&DataType::Decimal128(20, 4), false));
            assert!(may_misfit(&narrow) && !narrow.metadata().contains_key(PG_TYPE_KEY));
            assert_eq!(as_read("c".into(), &narrow), "c");
            let wide = of(number, "decimal(76, 30)").unwrap();
            assert_eq!((wide.data_type(), may_misfit(&wide)), (&DataType::Decimal256(76, 30), true));
            let text = of(number, "text").unwrap();
            assert_eq!(
                (text.data_type(), as_read("c".into(), &text).as_str()),
                (&DataType::Utf8View, "c::text")
            );
            // The list is compared with what the server says later.
            assert_eq!(as_listed(&narrow, number), narrow);
        }
        for several in [&array, &odd] {
            let document = of(several, "jsonb").unwrap();
            assert_eq!(as_read("c".into(), &document), "pg_catalog.to_jsonb(c)");
            assert!(is_document(&document));
            assert_eq!(document.metadata()[PG_TYPE_KEY], "jsonb");
        }
        let known = column("numeric", ((14 << 16) | 6) + 4, "numeric(14,6)");
        assert_eq!(of(&known, "numeric(14,6)").unwrap(), known, "it is so anyway");
        assert!(!may_misfit(&known) && may_misfit(&of(&known, "numeric(20,6)").unwrap()));
        let (number, truth) = (column("int4", -1, "integer"), column("bool", -1, "boolean"));
        assert_eq!(of(&truth, "bool").unwrap(), truth);
        for (field, to) in [
            (&number, "bool"),
            (&number, "numeric(20,4)"),
            (&number, "text"),
            (&bare, "bool"),
            (&bare, "jsonb"),
            (&array, "text"),
            (&array, "numeric(4,2)"),
            (&truth, "text"),
        ] {
            assert!(of(field, to).is_none(), "{field:?} as {to}");
        }
    }
}
