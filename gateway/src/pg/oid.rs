//! PostgreSQL's types as the wire names them: object identifier, type modifier and length.
//!
//! Only built-in identifiers ever leave this module: an unknown one starts a recursive introspection in some drivers.
//! The numbers are those of PostgreSQL 17, `pg_type.dat`.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// A type as `RowDescription` announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PgType {
    /// Object identifier in `pg_type`.
    pub oid: u32,
    /// Type modifier, -1 when there is none.
    pub typmod: i32,
    /// `typlen`: bytes of the binary form, -1 for variable length.
    pub len: i16,
}

macro_rules! oids {
    ($($konst:ident $array:ident = $oid:literal $array_oid:literal $len:literal $name:literal;)*) => {
        $(#[doc = concat!("`", $name, "`")] pub const $konst: u32 = $oid;
          #[doc = concat!("`", $name, "[]`")] pub const $array: u32 = $array_oid;)*

        /// Every scalar type this front door speaks: identifier, identifier of its array, `typlen`, name.
        const SCALARS: &[(u32, u32, i16, &str)] = &[$(($oid, $array_oid, $len, $name),)*];
    };
}

oids! {
    BOOL BOOL_ARRAY = 16 1000 1 "bool";
    BYTEA BYTEA_ARRAY = 17 1001 -1 "bytea";
    CHAR CHAR_ARRAY = 18 1002 1 "char";
    NAME NAME_ARRAY = 19 1003 64 "name";
    INT8 INT8_ARRAY = 20 1016 8 "int8";
    INT2 INT2_ARRAY = 21 1005 2 "int2";
    INT4 INT4_ARRAY = 23 1007 4 "int4";
    TEXT TEXT_ARRAY = 25 1009 -1 "text";
    OID OID_ARRAY = 26 1028 4 "oid";
    JSON JSON_ARRAY = 114 199 -1 "json";
    FLOAT4 FLOAT4_ARRAY = 700 1021 4 "float4";
    FLOAT8 FLOAT8_ARRAY = 701 1022 8 "float8";
    BPCHAR BPCHAR_ARRAY = 1042 1014 -1 "bpchar";
    VARCHAR VARCHAR_ARRAY = 1043 1015 -1 "varchar";
    DATE DATE_ARRAY = 1082 1182 4 "date";
    TIME TIME_ARRAY = 1083 1183 8 "time";
    TIMESTAMP TIMESTAMP_ARRAY = 1114 1115 8 "timestamp";
    TIMESTAMPTZ TIMESTAMPTZ_ARRAY = 1184 1185 8 "timestamptz";
    INTERVAL INTERVAL_ARRAY = 1186 1187 16 "interval";
    TIMETZ TIMETZ_ARRAY = 1266 1270 12 "timetz";
    NUMERIC NUMERIC_ARRAY = 1700 1231 -1 "numeric";
    UUID UUID_ARRAY = 2950 2951 16 "uuid";
    JSONB JSONB_ARRAY = 3802 3807 -1 "jsonb";
}

/// `unknown`: the type of an untyped literal; never sent as a column type.
pub const UNKNOWN: u32 = 705;
/// `regclass`, sent by catalog statements and accepted as a parameter type.
pub const REGCLASS: u32 = 2205;
/// `regtype`, as [`REGCLASS`].
pub const REGTYPE: u32 = 2206;

impl PgType {
    /// A type without modifier; its length is looked up.
    #[must_use]
    pub fn new(oid: u32) -> Self {
        Self { oid, typmod: -1, len: type_len(oid) }
    }

    /// `numeric(precision, scale)`.
    #[must_use]
    pub fn numeric(precision: u8, scale: i8) -> Self {
        let typmod = (i32::from(precision) << 16 | (i32::from(scale) & 0x7ff)) + 4;
        Self { oid: NUMERIC, typmod, len: -1 }
    }

    /// `varchar(length)` or `bpchar(length)`.
    #[must_use]
    pub fn sized(oid: u32, length: i32) -> Self {
        Self { oid, typmod: length.saturating_add(4), len: -1 }
    }

    /// The wire type of an Arrow field: field metadata `portolan.pg_type` when present, else [`PgType::of_arrow`].
    #[must_use]
    pub fn of_field(field: &Field) -> Self {
        if let Some(declared) = field.metadata().get("portolan.pg_type").and_then(|text| Self::parse(text)) {
            return declared;
        }
        match field.metadata().get("ARROW:extension:name").map(String::as_str) {
            Some("arrow.uuid") => Self::new(UUID),
            Some("arrow.json") => Self::new(JSONB),
            _ => Self::of_arrow(field.data_type()),
        }
    }

    /// The wire type an Arrow type is sent as. Types are widened, never narrowed: `UInt32` is `int8`.
    #[must_use]
    pub fn of_arrow(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::new(BOOL),
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::new(INT2),
            DataType::Int32 | DataType::UInt16 => Self::new(INT4),
            DataType::Int64 | DataType::UInt32 => Self::new(INT8),
            DataType::UInt64 => Self::numeric(20, 0),
            DataType::Float16 | DataType::Float32 => Self::new(FLOAT4),
            DataType::Float64 => Self::new(FLOAT8),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => Self::numeric(*p, *s),
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::new(TEXT),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::new(BYTEA),
            DataType::Date32 | DataType::Date64 => Self::new(DATE),
            DataType::Time32(_) | DataType::Time64(_) => Self::new(TIME),
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, None)
            | DataType::Timestamp(TimeUnit::Nanosecond, None) => Self::new(TIMESTAMP),
            DataType::Timestamp(_, Some(_)) => Self::new(TIMESTAMPTZ),
            DataType::Interval(
                IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano,
            )
            | DataType::Duration(_) => Self::new(INTERVAL),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => {
                // A list of lists is one PostgreSQL array of more dimensions, so nesting unwraps to the same type.
                let element = Self::of_field(item);
                let oid =
                    if element_oid(element.oid).is_some() { element.oid } else { array_oid(element.oid) };
                Self { oid, typmod: element.typmod, len: -1 }
            }
            DataType::Dictionary(_, value) => Self::of_arrow(value),
            DataType::RunEndEncoded(_, values) => Self::of_field(values),
            DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => Self::new(JSONB),
        }
    }

    /// Reads a type as SQL spells it: `varchar(8)`, `numeric(14,3)`, `timestamp with time zone`, `int4[]`.
    /// `None` when it is not one of the built-in types spoken here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(element) = text.strip_suffix("[]") {
            let element = Self::parse(element)?;
            return Some(Self { oid: array_oid(element.oid), typmod: element.typmod, len: -1 });
        }
        let (head, arguments, tail) = match text.split_once('(') {
            Some((head, rest)) => {
                let (arguments, tail) = rest.split_once(')')?;
                (head.trim(), Some(arguments), tail.trim())
            }
            None => (text.as_str(), None, ""),
        };
        let name = if tail.is_empty() { head.to_owned() } else { format!("{head} {tail}") };
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name).trim_matches('"');
        let oid = match name {
            "boolean" => BOOL,
            "smallint" => INT2,
            "integer" | "int" => INT4,
            "bigint" => INT8,
            "real" => FLOAT4,
            "double precision" | "float" => FLOAT8,
            "decimal" => NUMERIC,
            "character varying" => VARCHAR,
            "character" => BPCHAR,
            "timestamp without time zone" => TIMESTAMP,
            "timestamp with time zone" => TIMESTAMPTZ,
            "time without time zone" => TIME,
            "time with time zone" => TIMETZ,
            "unknown" => UNKNOWN,
            "regclass" => REGCLASS,
            "regtype" => REGTYPE,
            // Unquoted `char` is SQL's character(1), not the one-byte internal type.
            "char" if !text.starts_with('"') => BPCHAR,
            other => SCALARS.iter().find(|(_, _, _, name)| *name == other)?.0,
        };
        match (oid, arguments) {
            (NUMERIC, Some(arguments)) => {
                let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
                Some(Self::numeric(precision.trim().parse().ok()?, scale.trim().parse().ok()?))
            }
            (VARCHAR | BPCHAR, Some(length)) => Some(Self::sized(oid, length.trim().parse().ok()?)),
            (BPCHAR, None) if name == "char" || name == "character" => Some(Self::sized(BPCHAR, 1)),
            (_, None) => Some(Self::new(oid)),
            (TIMESTAMP | TIMESTAMPTZ | TIME | TIMETZ | INTERVAL, Some(precision)) => {
                Some(Self { typmod: precision.trim().parse().ok()?, ..Self::new(oid) })
            }
            _ => None,
        }
    }
}

