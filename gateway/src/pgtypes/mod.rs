//! PostgreSQL's view of an Arrow type: OID, type modifier, length, name; and the way back for parameters.
//!
//! One table for the engine, the wire, Flight's metadata and the shadow catalog. Only built-in OIDs occur: a client
//! that meets an unknown one starts to introspect. Field metadata `portolan.pg_type` wins over the Arrow type, since
//! it says what Arrow cannot (`varchar(8)`, `bpchar(7)`, `jsonb`).

pub(crate) mod clocks;
pub(crate) mod input;
pub mod oid;

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

/// Arrow's extension name of JSON, in field metadata.
const EXTENSION_KEY: &str = "ARROW:extension:name";

impl PgType {
    /// The type of an untyped literal; never sent as a column type.
    pub const UNKNOWN: Self = Self { oid: oid::UNKNOWN, typmod: -1, len: -2 };

    /// A type without modifier; its length is looked up.
    #[must_use]
    pub fn new(oid: u32) -> Self {
        Self { oid, typmod: -1, len: oid::type_len(oid) }
    }

    /// The type of an OID we know, without modifier.
    #[must_use]
    pub fn from_oid(oid: u32) -> Option<Self> {
        oid::is_known(oid).then(|| Self::new(oid))
    }

    /// `numeric(precision, scale)`.
    #[must_use]
    pub fn numeric(precision: u8, scale: i8) -> Self {
        Self::with_digits(i32::from(precision), i32::from(scale))
    }

    fn with_digits(precision: i32, scale: i32) -> Self {
        Self { typmod: (precision << 16 | (scale & 0x7ff)) + 4, ..Self::NUMERIC }
    }

    /// `varchar(length)` or `bpchar(length)`.
    #[must_use]
    pub fn sized(oid: u32, length: i32) -> Self {
        Self { oid, typmod: length.saturating_add(4), len: -1 }
    }

    /// The type a field is sent as.
    #[must_use]
    pub fn from_field(field: &Field) -> Self {
        let metadata = field.metadata();
        let declared = metadata.get(PG_TYPE_KEY).and_then(|text| Self::parse(text));
        if let Some(declared) = declared.filter(|declared| declared.is_of(field.data_type())) {
            return declared;
        }
        match metadata.get(EXTENSION_KEY).map(String::as_str) {
            Some("arrow.json") => Self::JSONB,
            _ => Self::from_arrow(field.data_type()),
        }
    }

    /// Whether values of an Arrow type can be of this type: a cast keeps its column's metadata, which then lies.
    fn is_of(self, data_type: &DataType) -> bool {
        let number = data_type.is_numeric() || matches!(data_type, DataType::Boolean);
        match self.to_arrow() {
            Some(DataType::Utf8) => !number && !data_type.is_temporal(),
            Some(DataType::Decimal128(_, _) | DataType::Decimal256(_, _)) => {
                data_type.is_decimal() || matches!(data_type, DataType::UInt64)
            }
            Some(uuid @ DataType::FixedSizeBinary(_)) => *data_type == uuid,
            _ => true,
        }
    }

