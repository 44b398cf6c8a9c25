//! What is asked of a server, and what our engine says to the same constants.
//!
//! Every constant is bound. A question is one column of one statement, in the words that a fragment is written in; it
//! must never touch a table.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::kernels::comparison::like;
use datafusion::arrow::compute::{SortOptions, max, min, sort_to_indices};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::functions::expr_fn::substring;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{col, lit};
use datafusion::physical_expr::create_physical_expr;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row, Value};

use super::Construct;
use crate::federation::digest;
use crate::mysql::error::OUT_OF_RANGE;
use crate::mysql::render::operand::characters;
use crate::mysql::render::{as_bytes, broken, guard};
use crate::mysql::select::extreme;

/// What a server is, as far as its answers may depend on it.
pub(in crate::mysql) const FINGERPRINT: &str = "CONCAT_WS('|', @@version, @@session.sql_mode, \
    @@session.collation_connection, @@session.time_zone, @@session.max_sort_length, \
    @@global.lower_case_table_names)";

/// A digest of what is asked and of what is said here.
pub(super) static PROBES: LazyLock<String> = LazyLock::new(|| {
    let said = ours().map_or_else(|error| error.to_string(), |ours| format!("{ours:?}"));
    let numbers = format!("{NUMBERS_AND_NULLS:?} {BIGINTS:?} {FLOATS:?} {PARTS:?}");
    let words = format!("{TEXTS:?} {PATTERNS:?} {DECIMALS:?} {DAYS:?} {LETTERS:?}");
    let (asked, _) = statement();
    let parts = [asked, raising(), numbers, words, said, without_negative_zeros()];
    digest(std::iter::once(FINGERPRINT).chain(parts.iter().map(String::as_str)))
});

fn raising() -> String {
    format!("SELECT {} FROM (SELECT CAST(? AS DATE) AS `v`) AS u", guard("`v`"))
}

