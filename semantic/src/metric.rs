//! Bodies of metrics: what rests on measures and on each other.

use crate::kpi::{accepts, clock, exists, fresh, is_kpi, kpis, scale, settle, unit};
use crate::reader::{Body, Report};
use crate::units::{Inferred, Unit, infer};
use crate::yaml::{Key, Node, Pos};
use crate::{Grain, KpiModel, Metric, MetricKind, document};

/// Names a metric rests on.
pub(crate) fn parts(kind: &MetricKind) -> Vec<&str> {
    match kind {
        MetricKind::Ratio { num, den } => vec![num, den],
        MetricKind::Derived(expr) => expr.columns.iter().map(String::as_str).collect(),
        MetricKind::Share { of, .. } => vec![of],
    }
}

/// Reads `metrics`; the order in the file does not matter, a cycle is KPI502.
pub(crate) fn metrics(node: &Node, model: &mut KpiModel, report: &mut Report<'_>) {
    let Some(map) = report.map("metrics", node) else { return };
    let mut waiting = Vec::new();
    let mut names = Vec::new();
    for (key, node) in map.entries() {
        let before = report.errors();
        fresh(&key, model, report);
        if names.contains(&key.text) {
            continue;
        }
        let Some(mut body) = report.map(&key.text, &node) else { continue };
        let kind = kind(&key, &mut body, model, report);
        if report.errors() > before || kind.is_none() {
            // The rest of the body is still read for its own mistakes.
            finish(&key, body, None, model, report);
            settle::<()>(&key, before, None, model, report);
            continue;
        }
        names.push(key.text.clone());
        waiting.push((key, body, kind));
    }
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(_, _, kind)| {
            kind.as_ref()
                .is_none_or(|(kind, _)| parts(kind).iter().all(|part| !names.iter().any(|name| name == part)))
        });
        let Some(at) = ready else {
            for (key, _, _) in waiting {
                let before = report.errors();
                report.error(
                    "KPI502",
                    key.pos,
                    format!("metric \"{}\" rests on itself", key.text),
                    Some("break the circle".into()),
                );
                settle::<()>(&key, before, None, model, report);
            }
            return;
        };
        let (key, body, kind) = waiting.remove(at);
        names.retain(|name| *name != key.text);
        let before = report.errors();
        if let Some((kind, pos)) = &kind {
            for part in parts(kind) {
                if model.disabled.iter().any(|d| d.name == part) {
                    report.error(
                        "KPI501",
                        *pos,
                        format!("metric \"{}\" rests on \"{part}\", which has errors", key.text),
                        Some(format!("correct \"{part}\" first")),
                    );
                } else if !is_kpi(model, part) {
                    report.unknown(*pos, "measure or metric", part, kpis(model));
                }
            }
        }
        let metric = finish(&key, body, kind.filter(|_| report.errors() == before), model, report);
        if let Some(metric) = settle(&key, before, metric, model, report) {
            model.metrics.push(metric);
        }
    }
}

fn kind(key: &Key, body: &mut Body, model: &KpiModel, report: &mut Report<'_>) -> Option<(MetricKind, Pos)> {
    let what = format!("metric \"{}\"", key.text);
    let before = report.errors();
    body.refuse(&["cumulative", "shift", "change", "conversion"], &what, report);
    let ratio = body.take("ratio");
    let derived = body.take("derived");
    let share = body.take("share");
    match (ratio, derived, share) {
        (Some(node), None, None) => {
            let mut map = report.map("ratio", &node)?;
            let (num, den) = (map.text("num", report), map.text("den", report));
            map.finish("\"ratio\"", report);
            match (num, den) {
                (Some(num), Some(den)) => Some((MetricKind::Ratio { num, den }, node.pos)),
                _ => {
                    report.error("KPI005", node.pos, "a ratio needs \"num\" and \"den\"", None);
                    None
                }
            }
        }
        (None, None, Some(node)) => share_of(&node, model, report).map(|kind| (kind, node.pos)),
        (None, Some(node), None) => {
            let scalar = report.scalar("derived", &node)?;
            if let Some((join, _)) = scalar.joined.first() {
                report.error(
                    "KPI503",
                    node.pos,
                    format!("a derived metric cannot read join \"{join}\""),
                    Some("it is computed from measures and metrics".into()),
                );
            }
            Some((MetricKind::Derived(Box::new(scalar)), node.pos))
        }
        (None, None, None) if report.errors() > before => None,
        _ => {
            report.error(
                "KPI504",
                body.pos,
                format!("{what} needs exactly one of ratio, derived, share"),
                None,
            );
            None
        }
    }
}

