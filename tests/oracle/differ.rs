//! The comparison of all ways of one query, and what is said of a difference: seed, texts, plans, answers, and a
//! record of the corpus.

use anyhow::Result;

use crate::doors::Door;
use crate::generate::Generator;
use crate::outcome::{Outcome, Tolerance, difference};
use crate::record;
use crate::syntax::{Family, Node, Query, Rows, Traits};
use crate::table::LogicalTable;
use crate::world::{Asker, REFERENCE, Way};

/// The way everything is compared with: nothing goes down, all is in memory.
pub(crate) const BASE: Way = Way::of(REFERENCE, false);

/// What is asked at the front doors.
const BEHIND_DOORS: Way = Way::of("pg", true);

/// Who an answer is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Way(Way),
    /// A front door; the client reads from a store as its session does.
    Door(Door),
    /// A plain PostgreSQL with all rows.
    Plain,
}

/// A difference, made small.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) title: String,
    pub(crate) report: String,
    /// What differs, where it can be asked again.
    pub(crate) case: Option<Case>,
}

/// A query that two ways answer differently, and the seed and number it was made from.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) query: Query,
    pub(crate) against: Against,
    pub(crate) made: (u64, u64),
}

impl Case {
    /// Whether the two ways still differ.
    pub(crate) async fn differs(&self, asker: &Asker<'_>) -> Result<bool> {
        Ok(compared(asker, &self.query, BASE, self.against).await?.is_some())
    }

    /// The finding as these rows show it; `None` where they do not.
    pub(crate) async fn finding(
        &self,
        asker: &Asker<'_>,
        tables: &[LogicalTable],
    ) -> Result<Option<Finding>> {
        let Some(pair) = compared(asker, &self.query, BASE, self.against).await? else { return Ok(None) };
        Ok(Some(report(asker, self, tables, &pair).await?))
    }
}

/// Ways every query of a plan is asked in, and ways of which each query gets some in turn.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) always: Vec<Against>,
    pub(crate) turns: Vec<Against>,
    /// So many of `turns` for each query.
    pub(crate) each: usize,
    /// Every so many queries the rows are split in three.
    pub(crate) split: u64,
}

impl Plan {
    fn of(&self, index: u64) -> Vec<Against> {
        let mut ways = self.always.clone();
        for turn in 0..self.each.min(self.turns.len()) {
            let at = usize::try_from(index).unwrap_or(0) * self.each + turn;
            ways.push(self.turns[at % self.turns.len()]);
        }
        ways
    }
}

fn has(node: &Node, test: impl Fn(&Traits) -> bool) -> bool {
    let mut found = false;
    node.walk(&mut |node| {
        if let Node::Call { traits, .. } = node {
            found |= test(traits);
        }
    });
    found
}

/// What may differ between two answers to a query.
fn tolerance(query: &Query, foreign: bool) -> Tolerance {
    let approximate =
        (0..query.select.len()).filter(|index| has(&query.select[*index], |traits| traits.approximate));
    Tolerance {
        approximate: approximate.collect(),
        keys_only: (query.limit.is_some() || query.offset.is_some()) && !query.total,
        ordered: query.order.iter().map(|order| order.item).collect(),
        zeros: foreign || gathers(query),
        foreign,
    }
}

/// Whether rows stand for several others, of which each may have another of two equal zeros.
fn gathers(query: &Query) -> bool {
    let inner = |rows: &Rows| if let Rows::Query(query) = rows { gathers(query) } else { false };
    query.distinct
        || query.group.is_some()
        || query.set.is_some()
        || query.from.iter().any(|relation| inner(&relation.rows))
}

/// Two answers that differ.
type Pair = (String, Outcome, Outcome);

async fn compared(asker: &Asker<'_>, query: &Query, base: Way, against: Against) -> Result<Option<Pair>> {
    let left = asker.ask(base, query).await?;
    differs_from(asker, query, &left, against).await
}

async fn differs_from(
    asker: &Asker<'_>,
    query: &Query,
    left: &Outcome,
    against: Against,
) -> Result<Option<Pair>> {
    let right = match against {
        Against::Way(way) => asker.ask(way, query).await?,
        Against::Door(door) => asker.knock(door, &BEHIND_DOORS.sql(query)).await?,
        Against::Plain => asker.opinion(query).await?,
    };
    let found = difference(left, &right, &tolerance(query, against == Against::Plain));
    Ok(found.map(|what| (what, left.clone(), right)))
}

fn applies(asker: &Asker<'_>, query: &Query, against: Against) -> bool {
    match against {
        // A condition that fails inside the lake's reader is told as HV000: the reader keeps only the words of an error.
        Against::Way(way) if [way.schema, way.moved].contains(&"bronze") => {
            asker.world.holds(way, query) && !query.any(|traits| traits.fallible)
        }
        Against::Way(way) => asker.world.holds(way, query),
        Against::Door(_) => asker.has_doors(),
        Against::Plain => asker.has_opinion() && !query.any(|traits| traits.ours),
    }
}

