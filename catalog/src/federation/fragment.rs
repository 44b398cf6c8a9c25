//! The unit of work sent to a source, the gate's verdicts, and the trait that runs it.
//!
//! A fragment is a closed grammar over one compute context: tables, filters, exact joins, columns or one aggregate, a
//! top-N, a limit. It grows by new fields, never by text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, plan_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;

use super::{
    AggregateCall, Capability, Division, ExecContext, FragmentAggregate, FragmentJoin, FragmentJoinKind,
    FragmentSort, ListRoom, Proven, QueryContext, Share, Slots, TableStatistics,
};
use crate::source::{SourceError, TableDef};

/// Why the gate decided as it did; shown by `EXPLAIN`.
pub type Reason = Cow<'static, str>;

/// The gate's answer for one expression on one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Proven equal on this source; evaluated there only.
    Exact,
    /// Exact in other words, which are named; evaluated there only.
    Rewrite(Reason),
    /// The source keeps at least all rows we would; evaluated there and here. Never under a limit.
    Superset(Reason),
    /// Not sent.
    Keep(Reason),
}

/// A filter that passed the gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PushedFilter {
    /// The predicate, over the table's columns, unqualified.
    pub expr: Expr,
    /// False if the same predicate is evaluated here again.
    pub exact: bool,
}

/// What one leaf asks of one source, in the order it is evaluated: the table's filters, joins, then either columns or
/// an aggregate, then sort, then limit.
///
/// A field beyond table, projection, filters and limit is set only after the executor's own verdict for it.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// The table read.
    pub table: Arc<TableDef>,
    /// Indices into the row's columns, in the order wanted; may be empty (rows are counted only). The row is the
    /// table's columns, then those of each joined table that is shown. Meaningless beside an aggregate.
    pub projection: Vec<usize>,
    /// Conjuncts over the table's columns that go down.
    pub filters: Vec<PushedFilter>,
    /// Further tables of the same compute context, from left to right.
    pub joins: Vec<FragmentJoin>,
    /// Rows are grouped; one row a group comes back.
    pub aggregate: Option<FragmentAggregate>,
    /// Conditions over what comes back of the aggregate, whose columns go by [`Fragment::output_name`]. They are
    /// evaluated here again; set only if the executor [`tests groups`](FragmentExecutor::tests_groups).
    pub having: Vec<PushedFilter>,
    /// Order in which the limit counts; never set without one.
    pub sort: Vec<FragmentSort>,
    /// At most this many rows; only set when every filter of the query is exact.
    pub limit: Option<usize>,
    /// How many other leaves of the plan read the same source: all of them should read one version of it.
    pub siblings: usize,
    /// The [epoch](Proven::epoch) of what the executor's store had proved before the first of its verdicts.
    pub epoch: u64,
    /// The version, and the part of its files, that is read; `None` for all of the latest. Set only to shares of what
    /// the executor [divided](FragmentExecutor::divide).
    pub share: Option<Arc<Share>>,
    /// The fragment is read in turns, at one version of the source, if not empty: each has further conditions, no row
    /// meets those of two. Set only for executors that [make room for them](FragmentExecutor::list_room).
    pub runs: Vec<Run>,
}

/// What one of several statements of a fragment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The joined table whose rows the conditions are about, by number; `None`: the fragment's own.
    pub join: Option<usize>,
    /// The conditions.
    pub filters: Vec<PushedFilter>,
}

impl Fragment {
    /// The whole table: every column, no filter, no limit.
    #[must_use]
    pub fn whole(table: Arc<TableDef>) -> Self {
        let projection = (0..table.arrow.fields().len()).collect();
        Self {
            table,
            projection,
            filters: vec![],
            joins: vec![],
            having: vec![],
            aggregate: None,
            sort: vec![],
            limit: None,
            siblings: 0,
            epoch: 0,
            share: None,
            runs: vec![],
        }
    }