fn share_of(node: &Node, model: &KpiModel, report: &mut Report<'_>) -> Option<MetricKind> {
    let mut map = report.map("share", node)?;
    let of = map.text("of", report);
    let over = map.take("over").map(|node| report.list("over", &node)).unwrap_or_default();
    map.finish("\"share\"", report);
    let known = |name: &str| exists(model, name) || name == "time" || Grain::parse(name).is_some();
    for (name, pos) in over.iter().filter(|(name, _)| !known(name)) {
        report.unknown(*pos, "dimension", name, model.dimensions.iter().map(|d| d.name.as_str()));
    }
    match (of, over.is_empty()) {
        (Some(of), false) => {
            Some(MetricKind::Share { of, over: over.into_iter().map(|(name, _)| name).collect() })
        }
        _ => {
            report.error(
                "KPI005",
                node.pos,
                "a share needs \"of\" and \"over\"",
                Some("write share: {of: measure, over: [dimension]}".into()),
            );
            None
        }
    }
}

/// The clocks a KPI is dated by.
pub(crate) fn clocks_of(model: &KpiModel, name: &str) -> Vec<String> {
    if let Some(measure) = model.measures.iter().find(|m| m.name == name) {
        return vec![measure.clock.clone()];
    }
    let Some(metric) = model.metrics.iter().find(|m| m.name == name) else { return Vec::new() };
    if let Some(clock) = &metric.clock {
        return vec![clock.clone()];
    }
    let mut clocks: Vec<String> =
        parts(&metric.kind).into_iter().flat_map(|part| clocks_of(model, part)).collect();
    clocks.sort();
    clocks.dedup();
    clocks
}

fn unit_of(model: &KpiModel, name: &str) -> Option<Unit> {
    let measure = model.measures.iter().find(|m| m.name == name).map(|m| m.unit.clone());
    measure.or_else(|| model.metrics.iter().find(|m| m.name == name).map(|m| m.unit.clone()))
}

fn finish(
    key: &Key,
    mut body: Body,
    kind: Option<(MetricKind, Pos)>,
    model: &KpiModel,
    report: &mut Report<'_>,
) -> Option<Metric> {
    let what = format!("metric \"{}\"", key.text);
    let clock = clock(&mut body, model, report);
    body.known_required("unit", &what, report);
    let unit = unit(&mut body, report);
    let accepts = accepts(&mut body, Vec::new(), report);
    let (title, description) = (body.text("title", report), body.text("description", report));
    let owner = document::owner(&mut body, report).unwrap_or_else(|| model.owner.clone());
    let status = document::status(&mut body, report).unwrap_or(model.status);
    body.refuse(&["access"], &what, report);
    body.finish(&what, report);
    let ((kind, pos), unit) = (kind?, unit?);
    let inferred = match &kind {
        MetricKind::Ratio { num, den } => {
            let mut clocks: Vec<String> =
                [num, den].into_iter().flat_map(|part| clocks_of(model, part)).collect();
            clocks.sort();
            clocks.dedup();
            if clock.is_none() && clocks.len() > 1 {
                report.error(
                    "KPI402",
                    pos,
                    format!("{what} divides across clocks {}", clocks.join(", ")),
                    Some("add clock: … to date both sides by one event".into()),
                );
            }
            match (unit_of(model, num), unit_of(model, den)) {
                (Some(num), Some(den)) => num.combine(&den, true).map_or(Inferred::Unknown, Inferred::Known),
                _ => Inferred::Unknown,
            }
        }
        MetricKind::Derived(expr) => infer(&expr.ast, &|name| unit_of(model, name)),
        MetricKind::Share { of, .. } => unit_of(model, of)
            .and_then(|unit| unit.combine(&unit, true))
            .map_or(Inferred::Unknown, Inferred::Known),
    };
    let ratio = scale(inferred, &unit, pos, status == crate::Status::Certified, report);
    Some(Metric {
        name: key.text.clone(),
        title,
        description,
        kind,
        clock,
        unit: unit.0,
        scale: ratio,
        accepts,
        owner,
        status,
    })
}
