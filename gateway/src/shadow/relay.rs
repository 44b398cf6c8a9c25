//! Relays one catalog statement: preamble, statement, guard and ROLLBACK in a single write.
//!
//! Only the frames of the client's statement leave here. An answer is released only after the guard has shown that no
//! mirrored relation was read: the shadow has no rows, so such an answer would be a lie.

use std::sync::Arc;
use std::time::Duration;

use super::frame::{self, Writer};
use super::rewrite::{Rewritten, rewrite};
use super::server::{Server, identifier, literal};
use super::walls::{GUARD, LIVE, SET_CONFIG_NOTICE};
use super::{
    DescribeRequest, Description, ErrorFrame, RelayMode, RelayReply, RelayRequest, SessionView, SetConfig,
    StatementError,
};
use crate::pg::statement::lex::{self, Kind};

/// First words of what may be relayed.
const RELAYED: [&str; 7] = ["select", "values", "with", "table", "show", "explain", "("];

/// Settings that are the gateway's alone, or that would lift a wall.
const WITHHELD: [&str; 8] = [
    "client_encoding",
    "client_min_messages",
    "is_superuser",
    "role",
    "session_authorization",
    "server_version",
    "default_transaction_read_only",
    "allow_system_table_mods",
];

/// `BEGIN READ ONLY`, the settings, the role and the live relations, as one text.
fn preamble(session: &SessionView, live: &[usize]) -> Result<String, StatementError> {
    let mut sql = String::from("BEGIN READ ONLY");
    for index in live {
        let Some((_, setting)) = LIVE.get(*index) else { continue };
        let rows = match index {
            0 => &session.live.activity,
            1 => &session.live.cursors,
            _ => &session.live.prepared,
        };
        let json = serde_json::to_string(rows).map_err(|_| StatementError::new("XX000", "internal error"))?;
        sql.push_str(&format!("; SET LOCAL {setting} TO {}", literal(&json)));
    }
    sql.push_str(&format!("; SET LOCAL ROLE {}", identifier(&session.role)));
    for (name, value) in &session.settings {
        let name = name.to_ascii_lowercase();
        if WITHHELD.contains(&name.as_str()) || name.starts_with("transaction_") {
            continue;
        }
        let value = if name == "search_path" {
            let schemas: Vec<String> = path(value).iter().map(|schema| literal(schema)).collect();
            if schemas.is_empty() { "''".to_owned() } else { schemas.join(", ") }
        } else {
            literal(value)
        };
        let name: Vec<String> = name.split('.').map(identifier).collect();
        sql.push_str(&format!("; SET LOCAL {} TO {value}", name.join(".")));
    }
    Ok(sql)
}

/// The schemas of a `search_path`, unquoted.
pub(super) fn path(value: &str) -> Vec<String> {
    lex::lex(value)
        .unwrap_or_default()
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Text))
        .map(|token| lex::value(value, token))
        .collect()
}

