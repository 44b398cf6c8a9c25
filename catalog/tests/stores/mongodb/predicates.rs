//! Push-down on and off give the same rows, over documents that stores are known to tell apart.

use mongodb::bson::{Bson, DateTime, Document, doc};

use super::{Fixture, numbered};
use crate::dice::Dice;

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

/// One type a field, with everything such a field may hold, missing and null.
pub(super) fn clean() -> Vec<Document> {
    let texts = [
        "Dakar",
        "DAKAR",
        "dákar",
        "",
        "a",
        "a ",
        "it's",
        "\\",
        "%",
        "_",
        "x\ny",
        "x\n",
        "ß",
        "É",
        "E\u{301}",
        "$x",
        "a.b",
        "';--",
        "\u{1F6A2}",
    ];
    let longs = [0, 1, -1, i64::MAX, i64::MIN, (1 << 53) + 1, 7];
    let floats = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, 0.1];
    let decimals = ["0", "-0", "1.50", "1.5", "-0.0000000001", "99999999.99"];
    let dates = [0, -1, 1_767_225_600_000, 253_402_300_799_999, -62_135_596_800_000];
    (0..57)
        .map(|n| {
            let mut document = Document::new();
            let mut put = |name: &str, every: usize, value: Bson| match n % every {
                0 => {}
                1 => drop(document.insert(name, Bson::Null)),
                _ => drop(document.insert(name, value)),
            };
            put("i", 9, Bson::Int32([0, 7, -7, i32::MAX, i32::MIN][n % 5]));
            let long = longs[n % 7];
            put("l", 11, i32::try_from(long).map_or(Bson::Int64(long), Bson::Int32));
            put("f", 10, Bson::Double(floats[n % 7]));
            put("d", 8, decimal(decimals[n % 6]));
            put("s", 12, Bson::String(texts[n % 19].into()));
            put("ok", 5, Bson::Boolean(n % 2 == 0));
            put("at", 7, Bson::DateTime(DateTime::from_millis(dates[n % 5])));
            put("o", 4, if n % 2 == 0 { Bson::Array(vec![Bson::Null]) } else { doc! { "k": 1 }.into() });
            document
        })
        .collect()
}

/// Any type in any field.
fn nasty() -> Vec<Document> {
    let values = || {
        [
            Bson::Int32(5),
            Bson::Int64(5),
            Bson::Double(5.0),
            Bson::Double(5.5),
            decimal("5"),
            decimal("NaN"),
            Bson::Double(f64::NAN),
            Bson::Int64(i64::MAX),
            Bson::String("5".into()),
            Bson::String("Dakar".into()),
            Bson::Array(vec![Bson::Int32(5), Bson::String("Dakar".into())]),
            Bson::Array(vec![]),
            Bson::Array(vec![Bson::Null]),
            doc! { "k": 5 }.into(),
            Bson::Null,
            Bson::MinKey,
            Bson::MaxKey,
            Bson::Boolean(true),
            Bson::DateTime(DateTime::from_millis(0)),
            Bson::Symbol("Dakar".into()),
        ]
    };
    values()
        .into_iter()
        .flat_map(|value| {
            ["i", "l", "f", "d", "s", "ok", "at"].map(|field| {
                let mut document =
                    doc! { "i": 5, "l": 7, "f": 1.5, "d": decimal("1.5"), "s": "a", "ok": false };
                document.insert(field, value.clone());
                document
            })
        })
        .chain([doc! {}])
        .collect()
}

const COLUMNS: [(&str, &[&str]); 7] = [
    ("i", &["0", "5", "7", "2147483647"]),
    ("l", &["0", "5", "9007199254740993", "9223372036854775807"]),
    ("f", &["0.0", "1.5", "5.5", "0.1", "'NaN'::double", "'Infinity'::double"]),
    ("d", &["CAST('1.5' AS DECIMAL(38,10))", "CAST('5' AS DECIMAL(38,10))", "CAST('0' AS DECIMAL(38,10))"]),
    ("s", &["'Dakar'", "'a'", "'a '", "''", "'it''s'", "'$x'", "'5'", "'\\'", "'É'"]),
    ("ok", &["true", "false"]),
    (
        "at",
        &[
            "arrow_cast(0, 'Timestamp(Microsecond, Some(\"UTC\"))')",
            "arrow_cast(-500, 'Timestamp(Microsecond, Some(\"UTC\"))')",
            "arrow_cast(1767225600000000, 'Timestamp(Microsecond, Some(\"UTC\"))')",
        ],
    ),
];

fn atom(dice: &mut Dice) -> String {
    let (column, values) = COLUMNS[dice.roll(COLUMNS.len())];
    let (value, other) = (dice.pick(values), dice.pick(values));
    match dice.roll(12) {
        0 => format!("{column} IS NULL"),
        1 => format!("{column} IS NOT NULL"),
        2 => format!("{column} IN ({value}, {other})"),
        3 => format!("{column} NOT IN ({value}, {other})"),
        4 => format!("{column} NOT IN ({value}, NULL)"),
        5 => format!("{column} BETWEEN {value} AND {other}"),
        6 => {
            let not = dice.pick(&["", "NOT "]);
            format!(
                "s {not}LIKE '{}'",
                dice.pick(&["a%", "%a%", "_", "x_y", "%''%", "D_kar", "%", "x%", "", "Dakar"])
            )
        }
        7 => dice
            .pick(&["ok", "NOT ok", "ok IS NOT TRUE", "ok IS UNKNOWN", "o IS NULL", "o IS NOT NULL"])
            .into(),
        // In parentheses: the parser reads an OR after it as part of its right side.
        8 => format!("({column} IS DISTINCT FROM {value})"),
        _ => format!("{column} {} {value}", dice.pick(&["=", "<>", "<", "<=", ">", ">="])),
    }
}

