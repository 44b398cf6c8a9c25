//! Runs fragments on the weather API: the range of `time` becomes days, `station` chooses places, and only the
//! variables that are wanted are asked for.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, Utc};
use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{StreamExt, TryStreamExt};

use super::VARIABLES;
use super::answer::Hours;
use super::client::{Client, Page};
use crate::asof::SourceVersion;
use crate::federation::{ExecContext, Fragment, FragmentExecutor, Verdict, run_on_stream};
use crate::source::{SourceError, SourceErrorKind, TableDef};

#[derive(Debug)]
pub(super) struct RestExecutor {
    pub(super) client: Arc<Client>,
}

/// What a conjunct says about what must be asked for; the conjunct itself is evaluated here again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    From(NaiveDate),
    Until(NaiveDate),
    Within(NaiveDate, NaiveDate),
    Stations(Vec<String>),
}

fn bound(expr: &Expr) -> Option<Bound> {
    match expr {
        Expr::BinaryExpr(binary) => {
            let (column, operator, literal) = match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => (column, binary.op, value),
                (Expr::Literal(value, _), Expr::Column(column)) => (column, binary.op.swap()?, value),
                _ => return None,
            };
            match (column.name.as_str(), operator) {
                ("time", Operator::Gt | Operator::GtEq) => Some(Bound::From(day(literal)?)),
                ("time", Operator::Lt | Operator::LtEq) => Some(Bound::Until(day(literal)?)),
                ("time", Operator::Eq) => {
                    let day = day(literal)?;
                    Some(Bound::Within(day, day))
                }
                ("station", Operator::Eq) => Some(Bound::Stations(vec![text(literal)?])),
                _ => None,
            }
        }
        Expr::Between(between) if !between.negated => {
            match (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref()) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _))
                    if column.name == "time" =>
                {
                    Some(Bound::Within(day(low)?, day(high)?))
                }
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated => match list.expr.as_ref() {
            Expr::Column(column) if column.name == "station" => {
                let names: Option<Vec<String>> = list
                    .list
                    .iter()
                    .map(|item| match item {
                        Expr::Literal(value, _) => text(value),
                        _ => None,
                    })
                    .collect();
                Some(Bound::Stations(names?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The UTC day of a zoned instant; a wall-clock literal was cast by the planner or is not understood.
fn day(value: &ScalarValue) -> Option<NaiveDate> {
    let at: DateTime<Utc> = match value {
        ScalarValue::TimestampSecond(Some(at), Some(_)) => DateTime::from_timestamp(*at, 0)?,
        ScalarValue::TimestampMillisecond(Some(at), Some(_)) => DateTime::from_timestamp_millis(*at)?,
        ScalarValue::TimestampMicrosecond(Some(at), Some(_)) => DateTime::from_timestamp_micros(*at)?,
        ScalarValue::TimestampNanosecond(Some(at), Some(_)) => DateTime::from_timestamp_nanos(*at),
        _ => return None,
    };
    Some(at.date_naive())
}

fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => Some(text.clone()),
        _ => None,
    }
}

impl RestExecutor {
    /// The requests of a fragment: stations in configured order, days ascending.
    fn pages(&self, fragment: &Fragment) -> Vec<Page> {
        let (mut from, mut until) = self.client.days();
        let mut stations = self.client.config.stations.clone();
        for filter in &fragment.filters {
            match bound(&filter.expr) {
                Some(Bound::From(day)) => from = from.max(day),
                Some(Bound::Until(day)) => until = until.min(day),
                Some(Bound::Within(low, high)) => {
                    from = from.max(low);
                    until = until.min(high);
                }
                Some(Bound::Stations(names)) => stations.retain(|station| names.contains(&station.name)),
                None => {}
            }
        }
        let step = Days::new(u64::from(self.client.config.page_days) - 1);
        let mut pages = Vec::new();
        for station in stations {
            let mut first = from;
            while first <= until {
                let last = first.checked_add_days(step).unwrap_or(until).min(until);
                pages.push(Page { station: station.clone(), from: first, until: last });
                let Some(next) = last.succ_opt() else { break };
                first = next;
            }
        }
        pages
    }

    /// The variables a fragment needs from one endpoint. The weather endpoint always gives the hours.
    fn asked(&self, fragment: &Fragment, marine: bool) -> Vec<usize> {
        if marine && self.client.config.marine_path.is_none() {
            return vec![];
        }
        let wanted = |column: &str| {
            let index = fragment.table.arrow.index_of(column).ok();
            index.is_some_and(|index| fragment.projection.contains(&index))
                || fragment
                    .filters
                    .iter()
                    .any(|filter| filter.expr.column_refs().iter().any(|named| named.name == column))
        };
        let mut asked: Vec<usize> = VARIABLES
            .iter()
            .enumerate()
            .filter(|(_, variable)| variable.marine == marine && wanted(variable.column))
            .map(|(index, _)| index)
            .collect();
        if asked.is_empty() && !marine {
            asked.push(0);
        }
        asked
    }
}

#[async_trait]
impl FragmentExecutor for RestExecutor {
    fn verdict(&self, _table: &TableDef, expr: &Expr) -> Verdict {
        match bound(expr) {
            Some(Bound::Stations(_)) => Verdict::Superset("chooses the stations asked for".into()),
            Some(_) => Verdict::Superset("the API takes whole days".into()),
            None => Verdict::Keep("the API takes only days and stations".into()),
        }
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let pages = self.pages(fragment);
        let Some(first) = pages.first() else { return "nothing (no hour can match)".into() };
        let mut text = format!("GET {}", self.client.url(first, false, &self.asked(fragment, false)));
        let marine = self.asked(fragment, true);
        if !marine.is_empty() {
            text.push_str(&format!(" and {}", self.client.url(first, true, &marine)));
        }
        if pages.len() > 1 {
            text.push_str(&format!(" (first of {} pages)", pages.len()));
        }
        text
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let fetched = SourceVersion::FetchedAt(Utc::now());
        context.as_of.record(&self.client.name, Some(&fragment.table.name), fetched);
        let weather = self.asked(fragment, false);
        let marine = self.asked(fragment, true);
        let mut pages = self.pages(fragment).into_iter();
        let schema = Arc::clone(&fragment.table.arrow);
        let client = Arc::clone(&self.client);
        let fetch = move |page: Page| {
            let (client, schema) = (Arc::clone(&client), Arc::clone(&schema));
            let (weather, marine) = (weather.clone(), marine.clone());
            async move {
                let mut hours = client.fetch(&page, false, &weather).await?;
                if !marine.is_empty() {
                    let waves = client.fetch(&page, true, &marine).await?;
                    join(&mut hours, &waves);
                }
                batch(&page, &hours, &schema).map_err(|error| {
                    SourceError::new(SourceErrorKind::Data, "weather cannot be shown")
                        .with_source(&client.name)
                        .with_cause(error)
                })
            }
        };
        // The first page is fetched here, so that a dead service is known before any row is.
        let first = match pages.next() {
            Some(page) => Some(fetch(page).await?),
            None => None,
        };
        let rest = futures::stream::iter(pages).then(fetch).map_err(DataFusionError::from);
        let rows = futures::stream::iter(first.map(Ok)).chain(rest);
        let whole = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&fragment.table.arrow), rows));
        run_on_stream(whole, fragment).map_err(|error| {
            SourceError::new(SourceErrorKind::Data, "weather cannot be filtered")
                .with_source(&self.client.name)
                .with_cause(error)
        })
    }
}

