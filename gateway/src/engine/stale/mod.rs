//! Old answers while a source is down: what was answered before, or what copies of its tables say.
//!
//! Only for whoever set `portolan.max_staleness`, only when the source cannot be reached, and only before a row is out;
//! never without a word, and never a table of a source from before beside another as it is now. A source that is well
//! is never spared its work: what is kept here answers for nobody else.

mod copied;
mod kept;
mod key;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use portolan_catalog::asof::AsOfRecorder;
use portolan_catalog::copies::{Copies, Pins};
use portolan_catalog::federation::QueryContext;
use portolan_catalog::source::{SourceErrorKind, SourceName};
use portolan_semantic::Semantics;
use tokio::sync::mpsc;

use super::again::{Recipe, source_error};
use super::execute::{Witnesses, drive};
use super::interrupt::Until;
use super::{Engine, Receipt};
use crate::error::QueryError;
use crate::session::{Identity, Session, SessionFactory, TableCatalog};
use crate::settings::Settings;
use crate::system::SystemTables;
use copied::WithCopies;
pub(super) use kept::{Gathering, KeptAnswers};
use kept::{Kept, age};
use key::{Key, reads_only_sources, tables_of};

/// Most sources that copies stand for in one statement.
const MOST_SOURCES: usize = 8;

/// Where an old answer was taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaleFrom {
    /// The same statement's answer of before.
    Answer,
    /// Copies of the source's tables, in this zone of a lake.
    Copies(String),
}

impl fmt::Display for StaleFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("answer"),
            Self::Copies(place) => f.write_str(place),
        }
    }
}

/// What is old about an answer, and why.
#[derive(Debug, Clone)]
pub struct Staleness {
    /// The sources that could not be read.
    pub sources: Vec<String>,
    /// What stood in for them.
    pub from: StaleFrom,
    /// When that was read at the source, UTC; of several the oldest.
    pub read_at: DateTime<Utc>,
    /// How old it was when it was given.
    pub age: Duration,
    /// What kept the source from being read.
    pub reason: String,
    /// The versions it was made of.
    pub(super) as_of: AsOfRecorder,
}

impl Staleness {
    /// In one sentence: source, age and where the data are from.
    #[must_use]
    pub fn message(&self) -> String {
        let quoted: Vec<String> = self.sources.iter().map(|source| format!("\"{source}\"")).collect();
        let (sources, age) = (quoted.join(", "), shown(self.age));
        let (what, is) = if quoted.len() == 1 { ("source", "is") } else { ("sources", "are") };
        match &self.from {
            StaleFrom::Answer => format!("{what} {sources} {is} down: this answer was read {age} ago"),
            StaleFrom::Copies(place) => {
                format!("{what} {sources} {is} down: this answer reads copies in \"{place}\" of {age} ago")
            }
        }
    }

    /// Why, and of when the data are.
    #[must_use]
    pub fn detail(&self) -> String {
        let at = self.read_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("{}; data of {at}", self.reason)
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint() -> &'static str {
        "see system.sources and system.answers; SET portolan.max_staleness = 0 refuses old data"
    }

    /// Age in seconds, with their fractions.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.age.as_secs_f64()
    }
}

/// An age in its largest sensible unit, rounded up: never younger than it is.
fn shown(age: Duration) -> String {
    let seconds = age.as_secs() + u64::from(age.subsec_nanos() > 0);
    for (per, most, unit) in [(1, 120, "s"), (60, 120, "min"), (3_600, 48, "h")] {
        if seconds.div_ceil(per) <= most {
            return format!("{} {unit}", seconds.div_ceil(per));
        }
    }
    format!("{} d", seconds.div_ceil(86_400))
}

/// One statement's claim on old answers.
#[derive(Debug)]
pub(super) struct StandIn {
    /// How old data may be; `None` if nothing old is accepted.
    accepted: Option<Duration>,
    kept: Arc<KeptAnswers>,
    tables: Arc<dyn TableCatalog>,
    factory: SessionFactory,
    system: Arc<SystemTables>,
    identity: Identity,
    /// The session's settings, as they were when the statement began if anything old is accepted.
    settings: Arc<Mutex<Settings>>,
}

/// What is needed to give rows in place of those that did not come.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) until: Until,
    /// The columns the client was told.
    pub(super) announced: SchemaRef,
    pub(super) receipt: &'a Receipt,
    pub(super) sender: &'a mpsc::Sender<Result<RecordBatch, DataFusionError>>,
}

impl StandIn {
    /// `told`: whether the client will be told when its answer is old; without, none is.
    pub(super) fn begin(engine: &Engine, session: &Session, told: bool) -> Self {
        let settings = session.settings();
        // Who hears no warnings would take an old answer for a new one.
        let hears = told && settings.value("client_min_messages") != "error";
        let accepted = settings.max_staleness().filter(|_| hears);
        let settings = match accepted {
            Some(_) => Arc::new(Mutex::new(settings.clone())),
            None => {
                drop(settings);
                session.shared_settings()
            }
        };
        Self {
            accepted,
            kept: Arc::clone(&engine.kept),
            tables: Arc::clone(&engine.tables),
            factory: engine.factory.clone(),
            system: Arc::clone(&engine.system),
            identity: session.identity.clone(),
            settings,
        }
    }

