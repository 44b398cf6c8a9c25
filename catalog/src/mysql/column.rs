//! Which Arrow type a MySQL type becomes, and how its values are asked for.
//!
//! No column is refused: a type without an exact counterpart is read as the server's own text. The choice is kept in
//! the field's metadata, so gate, renderer and decoder need nothing but the table's definition.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use super::config::ZeroDates;
use crate::declared::{DeclaredType, Retyping};
use crate::source::{COMMENT_KEY, DECLARED_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY};

/// Field metadata: the type's name without length and attributes, lower case, such as `varchar`.
pub(super) const BASE_KEY: &str = "portolan.mysql.type";
/// Field metadata of text: its character set.
pub(super) const CHARSET_KEY: &str = "portolan.mysql.charset";
/// Field metadata of text: its collation.
pub(super) const COLLATION_KEY: &str = "portolan.mysql.collation";
/// Field metadata: present if the column is read through `CAST(… AS CHAR)`.
pub(super) const AS_TEXT_KEY: &str = "portolan.mysql.as_text";
/// Arrow's own metadata key of an extension type.
const EXTENSION_KEY: &str = "ARROW:extension:name";

/// Character sets of which every stored character has its own Unicode character.
const FAITHFUL: [&str; 9] =
    ["utf8mb4", "utf8mb3", "utf8", "latin1", "ascii", "ucs2", "utf16", "utf16le", "utf32"];

/// One column as `information_schema` describes it.
#[derive(Debug, Clone, Default)]
pub(super) struct RemoteColumn {
    pub(super) name: String,
    /// The declared type, verbatim, such as `int(10) unsigned`.
    pub(super) declared: String,
    /// The type's name.
    pub(super) base: String,
    pub(super) precision: Option<u64>,
    pub(super) scale: Option<u64>,
    pub(super) nullable: bool,
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    pub(super) comment: Option<String>,
    /// Text that the server keeps valid JSON.
    pub(super) json: bool,
}

/// The Arrow field of a column, with everything later steps need in its metadata.
pub(super) fn field(column: &RemoteColumn, zero_dates: ZeroDates) -> Field {
    let base = column.base.to_ascii_lowercase();
    let mut metadata = HashMap::from([
        (SOURCE_TYPE_KEY.to_owned(), column.declared.clone()),
        (BASE_KEY.to_owned(), base.clone()),
    ]);
    let mut note = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), value.clone());
        }
    };
    note(COMMENT_KEY, &column.comment);
    note(CHARSET_KEY, &column.charset);
    note(COLLATION_KEY, &column.collation);
    let json = column.json || base == "json";
    if json {
        note(PG_TYPE_KEY, &Some("jsonb".into()));
        note(EXTENSION_KEY, &Some("arrow.json".into()));
    }
    let arrow = match arrow_type(&base, column) {
        Some(arrow) => arrow,
        None => {
            note(AS_TEXT_KEY, &Some("true".into()));
            note(PG_TYPE_KEY, &Some("text".into()));
            DataType::Utf8View
        }
    };
    // A zero date that becomes null may stand in a column that has no nulls at the source.
    let may_be_zero = matches!(arrow, DataType::Date32 | DataType::Timestamp(..));
    let nullable = column.nullable || (may_be_zero && zero_dates == ZeroDates::Null);
    Field::new(&column.name, arrow, nullable).with_metadata(metadata)
}