/// Adds the series of another endpoint by hour; an hour it does not have stays null.
fn join(hours: &mut Hours, other: &Hours) {
    let places: std::collections::HashMap<i64, usize> =
        other.times.iter().enumerate().map(|(place, time)| (*time, place)).collect();
    for (variable, values) in &other.series {
        let aligned = hours
            .times
            .iter()
            .map(|time| places.get(time).and_then(|place| values.get(*place).copied().flatten()))
            .collect();
        hours.series.push((*variable, aligned));
    }
}

/// One page as whole rows of the table; variables that were not asked for are null and never leave.
fn batch(
    page: &Page,
    hours: &Hours,
    schema: &SchemaRef,
) -> Result<RecordBatch, datafusion::arrow::error::ArrowError> {
    let rows = hours.times.len();
    let stations = StringArray::from_iter_values(std::iter::repeat_n(page.station.name.as_str(), rows));
    let times = TimestampMicrosecondArray::from(hours.times.clone()).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(stations), Arc::new(times)];
    for index in 0..VARIABLES.len() {
        let values = hours.series.iter().find(|(variable, _)| *variable == index);
        columns.push(match values {
            Some((_, values)) => Arc::new(Float64Array::from(values.clone())),
            None => Arc::new(Float64Array::new_null(rows)),
        });
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
}
