//! COPY … TO STDOUT as a session command: which query it is, and how its rows leave.
//!
//! The formats are [`crate::pg::copy`]'s. A relation becomes a SELECT of its columns, so rights and push-down are
//! those of a query.

use std::sync::Arc;

use crate::pg::backend::{Control, Route, Run};
use crate::pg::classify::command::CopySource;
use crate::pg::conversation::{Conversation, Halt};
use crate::pg::copy::CopyWriter;
use crate::pg::fault::Fault;
use crate::pg::portal::Yield;
use crate::pg::rows::Sink;

impl Conversation {
    pub(super) async fn copy_to(
        &mut self,
        source: &CopySource,
        options: &[(String, Option<String>)],
        sql: &str,
        control: &Control,
    ) -> Result<Yield, Halt> {
        let writer = CopyWriter::new(options)?;
        let statement = match source {
            CopySource::Query(query) => self.inner(sql, query, &[], control).await?,
            CopySource::Relation { name, columns } => {
                let list: Vec<String> =
                    columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
                let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
                let query = format!("SELECT {list} FROM {}", sql.get(name.clone()).unwrap_or_default());
                self.inner(&query, &(0..query.len()), &[], control).await.map_err(|halt| match halt {
                    Halt::Fault(fault) => Halt::Fault(Fault { position: None, ..fault }),
                    Halt::Gone => Halt::Gone,
                })?
            }
        };
        let Some(plan) = &statement.plan else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        if !plan.parameters.is_empty() {
            return Err(Fault::new("42P02", "there is no parameter $1").into());
        }
        let run = Run {
            result_formats: vec![writer.value_format()],
            extended: plan.route == Route::Shadow,
            control: control.clone(),
            ..Run::default()
        };
        let Yield::Rows(mut answered) = Box::pin(self.start(plan, run, control)).await? else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        let columns = Arc::clone(&answered.columns);
        writer.begin(&columns, &mut self.socket.out);
        let style = self.style();
        let sink = Sink::Copy { columns: &columns, writer: &writer };
        let result = answered.source.send(&mut self.socket, control, &style, None, &sink).await;
        let (rows, _) = result.map_err(|error| self.halt(error))?;
        if let Some(fault) = answered.tail.take() {
            return Err(fault.into());
        }
        writer.end(&mut self.socket.out);
        Ok(Yield::Tag(format!("COPY {rows}")))
    }
}
