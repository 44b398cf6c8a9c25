//! What the server says about itself: every code of GetSqlInfo, and the types of GetXdbcTypeInfo.
//!
//! Some clients fail on a code that is missing, so all of them are answered, with "no" where the answer is no. Types of
//! the answers are those of FlightSql.proto: ordinals and bit masks are int32, sizes int64.

use std::collections::BTreeMap;

use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use crate::error::QueryError;
use crate::pgtypes::PgType;

/// Words of PostgreSQL 17 that cannot be plain names and that SQL:2003 does not reserve.
const KEYWORDS: &[&str] = &[
    "analyse",
    "analyze",
    "asc",
    "concurrently",
    "deferrable",
    "desc",
    "do",
    "freeze",
    "ilike",
    "initially",
    "isnull",
    "limit",
    "notnull",
    "offset",
    "placing",
    "returning",
    "tablespace",
    "variadic",
    "verbose",
];
const NUMERIC: &[&str] =
    &["abs", "ceil", "exp", "floor", "ln", "log", "mod", "power", "round", "sign", "sqrt", "trunc"];
const STRING: &[&str] = &[
    "concat",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "position",
    "replace",
    "reverse",
    "rpad",
    "rtrim",
    "split_part",
    "strpos",
    "substr",
    "substring",
    "trim",
    "upper",
];
const DATETIME: &[&str] = &["current_date", "date_part", "date_trunc", "extract", "now"];

/// The answers of GetSqlInfo.
///
/// # Errors
/// XX000 when they cannot be laid out.
pub(super) fn sql_info() -> Result<SqlInfoData, QueryError> {
    let mut infos = SqlInfoDataBuilder::new();
    for (code, text) in [
        (0_u32, "Portolan"),
        (1, env!("CARGO_PKG_VERSION")),
        // The IPC format's version, which is what a client can do something with.
        (2, "1.3"),
        (6, ""),
        (7, ""),
        (504, "\""),
        (513, "\\"),
        (514, ""),
        (529, "schema"),
        (530, "procedure"),
        (531, "database"),
    ] {
        infos.append(code, text);
    }
    for (code, list) in [(508_u32, KEYWORDS), (509, NUMERIC), (510, STRING), (511, &[][..]), (512, DATETIME)]
    {
        infos.append(code, list);
    }
    // Read-only, SQL, cancel; every table listed can be read; aliases, correlation names, expressions in ORDER BY,
    // LIKE … ESCAPE, columns NOT NULL, catalog first, correlated subqueries.
    for code in [3_u32, 4, 9, 506, 515, 516, 518, 520, 521, 523, 524, 532, 539] {
        infos.append(code, true);
    }
    // Substrait, ingestion, DDL, names that must differ, integrity, FOR UPDATE, procedures, blobs in rows,
    // transactions, batches, savepoints, named parameters, locators, call syntax.
    for code in
        [5_u32, 10, 11, 500, 501, 502, 519, 527, 536, 537, 556, 563, 565, 566, 572, 573, 574, 575, 576]
    {
        infos.append(code, false);
    }
    for (code, value) in [
        // No transactions; no time-outs unless a session sets one.
        (8_u32, 0_i32),
        (100, 0),
        (101, 0),
        // Names fold to lower case, quoted ones do not; NULL sorts as the largest value.
        (503, 3),
        (505, 1),
        (507, 0),
        // GROUP BY of what is not selected; core grammar, entry level; full outer joins.
        (522, 0b11),
        (525, 0b011),
        (526, 0b001),
        (528, 0b110),
        // Schemas and catalogs in no definition; no positioned commands.
        (533, 0),
        (534, 0),
        (535, 0),
        // Subqueries in comparisons, EXISTS, IN and quantified; UNION and UNION ALL.
        (538, 0b1111),
        (540, 0b11),
        // Each statement reads what is committed; no isolation levels to choose.
        (562, 2),
        (564, 0b1),
        // Results go forward and cannot be changed.
        (567, 0b010),
        (568, 0),
        (569, 0b010),
        (570, 0),
        (571, 0),
    ] {
        infos.append(code, value);
    }
    for (code, limit) in [
        (541_u32, 0_i64),
        (542, 0),
        (543, 63),
        (544, 0),
        (545, 0),
        (546, 0),
        (547, 1_664),
        (548, 1_600),
        (549, 0),
        (550, 63),
        (551, 0),
        (552, 63),
        (553, 63),
        (554, 63),
        (555, 0),
        (557, 1 << 20),
        (558, 1_000),
        (559, 63),
        (560, 0),
        (561, 63),
    ] {
        infos.append(code, limit);
    }
    // The CONVERT function of ODBC does not exist.
    infos.append(517_u32, BTreeMap::<i32, Vec<i32>>::new());
    infos.build().map_err(|error| QueryError::internal(&error))
}

