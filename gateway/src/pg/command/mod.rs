//! Session commands: transactions, settings, cursors, SQL-level prepared statements.
//!
//! An inner query is classified and planned like one of its own, in the client's text, so positions stay right.

mod copy;
mod prepared;
mod transaction;

use std::sync::Arc;

use crate::pg::backend::{Column, Control, Format};
use crate::pg::classify::command::SessionCommand;
use crate::pg::conversation::{Conversation, Halt};
use crate::pg::cursor::no_cursor;
use crate::pg::fault::Fault;
use crate::pg::portal::{Answered, CursorKind, Tag, Yield};
use crate::pg::rows::Source;
use crate::pgtypes::{PgType, oid};
use crate::settings::one_text;

impl Conversation {
    /// Carries out a session command. `formats` are Bind's result formats, `None` in the simple protocol.
    pub(crate) async fn command(
        &mut self,
        command: &SessionCommand,
        sql: &str,
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<Yield, Halt> {
        match command {
            SessionCommand::Set { local, name, values } => {
                let value = values.as_ref().map(|values| one_text(name, values)).transpose();
                let value = value.map_err(Fault::from)?;
                self.assign(name, value.as_deref(), *local, control).await?;
                Ok(Yield::Tag("SET".to_owned()))
            }
            SessionCommand::SetTransaction { session, modes } => {
                self.set_transaction(*session, modes, control).await?;
                Ok(Yield::Tag("SET".to_owned()))
            }
            SessionCommand::Show { name } => self.show(name, control).await,
            SessionCommand::Reset { name } => {
                match name {
                    Some(name) => self.assign(name, None, false, control).await?,
                    None => {
                        let Self { transaction, backend, .. } = self;
                        transaction.remember(|| backend.snapshot());
                        backend.reset_all();
                    }
                }
                Ok(Yield::Tag("RESET".to_owned()))
            }
            SessionCommand::Begin { start, modes } => {
                self.begin(modes, control).await?;
                Ok(Yield::Tag(if *start { "START TRANSACTION" } else { "BEGIN" }.to_owned()))
            }
            SessionCommand::Commit { chain } => self.commit(*chain, control).await,
            SessionCommand::Rollback { chain } => self.rollback(*chain, control).await,
            SessionCommand::Savepoint(name) => {
                let Self { transaction, backend, .. } = self;
                transaction.savepoint(name, || backend.snapshot())?;
                Ok(Yield::Tag("SAVEPOINT".to_owned()))
            }
            SessionCommand::Release(name) => {
                self.transaction.release(name)?;
                // A cursor made inside is from now on one of the transaction around.
                let depth = self.transaction.depth();
                for portal in self.portals.values_mut() {
                    portal.depth = portal.depth.min(depth);
                }
                Ok(Yield::Tag("RELEASE".to_owned()))
            }
            SessionCommand::RollbackTo(name) => {
                let settings = self.transaction.rollback_to(name)?;
                self.backend.restore(settings);
                let depth = self.transaction.depth();
                self.portals.retain(|_, portal| portal.depth < depth);
                self.held();
                Ok(Yield::Tag("ROLLBACK".to_owned()))
            }
            SessionCommand::Declare { name, binary, scroll, hold, query } => {
                let kind = CursorKind::declared(*hold, *scroll, *binary);
                self.declare(name, kind, sql, query, control).await?;
                Ok(Yield::Tag("DECLARE CURSOR".to_owned()))
            }
            SessionCommand::Fetch { only_move, direction, name } => {
                self.fetch(name, *direction, *only_move, control, formats).await
            }
            SessionCommand::Close(None) => {
                self.portals.retain(|_, portal| portal.cursor.is_none());
                self.held();
                Ok(Yield::Tag("CLOSE CURSOR ALL".to_owned()))
            }
            SessionCommand::Close(Some(name)) => {
                if self.portals.remove(name).is_none() {
                    return Err(no_cursor(name).into());
                }
                self.held();
                Ok(Yield::Tag("CLOSE CURSOR".to_owned()))
            }
            SessionCommand::Prepare { name, types, query } => {
                self.prepare(name, types, sql, query, control).await?;
                Ok(Yield::Tag("PREPARE".to_owned()))
            }
            SessionCommand::Execute { name, arguments } => {
                self.execute_prepared(name, sql, arguments, control, formats).await
            }
            SessionCommand::Deallocate(None) => {
                self.statements.clear();
                self.held();
                Ok(Yield::Tag("DEALLOCATE ALL".to_owned()))
            }
            SessionCommand::Deallocate(Some(name)) => {
                if self.statements.remove(name).is_none() {
                    return Err(
                        Fault::new("26000", format!("prepared statement \"{name}\" does not exist")).into()
                    );
                }
                self.held();
                Ok(Yield::Tag("DEALLOCATE".to_owned()))
            }
            SessionCommand::CopyTo { source, options } => self.copy_to(source, options, sql, control).await,
            SessionCommand::Discard(what) => self.discard(what),
            SessionCommand::Unlisten => Ok(Yield::Tag("UNLISTEN".to_owned())),
            SessionCommand::LockAccessShare => {
                self.transaction.require("LOCK TABLE")?;
                Ok(Yield::Tag("LOCK TABLE".to_owned()))
            }
        }
    }

    /// Columns a command returns, as far as they are known before it runs.
    pub(crate) fn command_columns(&self, command: &SessionCommand) -> Option<Arc<[Column]>> {
        let text = |name: &str| Column::new(name, PgType::new(oid::TEXT));
        match command {
            SessionCommand::Show { name } if name == "all" => {
                Some([text("name"), text("setting"), text("description")].into())
            }
            SessionCommand::Show { name } => Some([text(name)].into()),
            SessionCommand::Fetch { only_move: false, name, .. } => self.portals.get(name)?.columns(),
            SessionCommand::Execute { name, .. } => self.statements.get(name)?.plan.as_ref()?.columns.clone(),
            _ => None,
        }
    }

    /// SET, RESET and an evaluated `set_config`.
    pub(crate) async fn assign(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
        control: &Control,
    ) -> Result<(), Halt> {
        let Self { transaction, backend, .. } = self;
        if let Some(warning) = transaction.note_set(name, local, || backend.snapshot()) {
            self.notice(&warning);
            return Ok(());
        }
        let Self { socket, backend, .. } = self;
        match value {
            Some(value) => socket.during(control, backend.set(name, value)).await??,
            None => socket.during(control, backend.reset(name)).await??,
        }
        Ok(())
    }

    async fn show(&mut self, name: &str, control: &Control) -> Result<Yield, Halt> {
        let Self { socket, backend, .. } = self;
        let (columns, source) = if name == "all" {
            let rows: Vec<Vec<String>> = socket
                .during(control, backend.show_all())
                .await??
                .into_iter()
                .map(|(name, value, description)| vec![name, value, description])
                .collect();
            Source::texts(&["name", "setting", "description"], &rows)
        } else {
            let (name, value) = socket.during(control, backend.show(name)).await??;
            Source::texts(&[&name], &[vec![value]])
        };
        let answered = Answered { columns, source, tag: Tag::Plain("SHOW".to_owned()), tail: None };
        Ok(Yield::Rows(Box::new(answered)))
    }
}
