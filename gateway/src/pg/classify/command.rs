//! Statements about the session itself, parsed into what they ask for.
//!
//! Names are folded as PostgreSQL folds them. An inner query stays a byte range of the text, to be classified again.

use std::ops::Range;

/// A statement the session answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionCommand {
    /// `SET [SESSION|LOCAL] name = …`, also TIME ZONE, NAMES, SCHEMA, ROLE and SESSION AUTHORIZATION under the
    /// names `timezone`, `client_encoding`, `search_path`, `role`, `session_authorization`.
    Set {
        /// SET LOCAL.
        local: bool,
        /// Lower case.
        name: String,
        /// The list as written, unquoted; `None` for DEFAULT.
        values: Option<Vec<String>>,
    },
    /// `SET TRANSACTION …`, or `SET SESSION CHARACTERISTICS AS TRANSACTION …`.
    SetTransaction {
        /// Whether it sets the session's defaults.
        session: bool,
        /// The modes.
        modes: TransactionModes,
    },
    /// `SHOW name`; `all` for SHOW ALL. Two-word names as in [`SessionCommand::Set`].
    Show {
        /// Lower case.
        name: String,
    },
    /// `RESET name`; `None` for RESET ALL.
    Reset {
        /// Lower case.
        name: Option<String>,
    },
    /// `BEGIN` or `START TRANSACTION`.
    Begin {
        /// Whether the tag is `START TRANSACTION`.
        start: bool,
        /// The modes.
        modes: TransactionModes,
    },
    /// `COMMIT` or `END`.
    Commit {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `ROLLBACK` or `ABORT`.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `RELEASE [SAVEPOINT] name`.
    Release(String),
    /// `ROLLBACK TO [SAVEPOINT] name`.
    RollbackTo(String),
    /// `DECLARE name … CURSOR … FOR query`.
    Declare {
        /// Cursor name.
        name: String,
        /// BINARY.
        binary: bool,
        /// SCROLL, NO SCROLL or neither.
        scroll: Option<bool>,
        /// WITH HOLD.
        hold: bool,
        /// The query.
        query: Range<usize>,
    },
    /// `FETCH` or `MOVE`.
    Fetch {
        /// MOVE.
        only_move: bool,
        /// Which rows.
        direction: FetchDirection,
        /// Cursor name.
        name: String,
    },
    /// `CLOSE name`; `None` for CLOSE ALL.
    Close(Option<String>),
    /// `PREPARE name [(types)] AS query`.
    Prepare {
        /// Statement name.
        name: String,
        /// Types as written.
        types: Vec<String>,
        /// The query.
        query: Range<usize>,
    },
    /// `EXECUTE name [(expressions)]`.
    Execute {
        /// Statement name.
        name: String,
        /// The arguments.
        arguments: Vec<Range<usize>>,
    },
    /// `DEALLOCATE [PREPARE] name`; `None` for ALL.
    Deallocate(Option<String>),
    /// `COPY … TO STDOUT`.
    CopyTo {
        /// The query inside the brackets, or the relation with its columns.
        source: CopySource,
        /// Options, lower case, with their value as written (unquoted); new and legacy spelling alike.
        options: Vec<(String, Option<String>)>,
    },
    /// `DISCARD ALL|PLANS|SEQUENCES|TEMP`, upper case.
    Discard(String),
    /// `UNLISTEN`.
    Unlisten,
    /// `LOCK … IN ACCESS SHARE MODE`.
    LockAccessShare,
}

/// What a COPY reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// `COPY (query) TO`.
    Query(Range<usize>),
    /// `COPY relation (columns) TO`.
    Relation {
        /// The name as written, possibly qualified and quoted.
        name: Range<usize>,
        /// Unquoted column names; empty for all.
        columns: Vec<String>,
    },
}

/// Modes of BEGIN and SET TRANSACTION; `None` where not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// `read committed`, `repeatable read`, `serializable`, `read uncommitted`.
    pub isolation: Option<String>,
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// FETCH's direction; counts may be negative where PostgreSQL allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchDirection {
    /// NEXT, n, FORWARD n (0 re-reads the current row).
    Forward(i64),
    /// ALL, FORWARD ALL.
    ForwardAll,
    /// PRIOR, BACKWARD n.
    Backward(i64),
    /// BACKWARD ALL.
    BackwardAll,
    /// FIRST is 1, LAST is -1, ABSOLUTE n.
    Absolute(i64),
    /// RELATIVE n.
    Relative(i64),
}

/// Names as one list, quoted where they are not plain, so that reading the list gives the same names.
pub(crate) fn quoted_names(values: &[String]) -> String {
    let quoted: Vec<String> = values
        .iter()
        .map(|value| {
            let plain = value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if plain { value.clone() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
        })
        .collect();
    quoted.join(", ")
}