    /// The statements that give its rows, one after another: one for each run, or the fragment itself.
    pub fn in_runs(&self) -> impl Iterator<Item = Cow<'_, Self>> {
        let count = self.runs.len().max(1);
        (0..count).map(|number| match self.runs.get(number) {
            None => Cow::Borrowed(self),
            Some(run) => {
                let mut one = self.without_runs();
                match run.join {
                    None => one.filters.extend(run.filters.iter().cloned()),
                    Some(join) => {
                        if let Some(join) = one.joins.get_mut(join) {
                            join.filters.extend(run.filters.iter().cloned());
                        }
                    }
                }
                Cow::Owned(one)
            }
        })
    }

    /// The same without its runs: what they have in common.
    #[must_use]
    pub fn without_runs(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            projection: self.projection.clone(),
            filters: self.filters.clone(),
            joins: self.joins.clone(),
            aggregate: self.aggregate.clone(),
            having: self.having.clone(),
            sort: self.sort.clone(),
            limit: self.limit,
            siblings: self.siblings,
            epoch: self.epoch,
            share: self.share.clone(),
            runs: vec![],
        }
    }

    /// The columns of the batches this fragment promises, in order.
    ///
    /// # Errors
    /// When the projection names a column the row does not have.
    pub fn schema(&self) -> Result<SchemaRef, DataFusionError> {
        if let Some(aggregate) = &self.aggregate {
            return Ok(Arc::new(Schema::new(aggregate.outputs.clone())));
        }
        if self.joins.is_empty() {
            return Ok(Arc::new(self.table.arrow.project(&self.projection)?));
        }
        let mut fields = Vec::with_capacity(self.projection.len());
        for index in &self.projection {
            let Some((place, field)) = self.column(*index) else {
                return plan_err!("a fragment names column {index}, which its row does not have");
            };
            let optional =
                place > 0 && self.joins.get(place - 1).is_some_and(|j| j.kind == FragmentJoinKind::Left);
            let field = field.clone();
            fields.push(if optional { field.with_nullable(true) } else { field });
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// How conditions over groups call a column of [`Fragment::schema`].
    #[must_use]
    pub fn output_name(number: usize) -> String {
        format!("c{number}")
    }

    /// What comes back of the aggregate, as the table that conditions over groups are about; `None` without one. A
    /// group keeps what is known of its column.
    #[must_use]
    pub fn groups_as_table(&self) -> Option<TableDef> {
        let aggregate = self.aggregate.as_ref()?;
        let fields = aggregate.outputs.iter().enumerate().map(|(number, output)| {
            let group = aggregate.groups.get(number).and_then(|row| self.column(*row));
            let field = group.map_or_else(|| output.as_ref().clone(), |(_, column)| column.clone());
            field.with_name(Self::output_name(number))
        });
        Some(TableDef {
            arrow: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            primary_key: vec![],
            foreign_keys: vec![],
            comment: None,
            ..TableDef::clone(&self.table)
        })
    }

    /// The tables in the order of the row: the fragment's own (0), then those joined (1 and on).
    #[must_use]
    pub fn tables(&self) -> Vec<&Arc<TableDef>> {
        std::iter::once(&self.table).chain(self.joins.iter().map(|join| &join.table)).collect()
    }

    /// A column of the row: which table it belongs to, as in [`Fragment::tables`], and its field there.
    #[must_use]
    pub fn column(&self, index: usize) -> Option<(usize, &Field)> {
        let mut rest = index;
        let shown = self.joins.iter().map(|join| (join.kind.shows_columns(), &join.table));
        for (place, (shows, table)) in std::iter::once((true, &self.table)).chain(shown).enumerate() {
            if !shows {
                continue;
            }
            match table.arrow.fields().get(rest) {
                Some(field) => return Some((place, field.as_ref())),
                None => rest -= table.arrow.fields().len(),
            }
        }
        None
    }

    /// Where the values of an output column are from: a table, and the field of it that is shown, grouped by, or of which
    /// the least or greatest is taken; `None` for what is computed.
    #[must_use]
    pub fn origin(&self, output: usize) -> Option<(&Arc<TableDef>, &Field)> {
        let row = match &self.aggregate {
            None => *self.projection.get(output)?,
            Some(aggregate) => match output.checked_sub(aggregate.groups.len()) {
                None => *aggregate.groups.get(output)?,
                Some(call) => aggregate.calls.get(call).filter(|call| call.function.chooses())?.column?,
            },
        };
        let (place, field) = self.column(row)?;
        Some((self.tables().get(place).copied()?, field))
    }

    /// How many columns the row has.
    #[must_use]
    pub fn width(&self) -> usize {
        let joined = self.joins.iter().filter(|join| join.kind.shows_columns());
        self.table.arrow.fields().len() + joined.map(|join| join.table.arrow.fields().len()).sum::<usize>()
    }
}

/// Runs fragments on one store.
#[async_trait]
pub trait FragmentExecutor: fmt::Debug + Send + Sync {
    /// Decides about one conjunct over the table's columns. Pure; never contacts the store.
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict;

    /// Whether a top-N may be taken at the source in the order of this column, and of a null before or after all
    /// others, as the key asks. The field is a table's column, or an aggregate's output.
    ///
    /// For this and the verdicts below only `Exact` and `Rewrite` count; the others keep the operator here. Pure.
    fn sort_verdict(&self, _column: &Field, _key: &FragmentSort) -> Verdict {
        Verdict::Keep("order is not proven on this kind of source".into())
    }

    /// Whether rows may be grouped by this column there: equal there must be equal here, and the other way round.
    fn group_verdict(&self, _column: &Field) -> Verdict {
        Verdict::Keep("grouping is not proven on this kind of source".into())
    }

    /// Whether an aggregate may be computed there, exactly and in the type of `call.output`. `column` is its argument.
    /// The call's filter has passed [`FragmentExecutor::verdict`].
    fn aggregate_verdict(&self, _call: &AggregateCall, _column: Option<&Field>) -> Verdict {
        Verdict::Keep("aggregates are not proven on this kind of source".into())
    }

    /// Whether conditions over groups are evaluated there: then [`Fragment::having`] may be set, with what passed
    /// [`FragmentExecutor::verdict`] over the groups as a table.
    fn tests_groups(&self) -> bool {
        false
    }

    /// Whether two columns of one compute context may be joined on being equal there.
    fn join_verdict(&self, _left: &Field, _right: &Field) -> Verdict {
        Verdict::Keep("joins are not proven on this kind of source".into())
    }

    /// What one statement of this executor can reach: tables of executors with equal contexts may be joined in one
    /// fragment. Server, database, account and session options belong into it, a password never does.
    /// `None`: nothing is joined there.
    fn compute_context(&self) -> Option<String> {
        None
    }

    /// What is known of a table's rows and values by now, to choose plans. Never contacts the store.
    fn statistics(&self, _table: &TableDef) -> Option<Arc<TableStatistics>> {
        None
    }

    /// Asks the store for a table's rows and values. Called behind a query that read the table, never while planning;
    /// `None` if this kind of store tells nothing beyond [`TableDef::row_estimate`].
    ///
    /// # Errors
    /// Connection failures.
    async fn gather_statistics(&self, _table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        Ok(None)
    }

    /// The files of a fragment that has no join, group, order or limit, at the latest version: several processes may then
    /// read a share each. `None` if it cannot be read in parts, or only here.
    ///
    /// # Errors
    /// Connection failures.
    async fn divide(
        &self,
        _fragment: &Fragment,
        _context: &QueryContext,
    ) -> Result<Option<Division>, SourceError> {
        Ok(None)
    }

    /// How long the lists of values may be that a join tells this executor. With more than one run,
    /// [`Fragment::runs`] may be set.
    fn list_room(&self) -> ListRoom {
        ListRoom::STATEMENT
    }

    /// What was proved on the live store, for `system.pushdown`. Never contacts the store.
    fn capabilities(&self) -> Vec<Capability> {
        Vec::new()
    }

    /// What the store is trusted with because it proved it; `None` if no verdict rests on proofs. Never contacts the store.
    fn proven(&self) -> Option<&dyn Proven> {
        None
    }

    /// Asks the store, beside whatever runs, whether it answers at all; within a few seconds. Asked when a statement is
    /// silent for long.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    async fn answers(&self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Whether a fragment of which nothing came may be asked for once more after this error. Never while others read what
    /// only the first attempt saw. A yes is spent: whoever gets it asks again.
    fn may_ask_again(&self, _fragment: &Fragment, _error: &SourceError) -> bool {
        false
    }

    /// The slots that a running statement holds, one until its stream ends; a leaf reads ahead while others wait for
    /// them. `None`: nobody waits here for the end of another's stream.
    fn slots(&self) -> Option<Slots> {
        None
    }

    /// The text, or the words, that will be sent for a fragment. Shown by `EXPLAIN`; never contains a secret.
    fn describe(&self, fragment: &Fragment) -> String;

    /// Starts a fragment. Batches have the projected columns of the table's schema, in order.
    /// Dropping the stream stops the work at the source.
    ///
    /// # Errors
    /// Connection and rendering failures; failures after the first row come through the stream.
    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError>;
}