fn arrow_type(base: &str, column: &RemoteColumn) -> Option<DataType> {
    let unsigned = column.declared.to_ascii_lowercase().contains(" unsigned");
    Some(match (base, unsigned) {
        ("tinyint", _) | ("smallint", false) | ("year", _) => DataType::Int16,
        ("smallint", true) | ("mediumint", _) | ("int" | "integer", false) => DataType::Int32,
        ("int" | "integer", true) | ("bigint", false) => DataType::Int64,
        ("bigint", true) => DataType::UInt64,
        ("float", _) => DataType::Float32,
        ("double" | "real", _) => DataType::Float64,
        ("decimal" | "numeric", _) => decimal(column.precision, column.scale)?,
        ("bit", _) if column.precision == Some(1) => DataType::Boolean,
        ("bit", _) => DataType::UInt64,
        ("date", _) => DataType::Date32,
        ("datetime", _) => DataType::Timestamp(TimeUnit::Microsecond, None),
        ("timestamp", _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ("time", _) => DataType::Interval(IntervalUnit::MonthDayNano),
        (
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" | "json",
            _,
        ) => DataType::Utf8View,
        ("binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector", _) => {
            DataType::Binary
        }
        (
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection",
            _,
        ) => DataType::Binary,
        _ => return None,
    })
}

fn decimal(precision: Option<u64>, scale: Option<u64>) -> Option<DataType> {
    let scale = i8::try_from(scale?).ok()?;
    match u8::try_from(precision?).ok()? {
        precision @ 1..=38 => Some(DataType::Decimal128(precision, scale)),
        precision @ 39..=76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

/// The type's name without length and attributes.
pub(super) fn base(field: &Field) -> &str {
    field.metadata().get(BASE_KEY).map_or("", String::as_str)
}

/// What can be read as another type, exactly: a value either has the declared type or fails who reads it.
pub(super) const RETYPING: Retyping =
    Retyping { field: retyped, accepts: "a tinyint may be bool, a decimal numeric(p,s)" };

/// A column as it is declared.
fn retyped(field: &Field, declared: DeclaredType) -> Option<Field> {
    let pg_type = field.metadata().get(PG_TYPE_KEY).map(String::as_str);
    let as_it_is = match declared {
        DeclaredType::Bool => *field.data_type() == DataType::Boolean,
        DeclaredType::Text => {
            *field.data_type() == DataType::Utf8View && matches!(pg_type, None | Some("text"))
        }
        DeclaredType::Json => pg_type == Some("jsonb"),
        DeclaredType::Numeric(precision, scale) => {
            *field.data_type() == DeclaredType::decimal(precision, scale)
        }
    };
    if as_it_is {
        return Some(field.clone());
    }
    let arrow = match (declared, base(field)) {
        (DeclaredType::Bool, "tinyint") => DataType::Boolean,
        (DeclaredType::Numeric(precision, scale), "decimal" | "numeric") => {
            DeclaredType::decimal(precision, scale)
        }
        _ => return None,
    };
    let mut metadata = field.metadata().clone();
    metadata.insert(DECLARED_KEY.to_owned(), declared.to_string());
    Some(Field::new(field.name(), arrow, field.is_nullable()).with_metadata(metadata))
}

/// Whether the server may hold values that the column's type does not take: every read of such a value is an error.
pub(super) fn may_misfit(field: &Field) -> bool {
    field.metadata().contains_key(DECLARED_KEY)
}

/// Whether a column of numbers is read as true and false.
pub(super) fn is_flag(field: &Field) -> bool {
    may_misfit(field) && *field.data_type() == DataType::Boolean
}

/// Characters a text may have at most; nothing for types without a small limit.
pub(super) fn text_width(field: &Field) -> Option<u64> {
    match base(field) {
        "enum" => Some(255),
        "char" | "varchar" => {
            let declared = field.metadata().get(SOURCE_TYPE_KEY)?;
            declared.split_once('(')?.1.split_once(')')?.0.parse().ok()
        }
        _ => None,
    }
}

/// Whether a column is text whose conversion to Unicode may replace what it does not know by a question mark.
pub(super) fn is_doubtful(field: &Field) -> bool {
    field.metadata().get(CHARSET_KEY).is_some_and(|charset| !FAITHFUL.contains(&charset.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, base: &str, precision: Option<u64>, scale: Option<u64>) -> RemoteColumn {
        RemoteColumn {
            name: "c".into(),
            declared: declared.into(),
            base: base.into(),
            precision,
            scale,
            ..RemoteColumn::default()
        }
    }

    #[test]
    fn every_type_has_its_counterpart() {
        let wall = DataType::Timestamp(TimeUnit::Microsecond, None);
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (declared, base, precision, scale, expected) in [
            ("tinyint(1)", "tinyint", Some(3), Some(0), DataType::Int16),
            ("tinyint(3) unsigned", "tinyint", Some(3), Some(0), DataType::Int16),
            ("smallint(5) unsigned", "smallint", Some(5), Some(0), DataType::Int32),
            ("mediumint(8) unsigned zerofill", "mediumint", Some(8), Some(0), DataType::Int32),
            ("int(11)", "int", Some(10), Some(0), DataType::Int32),
            ("int(10) unsigned", "int", Some(10), Some(0), DataType::Int64),
            ("bigint(20)", "bigint", Some(19), Some(0), DataType::Int64),
            ("bigint unsigned", "bigint", Some(20), Some(0), DataType::UInt64),
            ("decimal(38,6)", "decimal", Some(38), Some(6), DataType::Decimal128(38, 6)),
            ("decimal(65,30)", "decimal", Some(65), Some(30), DataType::Decimal256(65, 30)),
            ("bit(1)", "bit", Some(1), None, DataType::Boolean),
            ("bit(64)", "bit", Some(64), None, DataType::UInt64),
            ("datetime(6)", "datetime", None, None, wall),
            ("timestamp", "timestamp", None, None, instant),
            ("time(6)", "time", None, None, DataType::Interval(IntervalUnit::MonthDayNano)),
            ("year(4)", "year", None, None, DataType::Int16),
            ("point", "point", None, None, DataType::Binary),
            ("enum('z','a')", "enum", None, None, DataType::Utf8View),
        ] {
            assert_eq!(
                *field(&column(declared, base, precision, scale), ZeroDates::Error).data_type(),
                expected,
                "{declared}"
            );
        }
    }

    #[test]
    fn an_unknown_type_is_text_and_documents_say_so() {
        let odd = field(&column("inet6", "inet6", None, None), ZeroDates::Error);
        assert_eq!((odd.data_type(), odd.metadata()[AS_TEXT_KEY].as_str()), (&DataType::Utf8View, "true"));
        let document = RemoteColumn { json: true, ..column("longtext", "longtext", None, None) };
        assert_eq!(field(&document, ZeroDates::Error).metadata()[PG_TYPE_KEY], "jsonb");
    }

    #[test]
    fn what_is_exact_may_be_declared_and_nothing_else() {
        let made = |declared, base, precision, scale| {
            field(&column(declared, base, precision, scale), ZeroDates::Error)
        };
        let small = made("tinyint(1)", "tinyint", Some(3), Some(0));
        let weight = made("decimal(65,30)", "decimal", Some(65), Some(30));
        let whole = made("int(11)", "int", Some(10), Some(0));
        let bit = made("bit(1)", "bit", Some(1), None);
        let of = |field: &Field, to: &str| retyped(field, DeclaredType::try_from(to.to_owned()).unwrap());
        let flag = of(&small, "boolean").unwrap();
        assert!(is_flag(&flag) && *flag.data_type() == DataType::Boolean && !flag.is_nullable());
        let narrow = of(&weight, "decimal(38,6)").unwrap();
        assert_eq!((narrow.data_type(), may_misfit(&narrow)), (&DataType::Decimal128(38, 6), true));
        assert_eq!((of(&bit, "bool").unwrap(), is_flag(&bit)), (bit.clone(), false), "it is so anyway");
        assert_eq!(of(&weight, "numeric(65,30)").unwrap(), weight);
        for (field, to) in [
            (&whole, "bool"),
            (&whole, "numeric(10,0)"),
            (&small, "text"),
            (&small, "numeric(3,0)"),
            (&weight, "text"),
            (&weight, "bool"),
            (&bit, "jsonb"),
        ] {
            assert!(of(field, to).is_none(), "{field:?} as {to}");
        }
    }

    #[test]
    fn a_zero_date_may_become_null_anywhere() {
        let day = column("date", "date", None, None);
        assert!(!field(&day, ZeroDates::Error).is_nullable());
        assert!(field(&day, ZeroDates::Null).is_nullable());
    }
}