/// The answers of GetXdbcTypeInfo: the types columns have.
///
/// # Errors
/// XX000 when they cannot be laid out.
pub(super) fn types() -> Result<XdbcTypeInfoData, QueryError> {
    use XdbcDataType::{
        XdbcBigint, XdbcBit, XdbcChar, XdbcDate, XdbcDouble, XdbcInteger, XdbcInterval, XdbcNumeric,
        XdbcReal, XdbcSmallint, XdbcTime, XdbcTimestamp, XdbcVarbinary, XdbcVarchar,
    };
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (pg, data_type, size) in [
        (PgType::BOOL, XdbcBit, 1),
        (PgType::INT2, XdbcSmallint, 16),
        (PgType::INT4, XdbcInteger, 32),
        (PgType::INT8, XdbcBigint, 64),
        (PgType::FLOAT4, XdbcReal, 24),
        (PgType::FLOAT8, XdbcDouble, 53),
        (PgType::NUMERIC, XdbcNumeric, 76),
        (PgType::TEXT, XdbcVarchar, 0),
        (PgType::VARCHAR, XdbcVarchar, 10_485_760),
        (PgType::BPCHAR, XdbcChar, 10_485_760),
        (PgType::JSONB, XdbcVarchar, 0),
        (PgType::UUID, XdbcChar, 36),
        (PgType::BYTEA, XdbcVarbinary, 0),
        (PgType::DATE, XdbcDate, 10),
        (PgType::TIME, XdbcTime, 15),
        (PgType::TIMESTAMP, XdbcTimestamp, 26),
        (PgType::TIMESTAMPTZ, XdbcTimestamp, 32),
        (PgType::INTERVAL, XdbcInterval, 49),
    ] {
        let number = matches!(data_type, XdbcSmallint | XdbcInteger | XdbcBigint | XdbcReal | XdbcDouble);
        let numeric = data_type == XdbcNumeric;
        let quoted = !number && !numeric && data_type != XdbcBit;
        let text = matches!(data_type, XdbcVarchar | XdbcChar);
        let quote = quoted.then(|| "'".to_owned());
        let (sql_data_type, datetime_subcode) = match data_type {
            XdbcDate => (XdbcDataType::XdbcDatetime, Some(XdbcDatetimeSubcode::XdbcSubcodeYear)),
            XdbcTime => (XdbcDataType::XdbcDatetime, Some(XdbcDatetimeSubcode::XdbcSubcodeTime)),
            XdbcTimestamp => (XdbcDataType::XdbcDatetime, Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp)),
            other => (other, None),
        };
        let create_params = match pg {
            PgType::NUMERIC => Some(vec!["precision".to_owned(), "scale".to_owned()]),
            PgType::VARCHAR | PgType::BPCHAR => Some(vec!["length".to_owned()]),
            _ => None,
        };
        types.append(XdbcTypeInfo {
            type_name: pg.name(),
            data_type,
            column_size: (size > 0).then_some(size),
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            create_params,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: text,
            searchable: if text { Searchable::Full } else { Searchable::Basic },
            unsigned_attribute: (number || numeric).then_some(false),
            fixed_prec_scale: false,
            auto_increment: Some(false),
            local_type_name: Some(pg.format()),
            minimum_scale: numeric.then_some(0),
            maximum_scale: numeric.then_some(76),
            sql_data_type,
            datetime_subcode,
            num_prec_radix: match (number, numeric) {
                (true, _) => Some(2),
                (_, true) => Some(10),
                _ => None,
            },
            interval_precision: None,
        });
    }
    types.build().map_err(|error| QueryError::internal(&error))
}