pub(super) fn predicate(dice: &mut Dice, depth: usize) -> String {
    match if depth == 0 { 9 } else { dice.roll(10) } {
        0 | 1 => format!("({} AND {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        2 | 3 => format!("({} OR {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        4 => format!("NOT ({})", predicate(dice, depth - 1)),
        5 => format!("({}) IS NOT TRUE", predicate(dice, depth - 1)),
        _ => atom(dice),
    }
}

/// Ternary logic splits the rows without rest, and every part is the same pushed and not.
async fn same_rows(fixture: &Fixture, statements: u64) -> usize {
    let total = fixture.rows("SELECT _id FROM t").await.len();
    let mut sent = 0;
    for seed in 0..statements {
        let dice = &mut Dice(seed);
        let p = predicate(dice, 2);
        let mut rows = 0;
        for condition in [p.clone(), format!("NOT ({p})"), format!("({p}) IS NULL")] {
            rows += fixture.rows(&format!("SELECT _id FROM t WHERE {condition}")).await.len();
        }
        assert_eq!(rows, total, "statement {seed}: {p}");
        sent += usize::from(fixture.leaf(&format!("SELECT _id FROM t WHERE {p}")).await.contains("$match"));
    }
    sent
}

#[tokio::test]
async fn push_down_to_mongodb_never_changes_the_rows() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", numbered(clean())).await;
    let statements = 80;
    let sent = same_rows(&fixture, statements).await;
    assert!(sent * 3 > usize::try_from(statements).unwrap(), "only {sent} of {statements} sent a filter");
    let count = fixture.rows("SELECT count(*) FROM (SELECT s FROM t WHERE i >= 0 LIMIT 3)").await;
    assert_eq!(count, ["3"]);
    assert!(fixture.leaf("SELECT s FROM t WHERE i >= 0 LIMIT 3").await.contains("{\"$limit\":3}"));
    fixture.end().await;
}

/// The same over fields of any type, where what does not fit is NULL: every condition is a superset at most.
#[tokio::test]
async fn push_down_never_changes_the_rows_of_a_nasty_collection() {
    let columns = "{ name: _id, type: int4 }, { name: i, type: int4 }, { name: l, type: int8 }, { name: f, type: float8 }, \
        { name: d, type: 'numeric(38,10)' }, { name: s, type: text }, { name: ok, type: bool }, { name: at, type: timestamptz }, { name: o, type: jsonb }";
    let fixture =
        Fixture::start(&format!("on_mismatch: null\ntables: {{ t: {{ columns: [{columns}] }} }}")).await;
    fixture.insert("t", numbered(nasty())).await;
    let sent = same_rows(&fixture, 40).await;
    assert!(sent > 10, "only {sent} sent a filter");
    fixture.end().await;
}

/// Text that means something in the query language is text, and fields whose names do are read and filtered here.
#[tokio::test]
async fn trap_f1_hostile_strings_and_names_stay_what_they_are() {
    let fixture = Fixture::start("").await;
    let texts = [
        "$where",
        "$gt",
        "{\"$ne\":null}",
        "'; db.dropDatabase()",
        "$$ROOT",
        "a\\",
        "\"",
        "/.*/",
        "\u{202E}",
        "a.b",
        "\u{FEFF}",
    ];
    let names = ["$odd", "dot.ted", "sp ace", "quo\"te", "É", "$$x", "0"];
    let documents = texts.iter().zip(0_i32..).map(|(text, n)| {
        let mut document = doc! { "s": *text };
        for name in names {
            document.insert(name, n);
        }
        document
    });
    fixture.insert("t", numbered(documents)).await;
    for (text, id) in texts.iter().zip(1..) {
        let sql = format!("SELECT _id FROM t WHERE s = '{}'", text.replace('\'', "''"));
        assert_eq!(fixture.rows(&sql).await, [id.to_string()], "{text}");
        assert!(fixture.leaf(&sql).await.contains("$match"), "{text}");
        let sql =
            format!("SELECT count(*) FILTER (WHERE s = '{}'), count(*) FROM t", text.replace('\'', "''"));
        assert_eq!(fixture.rows(&sql).await, [format!("1|{}", texts.len())], "{text}");
        assert!(fixture.leaf(&sql).await.contains("$group"), "{text}");
    }
    for name in names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!("SELECT {quoted} FROM t WHERE {quoted} > 8");
        assert_eq!(fixture.rows(&sql).await, ["10", "9"], "{name}");
        let pushed = !name.starts_with('$') && !name.contains('.');
        assert_eq!(fixture.leaf(&sql).await.contains("$match"), pushed, "{name}");
    }
    fixture.end().await;
}
