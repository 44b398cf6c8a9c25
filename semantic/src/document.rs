//! The `model` document: everything but the bodies of dimensions, measures and metrics.

use std::collections::BTreeMap;
use std::path::Path;

use crate::reader::{Body, Report};
use crate::units::Unit;
use crate::yaml::{Kind, Node};
use crate::{
    Clock, Disabled, Entity, Flat, Grain, JoinDef, KpiModel, KpiTest, Owner, Status, TableName, Unmatched,
    kpi,
};

/// Reads a table name `schema.table`.
fn table(key: &str, node: &Node, report: &mut Report<'_>) -> Option<TableName> {
    let text = report.text(key, node)?;
    match text.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() && !table.contains('.') => {
            Some(TableName { schema: schema.to_owned(), table: table.to_owned() })
        }
        _ => {
            report.error(
                "KPI007",
                node.pos,
                format!("\"{text}\" is not a table name"),
                Some("write schema.table".into()),
            );
            None
        }
    }
}

/// Reads `owner`.
pub(crate) fn owner(body: &mut Body, report: &mut Report<'_>) -> Option<Owner> {
    let node = body.take("owner")?;
    let mut map = report.map("owner", &node)?;
    let owner = Owner {
        team: map.text("team", report).unwrap_or_default(),
        contact: map.text("contact", report).unwrap_or_default(),
    };
    map.finish("\"owner\"", report);
    Some(owner)
}

/// Reads `status`.
pub(crate) fn status(body: &mut Body, report: &mut Report<'_>) -> Option<Status> {
    let node = body.take("status")?;
    let text = report.text("status", &node)?;
    let status = [Status::Draft, Status::Approved, Status::Certified, Status::Deprecated]
        .into_iter()
        .find(|s| s.as_str() == text);
    if status.is_none() {
        report.unknown(
            node.pos,
            "status",
            &text,
            ["draft", "approved", "certified", "deprecated"].into_iter(),
        );
    }
    if status == Some(Status::Deprecated) {
        // Whoever uses it would have to be told, which nobody does yet.
        report.unsupported(node.pos, "\"status: deprecated\"");
    }
    status
}

/// Reads an age such as `2 h`.
fn age(map: &mut Body, key: &'static str, report: &mut Report<'_>) -> Option<String> {
    let node = map.take(key)?;
    let text = report.text(key, &node)?;
    let legal = text.split_once(' ').is_some_and(|(number, unit)| {
        number.parse::<f64>().is_ok_and(|number| number >= 0.0) && matches!(unit, "min" | "h" | "d")
    });
    if !legal {
        report.error(
            "KPI404",
            node.pos,
            format!("\"{text}\" is not an age"),
            Some("write a number and min, h or d, such as 2 h".into()),
        );
    }
    Some(text)
}

fn joins(node: &Node, report: &mut Report<'_>) -> Vec<JoinDef> {
    let Some(map) = report.map("joins", node) else { return Vec::new() };
    let mut joins = Vec::new();
    for (key, node) in map.entries() {
        let before = report.errors();
        report.name(&key);
        let Some(mut body) = report.map(&key.text, &node) else { continue };
        let what = format!("join \"{}\"", key.text);
        let to = body.need("to", &what, report).and_then(|node| table("to", &node, report));
        let mut on = Vec::new();
        if let Some(node) = body.need("match", &what, report)
            && let Some(map) = report.map("match", &node)
        {
            for (left, right) in map.entries() {
                if let Some(right) = report.text("match", &right) {
                    on.push((left.text, right));
                }
            }
        }
        if let Some(node) = body.need("cardinality", &what, report) {
            match node.scalar().as_deref() {
                Some("many_to_one" | "one_to_one") => {}
                Some("one_to_many" | "many_to_many") => report.error(
                    "KPI201",
                    node.pos,
                    format!("{what} would multiply rows"),
                    Some("make the many side a model of its own and combine them in a view".into()),
                ),
                _ => report.error(
                    "KPI003",
                    node.pos,
                    "\"cardinality\" must be many_to_one or one_to_one",
                    None,
                ),
            }
        }
        if let Some(node) = body.take("history") {
            match node.scalar().as_deref() {
                Some("current" | "versioned") => {}
                _ => report.error("KPI003", node.pos, "\"history\" must be current or versioned", None),
            }
        }
        let mut unmatched = Unmatched::Bucket { label: "(unknown)".into(), explicit: false };
        if let Some(node) = body.take("unmatched") {
            match &node.kind {
                Kind::Null => unmatched = Unmatched::Null,
                Kind::Text(text) if text == "null" => unmatched = Unmatched::Null,
                Kind::Text(text) if text == "drop" || text == "reject" => {
                    report.unsupported(node.pos, &format!("\"unmatched: {text}\""))
                }
                Kind::Map(_) => {
                    if let Some(mut map) = report.map("unmatched", &node) {
                        if let Some(label) = map.text("bucket", report) {
                            unmatched = Unmatched::Bucket { label, explicit: true };
                        }
                        map.finish("\"unmatched\"", report);
                    }
                }
                _ => report.shape("unmatched", "{bucket: label}, null, drop or reject", &node),
            }
        }
        let reserved = body.take("reserved").map(|node| report.list("reserved", &node)).unwrap_or_default();
        let reserved = reserved
            .iter()
            .filter_map(|(text, pos)| {
                let value = text.parse().ok();
                if value.is_none() {
                    report.error("KPI003", *pos, "\"reserved\" must be a list of integers", None);
                }
                value
            })
            .collect();
        body.refuse(&["as_of", "via"], &what, report);
        body.finish(&what, report);
        if let Some(to) = to
            && report.errors() == before
        {
            joins.push(JoinDef { name: key.text, to, on, unmatched, reserved });
        }
    }
    joins
}

