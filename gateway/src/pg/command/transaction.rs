//! BEGIN, COMMIT, ROLLBACK, SET TRANSACTION, DISCARD: what a transaction keeps and what ends with it.
//!
//! Nothing is written here, so a transaction is settings, cursors and the view of the warehouse it reads. A held
//! cursor is completed before its transaction ends.

use crate::pg::backend::{Control, TransactionEvent};
use crate::pg::classify::command::TransactionModes;
use crate::pg::conversation::{Conversation, Halt};
use crate::pg::fault::Fault;
use crate::pg::portal::{CursorKind, State, Yield};
use crate::pg::transaction::Status;

impl Conversation {
    pub(super) async fn set_transaction(
        &mut self,
        session: bool,
        modes: &TransactionModes,
        control: &Control,
    ) -> Result<(), Halt> {
        if !session && !self.transaction.in_block() {
            self.notice(&Fault::warning("25P01", "SET TRANSACTION can only be used in transaction blocks"));
            return Ok(());
        }
        let Some(isolation) = &modes.isolation else { return Ok(()) };
        let name = if session { "default_transaction_isolation" } else { "transaction_isolation" };
        self.assign(name, Some(isolation), !session, control).await
    }

    pub(super) async fn begin(&mut self, modes: &TransactionModes, control: &Control) -> Result<(), Halt> {
        let Self { transaction, backend, .. } = self;
        let (began, warning) = transaction.begin(|| backend.snapshot());
        if let Some(warning) = warning {
            self.notice(&warning);
        }
        if !began {
            return Ok(());
        }
        let isolation = modes.isolation.clone().unwrap_or_else(|| self.isolation());
        self.backend.transaction(TransactionEvent::Begin { block: true, isolation });
        if let Some(isolation) = &modes.isolation {
            self.assign("transaction_isolation", Some(isolation), true, control).await?;
        }
        let timeout = self.backend.setting("transaction_timeout").and_then(|text| text.parse::<u64>().ok());
        self.transaction_deadline = timeout.filter(|timeout| *timeout > 0).and_then(|timeout| {
            std::time::Instant::now().checked_add(std::time::Duration::from_millis(timeout))
        });
        Ok(())
    }

    pub(super) async fn commit(&mut self, chain: bool, control: &Control) -> Result<Yield, Halt> {
        if chain {
            self.transaction.require("COMMIT AND CHAIN")?;
        }
        let aborted = self.transaction.status() == Status::Failed;
        if !aborted {
            // A held cursor must be complete before its snapshot goes.
            let Self { portals, socket, .. } = self;
            let mut failure = None;
            for portal in portals.values_mut() {
                let Some(CursorKind { hold: true, committed: false, .. }) = portal.cursor else { continue };
                if let State::Rows(answered) = &mut portal.state
                    && let Err(error) = answered.source.keep(socket, control).await
                {
                    failure = Some(error);
                    break;
                }
            }
            if let Some(error) = failure {
                return Err(self.halt(error));
            }
        }
        let Self { transaction, backend, .. } = self;
        let ending = transaction.commit(|| backend.snapshot());
        let tag = ending.tag;
        self.close_portals(aborted);
        self.backend.transaction(if aborted { TransactionEvent::Rollback } else { TransactionEvent::Commit });
        self.apply(ending);
        self.held();
        if chain {
            self.begin(&TransactionModes::default(), control).await?;
        }
        Ok(Yield::Tag(tag.to_owned()))
    }

    pub(super) async fn rollback(&mut self, chain: bool, control: &Control) -> Result<Yield, Halt> {
        if chain {
            self.transaction.require("ROLLBACK AND CHAIN")?;
        }
        let ending = self.transaction.rollback();
        self.close_portals(true);
        self.backend.transaction(TransactionEvent::Rollback);
        self.apply(ending);
        self.held();
        if chain {
            self.begin(&TransactionModes::default(), control).await?;
        }
        Ok(Yield::Tag("ROLLBACK".to_owned()))
    }

    pub(super) fn discard(&mut self, what: &str) -> Result<Yield, Halt> {
        if what == "ALL" {
            if self.transaction.in_block() {
                return Err(Fault::new("25001", "DISCARD ALL cannot run inside a transaction block").into());
            }
            self.portals.clear();
            self.statements.clear();
            self.backend.reset_all();
            self.held();
        }
        Ok(Yield::Tag(format!("DISCARD {what}")))
    }
}
