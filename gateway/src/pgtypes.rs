//! PostgreSQL's view of an Arrow type: OID, type modifier, length, name; and the way back for parameters.
//!
//! One table for the engine, the wire, Flight's metadata and the shadow catalog. Only built-in OIDs occur: a client
//! that meets an unknown one starts to introspect. Field metadata `portolan.pg_type` wins over the Arrow type, since
//! it says what Arrow cannot (`varchar(8)`, `bpchar(7)`, `jsonb`).

use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use portolan_catalog::source::PG_TYPE_KEY;

/// A type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PgType {
    /// OID of `pg_type`.
    pub oid: u32,
    /// Type modifier, −1 if none.
    pub typmod: i32,
    /// `typlen`: bytes, −1 variable, −2 C string.
    pub len: i16,
}

/// One row of the type table: OID, `typname`, `typlen`, OID of the array type, the spelling of `format_type`.
struct Known {
    oid: u32,
    name: &'static str,
    len: i16,
    array: u32,
    shown: &'static str,
}

macro_rules! known {
    ($($constant:ident $oid:literal $name:literal $len:literal $array:literal $shown:literal;)+) => {
        impl PgType {
            $(#[doc = concat!("`", $name, "`, OID ", stringify!($oid), ".")]
              pub const $constant: Self = Self { oid: $oid, typmod: -1, len: $len };)+
        }
        const KNOWN: &[Known] = &[$(Known { oid: $oid, name: $name, len: $len, array: $array, shown: $shown },)+];
    };
}

known! {
    BOOL 16 "bool" 1 1000 "boolean";
    BYTEA 17 "bytea" -1 1001 "bytea";
    CHAR 18 "char" 1 1002 "\"char\"";
    NAME 19 "name" 64 1003 "name";
    INT8 20 "int8" 8 1016 "bigint";
    INT2 21 "int2" 2 1005 "smallint";
    INT4 23 "int4" 4 1007 "integer";
    REGPROC 24 "regproc" 4 1008 "regproc";
    TEXT 25 "text" -1 1009 "text";
    OID 26 "oid" 4 1028 "oid";
    JSON 114 "json" -1 199 "json";
    FLOAT4 700 "float4" 4 1021 "real";
    FLOAT8 701 "float8" 8 1022 "double precision";
    UNKNOWN 705 "unknown" -2 0 "unknown";
    BPCHAR 1042 "bpchar" -1 1014 "character";
    VARCHAR 1043 "varchar" -1 1015 "character varying";
    DATE 1082 "date" 4 1182 "date";
    TIME 1083 "time" 8 1183 "time without time zone";
    TIMESTAMP 1114 "timestamp" 8 1115 "timestamp without time zone";
    TIMESTAMPTZ 1184 "timestamptz" 8 1185 "timestamp with time zone";
    INTERVAL 1186 "interval" 16 1187 "interval";
    TIMETZ 1266 "timetz" 12 1270 "time with time zone";
    NUMERIC 1700 "numeric" -1 1231 "numeric";
    REGCLASS 2205 "regclass" 4 2210 "regclass";
    REGTYPE 2206 "regtype" 4 2211 "regtype";
    UUID 2950 "uuid" 16 2951 "uuid";
    JSONB 3802 "jsonb" -1 3807 "jsonb";
}

/// Arrow's extension name of UUIDs and JSON, in field metadata.
const EXTENSION_KEY: &str = "ARROW:extension:name";

fn known(oid: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.oid == oid)
}

impl PgType {
    /// The type a field is sent as.
    #[must_use]
    pub fn from_field(field: &Field) -> Self {
        let metadata = field.metadata();
        if let Some(declared) = metadata.get(PG_TYPE_KEY).and_then(|text| Self::parse(text)) {
            return declared;
        }
        match metadata.get(EXTENSION_KEY).map(String::as_str) {
            Some("arrow.json") => Self::JSONB,
            Some("arrow.uuid") => Self::UUID,
            _ => Self::from_arrow(field.data_type()),
        }
    }

