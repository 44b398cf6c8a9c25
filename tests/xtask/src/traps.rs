//! The traps: what went wrong in other federated engines and must not here, each a test whose name begins with
//! `trap_<id>`.
//!
//! The list is text scanned from the tree, so a test cannot be listed without being there. An id without a test is an
//! offence.

/// Every id, and what went wrong.
pub(crate) const IDS: [(&str, &str); 49] = [
    ("F1", "a literal or an identifier breaks out of the text sent to a source"),
    ("F2", "every double quote is removed from the text sent to MySQL"),
    ("F3", "a deadline stops at planning"),
    ("F4", "a cancellation stops at planning"),
    ("F9", "the pool takes a connection back while rows flow"),
    ("F10", "a cancelled statement loses its SQLSTATE"),
    ("F12", "a hash join runs out of memory"),
    ("F13", "a build side is executed twice and rows are lost"),
    ("W1", "text of a condition is changed on its way to MySQL"),
    ("W2", "MySQL: a top-N over NULL keys without their place"),
    ("W3", "MongoDB: negations return rows without the field"),
    ("W4", "MongoDB: _id compared with a string"),
    ("W5", "MongoDB: a cast stripped from a column"),
    ("W6", "MongoDB: a value of another type than the sample becomes NULL"),
    ("W7", "a leaf claims an order its source does not give"),
    ("W8", "LIKE over a newline, and in another case"),
    ("W9", "equality, DISTINCT, GROUP BY and joins under a source's collation"),
    ("W10", "timestamps of the year 9999 and before 1970"),
    ("W11", "MySQL: TIMESTAMP and DATETIME without zone alike"),
    ("W12", "text order in a source's collation when pushed"),
    ("W13", "sources that differ only in their session merged into one query"),
    ("W14", "predicates added by a search for WHERE"),
    ("W15", "NOT IN sent as NOT EXISTS"),
    ("W16", "arithmetic and text functions that mean something else at a source"),
    ("W17", "MongoDB: an array matches a scalar predicate"),
    ("W18", "an enum sorted by its index"),
    ("W19", "zero and partial dates"),
    ("W20", "an equal log position over changed data"),
    ("W21", "the last ctid range closed too early"),
    ("W22", "sums and decimals that wrap"),
    ("W23", "a part of infinity is NULL"),
    ("W24", "Kafka: an upper timestamp bound used as end offset"),
    ("W25", "not-a-number ordered otherwise at a source"),
    ("W26", "NULL or nothing in IN lists"),
    ("W27", "a stream without its end counts as complete"),
    ("E1", "subqueries in a select list, and over two sources"),
    ("E2", "a panic while planning"),
    ("E3", "one column's type hides its table"),
    ("E4", "numerics that no decimal holds"),
    ("E5", "timestamps of the year 9999 fail"),
    ("E6", "an enum with more than 127 values"),
    ("E7", "comparisons and truncations at the year 9999 fail"),
    ("P1", "one partition, its first chunk awaited"),
    ("P2", "a runtime filter dropped, or sent as an endless list"),
    ("P3", "no statistics, and the wrong build side"),
    ("P4", "MongoDB: a count reads every document"),
    ("P5", "a join of two sources ships both tables"),
    ("O1", "no cancellation at the source"),
    ("O2", "a deadline that no source hears of"),
];

/// A test, the ids its name carries, and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) ids: Vec<String>,
    pub(crate) test: String,
    pub(crate) file: String,
}

/// The traps of some files, which are given as names and texts.
pub(crate) fn found(files: &[(String, String)]) -> Vec<Trap> {
    let mut traps = Vec::new();
    for (file, text) in files {
        for line in text.lines().map(str::trim_start) {
            let declared = line.strip_prefix("pub(crate) ").unwrap_or(line);
            let declared = declared.strip_prefix("async ").unwrap_or(declared);
            let named = declared.strip_prefix("fn ").or_else(|| declared.strip_prefix("Trial::test(\""));
            let Some(named) = named.filter(|named| named.starts_with("trap_")) else { continue };
            let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let test: String = named.chars().take_while(|character| is_name(*character)).collect();
            let ids: Vec<String> =
                test.split('_').skip(1).take_while(|word| is_id(word)).map(str::to_uppercase).collect();
            traps.push(Trap { ids, test, file: file.clone() });
        }
    }
    traps
}

fn is_id(word: &str) -> bool {
    let mut bytes = word.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && word.len() > 1
        && bytes.all(|byte| byte.is_ascii_digit())
}

/// Ids that no test carries.
pub(crate) fn missing(traps: &[Trap]) -> Vec<&'static str> {
    let carried = |id: &str| traps.iter().any(|trap| trap.ids.iter().any(|carried| carried == id));
    IDS.iter().map(|(id, _)| *id).filter(|id| !carried(id)).collect()
}

/// The list as text: every id with its tests, then what is missing.
pub(crate) fn listing(traps: &[Trap]) -> String {
    let mut text = String::new();
    for (id, what) in IDS {
        for trap in traps.iter().filter(|trap| trap.ids.iter().any(|carried| carried == id)) {
            text.push_str(&format!("{id:<4} {}  {}  ({what})\n", trap.test, trap.file));
        }
    }
    for id in missing(traps) {
        text.push_str(&format!("{id:<4} missing\n"));
    }
    text
}
