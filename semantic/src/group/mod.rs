//! Lowering of one metric group: the calls of a statement that share entity and clock become one aggregate over the
//! fact, its joins and the statement's filters.
//!
//! An entity's value stands on one row (`row`); dimensions of `main` are read there. Dimensions of `any` are read from
//! all rows of the entity, which is joined once per member, so that nothing is counted twice.

mod aggregate;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, cast, lit, union};

use crate::context::{Dropped, grouping_id};
use crate::grain::timestamptz;
use crate::scalar::DIMENSION;
use crate::stitch::{Lowered, column};
use crate::view::KpiTable;
use crate::{Entity, Grain, SemanticError};

use aggregate::inputs;
pub(crate) use aggregate::scaled;

/// What is computed once and read by every call that needs it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Leaf {
    /// A measure on a clock, with the call's FILTER over view columns and the keys it ignores.
    Measure { name: String, clock: String, filter: Option<Expr>, dropped: Option<Dropped> },
    /// A plain aggregate of dimensions or time.
    Plain(AggregateFunction),
}

/// Keys of the statement, over view columns.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) exprs: Vec<Expr>,
    pub(crate) types: Vec<DataType>,
    /// Key positions per grouping set, with the type of the grouping id.
    pub(crate) sets: Option<(Vec<Vec<usize>>, DataType)>,
}

/// Everything a group is lowered with.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    pub(crate) table: &'a KpiTable,
    pub(crate) keys: &'a Keys,
    pub(crate) predicates: &'a [Expr],
    /// The session's time zone, which `date_trunc` of an instant follows.
    pub(crate) zone: Option<&'a str>,
}

/// Level, clock and context of a group; `plain` groups have no measure and keep rows without a clock value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupKey {
    pub(crate) entity: Option<String>,
    pub(crate) clock: String,
    pub(crate) plain: bool,
    pub(crate) dropped: Option<Dropped>,
}

struct Part {
    index: usize,
    args: Vec<Expr>,
    /// Filter on the value row, and on the rows of the entity.
    main: Option<Expr>,
    any: Option<Expr>,
}

fn names(expr: &Expr) -> BTreeSet<String> {
    expr.column_refs()
        .into_iter()
        .filter(|c| c.relation.is_none() || c.relation.as_ref().is_some_and(|r| r.table() == DIMENSION))
        .map(|c| c.name.clone())
        .collect()
}