/// Checks one query of a seed in the ways of a plan.
pub(crate) async fn check(asker: &Asker<'_>, plan: &Plan, seed: u64, index: u64) -> Result<Option<Finding>> {
    if plan.split > 0 && index.is_multiple_of(plan.split) {
        // The way whose turn it is, rather than one that is always asked.
        let way = plan.of(index / plan.split).into_iter().rev().find_map(|against| match against {
            Against::Way(way) if way != BASE => Some(way),
            _ => None,
        });
        if let Some(finding) = split(asker, way.unwrap_or(BASE), seed, index).await? {
            return Ok(Some(finding));
        }
    }
    let query = Generator::new(seed, index).query();
    let left = asker.ask(BASE, &query).await?;
    for against in plan.of(index) {
        if !applies(asker, &query, against) {
            continue;
        }
        if let Some(pair) = differs_from(asker, &query, &left, against).await? {
            let case = Case { query, against, made: (seed, index) };
            // What waits for ever would do so for each smaller query too.
            let waited = [&pair.1, &pair.2].into_iter().any(Outcome::is_late);
            let finding =
                if waited { report(asker, &case, &[], &pair).await? } else { shrunk(asker, case).await? };
            return Ok(Some(finding));
        }
    }
    Ok(None)
}

/// The smallest query found that still differs, and its report.
async fn shrunk(asker: &Asker<'_>, case: Case) -> Result<Finding> {
    let Case { query, against, made: (seed, index) } = case;
    let mut smallest = query.clone();
    let mut tries = 400;
    'smaller: while tries > 0 {
        let mut candidates = smallest.variants();
        candidates.sort_by_key(Query::size);
        for candidate in candidates {
            if tries == 0 {
                break;
            }
            if candidate.size() > smallest.size() || !applies(asker, &candidate, against) {
                continue;
            }
            tries -= 1;
            if compared(asker, &candidate, BASE, against).await?.is_some()
                && candidate.size() < smallest.size()
            {
                smallest = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    // What depends on chance, such as a race, may not show twice.
    for query in [smallest, query.clone()] {
        let case = Case { query, against, made: (seed, index) };
        if let Some(finding) = case.finding(asker, &[]).await? {
            return Ok(finding);
        }
    }
    let report = format!("seed {seed} query {index} differed once and not again: {}", BASE.sql(&query));
    Ok(Finding { title: "differs now and then".into(), report, case: None })
}

async fn report(
    asker: &Asker<'_>,
    case: &Case,
    tables: &[LogicalTable],
    (what, left, right): &Pair,
) -> Result<Finding> {
    let Case { query, against, made: (seed, index) } = case;
    let (name, sql, plan) = match *against {
        Against::Way(way) => (way.name(), way.sql(query), asker.explain(way, query).await),
        Against::Door(door) => {
            let plan = asker.explain(BEHIND_DOORS, query).await;
            (format!("{door:?}, {}", BEHIND_DOORS.name()), BEHIND_DOORS.sql(query), plan)
        }
        Against::Plain => ("a plain PostgreSQL".into(), asker.plain_sql(query), String::new()),
    };
    let base_plan = asker.explain(BASE, query).await;
    let title = format!("{} differs from {name}: {what}", BASE.name());
    let report = format!(
        "{title}\n  seed {seed} query {index}\n  {}\n  {sql}\n  first answer: {}\n  second answer: {}\n  \
         record, with the first answer:\n{}",
        BASE.sql(query),
        left.shown(),
        right.shown(),
        record::record(
            query,
            left,
            tables,
            &format!("seed {seed} query {index}: {title}\nfirst plan:\n{base_plan}\nsecond plan:\n{plan}")
        ),
    );
    Ok(Finding { title, report, case: Some(case.clone()) })
}

/// Rows for which a condition holds, does not hold, and is unknown add up to all rows.
async fn split(asker: &Asker<'_>, way: Way, seed: u64, index: u64) -> Result<Option<Finding>> {
    let (whole, condition) = Generator::new(seed ^ 0x5EED, index).split();
    let way = if asker.world.holds(way, &with(&whole, condition.clone())) { way } else { BASE };
    let Outcome::Rows { types, rows } = asker.ask(way, &whole).await? else { return Ok(None) };
    let mut parts = Vec::new();
    let mut texts = Vec::new();
    for shape in ["{0}", "(NOT {0})", "({0} IS NULL)"] {
        let test = Node::Call {
            shape,
            kids: vec![condition.clone()],
            family: Family::Bool,
            traits: Traits::default(),
        };
        let part = with(&whole, test);
        texts.push(way.sql(&part));
        match asker.ask(way, &part).await? {
            Outcome::Rows { rows, .. } => parts.extend(rows),
            error @ Outcome::Error { .. } => {
                let report = format!(
                    "{} refuses a part\n  seed {seed} query {index}\n  {}\n  {}",
                    way.name(),
                    texts.join("\n  "),
                    error.shown()
                );
                let title = "a part of the rows is refused".into();
                return Ok(Some(Finding { title, report, case: None }));
            }
        }
    }
    let (all, parts) = (Outcome::Rows { types: types.clone(), rows }, Outcome::Rows { types, rows: parts });
    let Some(what) = difference(&all, &parts, &Tolerance::default()) else { return Ok(None) };
    let title = format!("{}: three parts are not the whole: {what}", way.name());
    let report = format!(
        "{title}\n  seed {seed} query {index}\n  {}\n  {}\n  whole: {}\n  parts: {}",
        way.sql(&whole),
        texts.join("\n  "),
        all.shown(),
        parts.shown()
    );
    Ok(Some(Finding { title, report, case: None }))
}

fn with(query: &Query, condition: Node) -> Query {
    let mut query = query.clone();
    query.filter.push(condition);
    query
}
