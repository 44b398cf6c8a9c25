//! Bodies of dimensions and measures.

use crate::reader::{Body, Report};
use crate::units::{Inferred, Ratio, Unit, infer};
use crate::yaml::{Key, Kind, Node, Pos};
use crate::{
    Aggregate, Dimension, Disabled, KpiModel, Measure, Scalar, Severity, Unmapped, ValueType, document,
};

/// True if the model has a usable or disabled dimension of this name.
pub(crate) fn exists(model: &KpiModel, name: &str) -> bool {
    model.dimensions.iter().any(|d| d.name == name) || model.disabled.iter().any(|d| d.name == name)
}

/// Names of usable measures and metrics.
pub(crate) fn kpis(model: &KpiModel) -> impl Iterator<Item = &str> {
    model.measures.iter().map(|m| m.name.as_str()).chain(model.metrics.iter().map(|m| m.name.as_str()))
}

/// True for a measure or metric, also a disabled one.
pub(crate) fn is_kpi(model: &KpiModel, name: &str) -> bool {
    kpis(model).any(|other| other == name) || model.disabled.iter().any(|d| d.name == name)
}

/// Checks a definition's name against all others.
pub(crate) fn fresh(key: &Key, model: &KpiModel, report: &mut Report<'_>) {
    if report.name(key) && (exists(model, &key.text) || is_kpi(model, &key.text)) {
        report.error(
            "KPI102",
            key.pos,
            format!("\"{}\" is defined twice", key.text),
            Some("dimensions, measures and metrics share one name space".into()),
        );
    }
}

/// Disables a definition when its body brought errors.
pub(crate) fn settle<T>(
    key: &Key,
    before: usize,
    value: Option<T>,
    model: &mut KpiModel,
    report: &Report<'_>,
) -> Option<T> {
    match report.error_after(before) {
        Some(reason) => {
            model.disabled.push(Disabled { name: key.text.clone(), reason });
            None
        }
        None => value,
    }
}

/// Checks the joins an expression names.
fn check_joins(scalar: &Scalar, pos: Pos, model: &KpiModel, report: &mut Report<'_>) {
    for (join, _) in &scalar.joined {
        if !model.joins.iter().any(|j| j.name == *join) {
            report.unknown(pos, "join", join, model.joins.iter().map(|j| j.name.as_str()));
        }
    }
}

fn value_type(body: &mut Body, report: &mut Report<'_>) -> Option<ValueType> {
    let node = body.take("type")?;
    let text = report.text("type", &node)?;
    let found = match text.as_str() {
        "text" => Some(ValueType::Text),
        "int8" => Some(ValueType::Int8),
        "float8" => Some(ValueType::Float8),
        "date" => Some(ValueType::Date),
        "timestamptz" => Some(ValueType::TimestampTz),
        "boolean" => Some(ValueType::Boolean),
        other => other.strip_prefix("numeric(").and_then(|rest| rest.strip_suffix(')')).and_then(|args| {
            let (p, s) = args.split_once(',')?;
            let (p, s) = (p.trim().parse::<u8>().ok()?, s.trim().parse::<i8>().ok()?);
            (p <= 38 && s >= 0 && s.unsigned_abs() <= p).then_some(ValueType::Numeric(p, s))
        }),
    };
    if found.is_none() {
        report.error(
            "KPI304",
            node.pos,
            format!("unknown type \"{text}\""),
            Some("known are text, int8, numeric(p,s), float8, date, timestamptz, boolean".into()),
        );
    }
    found
}