    /// Whether an answer may turn out to be old.
    pub(super) fn is_wanted(&self) -> bool {
        self.accepted.is_some()
    }

    fn key(&self, recipe: &Recipe) -> Key {
        Key::of(&recipe.prepared, &recipe.params, &recipe.environment, &self.settings())
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to gather the answer.
    ///
    /// # Errors
    /// Why it will not be kept, in words.
    pub(super) fn gather(&self, recipe: &Recipe) -> Result<Gathering, Cow<'static, str>> {
        if self.accepted.is_none() {
            return Err("portolan.max_staleness is 0".into());
        }
        let sources = reads_only_sources(&recipe.prepared)?;
        Ok(self.kept.gather(self.key(recipe), sources))
    }

    /// Keeps an answer that is whole.
    pub(super) async fn keep(&self, answer: Gathering, schema: SchemaRef, receipt: &Receipt) {
        self.kept.keep(answer, schema, receipt.as_of()).await;
    }

    /// Gives old rows in place of those that an error kept from coming.
    ///
    /// # Errors
    /// The same error, with what there is of old data and why it was not given.
    pub(super) async fn answer(
        &self,
        error: &DataFusionError,
        failed: &Failed<'_>,
    ) -> Result<(), QueryError> {
        let Failed { recipe, receipt, .. } = failed;
        let told = QueryError::from_datafusion(error, Some(&recipe.prepared.sql));
        let Some((source, reason)) = down(error) else { return Err(told) };
        if receipt.rows() > 0 || recipe.prepared.explain.is_some() {
            return Err(told);
        }
        let mut hints = Vec::new();
        if reads_only_sources(&recipe.prepared).is_ok()
            && let Some(kept) = self.kept.find(&self.key(recipe), &failed.announced).await
        {
            let now = self.kept.now();
            let old = kept.read.age(now);
            match self.accepted {
                Some(most) if old <= most => {
                    self.give(&kept, vec![source.to_string()], reason, old, failed).await;
                    return Ok(());
                }
                Some(_) => hints.push(format!(
                    "the kept answer is {} old, which is more than portolan.max_staleness",
                    shown(old)
                )),
                None => hints.push(format!(
                    "an answer of {} ago is kept: SET portolan.max_staleness to more than that to get it, with a warning",
                    shown(old)
                )),
            }
        }
        match Box::pin(self.over_copies(source, reason, failed)).await {
            Ok(()) => Ok(()),
            Err((error, hint)) => {
                hints.extend(hint);
                let mut told = error.map_or(told, |error| *error);
                let own = told.hint.take();
                let hints: Vec<String> = own.into_iter().chain(hints).collect();
                Err(if hints.is_empty() { told } else { told.with_hint(hints.join("; ")) })
            }
        }
    }

    /// Sends a kept answer.
    async fn give(
        &self,
        kept: &Kept,
        sources: Vec<String>,
        reason: String,
        old: Duration,
        failed: &Failed<'_>,
    ) {
        self.note(&sources, &StaleFrom::Answer, kept.read.utc);
        failed.receipt.stand_in(Some(Staleness {
            sources,
            from: StaleFrom::Answer,
            read_at: kept.read.utc,
            age: old,
            reason,
            as_of: AsOfRecorder::of(kept.as_of.clone()),
        }));
        for batch in &kept.batches {
            failed.receipt.add_rows(batch.num_rows());
            if failed.sender.send(Ok(batch.clone())).await.is_err() {
                return;
            }
        }
    }

    /// Answers the statement from copies of every source that turns out to be down. Errors are the one to show if it is
    /// another than the first, and what to say about copies.
    async fn over_copies(
        &self,
        source: SourceName,
        reason: String,
        failed: &Failed<'_>,
    ) -> Result<(), (Option<Box<QueryError>>, Option<String>)> {
        let Failed { recipe, until, announced, receipt, sender } = failed;
        let mut copies: Vec<Copies> = Vec::new();
        let mut reasons = vec![reason];
        let mut next = source;
        let mut later: Option<Box<QueryError>> = None;
        loop {
            let found = self.copies_of(&next, recipe).await.map_err(|hint| (later.clone(), hint))?;
            copies.push(found);
            let from: BTreeSet<String> = copies.iter().map(|copies| copies.place.to_string()).collect();
            let from = StaleFrom::Copies(from.into_iter().collect::<Vec<_>>().join(", "));
            let read_at = copies.iter().map(|copies| copies.read_at).min().unwrap_or_default();
            let sources: Vec<String> = copies.iter().map(|copies| copies.source.to_string()).collect();
            let as_of = AsOfRecorder::default();
            let again = self.with_copies(recipe, &copies, as_of.clone());
            let unusable = |why: &str| Some(format!("the copies in \"{from}\" cannot be used: {why}"));
            let physical = match Box::pin(again.plan(false)).await {
                Ok(plan) if plan.schema().fields().len() == announced.fields().len() => plan,
                Ok(_) => return Err((later, unusable("they give other columns"))),
                Err(error) => return Err((later, unusable(&error.message))),
            };
            receipt.stand_in(Some(Staleness {
                sources: sources.clone(),
                from: from.clone(),
                read_at,
                age: age(read_at, self.kept.now().utc),
                reason: reasons.join("; "),
                as_of,
            }));
            let mut witnesses = Witnesses::default();
            let driven =
                Box::pin(drive(physical, until.clone(), announced, &again, &mut witnesses, receipt, sender))
                    .await;
            let Err(error) = driven else {
                self.note(&sources, &from, read_at);
                return Ok(());
            };
            let told = QueryError::from_datafusion(&error, Some(&recipe.prepared.sql));
            if receipt.rows() > 0 {
                return Err((Some(Box::new(told)), None));
            }
            receipt.stand_in(None);
            match down(&error) {
                Some((source, reason))
                    if copies.len() < MOST_SOURCES && copies.iter().all(|copies| copies.source != source) =>
                {
                    reasons.push(reason);
                    next = source;
                    later = Some(Box::new(told));
                }
                _ => return Err((Some(Box::new(told)), None)),
            }
        }
    }