    /// The type a bare Arrow type is sent as. Types are widened, never narrowed: `UInt32` is `int8`.
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
            // The only bytes of this width that a source tells are UUIDs.
            DataType::FixedSizeBinary(16) => Self::UUID,
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
            | DataType::LargeListView(item) => {
                // A list of lists is one PostgreSQL array of more dimensions, so nesting unwraps to the same type.
                let element = Self::from_field(item);
                if element.element().is_some() { element } else { element.array().unwrap_or(Self::TEXT) }
            }
            DataType::Dictionary(_, value) => Self::from_arrow(value),
            DataType::RunEndEncoded(_, value) => Self::from_field(value),
            DataType::Struct(_) | DataType::Map(_, _) | DataType::Union(_, _) => Self::JSONB,
        }
    }

    /// The array type of this element type; `None` for an array and for `unknown`.
    #[must_use]
    pub fn array(self) -> Option<Self> {
        if self.oid == oid::UNKNOWN || self.element().is_some() || !oid::is_known(self.oid) {
            return None;
        }
        Some(Self { oid: oid::array_oid(self.oid), typmod: self.typmod, len: -1 })
    }

    /// The element type of an array type.
    #[must_use]
    pub fn element(self) -> Option<Self> {
        oid::element_oid(self.oid).map(|element| Self { typmod: self.typmod, ..Self::new(element) })
    }

    /// The type without its modifier.
    #[must_use]
    pub fn without_typmod(self) -> Self {
        Self { typmod: -1, ..self }
    }

    /// `typname`: `int4`, `_text`, …
    #[must_use]
    pub fn name(self) -> String {
        if oid::is_known(self.oid) { oid::type_name(self.oid) } else { "unknown".to_owned() }
    }

    /// The spelling of `format_type`: `character varying(8)`, `numeric(14,3)`, `integer[]`.
    #[must_use]
    pub fn format(self) -> String {
        if let Some(element) = self.element() {
            return format!("{}[]", element.format());
        }
        let shown = if oid::is_known(self.oid) { oid::sql_name(self.oid) } else { "unknown".to_owned() };
        match (self.oid, self.typmod) {
            (oid::NUMERIC, typmod) if typmod >= 4 => {
                let bits = typmod - 4;
                format!("numeric({},{})", bits >> 16, sign_extend(bits & 0x7ff))
            }
            (oid::BPCHAR | oid::VARCHAR, typmod) if typmod >= 4 => format!("{shown}({})", typmod - 4),
            // `character` alone means `character(1)`; without a modifier the internal name is shown.
            (oid::BPCHAR, _) => "bpchar".to_owned(),
            (oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ, typmod) if typmod >= 0 => {
                let (first, rest) = shown.split_once(' ').unwrap_or((shown.as_str(), ""));
                format!("{first}({typmod}) {rest}")
            }
            _ => shown,
        }
    }

    /// Reads a type as SQL writes it, with modifier and `[]`: `varchar(8)`, `numeric(14,3)`, `timestamptz`, `text[]`.
    /// `None` when it is not one of the built-in types spoken here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(element) = text.strip_suffix("[]") {
            return Self::parse(element)?.array();
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
            "boolean" => oid::BOOL,
            "smallint" => oid::INT2,
            "integer" | "int" => oid::INT4,
            "bigint" => oid::INT8,
            "real" => oid::FLOAT4,
            "double precision" | "float" => oid::FLOAT8,
            "decimal" => oid::NUMERIC,
            "character varying" => oid::VARCHAR,
            "character" => oid::BPCHAR,
            "timestamp without time zone" => oid::TIMESTAMP,
            "timestamp with time zone" => oid::TIMESTAMPTZ,
            "time without time zone" => oid::TIME,
            "time with time zone" => oid::TIMETZ,
            // Unquoted `char` is SQL's character(1), not the one-byte internal type.
            "char" if !text.starts_with('"') => oid::BPCHAR,
            other => oid::named(other)?,
        };
        let number = |text: &str| text.trim().parse::<i32>().ok();
        match (oid, arguments) {
            (oid::NUMERIC, Some(arguments)) => {
                let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
                let precision = number(precision).filter(|precision| (1..=1000).contains(precision))?;
                let scale = number(scale).filter(|scale| (-1000..=1000).contains(scale))?;
                Some(Self::with_digits(precision, scale))
            }
            (oid::VARCHAR | oid::BPCHAR, Some(length)) => Some(Self::sized(oid, number(length)?)),
            (oid::BPCHAR, None) if name == "char" || name == "character" => Some(Self::sized(oid, 1)),
            (_, None) => Some(Self::new(oid)),
            (
                oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::TIME | oid::TIMETZ | oid::INTERVAL,
                Some(precision),
            ) => Some(Self { typmod: number(precision)?, ..Self::new(oid) }),
            _ => None,
        }
    }

    /// Precision and scale of `numeric(precision, scale)`, if a decimal here can have them.
    #[must_use]
    pub fn digits(self) -> Option<(u8, i8)> {
        let bits = self.typmod.checked_sub(4).filter(|bits| *bits >= 0 && self.oid == oid::NUMERIC)?;
        Some((u8::try_from(bits >> 16).ok()?, i8::try_from(sign_extend(bits & 0x7ff)).ok()?))
    }

    /// The Arrow type a value of this type has in a plan; `None` for types that are not computed with.
    #[must_use]
    pub fn to_arrow(self) -> Option<DataType> {
        Some(match self.oid {
            oid::BOOL => DataType::Boolean,
            oid::BYTEA => DataType::Binary,
            oid::CHAR
            | oid::NAME
            | oid::TEXT
            | oid::JSON
            | oid::UNKNOWN
            | oid::BPCHAR
            | oid::VARCHAR
            | oid::JSONB => DataType::Utf8,
            oid::INT8 | oid::OID => DataType::Int64,
            oid::INT2 => DataType::Int16,
            oid::INT4 => DataType::Int32,
            oid::FLOAT4 => DataType::Float32,
            oid::FLOAT8 => DataType::Float64,
            oid::DATE => DataType::Date32,
            oid::TIME => DataType::Time64(TimeUnit::Microsecond),
            oid::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
            oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            oid::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
            oid::NUMERIC if self.typmod >= 4 => {
                let (precision, scale) = self.digits()?;
                if precision > 38 {
                    DataType::Decimal256(precision.min(76), scale)
                } else {
                    DataType::Decimal128(precision, scale)
                }
            }
            oid::NUMERIC => DataType::Decimal128(38, 10),
            oid::UUID => DataType::FixedSizeBinary(16),
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
            ("character(8)", 1042, 12, "character(8)"),
            ("bpchar(7)", 1042, 11, "character(7)"),
            ("numeric(20)", 1700, (20 << 16) + 4, "numeric(20,0)"),
            ("timestamp with time zone", 1184, -1, "timestamp with time zone"),
            ("pg_catalog.int4", 23, -1, "integer"),
            ("jsonb", 3802, -1, "jsonb"),
            ("char", 1042, 5, "character(1)"),
            ("\"char\"", 18, -1, "\"char\""),
            ("text[]", 1009, -1, "text[]"),
            ("int4[]", 1007, -1, "integer[]"),
        ] {
            let parsed = PgType::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((parsed.oid, parsed.typmod), (oid, typmod), "{text}");
            assert_eq!(parsed.format(), shown, "{text}");
        }
        for text in ["no_such", "geometry", "numeric(1001)", "int4(3)", "numeric(14"] {
            assert_eq!(PgType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn arrow_types_have_real_lengths() {
        assert_eq!(PgType::from_arrow(&DataType::Int8), PgType::INT2);
        assert_eq!(PgType::from_arrow(&DataType::UInt64), PgType::numeric(20, 0));
        assert_eq!(PgType::from_arrow(&DataType::FixedSizeBinary(16)), PgType::UUID);
        assert_eq!(PgType::from_arrow(&DataType::FixedSizeBinary(12)), PgType::BYTEA);
        assert_eq!(PgType::from_arrow(&DataType::Decimal128(14, 3)).format(), "numeric(14,3)");
        let list = DataType::List(std::sync::Arc::new(Field::new_list_field(DataType::Int32, true)));
        assert_eq!(PgType::from_arrow(&list).oid, 1007);
        assert_eq!(PgType::from_arrow(&list).name(), "_int4");
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(PgType::from_arrow(&zoned).len, 8);
    }

    #[test]
    fn nested_lists_are_one_array_type() {
        let list = |item| DataType::List(std::sync::Arc::new(Field::new_list_field(item, true)));
        assert_eq!(PgType::from_arrow(&list(list(DataType::Int32))).oid, oid::INT4_ARRAY);
    }

    #[test]
    fn a_negative_scale_fits_its_eleven_bits() {
        assert_eq!(PgType::numeric(5, -2).typmod, (5 << 16 | 2046) + 4);
        assert_eq!(PgType::numeric(5, -2).format(), "numeric(5,-2)");
    }

    #[test]
    fn metadata_wins_over_the_arrow_type() {
        let field = Field::new("c", DataType::Utf8, true)
            .with_metadata([(PG_TYPE_KEY.to_owned(), "varchar(8)".to_owned())].into());
        assert_eq!(PgType::from_field(&field).typmod, 12);
        let declared = |of: DataType| {
            Field::new("c", of, true).with_metadata([(PG_TYPE_KEY.to_owned(), "uuid".to_owned())].into())
        };
        assert_eq!(PgType::from_field(&declared(DataType::FixedSizeBinary(16))), PgType::UUID);
        assert_eq!(PgType::from_field(&declared(DataType::Utf8)), PgType::TEXT);
    }

    #[test]
    fn parameters_come_back_as_the_arrow_type_they_are_computed_in() {
        assert_eq!(PgType::INT4.to_arrow(), Some(DataType::Int32));
        assert_eq!(PgType::numeric(14, 3).to_arrow(), Some(DataType::Decimal128(14, 3)));
        assert_eq!(PgType::from_oid(1009).and_then(PgType::element), Some(PgType::TEXT));
        assert_eq!(PgType::REGCLASS.to_arrow(), None);
    }
}