fn entities(node: &Node, report: &mut Report<'_>) -> Vec<Entity> {
    let Some(map) = report.map("entities", node) else { return Vec::new() };
    let mut entities = Vec::new();
    for (key, node) in map.entries() {
        report.name(&key);
        let Some(mut body) = report.map(&key.text, &node) else { continue };
        let what = format!("entity \"{}\"", key.text);
        let keys =
            body.need("keys", &what, report).map(|node| report.list("keys", &node)).unwrap_or_default();
        let row = body.need("row", &what, report).and_then(|node| report.scalar("row", &node));
        let main = body.take("main").map(|node| report.list("main", &node)).unwrap_or_default();
        let any = body.take("any").map(|node| report.list("any", &node)).unwrap_or_default();
        for (name, pos) in &any {
            if main.iter().any(|(other, _)| other == name) {
                report.error(
                    "KPI202",
                    *pos,
                    format!("dimension \"{name}\" is both in \"main\" and in \"any\""),
                    Some("choose one".into()),
                );
            }
        }
        body.finish(&what, report);
        let names = |list: Vec<(String, _)>| list.into_iter().map(|(name, _)| name).collect();
        if let Some(row) = row {
            entities.push(Entity {
                name: key.text,
                keys: names(keys),
                row,
                main: names(main),
                any: names(any),
            });
        }
    }
    entities
}

fn flats(node: &Node, report: &mut Report<'_>) -> Vec<(Flat, crate::yaml::Pos)> {
    let Some(map) = report.map("flat", node) else { return Vec::new() };
    let mut flats = Vec::new();
    for (key, node) in map.entries() {
        let Some(mut body) = report.map(&key.text, &node) else { continue };
        let what = format!("flat \"{}\"", key.text);
        let grain = body.need("grain", &what, report).and_then(|node| {
            let text = report.text("grain", &node)?;
            let grain = Grain::parse(&text);
            if grain.is_none() {
                report.unknown(node.pos, "grain", &text, Grain::ALL.iter().map(|g| g.as_str()));
            }
            grain
        });
        let dims = body.take("dims").map(|node| report.list("dims", &node)).unwrap_or_default();
        body.finish(&what, report);
        if let Some(grain) = grain {
            flats.push((
                Flat { name: key.text, grain, dims: dims.into_iter().map(|(d, _)| d).collect() },
                node.pos,
            ));
        }
    }
    flats
}

