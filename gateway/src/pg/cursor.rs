//! DECLARE, FETCH and MOVE: PostgreSQL's cursor positions (before the first row, on a row, behind the last).
//!
//! A cursor over a stream reads forward only; one that keeps its rows (SCROLL) reads anywhere. PostgreSQL 17,
//! `pquery.c`, PortalRunFetch.

use std::ops::Range;
use std::sync::Arc;

use crate::pg::backend::{Control, Format, Prepared, Run};
use crate::pg::classify::Class;
use crate::pg::classify::command::FetchDirection;
use crate::pg::conversation::{Conversation, Halt, too_many_portals};
use crate::pg::fault::Fault;
use crate::pg::portal::{Bound, CursorKind, MAX_PORTALS, Portal, State, Statement, Yield};
use crate::pg::rows::Sink;

impl Conversation {
    /// DECLARE in a Query message, where nothing has a value for a parameter.
    pub(in crate::pg) async fn declare(
        &mut self,
        name: &str,
        kind: CursorKind,
        sql: &str,
        query: &Range<usize>,
        control: &Control,
    ) -> Result<(), Halt> {
        self.may_declare(name, kind)?;
        let statement = self.inner(sql, query, &[], control).await?;
        if !statement.parameters().is_empty() {
            return Err(Fault::new("42P02", "there is no parameter $1").into());
        }
        self.open_cursor(name, kind, statement, Bound::default(), control).await
    }

    /// DECLARE in the extended protocol: Parse has planned its query, and Bind has brought the values.
    pub(in crate::pg) async fn declare_bound(
        &mut self,
        name: &str,
        kind: CursorKind,
        plan: Prepared,
        bound: Bound,
        control: &Control,
    ) -> Result<(), Halt> {
        self.may_declare(name, kind)?;
        let statement =
            Statement { sql: Arc::clone(&plan.sql), class: Class::Data, plan: Some(plan), by_sql: true };
        self.open_cursor(name, kind, statement, bound, control).await
    }