impl Lowering<'_> {
    /// Rewrites an expression over view columns to one over fact and joins.
    pub(crate) fn base(&self, expr: Expr, clock: &str) -> Result<Expr> {
        let resolved = &self.table.resolved;
        self.in_session_zone(expr)?
            .transform_up(|expr| {
                let Expr::Column(column) = &expr else {
                    if matches!(expr, Expr::OuterReferenceColumn(..)) {
                        return Err(crate::query::below(self.table, "an outer reference").into());
                    }
                    return Ok(Transformed::no(expr));
                };
                if column.relation.as_ref().is_some_and(|relation| relation.table() != DIMENSION) {
                    return Ok(Transformed::no(expr));
                }
                let name = column.name.as_str();
                let found = if name == "time" {
                    resolved.instant(clock)?
                } else if let Some(grain) = Grain::parse(name) {
                    grain.of(resolved.instant(clock)?, resolved.model.time_zone)
                } else if let Some(dimension) = resolved.dims.get(name) {
                    dimension.clone()
                } else {
                    let model = &resolved.model;
                    return Err(SemanticError::new(
                        "KPI901",
                        "42803",
                        format!(
                            "measure \"{name}\" of kpi.{} is only a value inside MEASURE({name})",
                            model.name
                        ),
                    )
                    .hint(format!(
                        "filter on it with HAVING MEASURE({name}) …; {}",
                        crate::view::instead(model)
                    ))
                    .into());
                };
                Ok(Transformed::yes(found))
            })
            .data()
    }

    /// `date_trunc(unit, time)` follows the session's zone, as in PostgreSQL 17 (timestamp.c, timestamptz_trunc);
    /// DataFusion's follows the value's, which is UTC.
    fn in_session_zone(&self, expr: Expr) -> Result<Expr> {
        let Some(zone) = self.zone.filter(|zone| *zone != "UTC" && *zone != "+00:00") else {
            return Ok(expr);
        };
        expr.transform_up(|expr| {
            let Expr::ScalarFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
            let instant =
                |arg: &Expr| matches!(arg, Expr::Column(c) if matches!(c.name.as_str(), "time" | "hour"));
            if call.func.name() != "date_trunc"
                || call.args.len() != 2
                || !call.args.get(1).is_some_and(instant)
            {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            let local = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(zone)));
            if let Some(arg) = call.args.get_mut(1) {
                *arg = cast(std::mem::take(arg), local);
            }
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), timestamptz())))
        })
        .data()
    }

    fn part(&self, index: usize, leaf: &Leaf, clock: &str, entity: Option<&Entity>) -> Result<Part> {
        let (args, filters) = match leaf {
            Leaf::Plain(function) => {
                let filter = function.params.filter.as_ref().map(|filter| (**filter).clone());
                (function.params.args.clone(), vec![filter])
            }
            Leaf::Measure { name, filter, .. } => {
                let (arg, own) = self.table.resolved.args.get(name).cloned().unwrap_or_default();
                (arg.into_iter().collect(), vec![own, filter.clone()])
            }
        };
        let (mut main, mut any) = (Vec::new(), Vec::new());
        for conjunct in filters.iter().flatten().flat_map(split_conjunction) {
            let side = if self.is_any(conjunct, entity)? { &mut any } else { &mut main };
            side.push(self.base(conjunct.clone(), clock)?);
        }
        let args = args.into_iter().map(|arg| self.base(arg, clock)).collect::<Result<_>>()?;
        Ok(Part { index, args, main: conjunction(main), any: conjunction(any) })
    }

    /// True for an expression over `any` dimensions; KPI921 for a mixture and for dimensions off the entity.
    fn is_any(&self, expr: &Expr, entity: Option<&Entity>) -> Result<bool> {
        let Some(entity) = entity else { return Ok(false) };
        let (mut any, mut main) = (false, false);
        for name in names(expr) {
            if entity.any.contains(&name) {
                any = true;
            } else if entity.main.contains(&name) || name == "time" || Grain::parse(&name).is_some() {
                main = true;
            } else if self.table.resolved.dims.contains_key(&name) {
                return Err(SemanticError::new(
                    "KPI921",
                    "0A000",
                    format!("\"{name}\" is no dimension of entity \"{}\"", entity.name),
                )
                .hint(format!(
                    "its dimensions are {}",
                    entity.main.iter().chain(&entity.any).cloned().collect::<Vec<_>>().join(", ")
                ))
                .into());
            }
        }
        if any && main {
            return Err(SemanticError::new("KPI921", "0A000", format!("one condition or key mixes what entity \"{}\" reads from its value row and from its rows", entity.name))
                .hint(format!("split it: {} stand on the value row, {} on any row", entity.main.join(", "), entity.any.join(", ")))
                .into());
        }
        Ok(any)
    }

    /// Lowers a group; `number` makes its column names unique.
    pub(crate) fn group(&self, number: usize, key: &GroupKey, leaves: &[(usize, &Leaf)]) -> Result<Lowered> {
        let model = &self.table.resolved.model;
        let entity = key.entity.as_ref().and_then(|name| model.entities.iter().find(|e| e.name == *name));
        let mut parts = Vec::new();
        for (index, leaf) in leaves {
            parts.push(self.part(*index, leaf, &key.clock, entity)?);
        }
        let (mut main, mut any) = (Vec::new(), Vec::new());
        for conjunct in self.predicates.iter().flat_map(split_conjunction) {
            let side = if self.is_any(conjunct, entity)? { &mut any } else { &mut main };
            side.push(self.base(conjunct.clone(), &key.clock)?);
            if names(conjunct).iter().any(|name| Grain::parse(name).is_some()) {
                let instant = self.table.resolved.instant(&key.clock)?;
                main.extend(crate::period::implied(conjunct, model.time_zone, &instant));
            }
        }
        let mut keys = Vec::new();
        for expr in &self.keys.exprs {
            keys.push((self.is_any(expr, entity)?, self.base(expr.clone(), &key.clock)?));
        }
        let timed =
            |expr: &Expr| names(expr).iter().any(|name| name == "time" || Grain::parse(name).is_some());
        let plain_time = self.keys.exprs.iter().chain(self.predicates).any(timed);
        if !key.plain || plain_time {
            main.push(self.table.resolved.instant(&key.clock)?.is_not_null());
        }
        if let Some(entity) = entity
            && let Some(row) = self.table.resolved.rows.get(&entity.name)
        {
            main.push(row.clone());
        }
        let by_member = !any.is_empty()
            || keys.iter().any(|(any, _)| *any)
            || parts.iter().any(|part| part.any.is_some());
        let name = |at: usize| format!("k{number}_{at}");
        let (plan, branches) = match entity.filter(|_| by_member) {
            None => {
                let mut out: Vec<Expr> =
                    keys.iter().enumerate().map(|(at, (_, expr))| expr.clone().alias(name(at))).collect();
                out.extend(inputs(&parts));
                (self.project(&main, out)?, None)
            }
            Some(entity) => {
                let all: Vec<usize> = (0..keys.len()).collect();
                let sets = self.keys.sets.as_ref().map_or_else(|| vec![all], |(sets, _)| sets.clone());
                let mut branches = Vec::new();
                for (at, set) in sets.iter().enumerate() {
                    if sets.iter().take(at).any(|other| other == set) {
                        return Err(SemanticError::new(
                            "KPI906",
                            "0A000",
                            "a repeated grouping set is not supported",
                        )
                        .hint("name every grouping set once")
                        .into());
                    }
                    branches
                        .push((set.clone(), self.members(number, entity, &main, &any, &keys, &parts, set)?));
                }
                let Some((_, first)) = branches.first() else {
                    return Err(SemanticError::new(
                        "KPI906",
                        "0A000",
                        "a grouping without sets is not supported",
                    )
                    .into());
                };
                (first.clone(), Some(branches))
            }
        };
        let gid = self.keys.sets.as_ref().map(|_| format!("k{number}_g"));
        let mut out_keys: Vec<String> = (0..keys.len()).map(name).collect();
        out_keys.extend(gid.clone());
        let values: Vec<String> = leaves.iter().map(|(index, _)| format!("l{index}")).collect();
        let plan = match branches {
            None => {
                let group = match &self.keys.sets {
                    None => (0..keys.len()).map(|at| column(&name(at))).collect(),
                    // The grouping id numbers keys by first appearance over all sets, which is how they were numbered here.
                    Some((sets, _)) => vec![Expr::GroupingSet(GroupingSet::GroupingSets(
                        sets.iter().map(|set| set.iter().map(|at| column(&name(*at))).collect()).collect(),
                    ))],
                };
                let mut out: Vec<Expr> = (0..keys.len()).map(|at| column(&name(at))).collect();
                out.extend(gid.map(|gid| column(Aggregate::INTERNAL_GROUPING_ID).alias(gid)));
                self.aggregate(plan, group, leaves, &parts, out)?
            }
            Some(branches) => {
                let mut united: Option<LogicalPlan> = None;
                for (set, plan) in branches {
                    let group = set.iter().map(|at| column(&name(*at))).collect();
                    let mut out: Vec<Expr> = Vec::new();
                    for (at, ty) in self.keys.types.iter().enumerate() {
                        let expr = if set.contains(&at) { column(&name(at)) } else { lit(ScalarValue::Null) };
                        out.push(cast(expr, ty.clone()).alias(name(at)));
                    }
                    if let (Some(gid), Some((_, ty))) = (&gid, &self.keys.sets) {
                        let bits = grouping_id(keys.len(), &set);
                        out.push(lit(ScalarValue::UInt64(Some(bits)).cast_to(ty)?).alias(gid));
                    }
                    let branch = self.aggregate(plan, group, leaves, &parts, out)?;
                    united = Some(match united {
                        None => branch,
                        Some(before) => union(before, branch)?,
                    });
                }
                let Some(plan) = united else {
                    return Err(SemanticError::new(
                        "KPI906",
                        "0A000",
                        "a grouping without sets is not supported",
                    )
                    .into());
                };
                plan
            }
        };
        Ok(Lowered { plan, keys: out_keys, values })
    }
}
