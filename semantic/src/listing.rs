//! Rows of `system.kpis`, and the translation of DataFusion's own refusals into ours.

use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::{KpiModel, KpiRow, MetricKind, Model, SemanticError, metric, resolve, view};

fn hash(model: &KpiModel, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (model.source.to_string(), model.filter.as_ref().map(|f| f.sql.as_str()), model.time_zone.name(), text)
        .hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn blank(model: &KpiModel, name: &str, role: &'static str) -> KpiRow {
    KpiRow {
        model: model.name.clone(),
        name: name.to_owned(),
        role,
        title: None,
        description: None,
        unit: None,
        additivity: None,
        clock: None,
        entity: None,
        formula: None,
        owner: model.owner.team.clone(),
        status: model.status.as_str(),
        def_hash: String::new(),
        error: None,
    }
}

/// One row per dimension, measure, metric and disabled name.
pub(crate) fn rows(model: &Model) -> Vec<KpiRow> {
    let mut rows = Vec::new();
    for model in &model.models {
        for d in &model.dimensions {
            let formula = d.expr.sql.clone();
            rows.push(KpiRow {
                title: d.title.clone(),
                description: d.description.clone(),
                def_hash: hash(model, &format!("{formula} {:?} {:?}", d.values, d.unmapped)),
                formula: Some(formula),
                ..blank(model, &d.name, "dimension")
            });
        }
        for m in &model.measures {
            let filter = m.filter.as_ref().map(|f| format!(" where {}", f.sql)).unwrap_or_default();
            let formula =
                format!("{}({}){filter}", m.agg.label(), m.expr.as_ref().map_or("*", |e| e.sql.as_str()));
            rows.push(KpiRow {
                title: m.title.clone(),
                description: m.description.clone(),
                unit: Some(m.unit.text.clone()),
                additivity: Some(resolve::additivity(m)),
                clock: Some(m.clock.clone()),
                entity: m.entity.clone(),
                def_hash: hash(model, &format!("{formula} {:?} {}", m.entity, m.clock)),
                formula: Some(formula),
                owner: m.owner.team.clone(),
                status: m.status.as_str(),
                ..blank(model, &m.name, "measure")
            });
        }
        for m in &model.metrics {
            let formula = match &m.kind {
                MetricKind::Ratio { num, den } => format!("{num} / {den}"),
                MetricKind::Derived(expr) => expr.sql.clone(),
                MetricKind::Share { of, over } => format!("{of} / {of} over all {}", over.join(", ")),
            };
            rows.push(KpiRow {
                title: m.title.clone(),
                description: m.description.clone(),
                unit: Some(m.unit.text.clone()),
                additivity: Some("none"),
                clock: Some(metric::clocks_of(model, &m.name).join(", ")),
                def_hash: hash(model, &formula),
                formula: Some(formula),
                owner: m.owner.team.clone(),
                status: m.status.as_str(),
                ..blank(model, &m.name, "metric")
            });
        }
        for disabled in model.disabled.iter().filter(|d| !d.name.is_empty()) {
            rows.push(KpiRow {
                error: Some(disabled.reason.headline()),
                ..blank(model, &disabled.name, "disabled")
            });
        }
    }
    for broken in &model.broken {
        rows.push(KpiRow {
            model: broken.name.clone(),
            name: broken.name.clone(),
            role: "model",
            title: None,
            description: None,
            unit: None,
            additivity: None,
            clock: None,
            entity: None,
            formula: None,
            owner: String::new(),
            status: "draft",
            def_hash: String::new(),
            error: Some(broken.reason.headline()),
        });
    }
    rows
}

/// Columns every view is to have one day.
const COVERAGE: [&str; 5] = ["_rows", "_unattributed", "_open", "_late", "_alive"];

fn schema_error(error: &DataFusionError) -> Option<&SchemaError> {
    let mut error = error;
    loop {
        error = match error {
            DataFusionError::SchemaError(found, _) => return Some(found),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => inner,
            DataFusionError::Collection(list) => list.first()?,
            _ => return None,
        };
    }
}

/// Maps DataFusion's planner errors about KPI columns.
pub(crate) fn explain(model: &Model, error: &DataFusionError) -> Option<SemanticError> {
    if let Some(SchemaError::FieldNotFound { field, valid_fields }) = schema_error(error) {
        for model in &model.models {
            let ours = view::kpi_names(model)
                .next()
                .is_some_and(|first| valid_fields.iter().any(|f| f.name == first));
            if !ours {
                continue;
            }
            if COVERAGE.contains(&field.name.as_str()) {
                return Some(
                    SemanticError::new(
                        "KPI907",
                        "0A000",
                        format!("coverage column \"{}\" of {} is not supported yet", field.name, model.name),
                    )
                    .hint(format!("count on the fact itself: SELECT count(*) FROM {} WHERE …", model.source)),
                );
            }
            if let Some(disabled) = model.disabled.iter().find(|d| d.name == field.name) {
                return Some(
                    SemanticError::new(
                        "KPI930",
                        "55000",
                        format!("kpi \"{}\" has errors in its file", field.name),
                    )
                    .hint(disabled.reason.headline()),
                );
            }
            let known = valid_fields.iter().map(|f| f.name.as_str());
            let error = SemanticError::new(
                "KPI902",
                "42703",
                format!("\"{}\" is no column of kpi.{}", field.name, model.name),
            );
            return Some(match crate::scalar::nearest(&field.name, known) {
                Some(near) => error.hint(format!("did you mean \"{near}\"")),
                None => error.hint(format!(
                    "dimensions are {}",
                    model.dimensions.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ")
                )),
            });
        }
        return None;
    }
    let text = error.strip_backtrace();
    if text.contains("Aggregate functions are not allowed in the WHERE clause") {
        let error = SemanticError::new(
            "KPI901",
            "42803",
            "aggregate functions and measures are not allowed in WHERE",
        );
        return Some(error.hint("move the condition to HAVING"));
    }
    let mentions = model
        .models
        .iter()
        .find(|m| view::kpi_names(m).any(|name| text.contains(&format!("{}.{name}", m.name))));
    let bare = text.contains("must appear in the GROUP BY")
        || text.contains("must be in GROUP BY")
        || text.contains("Projection references non-aggregate")
        || text.contains("non-aggregate values");
    let nested = text.contains("ggregate") && (text.contains("WHERE") || text.contains("nested"));
    let owner = mentions.filter(|_| bare || nested)?;
    Some(
        SemanticError::new(
            "KPI901",
            "42803",
            "a measure is only a value inside MEASURE(...), in the select list, HAVING or ORDER BY",
        )
        .hint(view::instead(owner)),
    )
}