/// Reads `dimensions`.
pub(crate) fn dimensions(node: &Node, model: &mut KpiModel, report: &mut Report<'_>) {
    let Some(map) = report.map("dimensions", node) else { return };
    let mut parents = Vec::new();
    for (key, node) in map.entries() {
        let before = report.errors();
        fresh(&key, model, report);
        let Some(mut body) = report.map(&key.text, &node) else { continue };
        let what = format!("dimension \"{}\"", key.text);
        let expr = body.need("expr", &what, report).and_then(|node| {
            let scalar = report.scalar("expr", &node)?;
            check_joins(&scalar, node.pos, model, report);
            Some(scalar)
        });
        let mut values = Vec::new();
        if let Some(node) = body.take("values")
            && let Some(map) = report.map("values", &node)
        {
            for (code, label) in map.entries() {
                match label.scalar() {
                    Some(_) if code.text == "table" => report.unsupported(label.pos, "a table of values"),
                    Some(label) => values.push((code.text, label)),
                    None => report.unsupported(label.pos, "a table of values"),
                }
            }
        }
        let unmapped_node = body.take("unmapped");
        let unmapped = match unmapped_node.as_ref().map(|node| (&node.kind, node)) {
            Some((Kind::Text(text), _)) if text == "keep" => Some(Unmapped::Keep),
            Some((Kind::Text(text), node)) if text == "reject" => {
                report.unsupported(node.pos, "\"unmapped: reject\"");
                None
            }
            Some((Kind::Map(_), node)) => report.map("unmapped", node).and_then(|mut map| {
                let label = map.text("bucket", report);
                map.finish("\"unmapped\"", report);
                label.map(Unmapped::Bucket)
            }),
            Some((_, node)) => {
                report.shape("unmapped", "keep, {bucket: label} or reject", node);
                None
            }
            None => None,
        };
        if !values.is_empty() && unmapped_node.is_none() {
            report.error(
                "KPI005",
                node.pos,
                format!("{what} has values and no \"unmapped\""),
                Some("add unmapped: keep, or unmapped: {bucket: label}".into()),
            );
        }
        let parent =
            body.take("parent").and_then(|node| report.text("parent", &node).map(|text| (text, node.pos)));
        let unit = unit(&mut body, report);
        let ty = value_type(&mut body, report);
        let (title, description) = (body.text("title", report), body.text("description", report));
        body.refuse(&["access", "conforms_to"], &what, report);
        body.finish(&what, report);
        let dimension = expr.map(|expr| Dimension {
            name: key.text.clone(),
            title,
            description,
            expr,
            ty,
            values,
            unmapped,
            parent: parent.as_ref().map(|(name, _)| name.clone()),
            unit: unit.map(|(unit, _)| unit),
        });
        if let Some(dimension) = settle(&key, before, dimension, model, report) {
            model.dimensions.push(dimension);
            parents.extend(parent);
        }
    }
    for (name, pos) in parents {
        if !exists(model, &name) {
            report.unknown(pos, "dimension", &name, model.dimensions.iter().map(|d| d.name.as_str()));
        }
    }
}

/// Reads `unit`.
pub(crate) fn unit(body: &mut Body, report: &mut Report<'_>) -> Option<(Unit, Pos)> {
    let node = body.take("unit")?;
    let text = report.text("unit", &node)?;
    match Unit::parse(&text) {
        Ok(unit) => Some((unit, node.pos)),
        Err(symbol) => {
            report.unknown(node.pos, "unit", &symbol, crate::units::symbols());
            None
        }
    }
}

/// Compares an inferred with a declared unit and returns the factor between them: KPI301, KPI302, KPI303.
pub(crate) fn scale(
    inferred: Inferred,
    declared: &(Unit, Pos),
    at: Pos,
    strict: bool,
    report: &mut Report<'_>,
) -> Ratio {
    match inferred {
        Inferred::Known(unit) if unit.same_dimension(&declared.0) => {
            unit.factor.over(declared.0.factor).unwrap_or(Ratio::ONE)
        }
        Inferred::Known(unit) => {
            report.error(
                "KPI303",
                declared.1,
                format!("declared unit \"{}\" differs from the inferred unit \"{unit}\"", declared.0),
                Some(format!("write unit: {unit}, or correct the expression")),
            );
            Ratio::ONE
        }
        Inferred::Clash(left, right) => {
            report.error(
                "KPI302",
                at,
                format!("\"{left}\" and \"{right}\" cannot be added or compared"),
                Some("convert one side with an explicit factor".into()),
            );
            Ratio::ONE
        }
        Inferred::Number => Ratio::ONE,
        Inferred::Unknown => {
            let severity = if strict { Severity::Error } else { Severity::Warning };
            report.push(
                severity,
                "KPI301",
                at,
                "the unit of this expression is not known",
                Some("name the columns' units under \"units\"".into()),
            );
            Ratio::ONE
        }
    }
}

fn aggregate(node: &Node, report: &mut Report<'_>) -> Option<Aggregate> {
    match &node.kind {
        Kind::Text(text) => {
            let found = match text.as_str() {
                "sum" => Some(Aggregate::Sum),
                "count" => Some(Aggregate::Count),
                "count_distinct" => Some(Aggregate::CountDistinct),
                "min" => Some(Aggregate::Min),
                "max" => Some(Aggregate::Max),
                "avg" => Some(Aggregate::Avg),
                "stddev" => Some(Aggregate::Stddev),
                "bool_or" => Some(Aggregate::BoolOr),
                "bool_and" => Some(Aggregate::BoolAnd),
                _ => None,
            };
            if found.is_none() {
                let known =
                    ["sum", "count", "count_distinct", "min", "max", "avg", "stddev", "bool_or", "bool_and"];
                report.unknown(node.pos, "aggregation", text, known.into_iter());
            }
            found
        }
        Kind::Map(_) => {
            let mut map = report.map("agg", node)?;
            let q = map.take("percentile").and_then(|node| node.number());
            map.finish("\"agg\"", report);
            match q {
                Some(q) if (0.0..=1.0).contains(&q) => Some(Aggregate::Percentile(q)),
                _ => {
                    report.error(
                        "KPI304",
                        node.pos,
                        "a percentile is a number from 0 to 1",
                        Some("write agg: {percentile: 0.9}".into()),
                    );
                    None
                }
            }
        }
        _ => {
            report.shape("agg", "an aggregation", node);
            None
        }
    }
}