    /// The type a bare Arrow type is sent as.
    #[must_use]
    pub fn from_arrow(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::BOOL,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::INT2,
            DataType::UInt16 | DataType::Int32 => Self::INT4,
            DataType::UInt32 | DataType::Int64 => Self::INT8,
            DataType::UInt64 => Self::numeric(20, 0),
            DataType::Float16 | DataType::Float32 => Self::FLOAT4,
            DataType::Float64 => Self::FLOAT8,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => Self::numeric(*precision, *scale),
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::TEXT,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::BYTEA,
            DataType::Date32 | DataType::Date64 => Self::DATE,
            DataType::Time32(_) | DataType::Time64(_) => Self::TIME,
            DataType::Timestamp(_, None) => Self::TIMESTAMP,
            DataType::Timestamp(_, Some(_)) => Self::TIMESTAMPTZ,
            DataType::Duration(_) | DataType::Interval(_) => Self::INTERVAL,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => Self::array_of(item),
            DataType::Dictionary(_, value) => Self::from_arrow(value),
            DataType::RunEndEncoded(_, value) => Self::from_field(value),
            DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => Self::JSONB,
        }
    }

    /// `numeric(precision, scale)`.
    #[must_use]
    pub fn numeric(precision: u8, scale: i8) -> Self {
        let scale = i32::from(scale) & 0x7ff;
        Self { typmod: ((i32::from(precision) << 16) | scale) + 4, ..Self::NUMERIC }
    }

    fn array_of(item: &Field) -> Self {
        let mut element = item;
        // PostgreSQL has one array type per element, whatever the dimensions.
        while let DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) =
            element.data_type()
        {
            element = inner;
        }
        let element = Self::from_field(element);
        element.array().unwrap_or(Self::TEXT)
    }

    /// The array type of this element type, if it has one.
    #[must_use]
    pub fn array(self) -> Option<Self> {
        let array = known(self.oid)?.array;
        (array != 0).then_some(Self { oid: array, typmod: self.typmod, len: -1 })
    }

    /// The element type of an array type.
    #[must_use]
    pub fn element(self) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.array == self.oid && known.array != 0)?;
        Some(Self { oid: known.oid, typmod: self.typmod, len: known.len })
    }

    /// The type of an OID we know, without modifier.
    #[must_use]
    pub fn from_oid(oid: u32) -> Option<Self> {
        known(oid).map(|known| Self { oid, typmod: -1, len: known.len }).or_else(|| {
            KNOWN.iter().any(|known| known.array == oid && oid != 0).then_some(Self {
                oid,
                typmod: -1,
                len: -1,
            })
        })
    }

    /// The type without its modifier.
    #[must_use]
    pub fn without_typmod(self) -> Self {
        Self { typmod: -1, ..self }
    }

    /// `typname`: `int4`, `_text`, …
    #[must_use]
    pub fn name(self) -> String {
        known(self.oid).map_or_else(
            || self.element().map_or_else(|| "unknown".to_owned(), |element| format!("_{}", element.name())),
            |known| known.name.to_owned(),
        )
    }

    /// The spelling of `format_type`: `character varying(8)`, `numeric(14,3)`, `integer[]`.
    #[must_use]
    pub fn format(self) -> String {
        let Some(known) = known(self.oid) else {
            return self
                .element()
                .map_or_else(|| "unknown".to_owned(), |element| format!("{}[]", element.format()));
        };
        match (self.oid, self.typmod) {
            (1700, typmod) if typmod >= 4 => {
                let bits = typmod - 4;
                format!("numeric({},{})", bits >> 16, sign_extend(bits & 0x7ff))
            }
            (1042 | 1043, typmod) if typmod >= 4 => format!("{}({})", known.shown, typmod - 4),
            // `character` alone means `character(1)`; without a modifier the internal name is shown.
            (1042, _) => "bpchar".to_owned(),
            (1083 | 1114 | 1184, typmod) if typmod >= 0 => {
                let (first, rest) = known.shown.split_once(' ').unwrap_or((known.shown, ""));
                format!("{first}({typmod}) {rest}")
            }
            _ => known.shown.to_owned(),
        }
    }

    /// Reads a type as SQL writes it, with modifier and `[]`: `varchar(8)`, `numeric(14,3)`, `timestamptz`, `text[]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(element) = text.strip_suffix("[]") {
            return Self::parse(element)?.array();
        }
        let (base, modifier) = match text.split_once('(') {
            Some((base, rest)) => {
                let (inside, tail) = rest.split_once(')')?;
                (format!("{}{}", base.trim_end(), tail), Some(inside.to_owned()))
            }
            None => (text.clone(), None),
        };
        let base = match base.trim() {
            "int" | "integer" => "int4",
            "bigint" => "int8",
            "smallint" => "int2",
            "real" => "float4",
            "float" | "double precision" => "float8",
            "boolean" => "bool",
            "decimal" => "numeric",
            "character varying" => "varchar",
            "character" => "bpchar",
            "time without time zone" => "time",
            "time with time zone" => "timetz",
            "timestamp without time zone" => "timestamp",
            "timestamp with time zone" => "timestamptz",
            other => other,
        };
        if base == "char" {
            // SQL's char(n), not the internal one-byte type.
            let length: i32 = modifier.as_deref().map_or(Some(1), |m| m.trim().parse().ok())?;
            return Some(Self { typmod: length + 4, ..Self::BPCHAR });
        }
        let known = KNOWN.iter().find(|known| known.name == base)?;
        let mut found = Self { oid: known.oid, typmod: -1, len: known.len };
        if let Some(modifier) = modifier {
            let mut numbers = modifier.split(',').map(|n| n.trim().parse::<i32>());
            let first = numbers.next()?.ok()?;
            found.typmod = match found.oid {
                1700 => {
                    let scale = numbers.next().transpose().ok()?.unwrap_or(0);
                    ((first << 16) | (scale & 0x7ff)) + 4
                }
                1042 | 1043 => first + 4,
                _ => first,
            };
        }
        Some(found)
    }

    /// The Arrow type a value of this type has in a plan; `None` for types that are not computed with.
    #[must_use]
    pub fn to_arrow(self) -> Option<DataType> {
        Some(match self.oid {
            16 => DataType::Boolean,
            17 => DataType::Binary,
            18 | 19 | 25 | 114 | 705 | 1042 | 1043 | 3802 => DataType::Utf8,
            20 | 26 => DataType::Int64,
            21 => DataType::Int16,
            23 => DataType::Int32,
            700 => DataType::Float32,
            701 => DataType::Float64,
            1082 => DataType::Date32,
            1083 => DataType::Time64(TimeUnit::Microsecond),
            1114 => DataType::Timestamp(TimeUnit::Microsecond, None),
            1184 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            1186 => DataType::Interval(IntervalUnit::MonthDayNano),
            1700 if self.typmod >= 4 => {
                let bits = self.typmod - 4;
                let precision = u8::try_from(bits >> 16).ok()?;
                let scale = i8::try_from(sign_extend(bits & 0x7ff)).ok()?;
                if precision > 38 {
                    DataType::Decimal256(precision.min(76), scale)
                } else {
                    DataType::Decimal128(precision, scale)
                }
            }
            1700 => DataType::Decimal128(38, 10),
            2950 => DataType::FixedSizeBinary(16),
            _ => {
                DataType::List(std::sync::Arc::new(Field::new_list_field(self.element()?.to_arrow()?, true)))
            }
        })
    }
}

