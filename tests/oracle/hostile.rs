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
const LIST: usize = 200;
/// Columns of a table of random names.
const WIDTH: usize = 60;
/// Bytes of a name that every store holds.
const NAME_BYTES: usize = 60;

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

/// The tables of texts and of names; the more texts are asked, the more names there are.
pub(crate) fn tables(seed: u64, count: u64) -> Vec<LogicalTable> {
    let mut random = Random::new(seed, 1);
    let texts = (0..400).map(|index| vec![Some((index + 1).to_string()), Some(text(&mut random))]).collect();
    let mut tables = vec![
        LogicalTable { name: "texts", columns: TEXTS, rows: texts },
        LogicalTable { name: "names", columns: NAMES, rows: named_rows(&mut random, NAMES) },
    ];
    for _ in 0..(count / 5_000).clamp(1, 20) {
        let columns = random_columns(&mut random);
        let name = loop {
            let name = format!("names{}", name(&mut random));
            if storable(&name) && tables.iter().all(|table| folded(table.name) != folded(&name)) {
                // The process is over before anyone could want the memory back.
                break &*Box::leak(name.into_boxed_str());
            }
        };
        tables.push(LogicalTable { name, columns, rows: named_rows(&mut random, columns) });
    }
    tables
}

fn named_rows(random: &mut Random, columns: &[Column]) -> Vec<Vec<Option<String>>> {
    let row = |index: usize| {
        let mut row = vec![Some((index + 1).to_string())];
        row.extend(columns.iter().skip(1).map(|_| Some(text(random))));
        row
    };
    (0..20).map(row).collect()
}

fn name(random: &mut Random) -> String {
    (0..random.between(1, 6)).map(|_| random.text(&PIECES)).collect()
}

/// Whether a name can be one in every store: MariaDB has no character beyond the basic plane in names, and no blank at
/// their ends.
fn storable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && name.trim_end() == name
        && name.chars().all(|character| u32::from(character) < 0x1_0000)
}

/// What two names have in common if MariaDB takes them for one.
fn folded(name: &str) -> String {
    name.to_lowercase().replace('é', "e")
}

fn random_columns(random: &mut Random) -> &'static [Column] {
    let mut columns = vec![Column { name: "id", key: "id", kind: Kind::Int8 }];
    while columns.len() <= WIDTH {
        let name = name(random);
        if storable(&name) && columns.iter().all(|column| folded(column.name) != folded(&name)) {
            let name: &'static str = Box::leak(name.into_boxed_str());
            columns.push(Column { name, key: name, kind: Kind::Text });
        }
    }
    Box::leak(columns.into_boxed_slice())
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
    Some(Finding { title: "a hostile text changed an answer".into(), report, case: None })
}

/// The names of one table that are asked next.
#[derive(Debug, Default)]
struct Turn {
    table: usize,
    column: usize,
}

impl Turn {
    /// The next named column of some tables.
    fn next<'a>(&mut self, tables: &'a [LogicalTable]) -> (&'a LogicalTable, usize) {
        self.column += 1;
        if self.column >= tables[self.table % tables.len()].columns.len() {
            (self.table, self.column) = (self.table + 1, 1);
        }
        (&tables[self.table % tables.len()], self.column)
    }
}

/// Asks with so many texts of one store; the differences found.
pub(crate) async fn hostile(
    asker: &Asker<'_>,
    schema: &'static str,
    tables: &[LogicalTable],
    (seed, count): (u64, u64),
) -> Result<Vec<Finding>> {
    let way = Way::of(schema, true);
    let [texts, names @ ..] = tables else { anyhow::bail!("tables are asked") };
    let mut random = Random::new(seed, 2);
    let mut turn = Turn::default();
    let mut found = sent(asker, way).await?;
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
        let one = &list[0];
        for (test, ids) in [
            (format!("IN ({})", literals.join(", ")), expected(texts, 1, within)),
            (format!("NOT IN ({})", literals.join(", ")), expected(texts, 1, |text| !within(text))),
            (format!("= {}", literals[0]), expected(texts, 1, |text| text == one)),
            (format!("<> {}", literals[0]), expected(texts, 1, |text| text != one)),
        ] {
            let sql = format!("SELECT id FROM {schema}.texts WHERE s {test}");
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
        for other in &list[2..5] {
            let named = turn.next(names);
            found.extend(by_name(asker, way, named, &mut random, other).await?);
        }
        // What nobody has as a name is refused here, whatever it would do there.
        let stranger = quoted(&format!("no {}{}", list[5], list[6]));
        let sql = format!("SELECT id FROM {schema}.texts WHERE {stranger} = 'a'");
        let outcome = asker.ask_text(way, &sql).await?;
        if !matches!(&outcome, Outcome::Error { sqlstate, .. } if sqlstate == "42703") {
            found.extend(judged(&sql, &outcome, &BTreeSet::from(["42703".to_owned()])));
        }
        asked += u64::try_from(LIST)?;
    }
    Ok(found)
}

/// A condition on a column by its name, with one text of its own and one that is not.
async fn by_name(
    asker: &Asker<'_>,
    way: Way,
    (table, column): (&LogicalTable, usize),
    random: &mut Random,
    other: &str,
) -> Result<Option<Finding>> {
    let name = quoted(table.columns[column].name);
    let own = random.pick(&table.rows)[column].clone().unwrap_or_default();
    let sql = format!(
        "SELECT id, {name} FROM {}.{} WHERE {name} IN ({}, {})",
        way.schema,
        quoted(table.name),
        literal(&own),
        literal(other)
    );
    let ids = expected(table, column, |text| text == own || text == other);
    Ok(judged(&sql, &asker.ask_text(way, &sql).await?, &ids))
}

/// A finding if the lists do not reach the source at all, which would make everything here pass.
async fn sent(asker: &Asker<'_>, way: Way) -> Result<Vec<Finding>> {
    // The engine spells lists of up to three out.
    let sql = format!("EXPLAIN SELECT id FROM {}.texts WHERE s IN ('a', 'b', 'c', 'd', '''')", way.schema);
    let plan = asker.ask_text(way, &sql).await?.shown();
    let leaf = plan.split(" kept: ").next().unwrap_or_default();
    if leaf.contains(" sent: ") && leaf.contains(" IN (") {
        return Ok(vec![]);
    }
    Ok(vec![Finding {
        title: "no list reached the source".into(),
        report: format!("{sql}\n{plan}"),
        case: None,
    }])
}
