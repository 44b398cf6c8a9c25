//! Replaces what would describe the shadow's own backend by what describes the client's session.
//!
//! Works on tokens, so that nothing inside a string or a comment is touched and every other byte stays. Output names
//! stay as PostgreSQL gives them. Each edit is remembered: an error position is carried back to the client's text.

use std::ops::Range;

use super::server::{identifier, literal};
use super::walls::{LIVE, SCHEMA};
use super::{SessionView, StatementError};
use crate::pg::statement::lex::{self, Kind, Token};

/// A rewritten statement.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) sql: String,
    /// (client's bytes, bytes in `sql`), ascending.
    edits: Vec<(Range<usize>, Range<usize>)>,
    /// Indexes into [`LIVE`] of the relations it reads.
    pub(super) live: Vec<usize>,
}

impl Rewritten {
    /// Carries a 1-based character position in the rewritten text back to the client's.
    pub(super) fn position(&self, original: &str, position: usize) -> usize {
        let byte =
            self.sql.char_indices().nth(position.saturating_sub(1)).map_or(self.sql.len(), |(byte, _)| byte);
        let mut back = byte;
        for (from, to) in &self.edits {
            if byte >= to.end {
                back = from.end + (byte - to.end);
            } else if byte >= to.start {
                back = from.start;
                break;
            } else {
                break;
            }
        }
        lex::position(original, back)
    }
}

/// Rewrites one statement for a session.
pub(super) fn rewrite(sql: &str, session: &SessionView) -> Result<Rewritten, StatementError> {
    let tokens = lex::lex(sql).map_err(|fault| StatementError {
        detail: fault.detail.clone(),
        hint: fault.hint.clone(),
        position: fault.position,
        ..StatementError::new(&fault.sqlstate, fault.message.clone())
    })?;
    let mut out =
        Rewritten { sql: String::with_capacity(sql.len() + 64), edits: Vec::new(), live: Vec::new() };
    let mut copied = 0;
    let mut at = 0;
    while at < tokens.len() {
        let found = edit(sql, &tokens, at, session, &mut out.live);
        let Some((first, end, text)) = found else {
            at += 1;
            continue;
        };
        let start = tokens.get(first).map_or(0, |token| token.range.start);
        let stop = tokens.get(end - 1).map_or(start, |token| token.range.end);
        out.sql.push_str(sql.get(copied..start).unwrap_or_default());
        let begin = out.sql.len();
        out.sql.push_str(&text);
        out.edits.push((start..stop, begin..out.sql.len()));
        copied = stop;
        at = end;
    }
    out.sql.push_str(sql.get(copied..).unwrap_or_default());
    Ok(out)
}

/// An edit at a token: first and past-the-last token, and what replaces them.
fn edit(
    sql: &str,
    tokens: &[Token],
    at: usize,
    session: &SessionView,
    live: &mut Vec<usize>,
) -> Option<(usize, usize, String)> {
    let word = |index: usize| -> Option<String> {
        tokens
            .get(index)
            .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
            .map(|token| lex::value(sql, token))
    };
    let symbol =
        |index: usize, wanted: u8| tokens.get(index).is_some_and(|token| token.kind == Kind::Symbol(wanted));
    // `pg_catalog.` in front belongs to the edit; any other qualification means another object.
    if at > 0 && symbol(at - 1, b'.') {
        return None;
    }
    let name_at = if word(at)?.as_str() == "pg_catalog" && symbol(at + 1, b'.') { at + 2 } else { at };
    let name = word(name_at)?;
    let called = symbol(name_at + 1, b'(');
    let empty = called && symbol(name_at + 2, b')');
    let alias = |index: usize| index > 0 && word(index - 1).as_deref() == Some("as");
    if !called {
        if let Some(index) = LIVE.iter().position(|(relation, _)| *relation == name)
            && !alias(at)
        {
            if !live.contains(&index) {
                live.push(index);
            }
            return Some((at, name_at + 1, format!("{SCHEMA}.{name}")));
        }
        let quoted = tokens.get(name_at).is_some_and(|token| token.kind == Kind::Quoted);
        if name == "session_user" && !quoted && !alias(at) {
            return Some((
                at,
                name_at + 1,
                named(sql, tokens, at, name_at + 1, &cast(&session.session_user, "name"), &name),
            ));
        }
        return None;
    }
    if name == "set_config" {
        return Some((at, name_at + 1, format!("{SCHEMA}.set_config")));
    }
    if !empty {
        return None;
    }
    let address = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "NULL::inet".to_owned(), |address| cast(&address.ip().to_string(), "inet"))
    };
    let port = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "NULL::int4".to_owned(), |address| format!("{}::int4", address.port()))
    };
    let value = match name.as_str() {
        "pg_backend_pid" => format!("{}::int4", session.backend_pid),
        "inet_client_addr" => address(session.client),
        "inet_client_port" => port(session.client),
        "inet_server_addr" => address(session.server),
        "inet_server_port" => port(session.server),
        "pg_postmaster_start_time" | "pg_conf_load_time" => {
            cast(&session.started.to_rfc3339(), "timestamptz")
        }
        _ => return None,
    };
    Some((at, name_at + 3, named(sql, tokens, at, name_at + 3, &value, &name)))
}