fn sign_extend(eleven_bits: i32) -> i32 {
    if eleven_bits & 0x400 != 0 { eleven_bits - 0x800 } else { eleven_bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_read_and_shown_as_postgresql_shows_them() {
        for (text, oid, typmod, shown) in [
            ("varchar(8)", 1043, 12, "character varying(8)"),
            ("character varying", 1043, -1, "character varying"),
            ("char(7)", 1042, 11, "character(7)"),
            ("numeric(14,3)", 1700, ((14 << 16) | 3) + 4, "numeric(14,3)"),
            ("numeric", 1700, -1, "numeric"),
            ("timestamptz", 1184, -1, "timestamp with time zone"),
            ("timestamp(3) with time zone", 1184, 3, "timestamp(3) with time zone"),
            ("int", 23, -1, "integer"),
            ("text[]", 1009, -1, "text[]"),
            ("int4[]", 1007, -1, "integer[]"),
        ] {
            let parsed = PgType::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((parsed.oid, parsed.typmod), (oid, typmod), "{text}");
            assert_eq!(parsed.format(), shown, "{text}");
        }
        assert_eq!(PgType::parse("no_such"), None);
    }

    #[test]
    fn arrow_types_have_real_lengths() {
        assert_eq!(PgType::from_arrow(&DataType::Int8), PgType::INT2);
        assert_eq!(PgType::from_arrow(&DataType::UInt64), PgType::numeric(20, 0));
        assert_eq!(PgType::from_arrow(&DataType::Decimal128(14, 3)).format(), "numeric(14,3)");
        let list = DataType::List(std::sync::Arc::new(Field::new_list_field(DataType::Int32, true)));
        assert_eq!(PgType::from_arrow(&list).oid, 1007);
        assert_eq!(PgType::from_arrow(&list).name(), "_int4");
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(PgType::from_arrow(&zoned).len, 8);
    }

    #[test]
    fn metadata_wins_over_the_arrow_type() {
        let field = Field::new("c", DataType::Utf8, true)
            .with_metadata([(PG_TYPE_KEY.to_owned(), "varchar(8)".to_owned())].into());
        assert_eq!(PgType::from_field(&field).typmod, 12);
        let uuid = Field::new("c", DataType::FixedSizeBinary(16), true)
            .with_metadata([(EXTENSION_KEY.to_owned(), "arrow.uuid".to_owned())].into());
        assert_eq!(PgType::from_field(&uuid), PgType::UUID);
    }

    #[test]
    fn parameters_come_back_as_the_arrow_type_they_are_computed_in() {
        assert_eq!(PgType::INT4.to_arrow(), Some(DataType::Int32));
        assert_eq!(PgType::numeric(14, 3).to_arrow(), Some(DataType::Decimal128(14, 3)));
        assert_eq!(PgType::from_oid(1009).and_then(PgType::element), Some(PgType::TEXT));
        assert_eq!(PgType::REGCLASS.to_arrow(), None);
    }
}