/// `typlen` of a built-in type; -1 for variable length and for types not listed.
#[must_use]
pub fn type_len(oid: u32) -> i16 {
    match oid {
        UNKNOWN => -2,
        REGCLASS | REGTYPE => 4,
        _ => SCALARS.iter().find(|(scalar, ..)| *scalar == oid).map_or(-1, |(_, _, len, _)| *len),
    }
}

/// The array type of a scalar type; `text[]` for a type not listed.
#[must_use]
pub fn array_oid(oid: u32) -> u32 {
    SCALARS.iter().find(|(scalar, ..)| *scalar == oid).map_or(TEXT_ARRAY, |(_, array, ..)| *array)
}

/// The element type of an array type; `None` when the type is not an array.
#[must_use]
pub fn element_oid(oid: u32) -> Option<u32> {
    SCALARS.iter().find(|(_, array, ..)| *array == oid).map(|(scalar, ..)| *scalar)
}

/// The type's name in `pg_type`, for error texts.
#[must_use]
pub fn type_name(oid: u32) -> String {
    match oid {
        UNKNOWN => "unknown".to_owned(),
        REGCLASS => "regclass".to_owned(),
        REGTYPE => "regtype".to_owned(),
        _ => match SCALARS.iter().find(|(scalar, array, ..)| *scalar == oid || *array == oid) {
            Some((scalar, _, _, name)) if *scalar == oid => (*name).to_owned(),
            Some((_, _, _, name)) => format!("_{name}"),
            None => format!("type {oid}"),
        },
    }
}