/// Whether a guarded date that is none is an error.
pub(super) async fn raises(conn: &mut Conn) -> std::result::Result<bool, Error> {
    match conn.exec_first::<Row, _, _>(raising().as_str(), ("0000-00-00",)).await {
        Err(Error::Server(server)) if server.code == OUT_OF_RANGE => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

const TEXTS: [&str; 18] = [
    "", "a", "a ", "A", "Dakar", "DAKAR", "dákar", "ß", "ss", "\u{c9}", "E\u{301}", "🚢", "%", "_", "'",
    "\\", "x\ny", "x\n",
];
const PATTERNS: [&str; 8] = ["%", "_", "a%", "%a%", "x%y", "D_kar", "x_", "%\n"];
const NUMBERS_AND_NULLS: [Option<i64>; 6] = [Some(1), None, Some(-1), Some(0), None, Some(i64::MAX)];
const BIGINTS: [i64; 4] = [i64::MAX, i64::MAX, i64::MAX, -1];
const DECIMALS: [&str; 3] =
    ["99999999999999999999999999999999.999999", "0.000001", "99999999999999999999999999999999.999999"];
const DECIMAL_SUM: &str = "199999999999999999999999999999999.999999";
/// Dates, and whether each is none.
const DAYS: [(&str, bool); 7] = [
    ("0001-01-01", false),
    ("1582-10-15", false),
    ("2024-02-29", false),
    ("9999-12-31", false),
    ("0000-00-00", true),
    ("2018-02-00", true),
    ("2018-00-07", true),
];

/// Characters of which a part is taken: composed or not, beyond the first plane, none.
const LETTERS: [&str; 7] = ["", "a ", "dákar", "E\u{301}a", "🚢b", "x\ny", "漢字"];
/// Where a part begins, and its length.
const PARTS: [(i64, i64); 6] = [(1, 0), (1, 2), (2, 1), (2, 9), (3, 1), (9, 1)];
/// Floats of which the least and the greatest are taken. No server of this kind keeps infinities.
const FLOATS: [&[f64]; 5] =
    [&[0.0, -0.0], &[-0.0, -1.5], &[0.0, 1.5, -0.0], &[1.5, -1.5], &[f64::MAX, 5e-324]];

/// Rows of constants, each in a cast, with its number.
fn rows(cast: &str, count: usize) -> String {
    let rows: Vec<String> =
        (1..=count).map(|place| format!("SELECT {place} AS `i`, CAST(? AS {cast}) AS `v`")).collect();
    format!("({})", rows.join(" UNION ALL "))
}

/// Rows of places from which a part is taken, with their numbers.
fn places() -> String {
    const NUMBER: &str = "CAST(? AS SIGNED)";
    let rows: Vec<String> = (1..=PARTS.len())
        .map(|place| format!("SELECT {place} AS `i`, {NUMBER} AS `s`, {NUMBER} AS `n`"))
        .collect();
    format!("({})", rows.join(" UNION ALL "))
}

/// Each row of floats as the server keeps it, with its least and its greatest.
fn extremes() -> String {
    let shown = |float: &str| format!("IF({float} = 0, IF(ATAN2({float}, -1e0) < 0, '-0', '0'), {float})");
    let kept = shown("u.`v`");
    let [least, greatest] = ["MIN", "MAX"].map(|word| shown(&extreme(word, "u.`v`")));
    let each = FLOATS.iter().map(|floats| {
        // Multiplied, a zero keeps its sign.
        let rows: Vec<String> =
            (1..=floats.len()).map(|place| format!("SELECT {place} AS `i`, ? * 1e0 AS `v`")).collect();
        format!(
            "(SELECT CONCAT(GROUP_CONCAT({kept} ORDER BY u.`i` SEPARATOR ' '), ':', {least}, ' ', {greatest}) \
               FROM ({}) AS u)",
            rows.join(" UNION ALL ")
        )
    });
    format!("CONCAT_WS(',', {})", each.collect::<Vec<_>>().join(", "))
}

/// All probes in one statement, one column each, and the constants it binds.
pub(super) fn statement() -> (String, Vec<Value>) {
    let bytes = as_bytes("u.`v`");
    let sql = format!(
        "SELECT (SELECT CONCAT(GROUP_CONCAT(u.`i` ORDER BY {bytes} DESC SEPARATOR ','), ' ', COUNT(DISTINCT {bytes})) \
           FROM {texts} AS u), \
         (SELECT GROUP_CONCAT(CONVERT(u.`v` USING utf8mb4) COLLATE utf8mb4_bin LIKE w.`v` \
           ORDER BY u.`i`, w.`i` SEPARATOR '') FROM {texts} AS u, {patterns} AS w), \
         (SELECT GROUP_CONCAT(u.`i` ORDER BY (u.`v` IS NULL) DESC, u.`v` DESC, u.`i` SEPARATOR ',') FROM {numbers} AS u), \
         (SELECT CAST(SUM(u.`v`) AS CHAR) FROM {bigints} AS u), \
         (SELECT CAST(SUM(u.`v`) AS CHAR) FROM {decimals} AS u), \
         (SELECT GROUP_CONCAT({none} ORDER BY u.`i` SEPARATOR '') FROM {days} AS u), \
         (SELECT GROUP_CONCAT(HEX({part}) ORDER BY u.`i`, w.`i` SEPARATOR ',') \
           FROM {letters} AS u, {parts} AS w), \
         {extremes}",
        texts = rows("CHAR(20)", TEXTS.len()),
        patterns = rows("CHAR(20)", PATTERNS.len()),
        numbers = rows("SIGNED", NUMBERS_AND_NULLS.len()),
        bigints = rows("SIGNED", BIGINTS.len()),
        decimals = rows("DECIMAL(38,6)", DECIMALS.len()),
        days = rows("DATE", DAYS.len()),
        none = broken("u.`v`"),
        part = characters("u.`v`", "w.`s`", "w.`n`"),
        letters = rows("CHAR(20)", LETTERS.len()),
        parts = places(),
        extremes = extremes(),
    );
    let word = |text: &str| Value::Bytes(text.into());
    let values = (TEXTS.iter().chain(&TEXTS).chain(&PATTERNS).map(|text| word(text)))
        .chain(NUMBERS_AND_NULLS.iter().map(|number| number.map_or(Value::NULL, Value::Int)))
        .chain(BIGINTS.iter().map(|number| Value::Int(*number)))
        .chain(DECIMALS.iter().map(|number| word(number)))
        .chain(DAYS.iter().map(|(day, _)| word(day)))
        .chain(LETTERS.iter().map(|text| word(text)))
        .chain(PARTS.iter().flat_map(|(start, length)| [Value::Int(*start), Value::Int(*length)]))
        .chain(FLOATS.iter().flat_map(|floats| floats.iter().map(|float| Value::Double(*float))))
        .collect();
    (sql, values)
}

/// What our engine says to the same constants, in the order of the statement's columns.
pub(super) fn ours() -> Result<[(Construct, String); 8]> {
    let places = |values: &dyn Array, nulls_first: bool| -> Result<String> {
        let options = SortOptions { descending: true, nulls_first };
        let indices = sort_to_indices(values, Some(options), None)?;
        Ok(indices.values().iter().map(|index| (index + 1).to_string()).collect::<Vec<_>>().join(","))
    };
    let texts = StringArray::from(TEXTS.to_vec());
    let different = TEXTS.iter().collect::<BTreeSet<_>>().len();
    let mut patterns = String::new();
    for text in TEXTS {
        for pattern in PATTERNS {
            let matched = like(&StringArray::from(vec![text]), &StringArray::from(vec![pattern]))?.value(0);
            patterns.push(if matched { '1' } else { '0' });
        }
    }
    let sum: i128 = BIGINTS.iter().map(|number| i128::from(*number)).sum();
    let nulls = places(&Int64Array::from(NUMBERS_AND_NULLS.to_vec()), true)?;
    Ok([
        (Construct::TextBytes, format!("{} {different}", places(&texts, true)?)),
        (Construct::TextPattern, patterns),
        (Construct::NullOrder, nulls),
        (Construct::IntegerSum, sum.to_string()),
        (Construct::DecimalSum, DECIMAL_SUM.to_owned()),
        (Construct::DateGuard, DAYS.iter().map(|(_, none)| if *none { '1' } else { '0' }).collect()),
        (Construct::PartOfText, parts()?),
        (Construct::FloatExtreme, FLOATS.map(least_and_greatest).join(",")),
    ])
}

/// Our parts of the letters, each as the digits of its bytes.
fn parts() -> Result<String> {
    let letters: Arc<dyn Array> = Arc::new(StringArray::from(LETTERS.to_vec()));
    let batch = RecordBatch::try_from_iter([("v", letters)])?;
    let schema = DFSchema::try_from(batch.schema())?;
    let mut columns = Vec::with_capacity(PARTS.len());
    for (start, length) in PARTS {
        let part = substring(col("v"), lit(start), lit(length));
        let part = create_physical_expr(
            &part,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )?;
        columns.push(part.evaluate(&batch)?.into_array(LETTERS.len())?);
    }
    let digits = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    let all = (0..LETTERS.len())
        .flat_map(|row| columns.iter().map(move |column| digits(column.as_string::<i32>().value(row))));
    Ok(all.collect::<Vec<_>>().join(","))
}

/// A row of floats with ours of it, in the server's spelling.
fn least_and_greatest(floats: &[f64]) -> String {
    let shown = |float: f64| match float {
        float if float != 0.0 && !(1e-15..1e15).contains(&float.abs()) => format!("{float:e}"),
        float => float.to_string(),
    };
    let kept: Vec<String> = floats.iter().copied().map(shown).collect();
    let array = Float64Array::from(floats.to_vec());
    let [least, greatest] = [min(&array), max(&array)].map(|float| float.map(shown).unwrap_or_default());
    format!("{}:{least} {greatest}", kept.join(" "))
}

/// What is said of the floats by a server that keeps no negative zero, as MariaDB does.
pub(super) fn without_negative_zeros() -> String {
    FLOATS
        .map(|floats| least_and_greatest(&floats.iter().map(|float| float + 0.0).collect::<Vec<_>>()))
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_answers_are_what_they_should_be() {
        let ours = ours().unwrap();
        assert_eq!(ours[2].1, "2,5,6,1,4,3");
        assert_eq!(ours[3].1, "27670116110564327420");
        assert_eq!(ours[5].1, "0000111");
        assert!(ours[6].1.contains(",F09F9AA262,62,62,,,"), "{}", ours[6].1);
        assert_eq!(
            ours[7].1,
            "0 -0:-0 0,-0 -1.5:-1.5 -0,0 1.5 -0:-0 1.5,1.5 -1.5:-1.5 1.5,\
             1.7976931348623157e308 5e-324:5e-324 1.7976931348623157e308"
        );
        assert!(
            without_negative_zeros().starts_with("0 0:0 0,0 -1.5:-1.5 0,"),
            "{}",
            without_negative_zeros()
        );
        let (sql, values) = statement();
        assert_eq!(sql.matches('?').count(), values.len());
    }
}