    fn may_declare(&self, name: &str, kind: CursorKind) -> Result<(), Fault> {
        if !kind.hold && !self.transaction.in_block() {
            return Err(Fault::new("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        if self.portals.contains_key(name) {
            return Err(Fault::new("42P03", format!("cursor \"{name}\" already exists")));
        }
        if self.portals.len() >= MAX_PORTALS { Err(too_many_portals()) } else { Ok(()) }
    }

    async fn open_cursor(
        &mut self,
        name: &str,
        kind: CursorKind,
        statement: Statement,
        bound: Bound,
        control: &Control,
    ) -> Result<(), Halt> {
        let Some(plan) = &statement.plan else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        let formats = vec![if kind.binary { Format::Binary } else { Format::Text }];
        let cancel = self.connection.terminate.child_token();
        let Bound { values, decoded } = bound;
        let run = Run {
            values: decoded.clone(),
            raw: values.clone(),
            result_formats: formats.clone(),
            extended: true,
            control: Control { cancel: cancel.clone(), deadline: None },
        };
        let Yield::Rows(mut answered) = Box::pin(self.start(plan, run, control)).await? else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        // Backward reading needs the rows; a held cursor outside a block outlives its statement at once.
        if (kind.scroll || (kind.hold && !self.transaction.in_block()))
            && let Err(error) = answered.source.keep(&mut self.socket, control).await
        {
            return Err(self.halt(error));
        }
        let portal = Portal {
            statement: Arc::new(statement),
            values,
            decoded,
            formats,
            state: State::Rows(answered),
            cursor: Some(kind),
            depth: self.transaction.depth(),
            position: 0,
            cancel,
        };
        self.portals.insert(name.to_owned(), portal);
        self.held();
        Ok(())
    }

    pub(crate) async fn fetch(
        &mut self,
        name: &str,
        direction: FetchDirection,
        only_move: bool,
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<Yield, Halt> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let result = Box::pin(self.fetch_from(&mut portal, direction, only_move, control, formats)).await;
        if matches!(&result, Err(Halt::Fault(fault)) if fault.sqlstate != "55000") {
            portal.state = State::Broken;
        }
        self.portals.insert(name.to_owned(), portal);
        let rows = result?;
        Ok(Yield::Tag(format!("{} {rows}", if only_move { "MOVE" } else { "FETCH" })))
    }

    async fn fetch_from(
        &mut self,
        portal: &mut Portal,
        direction: FetchDirection,
        only_move: bool,
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<u64, Halt> {
        let formats = formats.map_or_else(|| portal.formats.clone(), <[Format]>::to_vec);
        let scroll = portal.cursor.is_some_and(|kind| kind.scroll);
        let position = portal.position;
        let State::Rows(answered) = &mut portal.state else {
            return Err(Fault::new("55000", "portal cannot be run").into());
        };
        let columns = Arc::clone(&answered.columns);
        if formats.len() > 1 && formats.len() != columns.len() {
            return Err(Fault::protocol(format!(
                "bind message has {} result formats but query has {} columns",
                formats.len(),
                columns.len()
            ))
            .into());
        }
        let total = match answered.source.kept() {
            Some((total, _)) if scroll => Some(u64::try_from(total).unwrap_or(u64::MAX)),
            _ => None,
        };
        let walk = Walk::plan(direction, position, total)?;
        // In the simple protocol the description stands before the rows; in the extended one Describe asked for it.
        if !only_move && !self.in_extended() {
            self.socket.out.row_description(&columns, &formats);
        }
        let style = self.style();
        let sink =
            if only_move { Sink::Nowhere } else { Sink::Rows { columns: &columns, formats: &formats } };
        let mut sent = 0;
        let mut now = position;
        match walk {
            Walk::Forward { skip, count } => {
                if skip > 0 {
                    let skipped = answered
                        .source
                        .send(&mut self.socket, control, &style, Some(skip), &Sink::Nowhere)
                        .await;
                    let (skipped, _) = skipped.map_err(|error| self.halt(error))?;
                    now += skipped;
                }
                let pulled = answered.source.send(&mut self.socket, control, &style, count, &sink).await;
                let (rows, exhausted) = pulled.map_err(|error| self.halt(error))?;
                sent = rows;
                now += rows + u64::from(exhausted);
                if exhausted && let Some(fault) = answered.tail.take() {
                    return Err(fault.into());
                }
            }
            Walk::Rows { rows, end } => {
                for row in rows {
                    if let Some((_, at)) = answered.source.kept() {
                        *at = usize::try_from(row - 1).unwrap_or(usize::MAX);
                    }
                    let pulled =
                        answered.source.send(&mut self.socket, control, &style, Some(1), &sink).await;
                    sent += pulled.map_err(|error| self.halt(error))?.0;
                }
                now = end;
                if let Some((total, at)) = answered.source.kept() {
                    *at = usize::try_from(end).unwrap_or(usize::MAX).min(total);
                }
            }
        }
        portal.position = now;
        Ok(sent)
    }
}

pub(crate) fn no_cursor(name: &str) -> Fault {
    Fault::new("34000", format!("cursor \"{name}\" does not exist"))
}

/// What a FETCH reads.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    /// From here on; `None` is all.
    Forward { skip: u64, count: Option<u64> },
    /// Rows by number (from 1), and the position afterwards.
    Rows { rows: Vec<u64>, end: u64 },
}

impl Walk {
    /// `total` is known for a scrollable cursor only.
    fn plan(direction: FetchDirection, position: u64, total: Option<u64>) -> Result<Self, Fault> {
        let forward_only = || {
            Fault::new("55000", "cursor can only scan forward")
                .with_hint("Declare it with SCROLL option to enable backward scan.")
        };
        let direction = match direction {
            FetchDirection::Forward(count) if count < 0 => FetchDirection::Backward(count.saturating_neg()),
            FetchDirection::Backward(count) if count < 0 => FetchDirection::Forward(count.saturating_neg()),
            FetchDirection::Forward(0) | FetchDirection::Backward(0) => FetchDirection::Relative(0),
            other => other,
        };
        let Some(total) = total else {
            return match direction {
                FetchDirection::Forward(count) => {
                    Ok(Self::Forward { skip: 0, count: Some(count.unsigned_abs()) })
                }
                FetchDirection::ForwardAll => Ok(Self::Forward { skip: 0, count: None }),
                FetchDirection::Relative(offset) if offset > 0 => {
                    Ok(Self::Forward { skip: offset.unsigned_abs() - 1, count: Some(1) })
                }
                FetchDirection::Absolute(row) if u64::try_from(row).is_ok_and(|row| row > position) => {
                    Ok(Self::Forward { skip: row.unsigned_abs() - position - 1, count: Some(1) })
                }
                _ => Err(forward_only()),
            };
        };
        let single = |target: i128| {
            let end = u64::try_from(target.clamp(0, i128::from(total) + 1)).unwrap_or(0);
            let rows = if (1..=total).contains(&end) { vec![end] } else { Vec::new() };
            Self::Rows { rows, end }
        };
        Ok(match direction {
            FetchDirection::Forward(count) => {
                let last = position.saturating_add(count.unsigned_abs());
                Self::Rows { rows: (position + 1..=last.min(total)).collect(), end: last.min(total + 1) }
            }
            FetchDirection::ForwardAll => {
                Self::Rows { rows: (position + 1..=total).collect(), end: total + 1 }
            }
            FetchDirection::Backward(count) => {
                let first = position.saturating_sub(count.unsigned_abs());
                Self::Rows { rows: (first.max(1)..position).rev().collect(), end: first }
            }
            FetchDirection::BackwardAll => Self::Rows { rows: (1..position).rev().collect(), end: 0 },
            FetchDirection::Absolute(row) if row < 0 => single(i128::from(total) + 1 + i128::from(row)),
            FetchDirection::Absolute(row) => single(i128::from(row)),
            FetchDirection::Relative(offset) => single(i128::from(position) + i128::from(offset)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reads_forward_only() {
        let plan = |direction| Walk::plan(direction, 5, None);
        assert_eq!(plan(FetchDirection::Forward(3)).unwrap(), Walk::Forward { skip: 0, count: Some(3) });
        assert_eq!(plan(FetchDirection::Absolute(8)).unwrap(), Walk::Forward { skip: 2, count: Some(1) });
        assert_eq!(plan(FetchDirection::Relative(2)).unwrap(), Walk::Forward { skip: 1, count: Some(1) });
        for backward in [
            FetchDirection::Backward(1),
            FetchDirection::Forward(-1),
            FetchDirection::Forward(0),
            FetchDirection::BackwardAll,
            FetchDirection::Absolute(5),
            FetchDirection::Absolute(-1),
            FetchDirection::Relative(0),
        ] {
            assert_eq!(plan(backward).unwrap_err().sqlstate, "55000", "{backward:?}");
        }
    }

    #[test]
    fn a_scrollable_cursor_reads_anywhere() {
        let plan = |direction, position| match Walk::plan(direction, position, Some(3)).unwrap() {
            Walk::Rows { rows, end } => (rows, end),
            Walk::Forward { .. } => panic!("rows are kept"),
        };
        assert_eq!(plan(FetchDirection::Forward(2), 0), (vec![1, 2], 2));
        assert_eq!(plan(FetchDirection::Forward(9), 2), (vec![3], 4));
        assert_eq!(plan(FetchDirection::BackwardAll, 4), (vec![3, 2, 1], 0));
        assert_eq!(plan(FetchDirection::Backward(1), 2), (vec![1], 1));
        assert_eq!(plan(FetchDirection::Backward(9), 1), (vec![], 0));
        assert_eq!(plan(FetchDirection::Absolute(-1), 0), (vec![3], 3));
        assert_eq!(plan(FetchDirection::Relative(0), 2), (vec![2], 2));
        assert_eq!(plan(FetchDirection::Absolute(9), 2), (vec![], 4));
    }
}