/// The type's name as SQL spells it (`integer`, `character varying`), as PostgreSQL writes it in messages.
#[must_use]
pub fn sql_name(oid: u32) -> String {
    if let Some(element) = element_oid(oid) {
        return format!("{}[]", sql_name(element));
    }
    match oid {
        BOOL => "boolean",
        INT2 => "smallint",
        INT4 => "integer",
        INT8 => "bigint",
        FLOAT4 => "real",
        FLOAT8 => "double precision",
        VARCHAR => "character varying",
        BPCHAR => "character",
        TIMESTAMP => "timestamp without time zone",
        TIMESTAMPTZ => "timestamp with time zone",
        TIME => "time without time zone",
        TIMETZ => "time with time zone",
        CHAR => "\"char\"",
        _ => return type_name(oid),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn spellings_of_one_type_agree() {
        for (text, oid, typmod) in [
            ("varchar(8)", VARCHAR, 12),
            ("character varying(8)", VARCHAR, 12),
            ("bpchar(7)", BPCHAR, 11),
            ("numeric(14,3)", NUMERIC, (14 << 16 | 3) + 4),
            ("numeric(20)", NUMERIC, (20 << 16) + 4),
            ("timestamp(3) with time zone", TIMESTAMPTZ, 3),
            ("timestamp with time zone", TIMESTAMPTZ, -1),
            ("pg_catalog.int4", INT4, -1),
            ("int4[]", INT4_ARRAY, -1),
            ("jsonb", JSONB, -1),
            ("char", BPCHAR, 5),
            ("\"char\"", CHAR, -1),
        ] {
            let parsed = PgType::parse(text).unwrap();
            assert_eq!((parsed.oid, parsed.typmod), (oid, typmod), "{text}");
        }
        assert_eq!(PgType::parse("geometry"), None);
    }

    #[test]
    fn nested_lists_are_one_array_type() {
        let inner = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let outer = DataType::List(Arc::new(Field::new("item", inner, true)));
        assert_eq!(PgType::of_arrow(&outer).oid, INT4_ARRAY);
    }

    #[test]
    fn a_negative_scale_fits_its_eleven_bits() {
        assert_eq!(PgType::numeric(5, -2).typmod, (5 << 16 | 2046) + 4);
    }
}
