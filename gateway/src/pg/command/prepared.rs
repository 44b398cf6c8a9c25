//! PREPARE and EXECUTE in SQL, and the query inside any command.
//!
//! EXECUTE's arguments are expressions; they are evaluated as one row by whoever would evaluate the query, and
//! come back as text.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};

use crate::pg::backend::{Column, Control, Format, Run};
use crate::pg::classify::Class;
use crate::pg::conversation::{Conversation, Halt, shifted};
use crate::pg::encode::ColumnEncoder;
use crate::pg::fault::Fault;
use crate::pg::portal::{Statement, Yield};
use crate::pg::rows::{Source, fields};
use crate::pgtypes::PgType;

impl Conversation {
    /// Plans the query inside a command; `query` are its bytes in `sql`.
    pub(in crate::pg) async fn inner(
        &mut self,
        sql: &str,
        query: &Range<usize>,
        types: &[u32],
        control: &Control,
    ) -> Result<Statement, Halt> {
        let text = sql.get(query.clone()).unwrap_or_default();
        let before = sql.get(..query.start).unwrap_or_default().chars().count();
        let planned = async {
            let class = self.backend.classify(text)?;
            match &class {
                Class::Refused(error) => return Err(Fault::from(error.clone()).into()),
                Class::Session(_) | Class::Empty => {
                    return Err(Fault::new("42601", "a query is required here").at(1).into());
                }
                _ => {}
            }
            let plan = self.plan(text, &class, types, true, control).await?;
            Ok(Statement { sql: Arc::from(text), class, plan: Some(plan), by_sql: true })
        };
        Box::pin(planned).await.map_err(|halt: Halt| shifted(halt, before))
    }

    pub(in crate::pg) async fn prepare(
        &mut self,
        name: &str,
        types: &[String],
        sql: &str,
        query: &Range<usize>,
        control: &Control,
    ) -> Result<(), Halt> {
        let oids = types
            .iter()
            .map(|name| {
                PgType::parse(name)
                    .map(|pg| pg.oid)
                    .ok_or_else(|| Fault::new("42704", format!("type \"{name}\" does not exist")))
            })
            .collect::<Result<Vec<u32>, Fault>>()?;
        if self.statements.contains_key(name) {
            return Err(Fault::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= crate::pg::portal::MAX_STATEMENTS {
            return Err(Fault::new("53400", "too many prepared statements").into());
        }
        let statement = self.inner(sql, query, &oids, control).await?;
        self.statements.insert(name.to_owned(), Arc::new(statement));
        self.held();
        Ok(())
    }

    pub(in crate::pg) async fn execute_prepared(
        &mut self,
        name: &str,
        sql: &str,
        arguments: &[Range<usize>],
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<Yield, Halt> {
        let statement = self.find_statement(name)?;
        let Some(plan) = statement.plan.as_ref().filter(|_| !matches!(statement.class, Class::Session(_)))
        else {
            return Err(Fault::unsupported("EXECUTE of a session command").into());
        };
        let wanted = plan.parameters.len();
        if arguments.len() != wanted {
            return Err(Fault::new(
                "42601",
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!("Expected {wanted} parameters but got {}.", arguments.len()))
            .into());
        }
        let values = self.evaluate(sql, arguments, control).await?;
        let decoded = self.decode(&statement, &values)?;
        let run = Run {
            values: decoded,
            raw: values,
            result_formats: formats.unwrap_or_default().to_vec(),
            extended: true,
            control: control.clone(),
        };
        Box::pin(self.start(plan, run, control)).await
    }

    /// Evaluates EXECUTE's arguments with all digits that floats have, whatever the session shows of them.
    async fn evaluate(
        &mut self,
        sql: &str,
        arguments: &[Range<usize>],
        control: &Control,
    ) -> Result<Vec<(Format, Option<Bytes>)>, Halt> {
        const DIGITS: &str = "extra_float_digits";
        let shown = self.backend.setting(DIGITS);
        let few = shown.filter(|shown| shown.parse::<i32>().is_ok_and(|digits| digits < 1));
        if few.is_some() {
            self.backend.set(DIGITS, "1").await?;
        }
        let values = Box::pin(self.evaluate_shown(sql, arguments, control)).await;
        if let Some(few) = few {
            self.backend.set(DIGITS, &few).await?;
        }
        values
    }

    /// Evaluates EXECUTE's arguments: one row of the client's own expressions, as text.
    async fn evaluate_shown(
        &mut self,
        sql: &str,
        arguments: &[Range<usize>],
        control: &Control,
    ) -> Result<Vec<(Format, Option<Bytes>)>, Halt> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let expressions: Vec<String> = arguments
            .iter()
            .map(|range| format!("({})", sql.get(range.clone()).unwrap_or_default()))
            .collect();
        let query = format!("SELECT {}", expressions.join(", "));
        // Positions would point into a text the client never wrote.
        let hidden = |halt: Halt| match halt {
            Halt::Fault(fault) => Halt::Fault(Fault { position: None, ..fault }),
            Halt::Gone => Halt::Gone,
        };
        let statement = self.inner(&query, &(0..query.len()), &[], control).await.map_err(hidden)?;
        let Some(plan) = &statement.plan else { return Ok(Vec::new()) };
        let run = Run { control: control.clone(), ..Run::default() };
        let Yield::Rows(answered) = Box::pin(self.start(plan, run, control)).await.map_err(hidden)? else {
            return Ok(Vec::new());
        };
        match answered.source {
            Source::Relayed { rows, .. } => Ok(rows
                .first()
                .map(fields)
                .unwrap_or_default()
                .into_iter()
                .map(|value| (Format::Text, value))
                .collect()),
            mut source => {
                source.keep(&mut self.socket, control).await.map_err(|error| hidden(self.halt(error)))?;
                let Source::Kept { batches, .. } = source else { return Ok(Vec::new()) };
                let batch = batches.into_iter().find(|batch| batch.num_rows() > 0);
                let batch = batch.ok_or_else(|| Fault::new("XX000", "internal error"))?;
                self.first_row(&batch, &answered.columns).map_err(Halt::from)
            }
        }
    }

    fn first_row(
        &self,
        batch: &RecordBatch,
        columns: &[Column],
    ) -> Result<Vec<(Format, Option<Bytes>)>, Fault> {
        let style = self.style();
        batch
            .columns()
            .iter()
            .zip(columns)
            .map(|(array, column)| {
                let encoder = ColumnEncoder::new(array, column.pg, Format::Text, &column.name)?;
                if encoder.is_null(0) {
                    return Ok((Format::Text, None));
                }
                let mut text = BytesMut::new();
                encoder.value(0, &style, &mut text)?;
                Ok((Format::Text, Some(text.freeze())))
            })
            .collect()
    }
}
