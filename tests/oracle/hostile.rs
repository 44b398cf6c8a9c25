//! Texts and names made to break out of a statement, asked of live servers: none may, and none may change a row.
//!
//! What must come back is computed here from the rows that were loaded, by comparing bytes, so no store and no engine
//! has a say in it.

use std::collections::BTreeSet;

use anyhow::Result;
use datafusion::common::ScalarValue;

use crate::differ::Finding;
use crate::outcome::{Cell, Outcome};
use crate::random::Random;
use crate::syntax::{literal, quoted};
use crate::table::{Column, Kind, LogicalTable};
use crate::world::{Asker, Way};

/// Pieces of the texts.
const PIECES: [&str; 24] = [
    "'",
    "''",
    "\"",
    "\\",
    "\\'",
    ";",
    "--",
    "/*",
    "*/",
    "`",
    "%",
    "_",
    "$1",
    "$$",
    "?",
    "a",
    "A",
    "é",
    " ",
    "\n",
    "\t",
    " OR 1=1 ",
    "\u{1F6A2}",
    "E'",
];
/// Texts in one list.
const LIST: usize = 50;

const TEXTS: &[Column] =
    &[Column { name: "id", key: "id", kind: Kind::Int8 }, Column { name: "s", key: "s", kind: Kind::Text }];

/// Names that no store has trouble holding, and every careless text has.
const NAMES: &[Column] = &[
    Column { name: "id", key: "id", kind: Kind::Int8 },
    Column { name: "a'b", key: "n1", kind: Kind::Text },
    Column { name: "a\"b", key: "n2", kind: Kind::Text },
    Column { name: "a\\b", key: "n3", kind: Kind::Text },
    Column { name: "a;b", key: "n4", kind: Kind::Text },
    Column { name: "a--b", key: "n5", kind: Kind::Text },
    Column { name: "a/*b", key: "n6", kind: Kind::Text },
    Column { name: "a`b", key: "n7", kind: Kind::Text },
    Column { name: "a$1", key: "n8", kind: Kind::Text },
    Column { name: "a b", key: "n9", kind: Kind::Text },
    Column { name: "a?b", key: "n10", kind: Kind::Text },
    Column { name: "a%b", key: "n11", kind: Kind::Text },
    Column { name: "A\"\"B", key: "n12", kind: Kind::Text },
];

fn text(random: &mut Random) -> String {
    (0..random.between(0, 6)).map(|_| random.text(&PIECES)).collect()
}

/// The tables of texts and of names.
pub(crate) fn tables(seed: u64) -> Vec<LogicalTable> {
    let mut random = Random::new(seed, 1);
    let texts = (0..400).map(|index| vec![Some((index + 1).to_string()), Some(text(&mut random))]).collect();
    let names = (0..20)
        .map(|index| {
            let mut row = vec![Some((index + 1).to_string())];
            row.extend(NAMES.iter().skip(1).map(|_| Some(text(&mut random))));
            row
        })
        .collect();
    vec![
        LogicalTable { name: "texts", columns: TEXTS, rows: texts },
        LogicalTable { name: "names", columns: NAMES, rows: names },
    ]
}

/// Ids of the rows whose column passes a test.
fn expected(table: &LogicalTable, column: usize, test: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let of = |row: &Vec<Option<String>>| {
        row[column].as_deref().is_some_and(&test).then(|| row[0].clone()).flatten()
    };
    table.rows.iter().filter_map(of).collect()
}

fn judged(sql: &str, outcome: &Outcome, expected: &BTreeSet<String>) -> Option<Finding> {
    let got: Option<BTreeSet<String>> = match outcome {
        Outcome::Error { .. } => None,
        Outcome::Rows { rows, .. } => {
            let id = |row: &Vec<Cell>| {
                if let Some(Cell::Text(id)) = row.first() { Some(id.clone()) } else { None }
            };
            Some(rows.iter().filter_map(id).collect())
        }
    };
    if got.as_ref() == Some(expected) {
        return None;
    }
    let report = format!("{sql:?}\n  got: {}\n  expected ids: {expected:?}", outcome.shown());
    Some(Finding { title: "a hostile text changed an answer".into(), report })
}

/// Asks with so many texts of one store; the differences found.
pub(crate) async fn hostile(
    asker: &Asker<'_>,
    schema: &'static str,
    tables: &[LogicalTable],
    (seed, count): (u64, u64),
) -> Result<Vec<Finding>> {
    let way = Way::of(schema, true);
    let [texts, names] = tables else { anyhow::bail!("two tables are asked") };
    let mut random = Random::new(seed, 2);
    let mut found = Vec::new();
    let mut asked = 0;
    while asked < count && found.len() < 20 {
        let list: Vec<String> = (0..LIST)
            .map(|_| {
                let own = random.pick(&texts.rows)[1].clone();
                if random.percent(30) { own.unwrap_or_default() } else { text(&mut random) }
            })
            .collect();
        let literals: Vec<String> = list.iter().map(|text| literal(text)).collect();
        let within = |text: &str| list.iter().any(|one| one == text);
        for (word, ids) in
            [("IN", expected(texts, 1, within)), ("NOT IN", expected(texts, 1, |text| !within(text)))]
        {
            let sql = format!("SELECT id FROM {schema}.texts WHERE s {word} ({})", literals.join(", "));
            found.extend(judged(&sql, &asker.ask_text(way, &sql).await?, &ids));
        }
        let one = &list[0];
        for (sign, ids) in
            [("=", expected(texts, 1, |text| text == one)), ("<>", expected(texts, 1, |text| text != one))]
        {
            let sql = format!("SELECT id FROM {schema}.texts WHERE s {sign} {}", literals[0]);
            found.extend(judged(&sql, &asker.ask_text(way, &sql).await?, &ids));
        }
        // As a parameter a text may even hold a NUL, which no row here does.
        let cut = format!("{one}\0{}", list[1]);
        for text in [one, &cut] {
            let sql = format!("SELECT id FROM {schema}.texts WHERE s = $1");
            let parameter = vec![ScalarValue::Utf8(Some(text.clone()))];
            let outcome = asker.ask_with(way, &sql, parameter).await?;
            found.extend(judged(&sql, &outcome, &expected(texts, 1, |other| other == text)));
        }
        let column = random.between(1, names.columns.len() - 1);
        let name = quoted(names.columns[column].name);
        let own = random.pick(&names.rows)[column].clone().unwrap_or_default();
        let sql = format!(
            "SELECT id, {name} FROM {schema}.names WHERE {name} IN ({}, {})",
            literal(&own),
            literals[1]
        );
        let ids = expected(names, column, |text| text == own || text == list[1]);
        found.extend(judged(&sql, &asker.ask_text(way, &sql).await?, &ids));
        asked += u64::try_from(LIST)?;
    }
    Ok(found)
}
