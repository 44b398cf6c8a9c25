//! The doors a statement is asked through, and what they have in common: an answer of types and PostgreSQL's texts.
//!
//! A further door is one more variant here and one more client; records and expected values stay as they are.

use std::fmt;

use sqllogictest::{ColumnType, DB, DBOutput};

use super::demo::Demo;
use super::pg::{Client, Way};

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Postgres(Way),
}

/// Every transport the corpus is asked through.
pub(crate) const DOORS: &[Door] =
    &[Door::Postgres(Way::Simple), Door::Postgres(Way::ExtendedText), Door::Postgres(Way::ExtendedBinary)];

impl Door {
    /// The name in tests and in `onlyif` and `skipif`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres(Way::Simple) => "simple",
            Self::Postgres(Way::ExtendedText) => "text",
            Self::Postgres(Way::ExtendedBinary) => "binary",
        }
    }

    /// What records may ask for.
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Postgres(Way::Simple) => &["simple", "postgres"],
            Self::Postgres(Way::ExtendedText) => &["text", "postgres", "extended"],
            Self::Postgres(Way::ExtendedBinary) => &["binary", "postgres", "extended"],
        }
    }
}

/// What a statement answered; rows are PostgreSQL's texts.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) is_rows: bool,
    pub(crate) types: Vec<Column>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

/// What a statement was refused with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) position: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (hint: {}) (position: {})", self.sqlstate, self.message, self.hint, self.position)
    }
}

impl std::error::Error for Fault {}

/// A connection through one door.
#[derive(Debug)]
pub(crate) struct Connection(Client);

impl Connection {
    pub(crate) fn open(door: Door, demo: &Demo, pushdown: bool) -> Result<Self, Fault> {
        let Door::Postgres(way) = door;
        let mut connection = Self(Client::login(&demo.pg, way));
        if !pushdown {
            connection.ask("SET portolan.pushdown = off")?;
        }
        Ok(connection)
    }

    fn ask(&mut self, sql: &str) -> Result<Answer, Fault> {
        self.0.ask(sql)
    }
}

impl DB for Connection {
    type Error = Fault;
    type ColumnType = Column;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, Fault> {
        let answer = self.ask(sql)?;
        if !answer.is_rows {
            return Ok(DBOutput::StatementComplete(0));
        }
        let rows = answer.rows.into_iter().map(|row| row.into_iter().map(shown).collect()).collect();
        Ok(DBOutput::Rows { types: answer.types, rows })
    }

    fn error_sql_state(error: &Fault) -> Option<String> {
        Some(error.sqlstate.clone())
    }
}

/// A value on one line of a record.
fn shown(value: Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() => "(empty)".to_owned(),
        Some(text) => text.replace('\n', "\\n").replace('\t', "\\t"),
    }
}

/// A column's type, one letter in a record's head: `b`oolean, `s`mallint, `i`nteger, `l`ong … see [`LETTERS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column(char);

/// Letters, the OIDs and the names of the types they stand for; every array is `A`.
const LETTERS: &[(char, &[u32], &[&str])] = &[
    ('b', &[16], &["boolean"]),
    ('s', &[21], &["smallint"]),
    ('i', &[23], &["integer"]),
    ('l', &[20], &["bigint"]),
    ('n', &[1700], &["numeric"]),
    ('f', &[700], &["real"]),
    ('d', &[701], &["double precision"]),
    ('t', &[25, 1043, 1042, 19, 18], &["text", "character varying", "character", "name"]),
    ('a', &[17], &["bytea"]),
    ('D', &[1082], &["date"]),
    ('T', &[1083], &["time without time zone"]),
    ('S', &[1114], &["timestamp without time zone"]),
    ('Z', &[1184], &["timestamp with time zone"]),
    ('V', &[1186], &["interval"]),
    ('j', &[114, 3802], &["json", "jsonb"]),
    ('u', &[2950], &["uuid"]),
    ('o', &[26, 2205, 2206], &["oid", "regclass", "regtype"]),
    ('A', &[1000, 1001, 1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1028], &[]),
    ('A', &[1115, 1182, 1183, 1185, 1187, 1231, 2951, 3807], &[]),
];

impl Column {
    /// The letter of an OID.
    pub(crate) fn of_oid(oid: u32) -> Self {
        Self(LETTERS.iter().find(|(_, oids, _)| oids.contains(&oid)).map_or('?', |(letter, ..)| *letter))
    }
}

impl ColumnType for Column {
    fn from_char(value: char) -> Option<Self> {
        (value == '?' || LETTERS.iter().any(|(letter, ..)| *letter == value)).then_some(Self(value))
    }

    fn to_char(&self) -> char {
        self.0
    }
}