/// Reads a clock name.
pub(crate) fn clock(body: &mut Body, model: &KpiModel, report: &mut Report<'_>) -> Option<String> {
    let node = body.take("clock")?;
    let text = report.text("clock", &node)?;
    if !model.clocks.iter().any(|clock| clock.name == text) {
        report.unknown(node.pos, "clock", &text, model.clocks.iter().map(|clock| clock.name.as_str()));
    }
    Some(text)
}

/// Reads `accepts`.
pub(crate) fn accepts(body: &mut Body, default: Vec<String>, report: &mut Report<'_>) -> Vec<String> {
    let Some(node) = body.take("accepts") else { return default };
    let known = ["sum", "avg", "min", "max", "count_distinct"];
    let list = report.list("accepts", &node);
    for (name, pos) in &list {
        if !known.contains(&name.as_str()) {
            report.unknown(*pos, "aggregate", name, known.into_iter());
        }
    }
    list.into_iter().map(|(name, _)| name).collect()
}

/// Reads `measures`.
pub(crate) fn measures(node: &Node, model: &mut KpiModel, report: &mut Report<'_>) {
    let Some(map) = report.map("measures", node) else { return };
    for (key, node) in map.entries() {
        let before = report.errors();
        fresh(&key, model, report);
        let Some(body) = report.map(&key.text, &node) else { continue };
        let measure = measure(&key, body, model, report);
        if let Some(measure) = settle(&key, before, measure, model, report) {
            model.measures.push(measure);
        }
    }
}

fn measure(key: &Key, mut body: Body, model: &KpiModel, report: &mut Report<'_>) -> Option<Measure> {
    let what = format!("measure \"{}\"", key.text);
    let agg = body.need("agg", &what, report).and_then(|node| aggregate(&node, report));
    let expr_node = body.take("expr");
    let expr = expr_node.as_ref().and_then(|node| {
        let scalar = report.scalar("expr", node)?;
        check_joins(&scalar, node.pos, model, report);
        Some(scalar)
    });
    let filter = body.take("where").and_then(|node| {
        let mut scalar = report.scalar("where", &node)?;
        check_joins(&scalar, node.pos, model, report);
        let (dims, columns) = scalar
            .columns
            .drain(..)
            .partition(|name| exists(model, name) && model.dimensions.iter().any(|d| d.name == *name));
        (scalar.dimensions, scalar.columns) = (dims, columns);
        Some(scalar)
    });
    let entity = body.take("entity").and_then(|node| {
        let text = report.text("entity", &node)?;
        if !model.entities.iter().any(|entity| entity.name == text) {
            report.unknown(
                node.pos,
                "entity",
                &text,
                model.entities.iter().map(|entity| entity.name.as_str()),
            );
        }
        Some(text)
    });
    let clock = clock(&mut body, model, report).unwrap_or_else(|| model.default_clock.clone());
    body.known_required("unit", &what, report);
    let unit = unit(&mut body, report);
    let ty = value_type(&mut body, report);
    let nulls_zero = body.take("nulls").is_some_and(|node| match node.scalar().as_deref() {
        Some("zero") => true,
        Some("exclude") => false,
        Some("reject") => {
            report.unsupported(node.pos, "\"nulls: reject\"");
            false
        }
        _ => {
            report.shape("nulls", "exclude, zero or reject", &node);
            false
        }
    });
    body.refuse(&["over_time", "sketch", "access"], &what, report);
    let own = match agg {
        Some(Aggregate::Sum | Aggregate::Count) => vec!["sum".to_owned()],
        Some(agg @ (Aggregate::Min | Aggregate::Max | Aggregate::Avg | Aggregate::CountDistinct)) => {
            vec![agg.label()]
        }
        _ => Vec::new(),
    };
    let accepts = accepts(&mut body, own, report);
    let (title, description) = (body.text("title", report), body.text("description", report));
    let owner = document::owner(&mut body, report).unwrap_or_else(|| model.owner.clone());
    let status = document::status(&mut body, report).unwrap_or(model.status);
    let pos = body.pos;
    body.finish(&what, report);
    let agg = agg?;
    if expr.is_none() && expr_node.is_none() && !matches!(agg, Aggregate::Count) {
        report.error(
            "KPI005",
            pos,
            format!("{what} has no \"expr\""),
            Some("only count works without one".into()),
        );
    }
    let unit = unit?;
    let mut ratio = Ratio::ONE;
    if let (Some(expr), Some(node)) = (&expr, &expr_node)
        && !matches!(
            agg,
            Aggregate::Count | Aggregate::CountDistinct | Aggregate::BoolOr | Aggregate::BoolAnd
        )
    {
        let inferred = infer(&expr.ast, &|name| model.units.get(name).cloned());
        ratio = scale(inferred, &unit, node.pos, status == crate::Status::Certified, report);
    }
    Some(Measure {
        name: key.text.clone(),
        title,
        description,
        agg,
        expr,
        filter,
        entity,
        clock,
        unit: unit.0,
        scale: ratio,
        ty,
        nulls_zero,
        accepts,
        owner,
        status,
    })
}
