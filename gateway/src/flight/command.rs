//! Statements about the session itself: SET, RESET and SHOW. The others have a better way in Flight, and say which.
//!
//! A change is made when its flight is asked for, or as an update: a client that sends SET need not read its answer,
//! and the next statement must find it done. The answer of SHOW is read when it is fetched.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::schema::type_name;
use super::session::FlightSession;
use super::status::refused;
use crate::error::QueryError;
use crate::pg::classify::SessionCommand;
use crate::settings::{Settings, one_text};

/// A command the session answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// `SET name = value`; `None` for DEFAULT and for RESET.
    Set { name: String, value: Option<String> },
    /// `RESET ALL`.
    ResetAll,
    /// `SHOW name`.
    Show(String),
    /// `SHOW ALL`.
    ShowAll,
    /// A change that has been made.
    Done,
}

impl Command {
    /// The command of a statement.
    ///
    /// # Errors
    /// 0A000 for what Flight has another way for.
    pub(super) fn of(command: SessionCommand) -> Result<Self, QueryError> {
        const ALONE: &str = "every statement is a transaction of its own";
        const FLIGHT: &str = "ask for the query's flight, it streams as it is read";
        const PREPARED: &str = "use the prepared statements of Flight SQL";
        let (what, hint) = match command {
            SessionCommand::Set { local: false, name, values } => {
                let value = values.map(|values| one_text(&name, &values)).transpose()?;
                return Ok(Self::Set { value, name });
            }
            SessionCommand::Reset { name: Some(name) } => return Ok(Self::Set { name, value: None }),
            SessionCommand::Reset { name: None } => return Ok(Self::ResetAll),
            SessionCommand::Show { name } if name == "all" => return Ok(Self::ShowAll),
            SessionCommand::Show { name } => return Ok(Self::Show(name)),
            SessionCommand::Set { .. } => ("SET LOCAL", ALONE),
            SessionCommand::SetTransaction { .. } => ("SET TRANSACTION", ALONE),
            SessionCommand::Begin { .. } => ("BEGIN", ALONE),
            SessionCommand::Commit { .. } => ("COMMIT", ALONE),
            SessionCommand::Rollback { .. } => ("ROLLBACK", ALONE),
            SessionCommand::Savepoint(_) | SessionCommand::Release(_) | SessionCommand::RollbackTo(_) => {
                ("SAVEPOINT", ALONE)
            }
            SessionCommand::Declare { .. } | SessionCommand::Fetch { .. } | SessionCommand::Close(_) => {
                ("a cursor", FLIGHT)
            }
            SessionCommand::CopyTo { .. } => ("COPY", FLIGHT),
            SessionCommand::Prepare { .. }
            | SessionCommand::Execute { .. }
            | SessionCommand::Deallocate(_) => ("PREPARE", PREPARED),
            SessionCommand::Discard(_) => ("DISCARD", "log in again for a new session"),
            SessionCommand::Unlisten => ("UNLISTEN", "nothing can be listened to"),
            SessionCommand::LockAccessShare => ("LOCK", ALONE),
        };
        Err(refused(what).with_hint(hint))
    }

    /// Columns of its answer.
    pub(super) fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, true).with_metadata(type_name("text"));
        Arc::new(match self {
            Self::Set { .. } | Self::ResetAll | Self::Done => Schema::empty(),
            Self::Show(name) => Schema::new(vec![text(Settings::canonical(name).unwrap_or(name))]),
            Self::ShowAll => Schema::new(vec![text("name"), text("setting"), text("description")]),
        })
    }

    /// Makes a change, and leaves what only reads for later.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub(super) fn settled(self, session: &FlightSession) -> Result<Self, QueryError> {
        match self {
            Self::Set { .. } | Self::ResetAll => self.run(session).map(|_| Self::Done),
            Self::Show(_) | Self::ShowAll | Self::Done => Ok(self),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// 42704 and 22023 of the settings; 0A000 for a change in a session that others share.
    pub(super) fn run(&self, session: &FlightSession) -> Result<RecordBatch, QueryError> {
        let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let columns = match self {
            Self::Set { .. } | Self::ResetAll if session.shared => {
                return Err(refused("SET with Basic credentials on every call")
                    .with_hint("log in with Handshake and send its token"));
            }
            Self::Set { name, value } => {
                session.settings().set(name, value.as_deref())?;
                Vec::new()
            }
            Self::ResetAll => {
                session.settings().reset_all();
                Vec::new()
            }
            Self::Done => Vec::new(),
            Self::Show(name) => vec![text(vec![session.settings().show(name)?])],
            Self::ShowAll => {
                let rows = session.settings().rows();
                vec![
                    text(rows.iter().map(|(def, _)| def.name.to_owned()).collect()),
                    text(rows.iter().map(|(_, value)| value.clone()).collect()),
                    text(rows.iter().map(|(def, _)| def.description.to_owned()).collect()),
                ]
            }
        };
        let rows = columns.first().map_or(0, |column| column.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema(), columns, &options)
            .map_err(|error| QueryError::internal(&error))
    }
}