/// Reads a `model` document; `None` when nothing of it is usable.
pub(crate) fn model(file: &Path, stem: &str, mut body: Body, report: &mut Report<'_>) -> Option<KpiModel> {
    let what = "the model";
    let name = body.need("model", what, report).and_then(|node| {
        let text = report.text("model", &node)?;
        if text != stem {
            report.error(
                "KPI008",
                node.pos,
                format!("model \"{text}\" is in file \"{stem}\""),
                Some("name the file after the model".into()),
            );
        }
        Some(text)
    });
    let title = body.need("title", what, report).and_then(|node| report.text("title", &node));
    let description =
        body.need("description", what, report).and_then(|node| report.text("description", &node));
    let source = body.need("source", what, report).and_then(|node| table("source", &node, report));
    let filter = body.take("where").and_then(|node| report.scalar("where", &node));
    let grain = body.need("grain", what, report).map(|node| report.list("grain", &node)).unwrap_or_default();
    let mut clocks = Vec::new();
    if let Some(node) = body.need("clocks", what, report)
        && let Some(map) = report.map("clocks", &node)
    {
        for (key, node) in map.entries() {
            if let Some(column) = report.text(&key.text, &node) {
                clocks.push(Clock { name: key.text, column });
            }
        }
    }
    let default_clock = match body.take("default_clock") {
        Some(node) => report.text("default_clock", &node).filter(|name| {
            let known = clocks.iter().any(|clock| clock.name == *name);
            if !known {
                report.unknown(node.pos, "clock", name, clocks.iter().map(|clock| clock.name.as_str()));
            }
            known
        }),
        None => clocks.first().map(|clock| clock.name.clone()),
    };
    let time_zone = body.need("time_zone", what, report).and_then(|node| {
        let text = report.text("time_zone", &node)?;
        let zone = text.parse::<chrono_tz::Tz>().ok();
        if zone.is_none() {
            report.error(
                "KPI401",
                node.pos,
                format!("unknown time zone \"{text}\""),
                Some("write an IANA name such as Africa/Dakar".into()),
            );
        }
        zone
    });
    if let Some(node) = body.take("spine")
        && let Some(mut map) = report.map("spine", &node)
    {
        if let Some(fill) = map.take("fill")
            && fill.scalar().as_deref() != Some("none")
        {
            report.unsupported(fill.pos, "\"fill\" of the spine");
        }
        map.refuse(&["heartbeat", "feed"], "the spine", report);
        map.finish("\"spine\"", report);
    }
    let mut units = BTreeMap::new();
    if let Some(node) = body.take("units")
        && let Some(map) = report.map("units", &node)
    {
        for (key, node) in map.entries() {
            if let Some(text) = report.text(&key.text, &node) {
                match Unit::parse(&text) {
                    Ok(unit) => drop(units.insert(key.text, unit)),
                    Err(symbol) => report.unknown(node.pos, "unit", &symbol, crate::units::symbols()),
                }
            }
        }
    }
    let joins = body.take("joins").map(|node| joins(&node, report)).unwrap_or_default();
    let entities_node = body.take("entities");
    let entities = entities_node.as_ref().map(|node| entities(node, report)).unwrap_or_default();
    let owner = owner(&mut body, report);
    if owner.is_none() {
        report.error(
            "KPI701",
            body.pos,
            "the model has no \"owner\"",
            Some("add owner: {team: …, contact: …}".into()),
        );
    }
    let status = status(&mut body, report).unwrap_or_default();
    let freshness = body.take("freshness").and_then(|node| {
        let mut map = report.map("freshness", &node)?;
        let ages =
            (age(&mut map, "warn", report), age(&mut map, "error", report), age(&mut map, "closing", report));
        map.finish("\"freshness\"", report);
        Some((ages.0.unwrap_or_default(), ages.1.unwrap_or_default(), ages.2))
    });
    // A view without its grants would show what its author wanted to hide.
    body.refuse(&["access"], what, report);
    let usable = report.errors() == 0;
    // What follows disables single entries; the checks above are what every KPI of the file rests on.
    let soft = report.errors();
    body.refuse(&["grains", "rollups", "deprecated"], what, report);
    let (dims, measures, metrics) =
        (body.need("dimensions", what, report), body.need("measures", what, report), body.take("metrics"));
    let (count_star, flat_node, tests) = (body.take("count_star"), body.take("flat"), body.take("tests"));
    let mut disabled: Vec<Disabled> =
        report.error_after(soft).map(|reason| Disabled { name: String::new(), reason }).into_iter().collect();
    body.finish(what, report);
    let mut model = KpiModel {
        name: name.clone().unwrap_or_else(|| stem.to_owned()),
        title: title.unwrap_or_default(),
        description: description.unwrap_or_default(),
        file: file.to_owned(),
        source: source.clone().unwrap_or(TableName { schema: String::new(), table: String::new() }),
        filter,
        grain: grain.into_iter().map(|(column, _)| column).collect(),
        clocks,
        default_clock: default_clock.clone().unwrap_or_default(),
        time_zone: time_zone.unwrap_or(chrono_tz::UTC),
        joins,
        entities,
        units,
        dimensions: Vec::new(),
        measures: Vec::new(),
        metrics: Vec::new(),
        count_star: None,
        flats: Vec::new(),
        owner: owner.unwrap_or_default(),
        status,
        freshness,
        tests: Vec::new(),
        disabled: std::mem::take(&mut disabled),
    };
    if let Some(node) = dims {
        kpi::dimensions(&node, &mut model, report);
    }
    for entity in &model.entities {
        for name in entity.main.iter().chain(&entity.any) {
            if !kpi::exists(&model, name)
                && let Some(node) = &entities_node
            {
                report.unknown(node.pos, "dimension", name, model.dimensions.iter().map(|d| d.name.as_str()));
            }
        }
    }
    if let Some(node) = measures {
        kpi::measures(&node, &mut model, report);
    }
    if let Some(node) = metrics {
        crate::metric::metrics(&node, &mut model, report);
    }
    if let Some(node) = count_star
        && let Some(text) = report.text("count_star", &node)
    {
        if model.measures.iter().any(|m| m.name == text) {
            model.count_star = Some(text);
        } else {
            report.unknown(node.pos, "measure", &text, model.measures.iter().map(|m| m.name.as_str()));
        }
    }
    for (flat, pos) in flat_node.map(|node| flats(&node, report)).unwrap_or_default() {
        match flat.dims.iter().find(|name| !model.dimensions.iter().any(|d| d.name == **name)) {
            Some(name) => {
                report.unknown(pos, "dimension", name, model.dimensions.iter().map(|d| d.name.as_str()))
            }
            None => model.flats.push(flat),
        }
    }
    if let Some(node) = tests {
        model.tests = self::tests(&node, &model, report);
    }
    if model.status == Status::Certified && (model.tests.is_empty() || model.freshness.is_none()) {
        report.error(
            "KPI702",
            body_pos(&model),
            "a certified model needs \"tests\" and \"freshness\"",
            Some("add them, or lower the status".into()),
        );
    }
    (usable && name.is_some() && source.is_some() && default_clock.is_some() && time_zone.is_some())
        .then_some(model)
}