/// Refuses everything but reading statements.
fn wall(sql: &str) -> Result<(), StatementError> {
    let tokens = lex::lex(sql).unwrap_or_default();
    let first = tokens.first().and_then(|token| sql.get(token.range.clone())).unwrap_or_default();
    if RELAYED.contains(&first.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    if tokens.iter().any(|token| token.kind == Kind::Symbol(b';')) {
        return Err(StatementError::new(
            "42601",
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    Err(StatementError::new("0A000", format!("{} is not supported", first.to_uppercase()))
        .with_hint("this server answers SELECT, VALUES, WITH, TABLE, SHOW and EXPLAIN"))
}

fn moved(error: StatementError, rewritten: &Rewritten, sql: &str, offset: usize) -> StatementError {
    let position = error.position.map(|position| rewritten.position(sql, position) + offset);
    StatementError { position, ..error }
}

pub(super) async fn relay(
    server: &Arc<Server>,
    request: RelayRequest,
    deadline: Duration,
) -> Result<RelayReply, StatementError> {
    let RelayRequest { sql, position_offset, mode, session } = request;
    let rewritten = rewrite(&sql, &session)?;
    let mut writer = Writer::default();
    writer.query(&preamble(&session, &rewritten.live)?);
    match &mode {
        RelayMode::Simple => {
            writer.parse(&rewritten.sql, &[]);
            writer.bind(&[], &[], &[]);
        }
        RelayMode::Extended { param_oids, param_formats, params, result_formats } => {
            writer.parse(&rewritten.sql, param_oids);
            writer.bind(param_formats, params, result_formats);
        }
    }
    // A text that is no reading statement may at most be parsed, for its syntax error.
    let wall = wall(&sql);
    if wall.is_ok() {
        writer.describe(b'P');
        writer.execute();
    }
    writer.sync();
    writer.query(GUARD);
    writer.query("ROLLBACK");
    let answers = server.exchange(writer, deadline, &sql).await?;
    let mut answers = answers.into_iter();
    let (begun, frames, guard) = (answers.next(), answers.next(), answers.next());
    if let Some(refusal) = begun.iter().flatten().find(|frame| frame.tag() == b'E') {
        return Err(StatementError { position: None, ..frame::error(refusal) });
    }
    let mut reply = RelayReply::default();
    for frame in frames.into_iter().flatten() {
        match frame.tag() {
            b'T' => reply.row_description = Some(frame.bytes),
            b'D' => reply.rows.push(frame.bytes),
            b'C' | b'I' => reply.complete = Some(frame.bytes),
            b'N' => {
                let notice = frame::error(&frame);
                match set_config(&notice) {
                    Some(setting) => reply.settings.push(setting),
                    None => reply.notices.push(frame.bytes),
                }
            }
            b'E' => {
                let error = moved(frame::error(&frame), &rewritten, &sql, position_offset);
                let frame = frame::with_position(&frame, error.position);
                reply.error = Some(ErrorFrame { frame, error });
            }
            _ => {}
        }
    }
    if reply.error.is_some() {
        // An aborted statement has changed nothing.
        reply.settings.clear();
        return Ok(reply);
    }
    wall?;
    let read = super::server::rows(guard.iter().flatten())?;
    if let Some(relation) = read.first() {
        let relation = relation.first().and_then(Option::clone).unwrap_or_default();
        return Err(StatementError::new(
            "0A000",
            format!("reading \"{relation}\" inside a catalog statement is not supported"),
        )
        .with_hint("query the relation in a statement of its own"));
    }
    Ok(reply)
}

/// The content of the private notice of `set_config`.
fn set_config(notice: &StatementError) -> Option<SetConfig> {
    if notice.sqlstate != SET_CONFIG_NOTICE {
        return None;
    }
    let (name, value, local) =
        serde_json::from_str::<(String, Option<String>, bool)>(&notice.message).ok()?;
    Some(SetConfig { name, value, local })
}

pub(super) async fn describe(
    server: &Arc<Server>,
    request: &DescribeRequest,
    deadline: Duration,
) -> Result<Description, StatementError> {
    let DescribeRequest { sql, position_offset, param_oids, session } = request;
    let rewritten = rewrite(sql, session)?;
    let mut writer = Writer::default();
    writer.query(&preamble(session, &[])?);
    writer.parse(&rewritten.sql, param_oids);
    writer.describe(b'S');
    writer.sync();
    writer.query("ROLLBACK");
    let answers = server.exchange(writer, deadline, sql).await?;
    let mut answers = answers.into_iter();
    let (begun, frames) = (answers.next(), answers.next());
    if let Some(refusal) = begun.iter().flatten().find(|frame| frame.tag() == b'E') {
        return Err(StatementError { position: None, ..frame::error(refusal) });
    }
    let mut description = Description::default();
    for frame in frames.into_iter().flatten() {
        match frame.tag() {
            b't' => {
                description.param_oids = frame::parameters(&frame);
                description.parameter_frame = frame.bytes;
            }
            b'T' => {
                description.columns = Some(frame::columns(&frame));
                description.row_frame = frame.bytes;
            }
            b'n' => description.row_frame = frame.bytes,
            b'E' => return Err(moved(frame::error(&frame), &rewritten, sql, *position_offset)),
            _ => {}
        }
    }
    Ok(description)
}