fn cast(text: &str, kind: &str) -> String {
    format!("{}::{kind}", literal(text))
}

/// Keeps the output column's name: only where the expression is a whole item of a select list.
fn named(sql: &str, tokens: &[Token], first: usize, end: usize, value: &str, name: &str) -> String {
    let before = first.checked_sub(1).and_then(|index| tokens.get(index));
    let starts = before.is_some_and(|token| match token.kind {
        Kind::Symbol(b',') => depth_is_select_list(sql, tokens, first),
        Kind::Word => matches!(lex::value(sql, token).as_str(), "select" | "distinct"),
        _ => false,
    });
    let ends = tokens.get(end).is_none_or(|token| match token.kind {
        Kind::Symbol(b',' | b')' | b';') => true,
        Kind::Word => {
            matches!(
                lex::value(sql, token).as_str(),
                "from" | "where" | "union" | "order" | "limit" | "group"
            )
        }
        _ => false,
    });
    if starts && ends { format!("({value}) AS {}", identifier(name)) } else { format!("({value})") }
}

/// Whether the comma before `at` separates items of a select list: the nearest enclosing opener is SELECT, not a bracket.
fn depth_is_select_list(sql: &str, tokens: &[Token], at: usize) -> bool {
    let mut depth = 0_usize;
    for token in tokens.get(..at).unwrap_or_default().iter().rev() {
        match token.kind {
            Kind::Symbol(b')' | b']') => depth += 1,
            Kind::Symbol(b'(' | b'[') if depth == 0 => return false,
            Kind::Symbol(b'(' | b'[') => depth -= 1,
            Kind::Word if depth == 0 => match lex::value(sql, token).as_str() {
                "select" => return true,
                "from" | "where" | "group" | "order" | "having" | "values" => return false,
                _ => {}
            },
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shadow::LiveRelations;

    fn session() -> SessionView {
        SessionView {
            session_user: "demo".to_owned(),
            role: "demo".to_owned(),
            backend_pid: 7,
            client: None,
            server: None,
            started: chrono::DateTime::UNIX_EPOCH,
            settings: Vec::new(),
            live: Arc::new(LiveRelations::default()),
        }
    }

    fn text(sql: &str) -> String {
        rewrite(sql, &session()).unwrap().sql
    }

    #[test]
    fn session_functions_become_values_and_keep_their_name() {
        assert_eq!(text("select pg_backend_pid()"), "select (7::int4) AS \"pg_backend_pid\"");
        assert_eq!(text("select 1 where 7 = pg_catalog.pg_backend_pid()"), "select 1 where 7 = (7::int4)");
        assert_eq!(
            text("select f(1, session_user), 'session_user'"),
            "select f(1, (E'demo'::name)), 'session_user'"
        );
        assert_eq!(text("select set_config('a','b',false)"), "select pg_portolan.set_config('a','b',false)");
        assert_eq!(text("select x.pg_backend_pid()"), "select x.pg_backend_pid()");
    }

    #[test]
    fn live_relations_are_replaced_in_names_only() {
        let rewritten =
            rewrite("select 'pg_stat_activity'::regclass from pg_catalog.pg_stat_activity a", &session())
                .unwrap();
        assert_eq!(rewritten.sql, "select 'pg_stat_activity'::regclass from pg_portolan.pg_stat_activity a");
        assert_eq!(rewritten.live, [0]);
    }

    #[test]
    fn positions_are_those_of_the_clients_text() {
        let sql = "select pg_backend_pid(), 'é', nix";
        let rewritten = rewrite(sql, &session()).unwrap();
        let moved = rewritten.sql.chars().count() - 2;
        assert_eq!(rewritten.position(sql, moved), sql.chars().count() - 2);
        assert_eq!(rewritten.position(sql, 1), 1);
    }
}