fn body_pos(_model: &KpiModel) -> crate::yaml::Pos {
    crate::yaml::Pos { line: 1, column: 1, len: 1 }
}

fn tests(node: &Node, model: &KpiModel, report: &mut Report<'_>) -> Vec<KpiTest> {
    let Kind::List(items) = &node.kind else {
        report.shape("tests", "a list", node);
        return Vec::new();
    };
    let mut tests = Vec::new();
    for item in items {
        let Some(mut body) = report.map("tests", item) else { continue };
        if let Some(node) = body.take("identity") {
            let text = report.text("identity", &node).unwrap_or_default();
            let sides = text.split_once('=').and_then(|(left, right)| {
                Some((crate::scalar::parse(left.trim()).ok()?, crate::scalar::parse(right.trim()).ok()?))
            });
            let by = body.take("by").map(|node| report.list("by", &node)).unwrap_or_default();
            for (name, pos) in &by {
                if !kpi::exists(model, name) && Grain::parse(name).is_none() {
                    report.unknown(*pos, "dimension", name, model.dimensions.iter().map(|d| d.name.as_str()));
                }
            }
            let tolerance = body.take("tolerance").and_then(|node| node.number()).unwrap_or(0.0);
            match sides {
                Some((left, right)) => {
                    for name in left.columns.iter().chain(&right.columns) {
                        if !kpi::is_kpi(model, name) {
                            report.unknown(node.pos, "measure", name, kpi::kpis(model));
                        }
                    }
                    tests.push(KpiTest::Identity {
                        left: Box::new(left),
                        right: Box::new(right),
                        by: by.into_iter().map(|(b, _)| b).collect(),
                        tolerance,
                    });
                }
                None => report.error("KPI010", node.pos, "an identity is \"a = b + c\" over measures", None),
            }
        } else if let Some(node) = body.take("bounds") {
            if let Some(mut map) = report.map("bounds", &node) {
                let measure = map.text("measure", report).unwrap_or_default();
                if !kpi::is_kpi(model, &measure) {
                    report.unknown(node.pos, "measure", &measure, kpi::kpis(model));
                }
                let mut bound = |key| map.take(key).and_then(|node: Node| node.number());
                tests.push(KpiTest::Bounds { measure, min: bound("min"), max: bound("max") });
                map.finish("\"bounds\"", report);
            }
        } else {
            body.refuse(&["golden", "rows", "coverage"], "a test", report);
        }
        body.finish("a test", report);
    }
    tests
}