    /// Copies of all tables of a source that the statement reads, if they are young enough. Else what to say about them.
    async fn copies_of(&self, source: &SourceName, recipe: &Recipe) -> Result<Copies, Option<String>> {
        let Some(most) = self.accepted else {
            let place = self.tables.fallback(source);
            return Err(place.map(|place| {
                format!("copies are in \"{place}\": SET portolan.max_staleness to their age to get them, with a warning")
            }));
        };
        let tables = tables_of(&recipe.prepared, source);
        let found = self.tables.copies(source, &tables).await;
        let copies = found.map_err(|error| Some(format!("there is no copy to use: {error}")))?.ok_or(None)?;
        let old = age(copies.read_at, self.kept.now().utc);
        if old > most {
            return Err(Some(format!(
                "the copies in \"{}\" are {} old, which is more than portolan.max_staleness",
                copies.place,
                shown(old)
            )));
        }
        Ok(copies)
    }

    /// The statement over a catalog in which copies take the place of their sources' tables.
    fn with_copies(&self, recipe: &Recipe, copies: &[Copies], as_of: AsOfRecorder) -> Recipe {
        let tables: Arc<dyn TableCatalog> =
            Arc::new(WithCopies { inner: Arc::clone(&self.tables), copies: copies.into() });
        let settings = Arc::new(Mutex::new(self.settings().clone()));
        let viewer = Arc::new(self.identity.clone());
        let system = self.system.schema(viewer, Arc::clone(&settings));
        let extra = vec![(crate::system::SCHEMA.to_owned(), system)];
        let semantics: Option<&Semantics> = recipe.semantics.as_deref();
        let session = self.factory.session(self.identity.clone(), settings, &tables, semantics, extra);
        let mut state = session.state();
        let mut pins = Pins::default();
        copies.iter().for_each(|copies| pins.extend(&copies.pins));
        let mut context = QueryContext { as_of, pins: Arc::new(pins), ..QueryContext::default() };
        if let Some(old) = recipe.state.config().get_extension::<QueryContext>() {
            context.query = old.query;
            context.deadline = old.deadline;
            context.cancel = old.cancel.clone();
        }
        state.config_mut().set_extension(Arc::new(context));
        let started = recipe.state.execution_props().query_execution_start_time;
        state.execution_props_mut().query_execution_start_time = started;
        // Workers read the newest version of a table, not the one it is pinned to.
        Recipe { state, spread: None, ..recipe.clone() }
    }

    /// Tells figures and sources that old data were given.
    fn note(&self, sources: &[String], from: &StaleFrom, read_at: DateTime<Utc>) {
        let kind = if *from == StaleFrom::Answer { "answer" } else { "copies" };
        for source in sources {
            metrics::counter!("portolan_stale_answers_total", "source" => source.clone(), "from" => kind)
                .increment(1);
            self.tables.stood_in(source, read_at);
        }
        tracing::warn!(sources = sources.join(", "), from = %from, read_at = %read_at, "an old answer was given");
    }
}

/// The source that an error says cannot be reached, and why. A source that ended a statement itself is there.
fn down(error: &DataFusionError) -> Option<(SourceName, String)> {
    let error = source_error(error)?;
    let unreachable = match error.kind {
        SourceErrorKind::Unreachable => true,
        SourceErrorKind::Timeout => error.remote_code.is_none(),
        _ => false,
    };
    if unreachable { Some((error.source_name.clone()?, error.to_string())) } else { None }
}

/// What a receipt knows of staleness.
#[derive(Debug, Default)]
pub(super) struct StoodIn(Mutex<Option<Arc<Staleness>>>);

impl StoodIn {
    pub(super) fn set(&self, stale: Option<Staleness>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stale.map(Arc::new);
    }

    pub(super) fn get(&self) -> Option<Arc<Staleness>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
