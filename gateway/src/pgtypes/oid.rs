//! The built-in types by number: identifier, identifier of the array type, length and both spellings of the name.
//!
//! The numbers are those of PostgreSQL 17, `pg_type.dat`. Identifiers of a database's own types never pass through
//! here: some drivers start a recursive introspection when they meet an unknown one.

macro_rules! table {
    ($($constant:ident $array:ident = $oid:literal $array_oid:literal $len:literal $name:literal $shown:literal;)+) => {
        $(#[doc = concat!("`", $name, "`")] pub const $constant: u32 = $oid;
          #[doc = concat!("`", $name, "[]`")] pub const $array: u32 = $array_oid;)+

        impl super::PgType {
            $(#[doc = concat!("`", $name, "`, OID ", stringify!($oid), ".")]
              pub const $constant: Self = Self { oid: $oid, typmod: -1, len: $len };)+
        }

        const TABLE: &[Known] =
            &[$(Known { oid: $oid, array: $array_oid, len: $len, name: $name, shown: $shown },)+];
    };
}

/// One row of the table.
struct Known {
    oid: u32,
    array: u32,
    len: i16,
    /// `typname`.
    name: &'static str,
    /// As `format_type` spells it.
    shown: &'static str,
}

table! {
    BOOL BOOL_ARRAY = 16 1000 1 "bool" "boolean";
    BYTEA BYTEA_ARRAY = 17 1001 -1 "bytea" "bytea";
    CHAR CHAR_ARRAY = 18 1002 1 "char" "\"char\"";
    NAME NAME_ARRAY = 19 1003 64 "name" "name";
    INT8 INT8_ARRAY = 20 1016 8 "int8" "bigint";
    INT2 INT2_ARRAY = 21 1005 2 "int2" "smallint";
    INT4 INT4_ARRAY = 23 1007 4 "int4" "integer";
    REGPROC REGPROC_ARRAY = 24 1008 4 "regproc" "regproc";
    TEXT TEXT_ARRAY = 25 1009 -1 "text" "text";
    OID OID_ARRAY = 26 1028 4 "oid" "oid";
    JSON JSON_ARRAY = 114 199 -1 "json" "json";
    FLOAT4 FLOAT4_ARRAY = 700 1021 4 "float4" "real";
    FLOAT8 FLOAT8_ARRAY = 701 1022 8 "float8" "double precision";
    BPCHAR BPCHAR_ARRAY = 1042 1014 -1 "bpchar" "character";
    VARCHAR VARCHAR_ARRAY = 1043 1015 -1 "varchar" "character varying";
    DATE DATE_ARRAY = 1082 1182 4 "date" "date";
    TIME TIME_ARRAY = 1083 1183 8 "time" "time without time zone";
    TIMESTAMP TIMESTAMP_ARRAY = 1114 1115 8 "timestamp" "timestamp without time zone";
    TIMESTAMPTZ TIMESTAMPTZ_ARRAY = 1184 1185 8 "timestamptz" "timestamp with time zone";
    INTERVAL INTERVAL_ARRAY = 1186 1187 16 "interval" "interval";
    TIMETZ TIMETZ_ARRAY = 1266 1270 12 "timetz" "time with time zone";
    NUMERIC NUMERIC_ARRAY = 1700 1231 -1 "numeric" "numeric";
    REGCLASS REGCLASS_ARRAY = 2205 2210 4 "regclass" "regclass";
    REGTYPE REGTYPE_ARRAY = 2206 2211 4 "regtype" "regtype";
    UUID UUID_ARRAY = 2950 2951 16 "uuid" "uuid";
    JSONB JSONB_ARRAY = 3802 3807 -1 "jsonb" "jsonb";
}

/// `unknown`: the type of an untyped literal; never sent as a column type.
pub const UNKNOWN: u32 = 705;

fn known(oid: u32) -> Option<&'static Known> {
    TABLE.iter().find(|known| known.oid == oid)
}

/// The type with this name in `pg_type`; `None` for one that is not spoken here.
pub(super) fn named(name: &str) -> Option<u32> {
    if name == "unknown" {
        return Some(UNKNOWN);
    }
    TABLE.iter().find(|known| known.name == name).map(|known| known.oid)
}

/// Whether this is a scalar type of the table or its array type.
pub(super) fn is_known(oid: u32) -> bool {
    oid == UNKNOWN || known(oid).is_some() || element_oid(oid).is_some()
}

/// `typlen` of a built-in type; -1 for variable length and for types not listed.
#[must_use]
pub fn type_len(oid: u32) -> i16 {
    match oid {
        UNKNOWN => -2,
        _ => known(oid).map_or(-1, |known| known.len),
    }
}

/// The array type of a scalar type; `text[]` for a type not listed.
#[must_use]
pub fn array_oid(oid: u32) -> u32 {
    known(oid).map_or(TEXT_ARRAY, |known| known.array)
}

/// The element type of an array type; `None` when the type is not an array.
#[must_use]
pub fn element_oid(oid: u32) -> Option<u32> {
    TABLE.iter().find(|known| known.array == oid).map(|known| known.oid)
}

/// The type's name in `pg_type`: `int4`, `_text`.
#[must_use]
pub fn type_name(oid: u32) -> String {
    match (oid, known(oid), element_oid(oid)) {
        (UNKNOWN, ..) => "unknown".to_owned(),
        (_, Some(known), _) => known.name.to_owned(),
        (_, None, Some(element)) => format!("_{}", type_name(element)),
        (_, None, None) => format!("type {oid}"),
    }
}

/// The type's name as SQL spells it (`integer`, `character varying`), as PostgreSQL writes it in messages.
#[must_use]
pub fn sql_name(oid: u32) -> String {
    match (known(oid), element_oid(oid)) {
        (Some(known), _) => known.shown.to_owned(),
        (None, Some(element)) => format!("{}[]", sql_name(element)),
        (None, None) => type_name(oid),
    }
}
