//! The settings the gateway owns, with default, kind and description. Order of reported ones as PostgreSQL 17 sends.

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// `on` or `off` in any of PostgreSQL's spellings.
    Bool,
    /// A whole number in a range.
    Int(i64, i64),
    /// One of some words.
    Word(&'static [&'static str]),
    /// Milliseconds, with an optional unit; 0 is off.
    Millis,
    /// An IANA time zone.
    Zone,
    /// `ISO` with an order of day and month.
    DateStyle,
    /// A list of identifiers.
    Names,
    /// UTF-8 in one of its spellings.
    Encoding,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct SettingDef {
    /// Name as PostgreSQL spells it.
    pub name: &'static str,
    /// Value without any SET.
    pub default: &'static str,
    /// Accepted values.
    pub kind: SettingKind,
    /// Sent as ParameterStatus.
    pub reported: bool,
    /// The client cannot change it.
    pub fixed: bool,
    /// What it does.
    pub description: &'static str,
    /// For a setting whose work is not there yet: the values that ask for nothing, and what to do instead of the
    /// others.
    pub only: Option<(&'static [&'static str], &'static str)>,
}

use SettingKind::{Bool, DateStyle, Encoding, Int, Millis, Names, Text, Word, Zone};

const ISOLATION: &[&str] = &["read committed", "read uncommitted", "repeatable read", "serializable"];
const MESSAGES: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "info", "notice", "warning", "error"];

const fn def(
    name: &'static str,
    default: &'static str,
    kind: SettingKind,
    description: &'static str,
) -> SettingDef {
    SettingDef { name, default, kind, reported: false, fixed: false, description, only: None }
}

/// A setting of which only some values can be honoured today; the others are refused with a hint.
const fn only(mut def: SettingDef, values: &'static [&'static str], hint: &'static str) -> SettingDef {
    def.only = Some((values, hint));
    def
}

const fn reported(mut def: SettingDef) -> SettingDef {
    def.reported = true;
    def
}

const fn fixed(mut def: SettingDef) -> SettingDef {
    def.fixed = true;
    def
}

/// Every setting of the gateway.
pub const TABLE: &[SettingDef] = &[
    reported(def("application_name", "", Text, "name of the client's application")),
    reported(def("client_encoding", "UTF8", Encoding, "encoding of texts to and from the client")),
    reported(def(
        "DateStyle",
        "ISO, MDY",
        DateStyle,
        "output is ISO; the order tells how 01/02/2024 is read",
    )),
    reported(def(
        "default_transaction_read_only",
        "on",
        Bool,
        "accepted and echoed; the server is read-only either way",
    )),
    reported(fixed(def("in_hot_standby", "off", Bool, "whether the server replays another's log"))),
    reported(fixed(def("integer_datetimes", "on", Bool, "timestamps are whole microseconds"))),
    reported(def("IntervalStyle", "postgres", Word(&["postgres"]), "how intervals are written")),
    reported(fixed(def("is_superuser", "off", Bool, "whether the role is a superuser"))),
    reported(def("search_path", "\"$user\", public", Names, "schemas searched for names without one")),
    reported(fixed(def("server_encoding", "UTF8", Encoding, "encoding of the database"))),
    reported(fixed(def("server_version", "17.5", Text, "PostgreSQL version whose behaviour is served"))),
    reported(fixed(def("session_authorization", "", Text, "the user who logged in"))),
    reported(def("standard_conforming_strings", "on", Word(&["on"]), "backslashes in '…' are ordinary")),
    reported(def("TimeZone", "UTC", Zone, "time zone timestamps with time zone are read and shown in")),
    fixed(def("server_version_num", "170005", Text, "server_version as a number")),
    fixed(def("max_identifier_length", "63", Text, "bytes a name may have")),
    fixed(def("max_index_keys", "32", Text, "columns an index may have")),
    fixed(def("block_size", "8192", Text, "bytes of a disk page")),
    fixed(def("lc_collate", "C", Text, "texts are ordered by bytes")),
    fixed(def("lc_ctype", "C.UTF-8", Text, "character classes")),
    def("bytea_output", "hex", Word(&["hex", "escape"]), "how bytea is written as text"),
    def("extra_float_digits", "1", Int(-15, 3), "digits of floats beyond the shortest exact form"),
    def("client_min_messages", "notice", Word(MESSAGES), "least severe notice sent to the client"),
    def("statement_timeout", "0", Millis, "longest time of a statement, up to its last row"),
    def("lock_timeout", "0", Millis, "accepted; nothing is locked"),
    def("idle_session_timeout", "0", Millis, "longest idle time outside a transaction"),
    def("idle_in_transaction_session_timeout", "0", Millis, "longest idle time inside a transaction"),
    def("transaction_timeout", "0", Millis, "longest time of a transaction"),
    def("transaction_isolation", "read committed", Word(ISOLATION), "isolation of this transaction"),
    def("default_transaction_isolation", "read committed", Word(ISOLATION), "isolation of new transactions"),
    def("transaction_read_only", "on", Bool, "accepted and echoed; the server is read-only either way"),
    def("transaction_deferrable", "off", Bool, "accepted; has no effect on a read-only server"),
    def("default_transaction_deferrable", "off", Bool, "accepted; has no effect on a read-only server"),
    def("role", "none", Text, "the current role"),
    def("portolan.pushdown", "on", Bool, "send filters, projections and limits to the sources"),
    def("portolan.workers", "1000", Int(0, 1000), "workers that a statement may use at most; 0 for none"),
    def(
        "portolan.worker_bytes",
        "33554432",
        Int(1, i64::MAX),
        "bytes of the lake's files that are worth a worker of their own",
    ),
    def(
        "portolan.audit_per_mille",
        "1",
        Int(0, 1000),
        "statements of a thousand that are answered a second time without push-down, to compare",
    ),
    only(
        def("portolan.kpi_rollup", "off", Bool, "answer KPIs from rollups that are proven equal"),
        &["off"],
        "there are no rollups yet: every KPI is computed from its fact",
    ),
    only(
        def("portolan.kpi_fill", "model", Word(&["model", "on", "off"]), "fill empty time buckets of KPIs"),
        &["model", "off"],
        "join the KPI to a series of the periods: SELECT … FROM generate_series(…) LEFT JOIN (…)",
    ),
    only(
        def(
            "portolan.kpi_flat_reaggregate",
            "refuse",
            Word(&["refuse", "allow"]),
            "whether a column of kpi_flat that cannot be added may be aggregated again",
        ),
        &["refuse"],
        "ask for the value at the wanted level: SELECT …, MEASURE(…) FROM kpi.… GROUP BY …",
    ),
    only(
        def(
            "portolan.as_of",
            "",
            Text,
            "versions of the sources that statements read; none can be pinned yet",
        ),
        &[""],
        "no source can be pinned yet: statements read what is newest, and system.fragments tells which version it was",
    ),
    def(
        "portolan.max_staleness",
        "0",
        Millis,
        "oldest data accepted, with a warning, while their source is down; answers are kept for it from then on",
    ),
    only(
        def("portolan.arrow_views", "off", Bool, "send Arrow view types to Flight clients"),
        &["off"],
        "texts are sent as Utf8",
    ),
    only(
        def("portolan.trace", "off", Bool, "send a statement's trace id as a notice"),
        &["off"],
        "the id of every statement is in system.queries",
    ),
];
