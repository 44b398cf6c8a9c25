//! The doors a statement is asked through, and what they have in common: an answer of types and PostgreSQL's texts.
//!
//! A further door is one more variant here and one more client; records and expected values stay as they are.

use std::fmt;
use std::sync::Arc;

use sqllogictest::{ColumnType, DB, DBOutput};

use super::demo::Demo;
use super::flight;
use super::pg::{self, Way};
use super::python::{self, Driver};

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Postgres(Way),
    /// The client of the arrow-flight crate.
    Flight,
    /// A Python client of Flight SQL.
    Python(Driver),
}

/// Every transport the corpus is asked through.
pub(crate) const DOORS: &[Door] = &[
    Door::Postgres(Way::Simple),
    Door::Postgres(Way::ExtendedText),
    Door::Postgres(Way::ExtendedBinary),
    Door::Flight,
    Door::Python(Driver::Pyarrow),
    Door::Python(Driver::Adbc),
];

impl Door {
    /// The name in tests and in `onlyif` and `skipif`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres(Way::Simple) => "simple",
            Self::Postgres(Way::ExtendedText) => "text",
            Self::Postgres(Way::ExtendedBinary) => "binary",
            Self::Flight => "flight",
            Self::Python(driver) => driver.name(),
        }
    }

    /// What records may ask for.
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Postgres(Way::Simple) => &["simple", "postgres"],
            Self::Postgres(Way::ExtendedText) => &["text", "postgres", "extended"],
            Self::Postgres(Way::ExtendedBinary) => &["binary", "postgres", "extended"],
            Self::Flight => &["flight"],
            Self::Python(Driver::Pyarrow) => &["flight", "pyarrow"],
            Self::Python(Driver::Adbc) => &["flight", "adbc"],
        }
    }
}

/// What one door can and another cannot by its nature, with the reason; a record that needs it says `onlyif` and the
/// word. The doors of PostgreSQL can all of it, those of Flight SQL nothing.
pub(crate) const ABILITIES: &[(&str, &str)] = &[
    ("transactions", "a statement of Flight SQL is a transaction of its own"),
    ("cursors", "a flight streams as it is read, and needs no cursor"),
    ("sql_prepare", "prepared statements of Flight SQL have handles, no names"),
    ("discard", "a session of Flight SQL ends with its token"),
    ("binding", "a statement with parameters that were not bound is refused before any bind message"),
    ("scale_per_value", "all decimals of an Arrow column have one scale"),
    ("dimensions_per_value", "all arrays of an Arrow column have one number of dimensions"),
];

/// Every word that may stand behind `onlyif` and `skipif`; one with a mistake would skip its record on every door.
pub(crate) fn is_label(word: &str) -> bool {
    word == "engine"
        || DOORS.iter().any(|door| door.labels().contains(&word))
        || ABILITIES.iter().any(|(ability, _)| *ability == word)
}

/// How a session asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a client does.
    Plain,
    /// With `portolan.pushdown` off: the same rows, always.
    PushdownOff,
    /// Beside a table of ours that is named and not read. Without one, a statement that the shadow catalog can answer
    /// may be answered there, which is PostgreSQL itself and proves nothing about the engine.
    Engine,
    /// With so many workers, each of which is worth a byte.
    Workers(u8),
}

impl Mode {
    pub(crate) const ALL: [Self; 5] =
        [Self::Plain, Self::PushdownOff, Self::Engine, Self::Workers(1), Self::Workers(3)];

    /// Whether a file is asked this way. What needs no table is also asked of the engine, by one door of PostgreSQL
    /// and by those of Flight SQL; a session's own commands have no such form. What push-down changes is behind the
    /// doors, so the Python clients need not ask for it again.
    pub(crate) fn is_for(self, door: Door, name: &str) -> bool {
        let session = name == "sql/settings";
        let bare = !session && ["sql/", "types/", "errors/"].iter().any(|folder| name.starts_with(folder));
        match (door, self) {
            (Door::Postgres(Way::Simple | Way::ExtendedText), Self::Engine) => false,
            (_, Self::Engine) => bare,
            (Door::Python(_), Self::PushdownOff) => false,
            // Workers are behind the doors too, and do nothing for what reads no table.
            (Door::Postgres(Way::Simple), Self::Workers(_)) => !bare && !session,
            (_, Self::Workers(_)) => false,
            (_, Self::Plain | Self::PushdownOff) => true,
        }
    }

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::PushdownOff => "::pushdown_off",
            Self::Engine => "::engine",
            Self::Workers(1) => "::one_worker",
            Self::Workers(_) => "::workers",
        }
    }

    fn statement(self, sql: &str) -> String {
        let here = "corpus_here AS (SELECT code FROM tos.terminals)";
        let trimmed = sql.trim_start();
        let starts =
            |word: &str| trimmed.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        match self {
            Self::Engine if starts("WITH RECURSIVE ") => {
                format!("WITH RECURSIVE {here}, {}", &trimmed["WITH RECURSIVE ".len()..])
            }
            Self::Engine if starts("WITH ") => format!("WITH {here}, {}", &trimmed["WITH ".len()..]),
            Self::Engine if starts("SELECT") || starts("VALUES") => format!("WITH {here} {sql}"),
            _ => sql.to_owned(),
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
pub(crate) struct Connection(Client, Mode);

#[derive(Debug)]
enum Client {
    Postgres(pg::Client),
    Flight(Box<flight::Client>),
    Python(python::Client),
}

impl Connection {
    pub(crate) fn open(
        door: Door,
        demo: &Demo,
        python: &Arc<python::Process>,
        mode: Mode,
    ) -> Result<Self, Fault> {
        let client = match door {
            Door::Postgres(way) => Client::Postgres(pg::Client::login(&demo.pg, way)),
            Door::Flight => Client::Flight(Box::new(flight::Client::login(&demo.flight))),
            Door::Python(driver) => Client::Python(python::Client::new(python, demo, driver)),
        };
        let mut connection = Self(client, mode);
        if mode == Mode::PushdownOff {
            connection.ask("SET portolan.pushdown = off")?;
        }
        if let Mode::Workers(count) = mode {
            connection.ask(&format!("SET portolan.workers = {count}"))?;
            connection.ask("SET portolan.worker_bytes = 1")?;
        }
        Ok(connection)
    }

    fn ask(&mut self, sql: &str) -> Result<Answer, Fault> {
        match &mut self.0 {
            Client::Postgres(client) => client.ask(sql),
            Client::Flight(client) => client.ask(sql),
            Client::Python(client) => client.ask(sql),
        }
    }
}

impl DB for Connection {
    type Error = Fault;
    type ColumnType = Column;

    fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, Fault> {
        let answer = self.ask(&self.1.statement(sql))?;
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
    ('t', &[25, 1043, 1042, 19, 18], &["text", "character varying", "character", "name", "\"char\""]),
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

impl Column {
    /// The letter of a name as `format_type` gives it.
    pub(crate) fn of_name(name: &str) -> Self {
        if name.ends_with("[]") {
            return Self('A');
        }
        let bare = name.split('(').next().unwrap_or_default();
        Self(LETTERS.iter().find(|(_, _, names)| names.contains(&bare)).map_or('?', |(letter, ..)| *letter))
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
