//! Closure intervals: a state machine per channel over hourly samples.
//!
//! Open becomes closed at the first sample at or beyond `stop`; closed becomes open at the sample that completes
//! `hold` consecutive samples on the safe side of `resume`. A missing sample keeps the state for three hours; after
//! that the state is unknown, which counts as open. A sample at `t` covers `[t, t + 1 h)`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};

use super::{instants, numbers};
use crate::error::Result;
use crate::pipeline::model::{TableName, Zone};
use crate::spans::Spans;
use crate::yaml::{At, Node, Sink};

/// An hour in microseconds.
pub(crate) const HOUR: i64 = 3_600_000_000;
/// Missing samples in a row that still keep the state.
const PATIENCE: u32 = 3;

/// One channel: a measured column with limits in the column's own unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) activity: String,
    pub(crate) channel: String,
    pub(crate) measure: String,
    /// True when low values close, as with visibility.
    pub(crate) below: bool,
    pub(crate) stop: f64,
    pub(crate) resume: f64,
    pub(crate) hold: u32,
}

/// The samples' table and the channels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClosureSpec {
    pub(crate) samples: TableName,
    pub(crate) channels: Vec<Channel>,
}

pub(super) fn read(sink: &Sink<'_>, node: At<Node>) -> Option<ClosureSpec> {
    let mut fields = sink.fields(node, "\"closures\"")?;
    let samples = fields.required_text("samples");
    let mut channels = Vec::new();
    for node in fields.list("channels") {
        let Some(mut inner) = sink.fields(node, "a channel") else { continue };
        let (activity, channel) = (inner.required_text("activity"), inner.required_text("channel"));
        let measure = inner.required_text("measure");
        let below = inner.flag("below");
        let (stop, resume) = (inner.number("stop"), inner.number("resume"));
        let hold = inner.number("hold").unwrap_or(1.0);
        let (line, column) = (inner.line, inner.column);
        inner.finish();
        let (Some(activity), Some(channel), Some(measure)) = (activity, channel, measure) else { continue };
        let (Some(stop), Some(resume)) = (stop, resume) else {
            sink.report_at(line, column, "a channel needs numbers \"stop\" and \"resume\"", None);
            continue;
        };
        if (below && resume < stop) || (!below && resume > stop) {
            sink.report_at(line, column, "\"resume\" must be on the safe side of \"stop\"", None);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1..=240 before"
        )]
        let hold = hold.clamp(1.0, 240.0) as u32;
        channels.push(Channel {
            activity: activity.value,
            channel: channel.value,
            measure: measure.value,
            below,
            stop,
            resume,
            hold,
        });
    }
    fields.finish();
    let samples = samples?;
    let named = [Zone::Silver, Zone::Gold].into_iter().find_map(|zone| {
        let name = samples.value.strip_prefix(zone.name())?.strip_prefix('.')?;
        Some(TableName { zone, name: name.to_owned() })
    });
    if named.is_none() {
        sink.report(&samples, "samples must be a silver or gold table", None);
    }
    Some(ClosureSpec { samples: named?, channels })
}

/// Closed spans of one channel over samples by hour; hours without a row count as missing samples.
pub(crate) fn closed(channel: &Channel, samples: &[(i64, Option<f64>)]) -> Spans {
    let mut spans = Vec::new();
    let (mut is_closed, mut safe, mut missing) = (false, 0, 0);
    let mut at = samples.first().map_or(0, |(start, _)| *start);
    for (time, value) in samples {
        while at < *time {
            missing += 1;
            if is_closed && missing <= PATIENCE {
                spans.push((at, at + HOUR));
            }
            at += HOUR;
        }
        match value {
            None => missing += 1,
            Some(value) => {
                missing = 0;
                let (stops, is_safe) = if channel.below {
                    (*value < channel.stop, *value > channel.resume)
                } else {
                    (*value >= channel.stop, *value < channel.resume)
                };
                if is_closed {
                    safe = if is_safe { safe + 1 } else { 0 };
                    is_closed = safe < channel.hold;
                } else if stops {
                    (is_closed, safe) = (true, 0);
                }
            }
        }
        if is_closed && missing <= PATIENCE {
            spans.push((*time, *time + HOUR));
        }
        at = *time + HOUR;
    }
    Spans::of(spans)
}

/// Columns: activity, channel, start_ts, end_ts, closure_source. Ordered by channel and start.
pub(super) fn run(spec: &ClosureSpec, samples: &RecordBatch) -> Result<RecordBatch> {
    let times = instants(samples, "hour_ts")?;
    let (mut activities, mut channels) = (Vec::new(), Vec::new());
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for channel in &spec.channels {
        let values = numbers(samples, &channel.measure)?;
        let mut series: Vec<(i64, Option<f64>)> =
            times.iter().zip(values).filter_map(|(time, value)| Some(((*time)?, value))).collect();
        series.sort_by_key(|(time, _)| *time);
        for (start, end) in closed(channel, &series).iter() {
            activities.push(channel.activity.clone());
            channels.push(channel.channel.clone());
            starts.push(start);
            ends.push(end);
        }
    }
    let source = vec!["computed"; starts.len()];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("activity", Arc::new(StringArray::from(activities))),
        ("channel", Arc::new(StringArray::from(channels))),
        ("start_ts", Arc::new(TimestampMicrosecondArray::from(starts).with_timezone("UTC"))),
        ("end_ts", Arc::new(TimestampMicrosecondArray::from(ends).with_timezone("UTC"))),
        ("closure_source", Arc::new(StringArray::from(source))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wind(hold: u32) -> Channel {
        Channel {
            activity: "pilotage".into(),
            channel: "wind".into(),
            measure: "gust_ms".into(),
            below: false,
            stop: 20.0,
            resume: 17.0,
            hold,
        }
    }

    #[test]
    fn two_quiet_hours_reopen_pilotage() {
        let gusts = [20.4, 22.0, 18.0, 15.0, 13.0];
        let samples: Vec<_> = (4_i64..).map(|h| h * HOUR).zip(gusts.map(Some)).collect();
        assert_eq!(closed(&wind(2), &samples), Spans::one(4 * HOUR, 8 * HOUR));
        assert_eq!(closed(&wind(1), &samples), Spans::one(4 * HOUR, 7 * HOUR));
    }

    #[test]
    fn three_missing_hours_keep_the_state_and_a_fourth_is_unknown() {
        let samples = [(0, Some(21.0)), (6 * HOUR, Some(19.0)), (7 * HOUR, Some(10.0))];
        assert_eq!(closed(&wind(1), &samples), Spans::of(vec![(0, 4 * HOUR), (6 * HOUR, 7 * HOUR)]));
    }
}
